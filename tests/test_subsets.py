"""Fidelity by subset and by site: who is compared with whom, in numbers that are computed here."""

import numpy as np
import pandas as pd
import pytest
from report_files import study

from histosynth.clusters.files import write_clusters
from histosynth.clusters.kmeans import fit_clusters
from histosynth.encoders.features import save_features
from histosynth.errors import InputError
from histosynth.evaluations.fidelity import FIDELITY_METRICS, fidelity_rows, scored_subset
from histosynth.evaluations.occupancy import occupancy_rows
from histosynth.evaluations.rows import Scored
from histosynth.evaluations.sites import other_site_rows
from histosynth.evaluations.subsets import (
    NEAREST_CENTROID,
    REQUESTED,
    clustered,
    dominant_class,
    site_of,
)
from histosynth.metrics import (
    classifier_auc,
    clipped_scores,
    cluster_occupancy,
    frechet_distance,
    frechet_distance_inf,
    kernel_distance,
    median_distance,
    prdc,
    sliced_wasserstein,
    vendi_score,
)
from histosynth.settings import Evaluation
from histosynth.tilesets import TileSet, TileSetWriter

CLASSES = ("stroma", "gland")
WIDTH = 6
SETTINGS = Evaluation(encoders=["mine"], neighbours=3, min_tiles=10)


def write_tiles(folder, n, *, seed, sites=("a", "b"), cast=0.0, told=True, **more) -> TileSet:
    """Grey tiles of two classes, labels and sites; `cast` reddens those of the last site."""
    rng = np.random.default_rng(seed)
    with TileSetWriter(folder, classes=CLASSES if told else ()) as writer:
        for i in range(n):
            site = sites[i // 2 % len(sites)]
            image = rng.integers(100, 150, (32, 32, 3)).astype(float)
            image[..., 0] += cast if site == sites[-1] else 0
            share = 0.8 if i % 2 else 0.3
            tissue = np.zeros((32, 32), np.uint8)
            tissue[: int(32 * share)] = 1
            about = {
                "tile_id": f"s{seed}-{i}",
                "patient_id": f"{seed}-{site}-{i % 5}",
                "site": site,
                "label": ("healthy", "cancer")[i % 2] if told else None,
                "class_stroma": 1 - share if told else np.nan,
                "class_gland": share if told else np.nan,
            }
            writer.add(image.clip(0, 255).astype(np.uint8), about | more, tissue if told else None)
    return TileSet.open(folder)


def colours(tiles: TileSet) -> np.ndarray:
    """Mean and spread of each channel: features that see a cast."""
    pixels = tiles.images().reshape(len(tiles), -1, 3).astype(float)
    return np.hstack([pixels.mean(axis=1), pixels.std(axis=1)]) / 50


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return {
        "test": write_tiles(folder / "test", 80, seed=1, cast=60),
        "train": write_tiles(folder / "train", 120, seed=2, cast=60),
        "plain": write_tiles(folder / "plain", 90, seed=3, cast=0),
        "untold": write_tiles(folder / "untold", 60, seed=4, told=False),
    }


def score(sets, name, *, n=90, scored=None, **more):
    options = {"settings": SETTINGS, "label_names": ["healthy", "cancer"]} | more
    return fidelity_rows(
        scored or Scored("s", name, 0, name, "fidelity"),
        sets["test"],
        sets[name],
        encoder="mine",
        real_features=colours(sets["test"]),
        synthetic_features=colours(sets[name]),
        encoder_fingerprint={"transform": "as they are"},
        n=n,
        **options,
    )


def by_place(rows):
    return {(r.metric, r.subset): r for r in rows}


def test_every_score_of_a_subset_is_that_of_its_tiles_alone(sets):
    rows = by_place(score(sets, "plain", n=70))
    chosen = scored_subset(90, 70, seed=0)
    real, ours = colours(sets["test"]), colours(sets["plain"])[chosen]
    tables = sets["test"].table, sets["plain"].table.iloc[chosen]
    wanted = {
        "class=gland": [table["class_gland"] > 0.5 for table in tables],
        "label=healthy": [table["label"] == "healthy" for table in tables],
        "site=b": [table["site"] == "b" for table in tables],
    }
    for subset, (of_real, of_ours) in wanted.items():
        pair = real[of_real.to_numpy()], ours[of_ours.to_numpy()]
        kernel = rows["kernel_distance", subset]
        assert (kernel.n_real, kernel.n_synthetic) == tuple(map(len, pair))
        assert kernel.value == pytest.approx(kernel_distance(*pair), rel=1e-9)
        assert kernel.ci_low <= kernel.value <= kernel.ci_high
        wide = {"kernel": "rbf", "sigma": median_distance(real)}
        expected = {
            "frechet_distance": frechet_distance(*pair),
            "frechet_distance_inf": frechet_distance_inf(*pair),
            "kernel_distance_rbf": kernel_distance(*pair, **wide),
            "sliced_wasserstein": sliced_wasserstein(*pair),
            "vendi": vendi_score(pair[1]),
        }
        expected |= prdc(*pair, k=3) | clipped_scores(*pair, k=3)
        for metric, value in expected.items():
            assert rows[metric, subset].value == pytest.approx(value, rel=1e-9), metric
            assert np.isnan(rows[metric, subset].ci_low)  # the kernel distance alone is ranked
        asked = {
            name: table["patient_id"][which].to_numpy()
            for name, table, which in zip(
                ("real_groups", "synthetic_groups"), tables, (of_real, of_ours), strict=True
            )
        }
        found = rows["classifier_auc", subset].value
        assert found == pytest.approx(classifier_auc(*pair, **asked).value, abs=1e-9)
    assert {m for m, subset in rows if subset == "site=b"} == set(FIDELITY_METRICS)


def test_the_numbers_of_tiles_add_up_over_labels_classes_and_sites(sets):
    rows = by_place(score(sets, "plain", n=70))
    for names in (
        ("label=healthy", "label=cancer"),
        ("class=stroma", "class=gland"),
        ("site=a", "site=b"),
    ):
        found = [rows["kernel_distance", name] for name in names]
        assert sum(r.n_real for r in found) == 80
        assert sum(r.n_synthetic for r in found) == 70


def test_a_cast_of_one_site_shows_in_that_site_alone(sets):
    """Test tiles of site b are reddened, those of the set are not."""
    rows = by_place(score(sets, "plain"))
    unlike, alike = rows["kernel_distance", "site=b"], rows["kernel_distance", "site=a"]
    assert unlike.ci_low > 0 and unlike.value > 20 * abs(alike.value)


def test_another_sites_tissue_scores_worse_than_the_same_sites(sets):
    made = other_site_rows(
        Scored("s", "other_site", 0, "real/train", "fidelity"),
        sets["test"],
        sets["train"],
        encoder="mine",
        test_features=colours(sets["test"]),
        train_features=colours(sets["train"]),
        encoder_fingerprint={"transform": "as they are"},
        study=study(
            encoders={"mine": {"kind": "texture"}},
            clusters={"encoder": "mine", "k": 2},
            evaluation=SETTINGS.model_dump(),
            sampling={"n": 25},
        ),
    )
    rows, real = by_place(made), by_place(score(sets, "train"))
    whole = rows["kernel_distance", "all"]
    assert (whole.n_real, whole.n_synthetic) == (40, 25)  # a site's test tiles; n as for all sets
    assert whole.ci_low > real["kernel_distance", "all"].ci_high
    assert "real test tiles of site a" in whole.reason
    for site in "ab":
        other = rows["kernel_distance", f"site={site}"]
        assert other.value > real["kernel_distance", f"site={site}"].ci_high
    # No number of it is ever ranked with the usual ones.
    assert not {r.protocol for r in made} & {r.protocol for r in real.values()}


def test_a_cohort_of_one_site_has_no_other(sets, tmp_path):
    one = write_tiles(tmp_path / "one", 40, seed=5, sites=("a",))
    rows = other_site_rows(
        Scored("s", "other_site", 0, "real/train", "fidelity"),
        one,
        one,
        encoder="mine",
        test_features=colours(one),
        train_features=colours(one),
        encoder_fingerprint={},
        study=study(),
    )
    assert {r.status for r in rows} == {"not_applicable"}
    assert all("other sites" in r.reason for r in rows)
    assert not any(r.subset.startswith("site=") for r in score({**sets, "test": one}, "plain"))


def test_few_tiles_are_counted_and_not_scored(sets):
    few = SETTINGS.model_copy(update={"min_tiles": 42, "min_subset_tiles": 41})
    rows = by_place(score(sets, "plain", settings=few))
    found = rows["kernel_distance", "site=a"]
    assert (found.status, found.n_real, found.n_synthetic) == ("not_applicable", 40, 46)
    assert "40 real and 46 synthetic" in found.reason and "min_subset_tiles is 41" in found.reason
    assert ("frechet_distance", "site=a") not in rows


def test_between_the_two_minima_the_kernel_distances_alone_are_given(sets):
    few = SETTINGS.model_copy(update={"min_tiles": 42, "min_subset_tiles": 40})
    rows = by_place(score(sets, "plain", settings=few))
    given = {m for (m, subset), row in rows.items() if subset == "site=a" and row.status == "ok"}
    assert given == {"kernel_distance", "kernel_distance_rbf"}
    for metric in set(FIDELITY_METRICS) - given:
        row = rows[metric, "site=a"]
        assert (row.status, row.n_real, row.n_synthetic) == ("not_applicable", 40, 46)
        assert "evaluation.min_tiles is 42" in row.reason


def test_scores_that_take_many_tiles_say_how_many(sets):
    rng = np.random.default_rng(0)
    wide = {name: rng.normal(size=(len(sets[name]), 90)) for name in ("test", "plain")}
    rows = by_place(
        fidelity_rows(
            Scored("s", "plain", 0, "plain", "fidelity"),
            sets["test"],
            sets["plain"],
            encoder="mine",
            real_features=wide["test"],
            synthetic_features=wide["plain"],
            encoder_fingerprint={},
            n=90,
            settings=SETTINGS,
            label_names=[],
        )
    )
    assert "takes 180 of each" in rows["frechet_distance_inf", "site=a"].reason
    assert "than 90 features" in rows["classifier_auc", "site=a"].reason  # 40 and 46 tiles
    assert rows["frechet_distance", "site=a"].status == "ok"  # and greyed by the report


def test_a_larger_set_fills_up_subsets_that_are_short_of_tiles(sets):
    """20 of 90 tiles are scored as a whole, about ten of a site; a subset gets 15."""
    settings = SETTINGS.model_copy(update={"min_tiles": 15})
    scored = Scored("s", "plain", 0, "plain", "fidelity")
    rows = by_place(score(sets, "plain", n=20, settings=settings, scored=scored))
    assert rows["kernel_distance", "all"].n_synthetic == 20
    chosen = scored_subset(90, 20, seed=0)
    sites = sets["plain"].table["site"].to_numpy()
    for site in "ab":
        row = rows["kernel_distance", f"site={site}"]
        before = int((sites[chosen] == site).sum())
        assert row.n_synthetic == max(before, 15)
        assert (f"{15 - before} of these tiles are beyond the 20" in row.reason) == (before < 15)
        assert scored.protocols[rows["vendi", f"site={site}"].protocol]["n_synthetic"] == 15
    assert rows == by_place(score(sets, "plain", n=20, settings=settings))  # the same ones again


def test_a_set_that_requests_nothing_says_so_and_keeps_its_sites(sets):
    rows = by_place(score(sets, "untold"))
    for subset in ("label=healthy", "class=gland"):
        assert rows["kernel_distance", subset].status == "not_applicable"
        assert "does not request any" in rows["kernel_distance", subset].reason
    assert rows["kernel_distance", "site=a"].status == "ok"


def test_the_dominant_class_is_the_largest_share_and_the_first_of_equals():
    table = pd.DataFrame({"class_stroma": [0.5, 0.2, 0.0, np.nan], "class_gland": [0.5, 0.3, 0, 0]})
    assert dominant_class(table, CLASSES).tolist() == ["stroma", "gland", None, None]
    assert dominant_class(table, ("fat",)).tolist() == [None] * 4
    assert (
        site_of(pd.DataFrame({"site": ["a", "unknown", "", None]})).tolist() == ["a"] + [None] * 3
    )


def test_clusters_are_the_requested_ones_or_the_nearest_centroids(sets, tmp_path):
    fitted = fit_clusters(colours(sets["train"]).astype(np.float32), 2)
    features = {name: colours(sets[name]).astype(np.float32) for name in ("train", "test", "plain")}
    pairs = [(sets[name], features[name]) for name in ("train", "test")]
    write_clusters(tmp_path / "clusters", fitted, pairs, {})
    path = tmp_path / "plain.npy"
    save_features(path, features["plain"], fingerprint={"tile_set": sets["plain"].fingerprint})
    found = clustered(sets["test"], sets["plain"], tmp_path / "clusters", path)
    assert found.rule == NEAREST_CENTROID
    gaps = (features["plain"] - fitted.mean) / fitted.scale
    gaps = gaps[:, None] - fitted.centroids[None]
    assert np.array_equal(found.synthetic, (gaps**2).sum(axis=2).argmin(axis=1))
    asked = write_tiles(tmp_path / "asked", 30, seed=6, cluster=1)
    found = clustered(sets["test"], asked, tmp_path / "clusters", "unused.npy")
    assert found.rule == REQUESTED and set(found.synthetic) == {1}
    rows = score({**sets, "asked": asked}, "asked", clusters=found)
    counts = {r.subset: (r.n_real, r.n_synthetic) for r in rows if r.subset[:7] == "cluster"}
    assert [n for _, n in counts.values()] == [0, 30]
    assert sum(n for n, _ in counts.values()) == 80
    metrics = [{r.metric for r in rows if r.subset.startswith(of)} for of in ("cluster", "class")]
    assert metrics[0] == metrics[1] > {"kernel_distance"}
    with pytest.raises(InputError, match="embed it again"):
        clustered(sets["test"], sets["untold"], tmp_path / "clusters", path)


def test_occupancy_compares_the_clusters_seen_in_both_sets(sets, tmp_path):
    fitted = fit_clusters(colours(sets["train"]).astype(np.float32), 2)
    features = {name: colours(sets[name]).astype(np.float32) for name in ("test", "plain")}
    write_clusters(tmp_path / "clusters", fitted, [(sets["test"], features["test"])], {})

    def occupancy(made):
        path = tmp_path / "plain.npy"
        save_features(path, made, fingerprint={"tile_set": sets["plain"].fingerprint})
        rows = occupancy_rows(
            Scored("s", "plain", 0, "plain", "fidelity"),
            sets["test"],
            sets["plain"],
            (tmp_path / "clusters", path),
            chosen=np.arange(60),
            encoder="mine",
            protocol=lambda **counts: dict(counts),
            seed=0,
        )
        return rows[0]

    row = occupancy(features["plain"])
    seen = [fitted.assign(features["test"]), fitted.assign(features["plain"])[:60]]
    assert row.value == pytest.approx(cluster_occupancy(*seen, k=2), abs=1e-12)
    assert (row.n_real, row.n_synthetic, row.encoder) == (80, 60, "mine")
    assert row.ci_low <= row.value <= row.ci_high
    lost = occupancy(np.repeat(features["plain"][seen[1].argmax()][None], 90, axis=0))
    # One cluster is all that is made, of two that are equally frequent in real tiles.
    assert np.bincount(seen[0]).tolist() == [40, 40]
    assert lost.value == pytest.approx(1.5 - np.log2(3) * 0.75, abs=1e-12)


def test_no_ok_row_is_without_a_protocol_that_is_on_record(sets):
    scored = Scored("s", "plain", 0, "plain", "fidelity")
    rows = score(sets, "plain", scored=scored)
    made = [r for r in rows if r.status == "ok"]
    assert {r.protocol for r in made} == set(scored.protocols)
    of_class = next(r for r in made if r.subset == "class=gland")
    told = scored.protocols[of_class.protocol]
    assert told["subset"] == "class of the largest area fraction"
    assert (told["transform"], told["features"]) == ("as they are", WIDTH)
