"""The report on privacy: copiers are named, and who was told an encoder is not ranked by it."""

from report_files import Page, folder_of, row, study, write_tiles

from histosynth.files import write_json
from histosynth.report import copying, leaderboard, privacy
from histosynth.report.collect import collect
from histosynth.report.pages import render
from histosynth.report.pictures import tile_uri
from histosynth.tilesets import TileSet


def test_a_condition_whose_interval_lies_above_chance_is_named_as_copying(tmp_path):
    rows = [
        row("map", "memorization", "memorized_share_1pct", 0.3, encoder="pixels"),
        row("unconditional", "memorization", "memorized_share_1pct", 0.02, encoder="pixels"),
    ]
    results = collect(folder_of(tmp_path, study(), rows))
    verdict = copying.judge(results)
    assert [flag.condition for flag in verdict.flags] == ["map"]
    told = "Clearly nearer to training tiles than real tissue of other patients: `map` (in pixels)."
    assert copying.sentence(verdict).startswith(told)
    assert told.replace("`", "") in Page(render(results)).text


def test_authpct_is_printed_in_per_cent(tmp_path):
    told = {"encoder": "pixels", "width": 0.02}
    rows = [row("map", "memorization", "authenticity", 0.8125, **told)]
    results = collect(folder_of(tmp_path, study(), rows))
    (table,) = [t for t in privacy.tables_of(results, {}) if "Pixels" in t.caption]
    assert any(head.startswith("AuthPct, %") for head in table.heads)
    text = Page(render(results)).text
    assert "81.2[79.2, 83.2]" in text and "0.812" not in text


def facts_file(folder, condition, seed, facts):
    path = folder / "metrics" / condition / f"seed{seed}" / "memorization.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"rows": [], "seconds": 1.0, "versions": {}, "facts": facts})


def near_tile(seed, distance, *, row=0):
    """A pair of that seed's set, with its tile and distance."""
    return {
        "encoder": "pixels",
        "row": row,
        "tile_id": f"seed {seed}, tile {row}",
        "train_row": 1,
        "train_tile_id": "train1",
        "train_patient_id": "train-p1",
        "turn": 0,
        "distance": distance,
        "limit": 0.3,
    }


def test_pairs_are_the_nearest_of_all_seeds_and_say_of_which(tmp_path):
    made = study(seeds=[0, 1])
    folder = folder_of(tmp_path, made, [])
    write_tiles(folder / "tilesets" / "real" / "train", "train", 3, maps=False, seed=0)
    for seed in (0, 1):
        place = folder / "tilesets" / "synthetic" / "map" / f"seed{seed}"
        write_tiles(place, f"made{seed}", 3, maps=False, seed=5 + seed)
    honest = [near_tile(0, 0.4 + i / 10, row=i) for i in range(3)]
    copies = [near_tile(1, i / 100, row=i) for i in range(3)]
    facts_file(folder, "map", 0, {"pairs": honest})
    facts_file(folder, "map", 1, {"pairs": copies})
    ((name, space, pairs),) = privacy.pair_rows(collect(folder))
    assert (name, space) == ("map", "pixels")
    assert [p.words.partition(",")[0] for p in pairs] == [
        "seed 1: 0.00",
        "seed 1: 0.01",
        "seed 1: 0.02",
        "seed 0: 0.40",
    ]
    assert [p.near for p in pairs] == [True, True, True, False]
    tiles = TileSet.open(folder / "tilesets" / "synthetic" / "map" / "seed1")
    assert pairs[2].made.source == tile_uri(tiles.image(2))


def test_the_patient_with_most_near_images_of_all_seeds_is_shown(tmp_path):
    folder = folder_of(tmp_path, study(seeds=[0, 1]), [])
    usual = {"patient_id": "p1", "nearest_share": 0.5, "train_share": 0.25, "patients": 4}
    few = {"images": 3, "of": 256, "patient_id": "p2", "most": 1, "train_share": 0.25}
    copied = {"images": 9, "of": 256, "patient_id": "p7", "most": 8, "train_share": 0.1}
    for seed, near in ((0, few), (1, copied)):
        share = 0.5 - seed / 10
        told = usual | {"nearest_share": share, "near": near}
        facts_file(folder, "map", seed, {"patients": {"pixels": told}})
    (found,) = privacy.favourites(collect(folder))
    assert (found.name, found.seed, found.patient, found.nearest) == ("map", 1, "p1", 0.4)
    told = (found.near, found.near_patient, found.near_most, found.near_train)
    assert told == (9, "p7", 8, 0.1)
    text = " ".join(Page(render(collect(folder))).text.split())
    assert "mapseed 1pixelsp140%25%9p7810%" in text


def test_who_was_told_an_encoders_features_is_not_ranked_by_it(tmp_path):
    encoders = {"texture": {}, "random": {"kind": "timm", "model": "resnet18", "weights": "random"}}
    told = {"signals": [{"kind": "embedding", "encoder": "texture"}]}
    made = study(
        encoders=encoders,
        evaluation={"encoders": ["texture", "random"]},
        conditions={"told": told, "map": {"signals": ["map"]}, "none": {"signals": []}},
    )
    values = {"told": 1.0, "map": 5.0, "none": 9.0}
    rows = [
        row(c, "fidelity", "frechet_distance", value, encoder=encoder)
        for c, value in values.items()
        for encoder in encoders
    ]
    results = collect(folder_of(tmp_path, made, rows))
    columns = leaderboard.main_columns(results)
    assert columns[0].encoder == "random"  # no generator was told of it: it leads
    board = leaderboard.build(results, columns)
    for encoder, told_of in (("texture", True), ("random", False)):
        (column,) = [c for c in columns if (c.metric, c.encoder) == ("frechet_distance", encoder)]
        cell = board.cell("told", column)
        assert ("not independent" in cell.reason) == told_of
        assert (cell.rank is None) == told_of and cell.value == 1.0
        assert board.cell("map", column).mark == ("best" if told_of else "")
        assert not board.cell("map", column).reason
