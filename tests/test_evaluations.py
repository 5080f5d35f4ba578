"""Evaluations: tile sets and features in, metric rows out, whatever goes wrong on the way."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from metric_rows import only
from shapes import CLASSES, CLASSIFIER, LABELS, SEGMENTER, write_shapes, write_study_sets
from sklearn.metrics import roc_auc_score

from histosynth.errors import InputError
from histosynth.evaluations.auc import label_auc, macro_auc
from histosynth.evaluations.fidelity import FIDELITY_METRICS, fidelity_rows, scored_subset
from histosynth.evaluations.rows import HIGHER_IS_BETTER, ROW_COLUMNS, Scored, write_rows
from histosynth.evaluations.summary import summarise, write_summary
from histosynth.evaluations.utility import Pool, mix, utility_rows
from histosynth.files import read_json
from histosynth.metrics import (
    clipped_scores,
    frechet_distance,
    frechet_distance_inf,
    kernel_distance,
    median_distance,
    prdc,
    sliced_wasserstein,
    vendi_score,
)
from histosynth.settings import Downstream, Evaluation

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_study_sets(tmp_path_factory.mktemp("study") / "tilesets")


def scored(condition, group, *, seed=0):
    return Scored("tiny", condition, seed, f"synthetic/{condition}/seed{seed}", group)


# Fidelity

SETTINGS = Evaluation(encoders=["mine"], neighbours=3, min_tiles=20)


def fidelity(
    sets, *, n=60, settings=SETTINGS, synthetic="obeys", condition="map", shift=0.5, **more
):
    rng = np.random.default_rng(0)
    real = rng.standard_normal((len(sets["test"]), 8))
    ours = rng.standard_normal((len(sets[synthetic]), 8)) + shift
    options = {"encoder_fingerprint": {"weights": "a"}, "label_names": list(LABELS)} | more
    rows = fidelity_rows(
        scored(condition, "fidelity"),
        sets["test"],
        sets[synthetic],
        encoder="mine",
        real_features=real,
        synthetic_features=ours,
        settings=settings,
        n=n,
        **options,
    )
    return rows, real, ours


def test_fidelity_rows_hold_the_metrics_of_the_features(sets):
    rows, real, ours = fidelity(sets)
    expected = {
        "frechet_distance": frechet_distance(real, ours),
        "kernel_distance": kernel_distance(real, ours),
        **prdc(real, ours, k=3),
        **clipped_scores(real, ours, k=3),
        "frechet_distance_inf": frechet_distance_inf(real, ours),
        "kernel_distance_rbf": kernel_distance(
            real, ours, kernel="rbf", sigma=median_distance(real)
        ),
        "sliced_wasserstein": sliced_wasserstein(real, ours),
        "vendi": vendi_score(ours),
    }
    for metric in FIDELITY_METRICS:
        row = only(rows, metric=metric, subset="all")
        if metric != "classifier_auc":  # its folds are by patient: see test_metrics_two_sample
            assert row.value == pytest.approx(expected[metric], rel=1e-9)
        if metric != "frechet_distance_inf":  # extrapolated, without an interval
            assert row.ci_low <= row.value <= row.ci_high and row.se > 0
        assert (row.n_real, row.n_synthetic) == (60, 60)
    labels = sets["test"].table["label"].to_numpy(), sets["obeys"].table["label"].to_numpy()
    disc = only(rows, metric="kernel_distance", subset="label=disc")
    of_discs = kernel_distance(real[labels[0] == "disc"], ours[labels[1] == "disc"])
    assert disc.value == pytest.approx(of_discs, rel=1e-9)


def test_a_larger_set_is_scored_on_as_many_tiles_as_the_study_samples(sets):
    rows, real, ours = fidelity(sets, n=40, synthetic="train", condition="real")
    row = only(rows, metric="frechet_distance", subset="all")
    assert row.n_synthetic == 40
    chosen = scored_subset(len(sets["train"]), 40, seed=0)
    assert len(set(chosen)) == 40
    assert row.value == pytest.approx(frechet_distance(real, ours[chosen]), rel=1e-9)


def test_labels_with_few_tiles_or_none_are_not_applicable(sets):
    few = SETTINGS.model_copy(update={"min_tiles": 31, "min_subset_tiles": 31})
    rows, *_ = fidelity(sets, settings=few)
    row = only(rows, metric="kernel_distance", subset="label=disc")
    assert row.status == "not_applicable" and "30 real and 30 synthetic" in row.reason
    rows, *_ = fidelity(sets, synthetic="free", condition="free")
    row = only(rows, metric="kernel_distance", subset="label=disc")
    assert row.status == "not_applicable" and "no labels" in row.reason


def test_too_few_tiles_another_codec_or_size_are_refused(sets, tmp_path):
    with pytest.raises(InputError, match=r"evaluation\.min_tiles is 61"):
        fidelity(sets, settings=SETTINGS.model_copy(update={"min_tiles": 61}))
    jpeg = write_shapes(tmp_path / "jpeg", 60, seed=3, provenance={"codec": "jpeg"})
    with pytest.raises(InputError, match="codec: .* has png, .* has jpeg"):
        fidelity({**sets, "obeys": jpeg})
    larger = write_shapes(tmp_path / "larger", 60, seed=3)
    larger.size = (64, 64)
    with pytest.raises(InputError, match="tile size"):
        fidelity({**sets, "obeys": larger})


# Protocols


def protocols(rows):
    return {(r.metric, r.subset): r.protocol for r in rows if r.status == "ok"}


def test_conditions_scored_alike_share_a_protocol(sets):
    one, other = fidelity(sets)[0], fidelity(sets, condition="other", shift=2.0)[0]
    assert protocols(one) == protocols(other)


def test_a_protocol_tells_encoder_neighbours_n_and_test_set_apart(sets, tmp_path):
    base = protocols(fidelity(sets)[0])
    other_encoder = protocols(fidelity(sets, encoder_fingerprint={"weights": "b"})[0])
    assert all(base[key] != other_encoder[key] for key in base)
    k = SETTINGS.model_copy(update={"neighbours": 4})
    other_k = protocols(fidelity(sets, settings=k)[0])
    differing = {
        metric for metric, subset in base if base[metric, subset] != other_k[metric, subset]
    }
    clipped = {"clipped_density", "clipped_coverage"}
    assert differing == {"precision", "recall", "density", "coverage"} | clipped
    fewer = protocols(fidelity(sets, n=40)[0])
    changed = {key for key in fewer if base[key] != fewer[key]}
    # No bias of the kernel distances depends on n, which varies with the subset.
    by_subset = {key for key in fewer if key[0].startswith("kernel") and key[1] != "all"}
    assert by_subset and changed == set(fewer) - by_subset
    other_test = {**sets, "test": write_shapes(tmp_path / "test", 60, seed=77)}
    changed = protocols(fidelity(other_test)[0])
    assert all(base[key] != changed[key] for key in base)


# Utility


def test_auc_is_sklearns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    scores = rng.random((200, 3)).round(2) + np.eye(3)[labels] * 0.3  # rounded: ties
    probabilities = scores / scores.sum(1, keepdims=True)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert macro_auc(labels, probabilities) == pytest.approx(expected, abs=1e-12)
    two = labels[labels < 2]
    expected = roc_auc_score(two, scores[labels < 2, 1])
    assert label_auc(two == 1, scores[labels < 2, 1]) == pytest.approx(expected, abs=1e-12)


def test_auc_of_labels_that_do_not_occur():
    probabilities = np.random.default_rng(0).random((10, 3))
    assert np.isnan(macro_auc(np.zeros(10, int), probabilities))
    labels = np.repeat([0, 1], 5)  # label 2 occurs nowhere: it is left out
    expected = (
        label_auc(labels == 0, probabilities[:, 0]) + label_auc(labels == 1, probabilities[:, 1])
    ) / 2
    assert macro_auc(labels, probabilities) == pytest.approx(expected)


def test_a_mixed_arm_holds_all_real_tiles_and_its_share_of_synthetic_ones():
    real = Pool(np.zeros((10, 2, 2, 3), np.uint8), np.zeros(10, int), 10, 0)
    ours = Pool(np.ones((8, 2, 2, 3), np.uint8), np.ones(8, int), 0, 8)
    half = mix(real, ours, ratio=0.5, seed=0)
    assert (half.n_real, half.n_synthetic, len(half.images), half.targets.sum()) == (10, 5, 15, 5)
    everything = mix(real, ours, ratio=2, seed=0)
    assert (everything.n_real, everything.n_synthetic) == (10, 8)


def utility(sets, task, synthetic, **changes):
    training = {"segmentation": SEGMENTER, "classification": CLASSIFIER}
    settings = Downstream(**(training | changes))
    names = list(CLASSES if task == "segmentation" else LABELS)
    return utility_rows(
        scored("map" if synthetic else "real", "utility"),
        task,
        train=sets["train"],
        test=sets["test"],
        synthetic=synthetic and sets[synthetic],
        names=names,
        settings=settings,
        n=60,
        seed=0,
    )


def test_good_synthetic_tiles_train_a_segmenter_for_real_ones(sets):
    rows = utility(sets, "segmentation", "obeys", mixed_ratio=0.25)
    synthetic = only(rows, arm="synthetic", subset="all")
    mixed = only(rows, arm="mixed", subset="all")
    assert synthetic.value > 0.8 and mixed.value > 0.8
    assert (synthetic.n_real, synthetic.n_synthetic) == (0, 60)
    assert (mixed.n_real, mixed.n_synthetic) == (96, 24)
    assert synthetic.ci_low <= synthetic.value <= synthetic.ci_high
    assert synthetic.protocol == mixed.protocol
    assert only(rows, arm="synthetic", subset="class=disc").status == "ok"


def test_the_real_arm_shares_its_protocol_and_repeats_itself(sets):
    few = {"classification": CLASSIFIER.model_copy(update={"steps": 5}), "seeds": [0, 1]}
    first, again = (utility(sets, "classification", None, **few) for _ in range(2))
    row = only(first, arm="real", subset="all")
    assert row.reason.startswith("downstream seeds: ")
    assert (row.n_real, row.n_synthetic) == (96, 0)
    assert first == again
    ours = utility(sets, "classification", "obeys", **few)
    assert {r.protocol for r in ours} == {row.protocol}
    assert {r.arm for r in ours} == {"synthetic", "mixed"}


def test_a_set_without_targets_is_not_applicable_to_training(sets):
    for task in ("segmentation", "classification"):
        rows = utility(sets, task, "free")
        assert [(r.arm, r.status) for r in rows] == [
            ("synthetic", "not_applicable"),
            ("mixed", "not_applicable"),
        ]


def test_a_failed_arm_leaves_the_other_standing(sets, tmp_path):
    """Of one label only, a set teaches nothing alone; mixed with real tiles it is fine."""
    squares = write_shapes(tmp_path / "squares", 24, seed=9, shapes=(2,))
    rows = utility({**sets, "obeys": squares}, "classification", "obeys")
    failed = only(rows, arm="synthetic", subset="all")
    assert failed.status == "failed" and "'square'" in failed.reason
    assert only(rows, arm="mixed", subset="all").value > 0.9


# Rows, files, scripts


def test_an_exception_becomes_failed_rows_with_its_reason(capsys):
    def broken():
        raise ZeroDivisionError("by nought")

    rows = scored("map", "fidelity").guarded(["precision", "recall"], broken, encoder="mine")
    assert [(r.metric, r.encoder, r.status) for r in rows] == [
        ("precision", "mine", "failed"),
        ("recall", "mine", "failed"),
    ]
    assert rows[0].reason == "ZeroDivisionError: by nought"
    assert "by nought" in capsys.readouterr().err


def test_a_value_that_is_not_a_number_is_no_result(tmp_path):
    row = scored("map", "fidelity").row("precision", float("nan"), protocol={})
    assert row.status == "failed" and row.reason
    write_rows(tmp_path / "rows.json", [row], seconds=1.0, versions={}, protocols={})
    stored = json.loads((tmp_path / "rows.json").read_text(), parse_constant=pytest.fail)
    assert stored["rows"][0]["value"] is None
    assert list(stored["rows"][0]) == ROW_COLUMNS


def test_the_summary_has_the_same_columns_and_types_whatever_the_rows(tmp_path):
    nothing = scored("free", "adherence").absent("map_iou", "no maps")
    value = scored("map", "fidelity").row("recall", 0.5, protocol={"k": 1}, n_real=3)
    tables = []
    for i, rows in enumerate(([nothing], [value], [])):
        path = tmp_path / f"{i}.json"
        write_rows(path, rows, seconds=1.0, versions={}, protocols={})
        tables.append(summarise([path]))
    assert all(list(table) == ROW_COLUMNS for table in tables)
    assert all(table.dtypes.equals(tables[0].dtypes) for table in tables)
    write_summary(
        tmp_path / "summary.parquet", summarise([tmp_path / "0.json", tmp_path / "1.json"])
    )
    stored = pd.read_parquet(tmp_path / "summary.parquet")
    assert list(stored["metric"]) == ["map_iou", "recall"]
    assert pd.read_csv(tmp_path / "summary.csv")["value"].tolist()[1] == 0.5
    (tmp_path / "bad.json").write_text('{"rows": [{"value": 1}]}')
    with pytest.raises(InputError, match=r"bad\.json: a row's columns differ"):
        summarise([tmp_path / "bad.json"])


def test_every_metric_has_a_direction():
    assert {m for m, higher in HIGHER_IS_BETTER.items() if not higher} == {
        "frechet_distance",
        "kernel_distance",
        "frechet_distance_inf",
        "kernel_distance_rbf",
        "sliced_wasserstein",
        "classifier_auc",
        "cluster_occupancy",
        "round_trip_perceptual",
        "memorized_share_1pct",
        "memorized_share_01pct",
        "nearest_train_auc",
        "handed_over_share",
        "pasted_share",
        "copied_inside",
        "copied_outside",
        "od_hematoxylin_d",
        "od_eosin_d",
        "od_hematoxylin_sd_d",
        "od_eosin_sd_d",
        "nuclei_count_d",
        "nuclei_area_d",
        "class_area_d",
        "class_entropy_d",
        "od_hematoxylin_w1",
        "od_eosin_w1",
        "nuclei_area_w1",
    }


def run_script(name, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    study = yaml.safe_load((ROOT / "tests" / "micro.yaml").read_text())
    study["classes"] = [{"name": c, "values": [i]} for i, c in enumerate(CLASSES)]
    study["label"] = {"source": "column", "names": list(LABELS)}
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def test_scripts_go_from_tiles_to_rows(sets, config, tmp_path):
    common = ["--config", config]
    real, ours = sets["test"].folder, sets["obeys"].folder
    pair = {}
    for folder in (real, ours):
        pair[folder] = tmp_path / folder.name / "texture.npy"
        embed = [*common, "--tileset", folder, "--encoder", "texture", "--output", pair[folder]]
        assert run_script("embed", *embed).returncode == 0
    again = run_script("embed", *embed)
    assert again.returncode == 0 and "up to date" in again.stderr

    output = tmp_path / "fidelity.json"
    scoring = [*common, "--condition", "map", "--synthetic", ours, "--real", real]
    features = [f"texture={pair[real]},{pair[ours]}", f"random={tmp_path / 'no.npy'},no.npy"]
    done = run_script("fidelity", *scoring, "--features", *features, "--output", output)
    assert done.returncode == 0, done.stderr
    stored = read_json(output)
    rows = pd.DataFrame(stored["rows"])
    good, bad = rows[rows["encoder"] == "texture"], rows[rows["encoder"] == "random"]
    assert set(good["metric"]) == set(bad["metric"]) == set(FIDELITY_METRICS)
    given = good[good["status"] == "ok"]
    assert set(given["protocol"]) <= set(stored["protocols"])
    assert set(given.loc[given["subset"] == "all", "metric"]) == set(FIDELITY_METRICS)
    assert good.loc[good["status"] != "ok", "reason"].str.contains("tiles").all()
    assert (good["set"] == "synthetic/map/seed0").all()
    assert (bad["status"] == "failed").all() and bad["reason"].str.contains("no.npy").all()
    assert "no.npy" in done.stderr

    judges = tmp_path / "judges"
    for kind in ("segmenter", "classifier"):
        sources = ["--train", sets["train"].folder, "--val", real]
        made = run_script("judge", *common, "--kind", kind, *sources, "--output", judges / kind)
        assert made.returncode == 0, made.stderr
    assert read_json(judges / "segmenter" / "train.json")["val"]["map_iou"] > 0
    output, per_tile = tmp_path / "adherence.json", ["--tiles", tmp_path / "tiles.parquet"]
    per_tile += ["--train", sets["train"].folder]
    done = run_script("adherence", *scoring, "--judges", judges, "--output", output, *per_tile)
    assert done.returncode == 0, done.stderr
    rows = pd.DataFrame(read_json(output)["rows"])
    assert set(rows["condition"]) == {"map", "map~shuffled", "map~wrong_class"}
    assert (rows["status"] != "failed").all()
    tiles = pd.read_parquet(tmp_path / "tiles.parquet")
    assert len(tiles) == 60 and {"map_union_disc", "label_hit"} <= set(tiles)

    output = tmp_path / "utility.json"
    train = [*common, "--condition", "real", "--train", sets["train"].folder, "--test", real]
    done = run_script("utility", *train, "--output", output)
    assert done.returncode == 0, done.stderr
    rows = pd.DataFrame(read_json(output)["rows"])
    assert set(rows["metric"]) == {"downstream_iou", "downstream_auc"}
    assert set(rows["arm"]) == {"real"}

    files = [tmp_path / f"{group}.json" for group in ("fidelity", "adherence", "utility")]
    summary = tmp_path / "summary.parquet"
    done = run_script("summary", *common, "--metrics", *files, "--output", summary)
    assert done.returncode == 0 and summary.with_suffix(".csv").is_file(), done.stderr


def test_missing_judges_fail_the_cell_and_not_the_job(sets, config, tmp_path):
    output = tmp_path / "adherence.json"
    arguments = ["--condition", "map", "--synthetic", sets["obeys"].folder]
    arguments += ["--real", sets["test"].folder, "--judges", tmp_path / "none"]
    arguments += ["--tiles", tmp_path / "tiles.parquet", "--train", sets["train"].folder]
    done = run_script("adherence", "--config", config, *arguments, "--output", output)
    assert done.returncode == 0, done.stderr
    rows = [r for r in read_json(output)["rows"] if r["status"] != "not_applicable"]
    assert {r["metric"] for r in rows} == {
        "map_iou",
        "map_iou_ratio",
        "map_boundary_f",
        "map_boundary_f_ratio",
        "label_accuracy",
        "label_accuracy_ratio",
    }
    assert all(r["status"] == "failed" and "scripts/judge.py" in r["reason"] for r in rows)
