"""The report on tissue: effects, curves, and nuclei outlined."""

import numpy as np
import pytest
from report_files import Page
from tissue_sets import MPP, STUDY, changed, discs, tissue, without_nuclei, write

from histosynth.config import Study
from histosynth.evaluations.rows import Scored, write_rows
from histosynth.evaluations.tissue import tissue_of_files
from histosynth.nuclei import nucleus_labels, nucleus_rule
from histosynth.report import tissue as report
from histosynth.report.cells import Cell, Column, flagged
from histosynth.report.collect import collect
from histosynth.report.composition import composition
from histosynth.report.densities import Histogram, common_frame
from histosynth.report.leaderboard import main_columns
from histosynth.report.pages import render
from histosynth.tilesets import TileSet


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sets") / "real", tissue(range(6)))


@pytest.fixture(scope="module")
def page(tmp_path_factory, real):
    """Results of a study of which only tissue was scored, and its page."""
    folder = tmp_path_factory.mktemp("results")
    study = Study.parse(STUDY | {"conditions": {"plain": {"signals": []}, "bare": {"signals": []}}})
    (folder / "config.yaml").write_text(study.dump())
    (folder / "tilesets" / "real").mkdir(parents=True)
    (folder / "tilesets" / "real" / "test").symlink_to(real)
    rule = nucleus_rule(TileSet.open(real).images(), MPP)
    changes = {"plain": lambda image: image, "bare": lambda image: without_nuclei(image, rule)}
    for name, change in changes.items():
        made = changed(folder / "tilesets/synthetic" / name / "seed0", real, change)
        scored = Scored("tiny", name, 0, f"synthetic/{name}/seed0", "tissue")
        rows, facts = tissue_of_files(scored, study, real=real, made=made, judge=None)
        path = folder / "metrics" / name / "seed0" / "tissue.json"
        told = {"versions": {}, "protocols": scored.protocols, "facts": facts}
        write_rows(path, rows, seconds=1.0, **told)
    results = collect(folder, partial=True)
    return results, render(results)


def test_the_report_shows_effects_curves_and_outlined_nuclei(page):
    results, text = page
    parsed = Page(text)
    assert "Tissue statistics" in parsed.text and "beyond doubt more than" in parsed.text
    alts = [a["alt"] for a in parsed.all("img") if a["alt"].endswith("outlines of its nuclei")]
    assert [alt.split(",")[0] for alt in alts] == [report.TEST] * 5 + ["plain"] * 5 + ["bare"] * 5
    labels = [svg["aria-label"] for svg in parsed.all("svg")]
    assert sum(label.startswith("nuclei a tile of") for label in labels) == 2
    heads, means = report.means(report.Source.of_study(results))
    told = {name: dict(zip(heads, values, strict=True)) for name, values in means}
    counts = {name: float(values["nuclei a tile"].split()[0]) for name, values in told.items()}
    assert counts["bare"] < counts["plain"] / 2 and counts["plain"] == counts[report.TEST]


def test_what_has_no_tissue_statistics_is_said_to_have_none(page):
    results, _ = page
    told = report.notes(report.tables_of(report.Source.of_study(results)))
    names = {name for name, reason in told if "no result file" in reason}
    assert names == {"real", "autoencoder"}


def test_effects_rank_nobody_and_are_flagged_where_beyond_doubt(page):
    assert "tissue" not in {column.group for column in main_columns(page[0])}
    column = Column("tissue", "od_eosin_d")
    assert column.expected == 0 and Column("tissue", "od_eosin_w1").expected is None
    for low, high, flag in ((0.25, 0.4, True), (-0.6, -0.3, True), (0.1, 0.9, False)):
        cell = Cell("ok", value=(low + high) / 2, ci_low=low, ci_high=high)
        assert bool(flagged(cell, column).flag) == flag


FACTS = {
    "means": {
        "class=stroma": {"real": [0.8, 0.1], "made": [0.6, 0.2]},
        "class=tumour": {"real": [0.2, 0.1], "made": [0.4, 0.2]},
        "all": {"real": [0.4, 0.05], "made": [0.6, 0.1]},
    }
}
CLASSES = [("stroma", "#e7a9bd"), ("tumour", "#8e3b75")]


def test_shares_of_classes_are_told_and_drawn_beside_those_of_real_tiles():
    found = composition({"plain": FACTS, "none": {}}, real=report.TEST, classes=CLASSES)
    assert found.heads == ("stroma, %", "tumour, %", "entropy of the classes, nats")
    assert found.rows == [
        (report.TEST, ["80.0 ± 10.0", "20.0 ± 10.0", "0.40 ± 0.05"]),
        ("plain", ["60.0 ± 20.0", "40.0 ± 20.0", "0.60 ± 0.10"]),
    ]
    ((name, svg),) = found.bars
    bars = [(rect["fill"], float(rect["width"])) for rect in Page(str(svg)).all("rect")]
    assert name == "plain" and [fill for fill, _ in bars] == [c for _, c in CLASSES for _ in "ab"]
    lengths = np.array([width for _, width in bars])
    np.testing.assert_allclose(lengths / lengths[0], [1, 0.75, 0.25, 0.5], atol=0.01)
    assert "tumour 40.0 % against 20.0 %" in svg
    assert composition({"none": {}}, real=report.TEST, classes=CLASSES) is None
    assert composition({"plain": FACTS}, real=report.TEST, classes=[]) is None


def test_curves_hold_the_whole_histogram():
    rng = np.random.default_rng(0)
    counts, edges = np.histogram(rng.gamma(3, 10, 5000), np.linspace(0, 1500, 301))
    histogram = Histogram(edges, counts)
    low, high, top = common_frame([histogram])
    assert 0 <= low < 10 and 70 < high < 120
    shown, density = histogram.within(0, 1500)
    assert len(density) <= 60 and (density * np.diff(shown)).sum() == pytest.approx(1)
    _, density = histogram.within(low, high)
    assert density.max() == top
    assert 0.97 < (density * np.diff(histogram.within(low, high)[0])).sum() < 1


def test_outlines_surround_nuclei_and_leave_their_inside_to_be_seen():
    image = discs([(20, 20), (44, 40)], 6, side=64)
    labels = nucleus_labels(image, nucleus_rule([image], 0.5))
    drawn = report.outlined(image, labels)
    assert drawn.shape == (128, 128, 3)
    line = (drawn == report.OUTLINE).all(axis=-1)
    enlarged = labels.repeat(2, 0).repeat(2, 1) > 0
    assert line[enlarged].any() and not line[~enlarged].any()
    assert 0.1 < line[enlarged].mean() < 0.5
    large = report.outlined(np.zeros((300, 300, 3), np.uint8), np.zeros((300, 300), int))
    assert large.shape == (128, 128, 3)
