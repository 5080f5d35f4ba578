"""Adherence: a generator that obeys and one that does not are told apart; controls fall."""

import numpy as np
import pytest
import torch
from metric_rows import only
from shapes import CLASSES, CLASSIFIER, LABELS, SEGMENTER, write_shapes, write_study_sets
from sklearn.metrics import accuracy_score, jaccard_score

from histosynth.errors import InputError
from histosynth.evaluations.adherence import tile_table
from histosynth.evaluations.adherence_judges import label_rows, map_rows
from histosynth.evaluations.counts import derangement
from histosynth.evaluations.obedience import next_class
from histosynth.evaluations.rows import Scored
from histosynth.judges.judge import Judge, load_judge, save_judge
from histosynth.judges.targets import targets_of
from histosynth.judges.training import train_network
from histosynth.metrics import boundary_counts, mean_boundary_f
from histosynth.tilesets import TileSet

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_study_sets(tmp_path_factory.mktemp("study") / "tilesets")


@pytest.fixture(scope="module")
def judges(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges")
    for kind, task, settings, names in (
        ("segmenter", "segmentation", SEGMENTER, CLASSES),
        ("classifier", "classification", CLASSIFIER, LABELS),
    ):
        rows, targets = targets_of(task, sets["train"], names)
        images = sets["train"].images(rows)
        network = train_network(
            task, images, targets, n_classes=len(names), settings=settings, seed=0
        )
        options = {"kind": kind, "names": names, "size": 32, "settings": settings}
        save_judge(folder / kind, network, record={}, **options)
    return folder


def scored(condition):
    return Scored("tiny", condition, 0, f"synthetic/{condition}/seed0", "adherence")


# Maps


@pytest.fixture(scope="module")
def of_maps(sets, judges):
    judge = load_judge(judges / "segmenter")
    rows, columns = map_rows(scored("map"), sets["test"], sets["obeys"], judge=judge, seed=0)
    return rows, columns, judge.maps(sets["obeys"].images()), sets["obeys"].maps()


def test_obedient_tiles_score_as_real_ones_and_shuffled_requests_fall_to_chance(of_maps):
    rows, _, predicted, maps = of_maps
    value = only(rows, condition="map", metric="map_iou", subset="all")
    assert value.value > 0.8 and value.ci_low <= value.value <= value.ci_high
    assert (value.n_real, value.n_synthetic, value.status) == (60, 60, "ok")
    for metric in ("map_iou_ratio", "map_boundary_f_ratio"):
        ratio = only(rows, condition="map", metric=metric, subset="all")
        assert 0.85 < ratio.value < 1.15  # both sets are drawn alike

    # Chance: what the same predictions get against the maps of other tiles, by another tool.
    chance = [
        jaccard_score(np.roll(maps, k, axis=0).ravel(), predicted.ravel(), average="macro")
        for k in (1, 7, 23)
    ]
    shuffled = only(rows, condition="map~shuffled", metric="map_iou", subset="all")
    assert abs(shuffled.value - np.mean(chance)) < 0.1  # three draws of the same chance
    assert shuffled.value < 0.55
    assert only(rows, condition="map~shuffled", metric="map_iou", subset="class=disc").value < 0.25
    border = only(rows, condition="map", metric="map_boundary_f", subset="all").value
    by_chance = only(rows, condition="map~shuffled", metric="map_boundary_f", subset="all").value
    assert border > 0.6 and by_chance < border / 2


def test_maps_read_as_the_next_class_score_lower_still(of_maps):
    rows, _, predicted, maps = of_maps
    wrong = only(rows, condition="map~wrong_class", metric="map_iou", subset="all")
    turned = (maps + 1) % 3  # ground asked for as disc, disc as square, square as ground
    expected = jaccard_score(turned.ravel(), predicted.ravel(), average="macro")
    assert wrong.value == pytest.approx(expected, abs=1e-12)
    assert wrong.value < 0.1


def test_scores_of_maps_are_those_of_all_pixels(of_maps):
    rows, _, predicted, maps = of_maps
    by_class = jaccard_score(maps.ravel(), predicted.ravel(), average=None)
    for name, expected in zip(CLASSES, by_class, strict=True):
        row = only(rows, condition="map", metric="map_iou", subset=f"class={name}")
        assert row.value == pytest.approx(expected, abs=1e-12)  # both from integer counts
    row = only(rows, condition="map", metric="map_iou", subset="all")
    assert row.value == pytest.approx(by_class.mean(), abs=1e-12)
    counts = boundary_counts(maps, predicted, n_classes=3, tolerance=1).sum(axis=0)
    border = only(rows, condition="map", metric="map_boundary_f", subset="all")
    assert border.value == pytest.approx(mean_boundary_f(counts), abs=1e-12)
    assert border.protocol != row.protocol  # it depends on the tolerance too


def test_the_tiles_columns_add_up_to_the_score(of_maps, sets):
    rows, columns, *_ = of_maps
    table = tile_table(sets["obeys"].folder, columns)
    assert table["row"].tolist() == list(range(60))
    assert table["patient_id"].tolist() == sets["obeys"].table["patient_id"].tolist()
    for name in CLASSES:
        iou = table[f"map_intersection_{name}"].sum() / table[f"map_union_{name}"].sum()
        row = only(rows, condition="map", metric="map_iou", subset=f"class={name}")
        assert iou == pytest.approx(row.value, abs=1e-12)


def test_the_judge_on_real_tiles_is_its_own_measure(sets, judges):
    judge = load_judge(judges / "segmenter")
    of_real = Scored("tiny", "real", 0, "real/test", "adherence")
    rows, _ = map_rows(of_real, sets["test"], sets["test"], judge=judge, seed=0)
    for metric in ("map_iou_ratio", "map_boundary_f_ratio"):
        ratio = only(rows, condition="real", metric=metric, subset="all")
        assert (ratio.value, ratio.ci_low, ratio.ci_high) == (1, 1, 1)
    assert {r.condition for r in rows} == {"real", "real~wrong_class"}  # nothing to shuffle


def test_the_judge_is_probed_with_wrong_requests_on_real_tiles(sets, judges):
    judge, real = load_judge(judges / "segmenter"), sets["test"]
    of_real = Scored("tiny", "real", 0, "real/test", "adherence")
    rows, _ = map_rows(of_real, real, real, judge=judge, seed=0)
    turned = (real.maps() + 1) % 3
    predicted = judge.maps(real.images()).ravel()
    by_class = jaccard_score(turned.ravel(), predicted, average=None)
    wrong = only(rows, condition="real~wrong_class", metric="map_iou", subset="all")
    assert wrong.value == pytest.approx(by_class.mean(), abs=1e-12) and wrong.value < 0.1
    for name, expected in zip(CLASSES, by_class, strict=True):
        row = only(rows, condition="real~wrong_class", metric="map_iou", subset=f"class={name}")
        assert row.value == pytest.approx(expected, abs=1e-12)
    own = only(rows, condition="real", metric="map_iou", subset="all")
    ratio = only(rows, condition="real~wrong_class", metric="map_iou_ratio", subset="all")
    assert ratio.value == pytest.approx(wrong.value / own.value)


def test_a_judge_that_knows_no_labels_is_found_out_by_the_wrong_ones(sets, judges):
    of_real = Scored("tiny", "real", 0, "real/test", "adherence")
    found = {}
    for name, judge in (
        ("good", load_judge(judges / "classifier")),
        ("blind", Judge("classifier", LABELS, OnlyDisc(), "blind")),
    ):
        rows, _ = label_rows(of_real, sets["test"], sets["test"], judge=judge, seed=0)
        found[name] = [
            only(rows, condition=who, metric="label_accuracy", subset="all").value
            for who in ("real", "real~wrong_class")
        ]
    assert found["good"][0] > 0.9 > 0.1 > found["good"][1]
    assert found["blind"] == [0.5, 0.5]


def test_each_site_has_its_own_score_over_that_of_its_real_tiles(sets, judges):
    judge = load_judge(judges / "classifier")
    real, made = (TileSet.open(sets[name].folder) for name in ("test", "obeys"))
    for tiles in (real, made):
        tiles.table["site"] = np.where(np.arange(60) < 24, "a", "b")
    made.table.loc[:11, "label"] = made.table["label"][1:13].to_numpy()  # half of a is disobeyed
    rows, columns = label_rows(scored("label"), real, made, judge=judge, seed=0)
    for site, here in (("a", slice(24)), ("b", slice(24, 60))):
        row = only(rows, condition="label", metric="label_accuracy", subset=f"site={site}")
        assert row.value == pytest.approx(columns["label_hit"][here].mean())
        assert (row.n_real, row.n_synthetic) == (row.n_synthetic, len(range(60)[here]))
        _, wanted = targets_of("classification", real, LABELS)
        of_real = (judge.labels(real.images()).argmax(1) == wanted)[here].mean()
        ratio = only(rows, condition="label", metric="label_accuracy_ratio", subset=f"site={site}")
        assert ratio.value == pytest.approx(row.value / of_real)
    assert not [r for r in rows if "~" in r.condition and r.subset.startswith("site=")]
    made.table["site"] = "a"  # as where one site alone was sampled for
    rows, _ = label_rows(scored("label"), real, made, judge=judge, seed=0)
    assert {r.subset for r in rows if r.subset.startswith("site=")} == {"site=a"}


class OnlyGround(torch.nn.Module):
    """A segmenter that never sees a shape."""

    def __init__(self):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor([1.0, 0.0, 0.0]))

    def forward(self, images):
        n, _, height, width = images.shape
        return self.logits.view(1, 3, 1, 1).expand(n, 3, height, width)


class OnlyDisc(torch.nn.Module):
    """A classifier that says disc, whatever it sees."""

    def __init__(self):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor([1.0, 0.0]), requires_grad=False)

    def forward(self, images):
        return self.logits.expand(len(images), 2)


def test_a_class_in_no_tile_is_not_applicable_and_named(sets, tmp_path):
    judge = Judge("segmenter", CLASSES, OnlyGround(), "blind")
    squares = write_shapes(tmp_path / "squares", 24, seed=9, shapes=(2,))
    rows, _ = map_rows(scored("map"), sets["test"], squares, judge=judge, seed=0)
    disc = only(rows, condition="map", metric="map_iou", subset="class=disc")
    assert disc.status == "not_applicable" and np.isnan(disc.value)
    assert only(rows, condition="map", metric="map_iou", subset="class=square").value == 0
    overall = only(rows, condition="map", metric="map_iou", subset="all")
    ground = only(rows, condition="map", metric="map_iou", subset="class=ground")
    assert overall.value == pytest.approx(ground.value / 2)  # of ground and square, not disc
    assert overall.reason == "no tile requests or shows disc"


def test_maps_of_other_classes_than_the_judge_knows_are_refused(sets, judges):
    judge = load_judge(judges / "segmenter")
    object.__setattr__(judge, "names", ("ground", "square", "disc"))
    with pytest.raises(InputError, match="train the judge again"):
        map_rows(scored("map"), sets["test"], sets["obeys"], judge=judge, seed=0)


# Labels


def test_label_accuracy_with_its_chance_and_its_opposite(sets, judges):
    judge = load_judge(judges / "classifier")
    rows, columns = label_rows(scored("label"), sets["test"], sets["obeys"], judge=judge, seed=0)
    _, wanted = targets_of("classification", sets["obeys"], LABELS)
    predicted = judge.labels(sets["obeys"].images()).argmax(1)
    row = only(rows, condition="label", metric="label_accuracy", subset="all")
    assert row.value == pytest.approx(accuracy_score(wanted, predicted), abs=1e-12)
    assert row.value > 0.9
    assert columns["label_hit"].mean() == pytest.approx(row.value)
    shuffled = only(rows, condition="label~shuffled", metric="label_accuracy", subset="all")
    # Two labels, equally frequent, 60 tiles: 0.5 within three standard deviations (0.065).
    assert 0.3 < shuffled.value < 0.7
    wrong = only(rows, condition="label~wrong_class", metric="label_accuracy", subset="all")
    assert wrong.value == pytest.approx(1 - row.value)  # there are two labels


def test_tiles_without_a_label_are_left_out(sets, judges):
    judge = load_judge(judges / "classifier")
    some = sets["obeys"].__class__.open(sets["obeys"].folder)
    some.table.loc[:9, "label"] = None
    rows, columns = label_rows(scored("label"), sets["test"], some, judge=judge, seed=0)
    row = only(rows, condition="label", metric="label_accuracy", subset="all")
    assert row.n_synthetic == 50 and row.reason == "10 tiles without a label are left out"
    assert (columns["label_hit"][:10] == -1).all() and (columns["label_hit"][10:] >= 0).all()


def test_a_set_without_requests_is_not_applicable(sets, judges):
    for kind, score, n in (("segmenter", map_rows, 4), ("classifier", label_rows, 2)):
        judge = load_judge(judges / kind)
        rows, columns = score(scored("free"), sets["test"], sets["free"], judge=judge, seed=0)
        assert [r.status for r in rows] == ["not_applicable"] * n
        assert all("does not request any" in r.reason for r in rows)
        assert not columns


# Controls


@pytest.mark.parametrize("n", [2, 3, 60])
def test_a_derangement_moves_everything(n):
    order = derangement(n, seed=4)
    assert sorted(order) == list(range(n))
    assert (order != np.arange(n)).all()
    assert np.array_equal(order, derangement(n, seed=4))


def test_one_tile_cannot_be_shuffled():
    with pytest.raises(InputError, match="fewer than two"):
        derangement(1, seed=0)


def test_the_next_class_is_always_another_one_that_occurs():
    maps = np.array([[0, 2, 4, 255, 2]], np.uint8)
    assert next_class(maps, 5).tolist() == [[2, 4, 0, 255, 4]]
    assert maps.tolist() == [[0, 2, 4, 255, 2]]  # as it was
    assert next_class(np.array([2, 2]), 3).tolist() == [0, 0]  # alone, it becomes any other
