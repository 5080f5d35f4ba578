"""Results of a small study as its jobs would leave them, and its report read and browsed."""

import html.parser
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from histosynth.conditions.donors import COLUMN_OF
from histosynth.config import Study
from histosynth.files import write_json
from histosynth.grid import Grid
from histosynth.report.cells import Column
from histosynth.report.collect import ROW_COLUMNS
from histosynth.slides.duplicates import find_duplicates
from histosynth.tilesets import TileSet, TileSetWriter

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


def write_tiles(
    folder: Path,
    split: str,
    n: int,
    *,
    maps: bool,
    seed: int,
    provenance: dict | None = None,
) -> list[str]:
    random = np.random.default_rng(seed)
    ids = []
    classes = ("stroma", "tumour") if maps else ()
    with TileSetWriter(folder, classes=classes, provenance=provenance) as writer:
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


def write_results(folder: Path, made: Study, *, split_unit: str = "patient") -> None:
    """A results folder as a finished study leaves it, without `map_crop`'s utility."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(made.dump(), encoding="utf-8")
    ids = {}
    for seed, split in enumerate(("train", "val", "test")):
        place = folder / "tilesets" / "real" / split
        told = {"split_unit": split_unit}
        ids[split] = write_tiles(place, split, 9, maps=True, seed=seed, provenance=told)
    requests = {
        "index": range(N),
        "seed": range(N),
        "test_row": [i % 9 for i in range(N)],
        "source_tile_id": [ids["test"][i % 9] for i in range(N)],
        "label": "cancer",
        "cluster": 0,
    }
    for step, column in enumerate(COLUMN_OF.values(), start=1):
        requests[column] = [json.dumps({"tumour": ids["test"][(i + step) % 9]}) for i in range(N)]
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
    slides = [
        slide_entry("train-s0", counts={"accepted": 27, "one_class": 7}),
        slide_entry("broken", status="failed", reason="not a slide: a ZIP archive", reader=None),
    ]
    write_json(chunk / "slides.json", slides)
    sets = {name: TileSet.open(folder / "tilesets" / "real" / name) for name in ids}
    write_json(folder / "tilesets" / "real" / "duplicates.json", find_duplicates(sets))
    rows = write_metrics(folder, made, skip="map_crop/utility")
    rows.to_parquet(folder / "summary.parquet")


def slide_entry(slide_id: str, **more) -> dict:
    """What slides.json says of a slide."""
    entry = {"slide_id": slide_id, "status": "ok", "reason": "", "counts": {}}
    return entry | {"mpp": 0.5, "mpp_source": "slide", "reader": "openslide 4 (aperio)"} | more


def write_train(folder: Path, record: dict) -> None:
    folder.mkdir(parents=True)
    write_json(folder / "train.json", record)


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


def folder_of(folder: Path, made: Study, rows: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(made.dump(), encoding="utf-8")
    pd.DataFrame(rows, columns=ROW_COLUMNS).to_parquet(folder / "summary.parquet")
    return folder


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
