"""Inputs and options that depend on a wildcard."""


def gpus_of(encoder):
    """How many GPUs embedding with an encoder asks for."""
    settings = STUDY.encoders.get(encoder)
    return 0 if settings is None or settings.kind == "texture" else 1


def launcher(processes):
    """What starts a command as several processes that find each other."""
    if processes == 1:
        return ""
    return f"torchrun --standalone --nproc-per-node {processes} --no-python "


def clusters_of(wildcards):
    """The cluster folder, where the condition uses clusters."""
    return f"{RESULTS}/{GRID.cluster_folder}" if GRID.needs_clusters(wildcards.condition) else []


def base_of(wildcards):
    """The model from which the condition's training starts, where it does from one."""
    base = GRID.condition(wildcards.condition).init_from
    return f"{RESULTS}/models/{base}/seed{wildcards.seed}" if base else []


def base_option(wildcards, input):
    return f"--base {input.base}" if input.base else ""


def clusters_option(wildcards, input):
    return f"--clusters {input.clusters}" if input.clusters else ""


def conditioning_features(split):
    """Features of the real tiles of a split that the condition's generator is told of."""
    return lambda wildcards: [
        f"{RESULTS}/features/real/{split}/{encoder}.npy"
        for encoder in GRID.conditioning_encoders(wildcards.condition)
    ]


def conditioning_option(wildcards, input):
    return _features("--features", input.features)


def val_features_option(wildcards, input):
    return _features("--val-features", input.val_features)


def _features(option, files):
    pairs = [f"{Path(file).stem}={file}" for file in files]
    return f"{option} {' '.join(pairs)}" if pairs else ""


def scored_set(wildcards):
    return f"{RESULTS}/tilesets/{GRID.tileset(wildcards.condition, wildcards.seed)}"


def judged_set(wildcards):
    """The set whose adherence is scored: of real tiles the test set, which judges are measured on."""
    real = wildcards.condition == "real"
    return "real/test" if real else GRID.tileset(wildcards.condition, wildcards.seed)


def cluster_judge_features(wildcards):
    """Features that clusters are judged by, of train tiles, test tiles and the scored set."""
    return [
        f"{RESULTS}/features/{which}/{GRID.cluster_judge}.npy"
        for which in ("real/train", "real/test", judged_set(wildcards))
        if GRID.cluster_judge
    ]


def embedding_judge_features(wildcards):
    """Features that embeddings are judged by, of train tiles, test tiles and the scored set."""
    return [
        f"{RESULTS}/features/{which}/{GRID.embedding_judge}.npy"
        for which in ("real/train", "real/test", judged_set(wildcards))
        if GRID.embedding_judge
    ]


def features_of(sets):
    """Features of some sets, encoder by encoder."""
    return [
        f"{RESULTS}/features/{which}/{encoder}.npy"
        for encoder in STUDY.evaluation.encoders
        for which in sets
    ]


def feature_pairs(wildcards):
    """Features of test tiles and the scored set."""
    return features_of(["real/test", GRID.tileset(wildcards.condition, wildcards.seed)])


def features_option(wildcards, input):
    """`features_of` for the command line, the files of each encoder together."""
    return [
        f"{encoder}={','.join(f for f in input.features if Path(f).stem == encoder)}"
        for encoder in STUDY.evaluation.encoders
    ]


def fidelity_clusters(wildcards):
    """The clusters and the scored set's features by the encoder that clusters, where there are."""
    if not GRID.by_cluster(wildcards.condition):
        return []
    scored = GRID.tileset(wildcards.condition, wildcards.seed)
    features = f"{RESULTS}/features/{scored}/{STUDY.clusters.encoder}.npy"
    return [f"{RESULTS}/{GRID.cluster_folder}", features]


def neighbour_features(wildcards):
    """Features of training tiles, test tiles and the scored set."""
    sets = ["real/train", "real/test"]
    if wildcards.condition != "real":
        sets.append(GRID.tileset(wildcards.condition, wildcards.seed))
    return features_of(sets)
