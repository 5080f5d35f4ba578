"""The report: honest ranking, nothing hidden, one page that needs nothing beside itself."""

import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.files import write_json
from histosynth.grid import Grid
from histosynth.report import answer, figures, leaderboard
from histosynth.report.cells import Cell, Column, fill
from histosynth.report.collect import ROW_COLUMNS, collect
from histosynth.report.gallery import crop_image, nearest_rows
from histosynth.report.leaderboard import rank
from histosynth.report.pages import render
from histosynth.tilesets import TileSetWriter

SIDE = 32
N = 12
FRECHET = Column("fidelity", "frechet_distance", "texture")
REASON = "InputError: 12 tiles <b>only</b>, expected at least 50; raise sampling.n"
VOID = {"meta", "link", "img", "br", "line", "circle", "polyline", "input", "hr"}


def study(**changes) -> Study:
    settings = {
        "study": "small",
        "cohort": {"kind": "phantom"},
        "classes": [
            {"name": "stroma", "values": [0], "color": "#e7a9bd"},
            {"name": "tumour", "values": [1], "color": "#8e3b75"},
        ],
        "label": {"names": ["healthy", "cancer"], "source": "column"},
        "encoders": {"texture": {"kind": "texture"}},
        "clusters": {"encoder": "texture", "k": 2},
        "conditions": {
            "unconditional": {"signals": []},
            "map": {"signals": ["map"]},
            "map_crop": {"signals": ["map", {"kind": "crop", "source": "other_slide"}]},
            "map_crop_same": {"signals": ["map", {"kind": "crop", "source": "same_image"}]},
        },
        "sampling": {"n": N},
        "evaluation": {"encoders": ["texture"]},
    }
    return Study.parse(settings | changes)


def row(condition, group, metric, value, *, width=0.05, seed=0, protocol="p1", **more) -> dict:
    status = more.pop("status", "ok")
    filled = {
        "study": "small",
        "condition": condition,
        "seed": seed,
        "set": "x",
        "encoder": "texture" if group == "fidelity" else "",
        "group": group,
        "metric": metric,
        "subset": "all",
        "arm": "",
        "value": value,
        "ci_low": None if value is None else value - width,
        "ci_high": None if value is None else value + width,
        "se": width / 2,
        "n_real": 40,
        "n_synthetic": N,
        "higher_is_better": metric not in ("frechet_distance", "kernel_distance"),
        "status": status,
        "reason": "",
        "protocol": protocol,
    }
    return filled | more


def rows_of(condition: str, group: str, seed: int) -> list[dict]:
    """Rows as the evaluations write them: one failed group, one not applicable, one NaN."""
    quality = {"unconditional": 0.3, "map": 0.6, "map_crop": 0.62}.get(condition, 0.9)
    if group == "fidelity":
        names = ("frechet_distance", "kernel_distance", "precision", "recall")
        if condition == "map_crop":
            return [
                row(condition, group, n, None, seed=seed, status="failed", reason=REASON)
                for n in names
            ]
        values = (10 - 5 * quality, 1 - quality, quality, float("nan"))
        return [row(condition, group, n, v, seed=seed) for n, v in zip(names, values, strict=True)]
    if condition == "unconditional":
        told = {"status": "not_applicable", "reason": "unconditional is given no map"}
        names = ("map_iou", "map_iou_ratio") if group == "adherence" else ("downstream_iou",)
        return [row(condition, group, n, None, seed=seed, **told) for n in names]
    if group == "adherence":
        made = []
        for who, share in ((condition, 1.0), (f"{condition}~shuffled", 0.3)):
            made += [
                row(who, group, "map_iou", share * quality, seed=seed),
                row(who, group, "map_iou_ratio", share * quality, seed=seed),
                row(who, group, "map_iou", share * 0.4, seed=seed, subset="class=tumour"),
            ]
        return made[:3] if condition in ("real", "autoencoder") else made
    arms = ["real"] if condition == "real" else ["synthetic", "mixed"]
    return [row(condition, group, "downstream_iou", quality - 0.2, seed=seed, arm=a) for a in arms]


def write_tiles(folder: Path, split: str, n: int, *, maps: bool, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    ids = []
    with TileSetWriter(folder, classes=("stroma", "tumour") if maps else ()) as writer:
        for i in range(n):
            image = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            map = np.zeros((SIDE, SIDE), np.uint8)
            map[:, : SIDE // 2] = 1
            ids.append(f"{split}{i}")
            about = {
                "tile_id": ids[-1],
                "slide_id": f"{split}-s{i % 3}",
                "patient_id": f"{split}-p{i % 3}",
                "site": "a",
                "split": split,
                "label": ("healthy", "cancer")[i % 2],
                "class_stroma": 0.5,
                "class_tumour": 0.5,
            }
            writer.add(image, about, map if maps else None)
    return ids


def write_metrics(folder: Path, made: Study, *, skip: str = "") -> pd.DataFrame:
    rows = []
    for cell in Grid(made).cells():
        if f"{cell.condition}/{cell.group}" == skip:
            continue
        found = rows_of(cell.condition, cell.group, cell.seed)
        path = folder / "metrics" / cell.condition / f"seed{cell.seed}" / f"{cell.group}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"rows": found, "seconds": 2.0, "versions": {"numpy": "2"}})
        rows += found
    return pd.DataFrame(rows)


def write_results(folder: Path, made: Study) -> None:
    """A results folder as a finished study leaves it, without `map_crop`'s utility."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(made.dump(), encoding="utf-8")
    ids = {}
    for seed, split in enumerate(("train", "val", "test")):
        place = folder / "tilesets" / "real" / split
        ids[split] = write_tiles(place, split, 9, maps=True, seed=seed)
    requests = {
        "index": range(N),
        "seed": range(N),
        "test_row": [i % 9 for i in range(N)],
        "source_tile_id": [ids["test"][i % 9] for i in range(N)],
        "label": "cancer",
        "cluster": 0,
        "crop_tile_ids": [json.dumps({"tumour": ids["test"][(i + 1) % 9]}) for i in range(N)],
    }
    pd.DataFrame(requests).to_parquet(folder / "condition_table.parquet")
    random = np.random.default_rng(0)
    features = {"real/train": 9} | {f"synthetic/{c}/seed0": N for c in made.conditions}
    for name, n in features.items():
        path = folder / "features" / name / "texture.npy"
        path.parent.mkdir(parents=True)
        np.save(path, random.normal(size=(n, 5)))
    for seed, name in enumerate(made.conditions):
        place = folder / "tilesets" / "synthetic" / name / "seed0"
        write_tiles(place, name, N, maps=name.startswith("map"), seed=10 + seed)
        record = {"steps": 10, "seconds": 4.2, "device": "cpu", "loss": [1.0, 0.5], "loss_every": 5}
        write_train(folder / "models" / name / "seed0", record)
    write_train(folder / "models" / "autoencoder", {"steps": 5, "seconds": 1.0, "loss": [0.2]})
    clusters = folder / "clusters" / "texture-k2"
    clusters.mkdir(parents=True)
    assigned = {"split": "train", "tile_id": ids["train"], "cluster": [i % 2 for i in range(9)]}
    pd.DataFrame(assigned).to_parquet(clusters / "assignments.parquet")
    chunk = folder / "tiles" / "chunk0"
    chunk.mkdir(parents=True)
    pd.DataFrame({"reason": ["one class only"] * 7}).to_parquet(chunk / "rejected.parquet")
    slides = [{"slide_id": "broken", "status": "failed", "reason": "not a slide: a ZIP archive"}]
    write_json(chunk / "slides.json", slides)
    rows = write_metrics(folder, made, skip="map_crop/utility")
    rows.to_parquet(folder / "summary.parquet")


def write_train(folder: Path, record: dict) -> None:
    folder.mkdir(parents=True)
    write_json(folder / "train.json", record)


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "results" / "small"
    write_results(folder, study())
    return folder


@pytest.fixture(scope="module")
def page(results_folder) -> str:
    return render(collect(results_folder))


class Page(html.parser.HTMLParser):
    """Tags, attributes and visible text of a page; raises where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}> at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def cell(value: float, width: float = 0.1, **more) -> Cell:
    return Cell("ok", value, value - width, value + width, protocol=more.pop("p", "p1"), **more)


# Ranking


def test_overlapping_intervals_share_a_rank_and_a_gap_makes_a_leader():
    ranked = rank({"a": cell(1.0), "b": cell(1.15), "c": cell(2.0)}, higher_is_better=False)
    assert [ranked[n].rank for n in "abc"] == [1, 1, 3]
    assert [ranked[n].mark for n in "abc"] == ["shares", "shares", ""]
    ranked = rank({"a": cell(1.0), "c": cell(2.0)}, higher_is_better=True)
    assert [(ranked[n].rank, ranked[n].mark) for n in "ac"] == [(2, ""), (1, "best")]


def test_nothing_is_marked_where_no_two_conditions_are_told_apart():
    for cells in (
        {"a": cell(1.0), "b": cell(1.1)},
        {"a": cell(1.0)},
        {"a": Cell("ok", 1.0), "b": Cell("ok", 9.0)},  # no intervals at all
    ):
        assert {c.mark for c in rank(cells, higher_is_better=True).values()} == {""}


def test_numbers_of_different_protocols_are_never_ranked_together():
    cells = {"a": cell(1.0), "b": cell(2.0), "c": cell(99.0, p="p2")}
    ranked = rank(cells, higher_is_better=True)
    assert ranked["b"].mark == "best"
    assert ranked["c"].mark == "" and ranked["c"].rank is None
    lettered = leaderboard.letter_protocols(cells)
    assert [lettered[n].protocol_letter for n in "abc"] == ["a", "a", "b"]


def test_mixed_protocols_are_marked_on_the_page_and_refused_in_the_answer(tmp_path):
    made = study()
    rows = [
        row("map", "fidelity", "frechet_distance", 1.0),
        row("unconditional", "fidelity", "frechet_distance", 9.0, protocol="p2"),
    ]
    results = collect(folder_of(tmp_path, made, rows))
    board = leaderboard.build(results, [FRECHET])
    assert "different protocols" in answer.leaders(board, FRECHET)
    lettered = re.findall(r'title="protocol (p\d)">([ab])</sup>', render(results))
    assert set(lettered) == {("p2", "a"), ("p1", "b")}


def test_a_condition_that_sees_its_target_is_never_ranked(results_folder):
    board = leaderboard.build(collect(results_folder), [FRECHET])
    apart = board.cell("map_crop_same", FRECHET)
    assert apart.value < board.cell("map", FRECHET).value  # it would lead
    assert apart.rank is None and apart.mark == ""
    assert board.cell("map", FRECHET).mark == "best"


def test_the_answer_names_a_leader_only_where_intervals_part(tmp_path):
    for gap, leads in ((0.05, False), (0.5, True)):
        rows = [
            row("map", "fidelity", "frechet_distance", 1.0),
            row("unconditional", "fidelity", "frechet_distance", 1.0 + gap),
        ]
        results = collect(folder_of(tmp_path / str(gap), study(), rows))
        told = answer.leaders(leaderboard.build(results, [FRECHET]), FRECHET)
        assert ("leads" in told) == leads
        assert ("not ranked" in told) != leads


def folder_of(folder: Path, made: Study, rows: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(made.dump(), encoding="utf-8")
    pd.DataFrame(rows, columns=ROW_COLUMNS).to_parquet(folder / "summary.parquet")
    return folder


# Cells


def test_seeds_become_a_mean_a_hull_of_intervals_and_a_spread(tmp_path):
    rows = [
        row("map", "fidelity", "frechet_distance", value, seed=seed)
        for seed, value in ((0, 1.0), (1, 1.2))
    ]
    results = collect(folder_of(tmp_path, study(seeds=[0, 1]), rows))
    found = fill(results, "map", FRECHET)
    assert (found.value, found.spread) == (pytest.approx(1.1), (1.0, 1.2))
    assert (found.ci_low, found.ci_high) == (pytest.approx(0.95), pytest.approx(1.25))


def test_a_failed_seed_is_told_beside_the_mean_of_the_others(tmp_path):
    rows = [
        row("map", "fidelity", "frechet_distance", 1.0),
        row("map", "fidelity", "frechet_distance", None, seed=1, status="failed", reason="no disk"),
    ]
    results = collect(folder_of(tmp_path, study(seeds=[0, 1]), rows))
    found = fill(results, "map", FRECHET)
    assert (found.status, found.value, found.reason) == ("ok", 1.0, "seed 1: failed: no disk")
    assert "seed 1: failed: no disk" in Page(render(results)).text


def test_a_shuffled_row_is_absent_for_the_reason_its_condition_is(tmp_path):
    told = "the set has no maps: the condition does not request any"
    rows = [
        row("label", "adherence", "map_iou_ratio", None, status="not_applicable", reason=told),
        row("label", "adherence", "label_accuracy_ratio", 0.8),
        row("label~shuffled", "adherence", "label_accuracy_ratio", 0.5),
    ]
    made = study(conditions={"label": {"signals": ["label"]}})
    results = collect(folder_of(tmp_path, made, rows))
    found = fill(results, "label~shuffled", Column("adherence", "map_iou_ratio"))
    assert (found.status, found.reason) == ("not_applicable", told)
    assert fill(results, "label~shuffled", Column("adherence", "label_accuracy_ratio")).value == 0.5


def test_utility_is_the_difference_to_real_and_only_within_one_protocol(tmp_path):
    column = Column("utility", "downstream_iou", arm="synthetic", minus_real=True)
    for protocol, difference in (("p1", -0.2), ("p2", None)):
        rows = [
            row("real", "utility", "downstream_iou", 0.8, arm="real"),
            row("map", "utility", "downstream_iou", 0.6, arm="synthetic", protocol=protocol),
        ]
        results = collect(folder_of(tmp_path / protocol, study(), rows))
        found = fill(results, "map", column)
        if difference is None:
            assert np.isnan(found.difference) and "another protocol" in found.reason
        else:
            assert found.difference == pytest.approx(difference)


def test_a_value_that_is_not_a_number_is_a_failed_cell(results_folder):
    found = fill(collect(results_folder), "map", Column("fidelity", "recall", "texture"))
    assert (found.status, found.reason) == ("failed", "the value is not a number")


# The page


def test_the_page_parses_and_refers_to_nothing_outside_itself(page):
    parsed = Page(page)
    for _, attributes in parsed.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), address
    anchors = {a["href"][1:] for a in parsed.all("a")}
    assert anchors <= {attributes.get("id") for _, attributes in parsed.tags}
    assert not re.search(r"url\(|@import|https?://", page)
    assert len(page.encode()) < 10 * 2**20


def test_every_image_and_plot_has_words_and_every_table_a_caption(page):
    parsed = Page(page)
    assert parsed.all("img") and all(image.get("alt") for image in parsed.all("img"))
    assert parsed.all("svg") and all(plot.get("aria-label") for plot in parsed.all("svg"))
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_every_condition_cell_and_failure_is_on_the_page_with_its_reason(page, results_folder):
    text = " ".join(Page(page).text.split())
    for name in study().conditions:
        assert name in text
    assert REASON in text  # as text, not as markup
    assert "<b>only</b>" not in page
    assert f"no result file: {results_folder}/metrics/map_crop/seed0/utility.json" in text
    assert "unconditional is given no map" in text
    assert "broken: failed not a slide: a ZIP archive" in text
    assert "the value is not a number" in text
    assert not re.search(r"\b(nan|None|inf)\b", text.split("Provenance")[1].split("study:")[0])
    assert not re.search(r">\s*(nan|None)\s*<", page)


def test_the_gallery_shows_the_same_requests_in_every_row(results_folder):
    from histosynth.report.gallery import build

    gallery = build(collect(results_folder))
    titles = [strip.title for strip in gallery.strips]
    assert titles.count("nearest real") == 4 and titles.count("crops given") == 2
    assert {len(strip.cells) for strip in gallery.strips} == {len(gallery.heads)} == {8}
    assert not gallery.remarks


def test_a_study_with_nothing_but_its_config_still_has_a_report(tmp_path):
    made = study()
    (tmp_path / "config.yaml").write_text(made.dump(), encoding="utf-8")
    results = collect(tmp_path, partial=True)
    text = Page(render(results)).text
    board = leaderboard.build(results, leaderboard.main_columns(results))
    ours = [c for line in board.of_kind("ranked") for c in line.cells]
    assert ours and {c.status for c in ours} == {"missing"}
    for cell in Grid(made).cells():
        assert f"no result file: {results.metrics_path(*cell)}" in text
    assert "before the study was finished" in text


def test_an_external_set_in_a_study_without_classes_or_labels_is_reported(tmp_path):
    theirs = tmp_path / "their_images"
    made = study(
        classes=[],
        label=None,
        clusters=None,
        downstream=None,
        seeds=[0, 1],
        conditions={"ours": {"signals": []}, "theirs": {"external": str(theirs)}},
    )
    rows = [row("theirs", "fidelity", "frechet_distance", 1.0)]
    folder = folder_of(tmp_path / "results", made, rows)
    write_tiles(folder / "tilesets/synthetic/theirs/seed0", "theirs", 5, maps=False, seed=0)
    results = collect(folder)
    found = fill(results, "theirs", FRECHET)
    assert (found.status, found.value, found.reason) == ("ok", 1.0, "")  # one seed is all there is
    text = Page(render(results)).text
    assert "somebody else’s images (their_images), which answer no request" in text
    assert "adherence" not in {c.group for c in leaderboard.main_columns(results)}


def test_a_partial_report_reads_the_metrics_that_are_there(tmp_path):
    made = study()
    (tmp_path / "config.yaml").write_text(made.dump(), encoding="utf-8")
    write_metrics(tmp_path, made, skip="map/fidelity")
    results = collect(tmp_path, partial=True)
    assert fill(results, "unconditional", FRECHET).status == "ok"
    assert fill(results, "map", FRECHET).status == "missing"


def test_the_script_names_a_folder_that_holds_no_study(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "report.py", "--results", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, "--output", tmp_path / "index.html"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ended.returncode == 2
    assert f"{tmp_path}: no config.yaml" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "index.html").exists()
    with pytest.raises(InputError, match="no config.yaml"):
        collect(tmp_path)


# Parts


def test_the_nearest_tile_is_that_of_an_exhaustive_search_in_scaled_features():
    random = np.random.default_rng(0)
    train = random.normal(size=(40, 6)) * [1, 1, 1, 1, 1, 1000] + 5
    chosen = random.normal(size=(9, 6)) * [1, 1, 1, 1, 1, 1000] + 5
    expected = [
        int(np.argmin([np.linalg.norm((row - other) / train.std(0)) for other in train]))
        for row in chosen
    ]
    assert nearest_rows(train, chosen) == expected


def test_crop_planes_become_the_very_pixels_and_nothing_elsewhere():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    planes = np.zeros((6, 32, 32), np.float32)
    planes[3:, 4:12, 20:28] = pixels.transpose(2, 0, 1) / np.float32(127.5) - 1
    image = crop_image(planes)
    assert np.array_equal(image[4:12, 20:28, :3], pixels)
    assert image[..., 3].sum() == 255 * 64


@pytest.mark.parametrize("name", ["map", "label_map_crop_same", "a_name_longer_than_anybody_needs"])
def test_a_plot_makes_room_for_its_longest_label(name):
    dots = [figures.Dot(label=n, value=1.0, low=0.5, high=1.5, color=0) for n in ("map", name)]
    svg = str(figures.dot_plot("title", dots, []))
    shown = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="end" class="row">(.*?)<', svg)
    assert len(shown) == 2
    for x, label in shown:
        assert float(x) >= 7 * len(label)  # DejaVu Sans at 12 px: 7 a letter at the most
        assert float(x) < figures.WIDTH / 2


@pytest.mark.parametrize("low, high", [(0, 1), (-0.3, 0.02), (12.5, 913), (1e-5, 3e-5)])
def test_ticks_are_round_and_lie_within_the_axis(low, high):
    marks = figures.ticks(low, high)
    steps = np.diff(marks)
    assert 2 <= len(marks) <= 6 and low <= marks[0] and marks[-1] <= high
    assert np.allclose(steps, steps[0])
    assert f"{steps[0]:e}"[0] in "125"


# In a browser


WRAPPER = """<!DOCTYPE html><meta charset="utf-8"><body>
<iframe id="f" style="border:0;width:{width}px;height:900px"></iframe><pre id="out"></pre><script>
const frame = document.getElementById("f");
frame.srcdoc = {page};
frame.addEventListener("load", () => {{
  const doc = frame.contentDocument, root = doc.documentElement;
  const names = () => [...doc.querySelectorAll("tbody.ranked th .nowrap")].map(e => e.textContent);
  const button = doc.querySelector("table[data-sortable] th button");
  const heads = () => button.closest("th").getAttribute("aria-sort");
  const first = (button.focus(), button.click(), [heads(), names()]);
  const second = (button.click(), [heads(), names()]);
  document.getElementById("out").textContent = JSON.stringify({{
    inner: root.clientWidth, wide: root.scrollWidth, first, second,
    focused: doc.activeElement === button,
    missing: [...doc.images].filter(i => !i.complete || i.naturalWidth === 0).length,
    plots: [...doc.querySelectorAll("svg.plot")].map(e => e.getBoundingClientRect().width),
  }});
}});
</script>"""


def browse(chromium: str, folder: Path, page: str, width: int) -> dict:
    """Open the page in a frame of that width (a window cannot be narrower than 500 pixels)."""
    literal = json.dumps(page).replace("</", "<\\/")
    (folder / "frame.html").write_text(WRAPPER.format(width=width, page=literal), encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync "
        f"--user-data-dir={folder / 'profile'} --window-size={max(width, 500)},900 "
        "--virtual-time-budget=5000 --dump-dom"
    ).split()
    ended = subprocess.run(
        [chromium, *flags, (folder / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="out">(.*?)</pre>', ended.stdout, re.DOTALL)
    assert found and found[1], ended.stderr[-2000:]
    return json.loads(found[1].replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_its_window_shows_its_images_and_sorts(chromium, tmp_path, page, width):
    seen = browse(chromium, tmp_path, page, width)
    assert seen["wide"] <= seen["inner"] <= width
    assert seen["missing"] == 0
    assert seen["plots"] and min(seen["plots"]) > 200
    assert seen["focused"]
    # Best first on the first press, the failed cell last either way.
    assert seen["first"] == ["ascending", ["map", "unconditional", "map_crop"]]
    assert seen["second"] == ["descending", ["unconditional", "map", "map_crop"]]


def test_the_config_on_the_page_is_the_whole_resolved_study(page):
    text = Page(page).text
    shown = text[text.index("study: small") :].split("\nGlossary")[0]
    assert Study.parse(yaml.safe_load(shown)) == study()
