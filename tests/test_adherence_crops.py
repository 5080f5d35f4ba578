"""Adherence to crops and clusters: who obeys and who does not are told apart; controls fall."""

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from metric_rows import only
from shapes import CLASSES, LABELS, SIZE, draw
from sklearn.metrics import confusion_matrix

from histosynth.conditions import TilePool
from histosynth.conditions.table import condition_table, read_condition_table, table_targets
from histosynth.config import Study
from histosynth.encoders.features import save_features
from histosynth.errors import InputError
from histosynth.evaluations.adherence_cluster import cluster_rows
from histosynth.evaluations.adherence_crop import crop_rows
from histosynth.evaluations.rows import Scored
from histosynth.evaluations.style import share_of_farther, stains, style
from histosynth.tilesets import TileSet, TileSetWriter

N = 48
ENCODER = {"model": "known", "weights": None, "transform": "", "dtype": "float32"}


def scored(condition):
    return Scored("tiny", condition, 0, f"synthetic/{condition}/seed0", "adherence")


def study_with_crops():
    told = yaml.safe_load((ROOT / "tests" / "micro.yaml").read_text())
    told["classes"] = [{"name": c, "values": [i]} for i, c in enumerate(CLASSES)]
    told["label"] = {"source": "column", "names": list(LABELS)}
    told["conditions"] = {
        "crops": {"signals": ["map", {"kind": "crop", "source": "other_slide"}]},
        "map": {"signals": ["map"]},
    }
    told["sampling"]["n"] = N
    return Study.parse(told)


def stained(tissue, tint, rng):
    """The map painted in the three colours of a tint (3, 3), with grain."""
    image = tint[tissue] + 10 * rng.standard_normal((SIZE, SIZE, 3))
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Real tiles, each in a stain of its own, and sets that take the crops' stains or do not."""
    folder = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(0)
    base = np.array([[232, 180, 205], [140, 70, 160], [70, 80, 190]], float)
    tints = base + rng.uniform(-45, 22, (N, 3, 3))  # of every tile and class
    with TileSetWriter(folder / "test", classes=CLASSES) as writer:
        for i in range(N):
            _, tissue = draw(rng, 1 + i % 2)
            place = {"slide_id": f"s{i % 8}", "patient_id": f"p{i % 8}", "label": None}
            writer.add(stained(tissue, tints[i], rng), {"tile_id": f"t{i}", **place}, tissue)
    test, study = TileSet.open(folder / "test"), study_with_crops()
    condition_table(test, study.sampling).to_parquet(folder / "table.parquet")
    requests = read_condition_table(folder / "table.parquet", test)
    targets = table_targets(requests, TilePool.of(test, {"images", "maps"}), test.classes)
    for kind in ("obeys", "ignores"):
        with TileSetWriter(folder / kind, classes=CLASSES) as writer:
            for i, row in enumerate(targets.rows):
                donors = targets.donors["other_slide"].rows[i]
                if kind == "ignores":
                    donors = rng.integers(0, N, 3)
                tint = np.stack([tints[max(d, 0), c] for c, d in enumerate(donors)])
                told = test.table.iloc[row][["slide_id", "patient_id"]].to_dict()
                told |= {"tile_id": f"m{i}", "source_tile_id": f"t{row}", "label": None}
                writer.add(stained(test.map(row), tint, rng), told, test.map(row))
    sets = {kind: TileSet.open(folder / kind) for kind in ("obeys", "ignores")}
    return study, test, sets, folder / "table.parquet"


def rows_of(crops, kind, condition="crops"):
    study, test, sets, table = crops
    made = test if kind == "test" else sets[kind]
    return crop_rows(scored(condition), study, real=test, synthetic=made, table=table)


def test_a_generator_that_follows_its_crops_is_told_from_one_that_does_not(crops):
    rows, columns = rows_of(crops, "obeys")
    value = only(rows, condition="crops", subset="all")
    assert value.value > 0.9 and value.ci_low <= value.value <= value.ci_high
    assert columns["crop_nearer"].shape == (N,) and np.nanmean(columns["crop_nearer"]) > 0.9
    ignored, _ = rows_of(crops, "ignores")
    # Some 90 pieces, each with a standard deviation of 0.29 in chance's uniform: 3 of 0.03.
    assert abs(only(ignored, condition="crops", subset="all").value - 0.5) < 0.1
    for told in (rows, ignored):
        assert abs(only(told, condition="crops~shuffled").value - 0.5) < 0.1
    assert only(rows, condition="crops~wrong_class").value < 0.2
    assert {r.subset for r in rows} == {"all", "class=ground", "class=disc", "class=square"}


def test_a_site_whose_crops_are_not_followed_is_told_from_one_whose_are(crops, tmp_path):
    study, test, sets, table = crops
    sites = np.where(np.arange(N) % 4 < 2, "a", "b")
    with TileSetWriter(tmp_path / "mixed", classes=CLASSES) as writer:
        for i, site in enumerate(sites):
            source = sets["obeys" if site == "a" else "ignores"]
            told = source.table.iloc[i][["tile_id", "slide_id", "patient_id", "source_tile_id"]]
            writer.add(source.image(i), told.to_dict() | {"site": site}, source.map(i))
    real, made = TileSet.open(test.folder), TileSet.open(tmp_path / "mixed")
    real.table["site"] = sites
    rows, _ = crop_rows(scored("crops"), study, real=real, synthetic=made, table=table)
    overall, a, b = (only(rows, condition="crops", subset=s) for s in ("all", "site=a", "site=b"))
    assert a.value > 0.9 and abs(b.value - 0.5) < 0.15  # half as many pieces as above
    assert a.n_synthetic + b.n_synthetic == overall.n_synthetic


def test_real_tiles_are_held_against_crops_of_themselves(crops):
    rows, _ = rows_of(crops, "test", condition="real")
    assert only(rows, subset="all").value > 0.9
    assert {r.condition for r in rows} == {"real"}


def test_conditions_without_crops_are_not_applicable_and_strange_sets_refused(crops):
    study, test, sets, table = crops
    (row,) = rows_of(crops, "obeys", condition="map")[0]
    assert row.status == "not_applicable" and "no crops" in row.reason
    with pytest.raises(InputError, match="--table"):
        crop_rows(scored("crops"), study, real=test, synthetic=sets["obeys"], table=None)
    with pytest.raises(InputError, match="was not made from"):
        crop_rows(scored("crops"), study, real=test, synthetic=test, table=table)


def test_the_share_of_farther_is_what_counting_gives():
    rng = np.random.default_rng(0)
    pieces, own, others = rng.integers(0, 3, (3, 7, 2)).astype(float)  # small integers: ties
    same = rng.random((7, 7)) < 0.2
    same[6] = True
    own[5] = np.nan
    found = share_of_farther(pieces, own, others, same)
    for i in range(5):
        mine = np.hypot(*(pieces[i] - own[i]))
        theirs = [np.hypot(*(pieces[i] - o)) for o, s in zip(others, same[i], strict=True) if not s]
        expected = np.mean([1.0 if t > mine else 0.5 if t == mine else 0.0 for t in theirs])
        assert found[i] == pytest.approx(expected)
    assert np.isnan(found[5:]).all()


def test_a_style_does_not_depend_on_where_its_pixels_lie_nor_on_those_outside():
    rng = np.random.default_rng(0)
    image = rng.integers(60, 250, (20, 24, 3), dtype=np.uint8)
    area = np.zeros((20, 24), bool)
    area[3:11, 2:14] = True
    other = rng.integers(0, 255, (30, 30, 3), dtype=np.uint8)
    moved = np.zeros((30, 30), bool)
    other[15:23, 9:21] = image[3:11, 2:14]
    moved[15:23, 9:21] = True
    np.testing.assert_allclose(style(stains(image), area), style(stains(other), moved), rtol=1e-6)
    mean = stains(image)[area].mean(axis=0)
    np.testing.assert_allclose(style(stains(image), area)[:3], mean, rtol=1e-5)


# Clusters


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    """Three clusters that lie far apart in the features of an encoder that knows."""
    folder = tmp_path_factory.mktemp("clusters")
    rng = np.random.default_rng(1)
    centres = 4 * np.eye(3, 6)
    sets, features, clusters = {}, {}, {}
    for kind, n in (("train", 90), ("test", N), ("obeys", N), ("ignores", N)):
        clusters[kind] = np.arange(n) % 3
        shown = rng.permutation(clusters[kind]) if kind == "ignores" else clusters[kind]
        with TileSetWriter(folder / kind, classes=()) as writer:
            for i, cluster in enumerate(clusters[kind].tolist()):
                requested = {"cluster": cluster} if kind in ("obeys", "ignores") else {}
                row = {"tile_id": f"{kind}{i}", "patient_id": f"p{i // 3 % 6}", "label": None}
                writer.add(np.full((8, 8, 3), i, np.uint8), row | requested)
        sets[kind] = TileSet.open(folder / kind)
        features[kind] = folder / f"{kind}.npy"
        values = (centres[shown] + rng.standard_normal((n, 6))).astype(np.float32)
        print_ = {**ENCODER, "tile_set": sets[kind].fingerprint}
        save_features(features[kind], values, fingerprint=print_)
    (folder / "k3").mkdir()
    np.save(folder / "k3" / "centroids.npy", np.zeros((3, 4)))
    assigned = [
        pd.DataFrame({"split": s, "tile_id": sets[s].table["tile_id"], "cluster": clusters[s]})
        for s in ("train", "test")
    ]
    pd.concat(assigned).to_parquet(folder / "k3" / "assignments.parquet")
    return sets, features, clusters, folder / "k3"


def clusters_of(clustered, kind, condition="types"):
    sets, features, _, folder = clustered
    names = ("train", "test", kind)
    return cluster_rows(
        scored(condition),
        [sets[name] for name in names],
        clusters=folder,
        encoder="other",
        features=[features[name] for name in names],
        seed=0,
    )


def test_requested_clusters_are_found_again_by_another_encoder(clustered):
    rows, columns, facts = clusters_of(clustered, "obeys")
    value = only(rows, condition="types", metric="cluster_accuracy", subset="all")
    assert value.value > 0.9 and value.encoder == "other"
    assert columns["cluster_hit"].mean() == pytest.approx(value.value)
    ratio = only(rows, condition="types", metric="cluster_accuracy_ratio", subset="all")
    assert 0.85 < ratio.value < 1.15
    assert np.sum(facts["asked_found"]) == np.sum(facts["real"]) == N
    assert np.trace(facts["asked_found"]) / N == pytest.approx(value.value)
    by_cluster = only(rows, condition="types", metric="cluster_accuracy", subset="cluster=1")
    assert by_cluster.value == pytest.approx(facts["asked_found"][1][1] / 16)
    wrong = only(rows, condition="types~wrong_class", metric="cluster_accuracy", subset="all")
    assert wrong.value < 0.1


def test_who_ignores_the_cluster_scores_as_shuffled_requests_do(clustered):
    rows, _, facts = clusters_of(clustered, "ignores")
    # A third within three standard deviations of 48 tiles (0.068).
    for condition in ("types", "types~shuffled"):
        row = only(rows, condition=condition, metric="cluster_accuracy", subset="all")
        assert abs(row.value - 1 / 3) < 0.2
    sets, features, clusters, _ = clustered
    nearest = np.load(features["ignores"])[:, :3].argmax(1)  # the centres are the axes
    expected = confusion_matrix(clusters["ignores"], nearest)
    assert np.abs(np.array(facts["asked_found"]) - expected).sum() <= 6  # of 96: two judges


def test_the_cluster_judge_on_real_tiles_is_its_own_measure(clustered):
    rows, _, _ = clusters_of(clustered, "test", condition="real")
    ratio = only(rows, condition="real", metric="cluster_accuracy_ratio", subset="all")
    assert (ratio.value, ratio.ci_low, ratio.ci_high) == (1, 1, 1)


def test_a_set_without_requested_clusters_is_not_applicable(clustered):
    rows, columns, facts = clusters_of(clustered, "test", condition="map")
    assert [r.status for r in rows] == ["not_applicable"] * 2
    assert not columns and not facts
