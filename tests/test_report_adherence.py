"""The report on adherence: controls stand below their condition and rank nobody."""

import re

import numpy as np
import pytest
from metric_rows import only
from report_files import folder_of, row, study
from tissue_sets import STUDY, tissue

from histosynth.config import Study
from histosynth.encoders import load_encoder
from histosynth.encoders.features import embed_tileset, features_fingerprint, save_features
from histosynth.evaluations.adherence import adherence_of_files
from histosynth.evaluations.rows import Scored, write_rows
from histosynth.report import adherence, leaderboard
from histosynth.report.collect import collect
from histosynth.report.figures import fixed
from histosynth.report.pages import render
from histosynth.tilesets import TileSet, TileSetWriter

CONDITIONS = {"label_cluster": {"signals": ["label"]}, "label": {"signals": ["label"]}}
COUNTS = [[6, 2], [0, 0]]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    values = {"label_cluster": 0.6, "label_cluster~shuffled": 0.2, "label_cluster~wrong_class": 0.1}
    rows = [
        row(who, "adherence", metric, value)
        for who, value in (values | {"real": 0.8, "real~wrong_class": 0.15}).items()
        for metric in ("label_accuracy", "label_accuracy_ratio", "cluster_accuracy")
    ]
    rows.append(row("label_cluster", "adherence", "label_accuracy", 0.7, subset="label=cancer"))
    for site, value in (("north", 0.7), ("south", 0.5)):
        told = {"subset": f"site={site}"}
        rows.append(row("label_cluster", "adherence", "label_accuracy", value, **told))
    none = {"status": "not_applicable", "reason": "it requests no clusters"}
    rows.append(row("label", "adherence", "cluster_accuracy", None, **none))
    folder = folder_of(tmp_path_factory.mktemp("study"), study(conditions=CONDITIONS), rows)
    for name in ("label_cluster", "real"):
        path = folder / "metrics" / name / "seed0" / "adherence.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"clusters": {"encoder": "other", "asked_found": COUNTS, "real": COUNTS}}
        write_rows(path, [], seconds=1.0, versions={}, protocols={}, facts=facts)
    return collect(folder)


def test_controls_stand_right_below_their_condition(results):
    table = next(t for t in adherence.tables_of(results) if t.caption.startswith("Label accuracy"))
    names = [name for name, _, _ in table.rows]
    at = names.index("label_cluster")
    controls = ["label_cluster~shuffled", "label_cluster~wrong_class"]
    assert names[at + 1 : at + 3] == controls and "real" in names[at + 3 :]
    assert table.heads[:3] == ("all", "share of real", "cancer")
    (cells,) = [cells for name, _, cells in table.rows if name == "label_cluster~wrong_class"]
    assert cells[0].value == 0.1 and cells[2].status == "not_applicable"  # all classes together


def test_the_judges_probe_stands_right_below_real(results):
    table = next(t for t in adherence.tables_of(results) if t.caption.startswith("Label accuracy"))
    names = [name for name, _, _ in table.rows]
    assert names[names.index("real") + 1] == "real~wrong_class"
    (cells,) = [cells for name, _, cells in table.rows if name == "real~wrong_class"]
    assert cells[0].value == 0.15
    page = render(results)
    assert "real, wrong class" in page and "1 − accuracy" in page  # there are two labels


def test_sites_are_columns_of_their_own(results):
    table = next(t for t in adherence.tables_of(results) if t.caption.startswith("Label accuracy"))
    assert table.heads[-2:] == ("site north", "site south")
    lines = {name: cells[-1] for name, _, cells in table.rows}
    assert lines["label_cluster"].value == 0.5
    assert lines["label_cluster~shuffled"].status == "not_applicable"


def test_a_condition_that_requests_no_cluster_has_no_line(results):
    table = next(t for t in adherence.tables_of(results) if t.caption.startswith("Cluster"))
    assert "label" not in [name for name, _, _ in table.rows]


def test_a_wrong_class_never_reaches_the_leaderboard(results):
    board = leaderboard.build(results, leaderboard.main_columns(results))
    assert not [line.name for line in board.lines if "wrong_class" in line.name]
    assert all(
        not c.mark and c.rank is None for line in board.of_kind("reference") for c in line.cells
    )


def test_clusters_asked_for_and_found_are_shares_of_what_was_asked(results):
    ours, real = adherence.confusions(results)
    assert (ours.name, ours.encoder, real.name) == ("label_cluster", "other", "real")
    assert ours.shares == ((0.75, 0.25), (0.0, 0.0)) and ours.tiles == (8, 0)
    page = render(results)
    assert "label_cluster, wrong class" in page and "asked for and found" in page


# Embeddings, from tiles to the page


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Results of a generator that repeats its targets with noise, scored by the real evaluation."""
    folder = tmp_path_factory.mktemp("embedded")
    signals = [{"kind": "embedding", "encoder": "random"}]
    random_encoder = {"kind": "timm", "model": "resnet10t", "weights": "random"}
    made = Study.parse(
        STUDY
        | {
            "encoders": {"texture": {"kind": "texture"}, "random": random_encoder},
            "conditions": {"told": {"signals": signals}},
        }
    )
    (folder / "config.yaml").write_text(made.dump())
    random = np.random.default_rng(0)
    tiles = {"train": list(tissue((10, 11))), "test": list(tissue(range(4)))}
    order = random.permutation(len(tiles["test"]))
    tiles["told"] = [tiles["test"][i] for i in order]
    encoder = load_encoder("texture", made.encoders["texture"])
    sets, features = {}, {}
    for kind, images in tiles.items():
        with TileSetWriter(folder / kind) as writer:
            for i, (patient, image) in enumerate(images):
                about = {"tile_id": f"{kind}{i}", "slide_id": patient, "patient_id": patient}
                about |= {
                    "site": f"s{int(patient[1:]) % 2}",
                    "label": "ab"[int(image.mean() > 170)],
                }
                if kind == "told":
                    about["source_tile_id"] = f"test{order[i]}"
                    image = (image + random.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
                writer.add(image, about)
        sets[kind] = TileSet.open(folder / kind)
        features[kind] = folder / f"{kind}.npy"
        save_features(
            features[kind],
            embed_tileset(sets[kind], encoder, progress=False),
            fingerprint=features_fingerprint(encoder, sets[kind]),
        )
    found = []
    for condition, scored_set in (("told", "told"), ("real", "test")):
        scored = Scored("tiny", condition, 0, f"synthetic/{condition}/seed0", "adherence")
        rows, _, facts = adherence_of_files(
            scored,
            made,
            train=folder / "train",
            real=folder / "test",
            synthetic=folder / scored_set,
            judges=folder / "judges",
            clusters=None,
            features={},
            table=None,
            told_features={"texture": [features[k] for k in ("train", "test", scored_set)]},
        )
        told = {"versions": {}, "protocols": scored.protocols, "facts": facts}
        path = folder / "metrics" / condition / "seed0" / "adherence.json"
        write_rows(path, rows, seconds=1.0, **told)
        found += rows
    return found, render(collect(folder, partial=True))


def test_embedding_similarity_goes_from_tiles_to_the_page(embedded):
    rows, page = embedded
    assert {r.status for r in rows} == {"ok"}
    (table,) = re.findall(r'aria-label="Embedding similarity[^"]*">.*?</table>', page, re.DOTALL)
    lines = re.findall(r'<tr><th scope="row"[^>]*>([^<]*)</th>(.*?)</tr>', table, re.DOTALL)
    shown = {name: re.findall(r'class="value">([^<]*)<', cells) for name, cells in lines}
    names = {
        "told": "told",
        "told, shuffled": "told~shuffled",
        "told, wrong class": "told~wrong_class",
        "real": "real",
    }
    for words, condition in names.items():
        value = only(rows, condition=condition, subset="all").value
        assert shown[words][0] == fixed(value, 3), words
    for at, site in enumerate(("s0", "s1"), start=1):
        value = only(rows, condition="told", subset=f"site={site}").value
        assert shown["told"][at] == fixed(value, 3)
    values = {words: float(cells[0].replace("−", "-")) for words, cells in shown.items()}
    assert values["told"] > 0.5 > values["told, shuffled"] > values["told, wrong class"]
    assert values["told"] > values["real"] > values["told, shuffled"]
