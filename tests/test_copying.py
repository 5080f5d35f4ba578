"""Does any set copy: sets known to copy are flagged and named, and held-out tissue is not."""

import numpy as np
import pytest
import torch
from report_files import Page, folder_of, row, study
from test_memorization import STUDY, write_made, write_tissue

from histosynth.conditions.table import condition_table
from histosynth.config import Study
from histosynth.diffusion.autoencoder import round_trip
from histosynth.diffusion.autoencoder_fitting import train_autoencoder
from histosynth.encoders import load_encoder
from histosynth.encoders.features import embed_tileset, features_fingerprint, save_features
from histosynth.evaluations.memorization import memorization_of_files
from histosynth.evaluations.planted import copy_of
from histosynth.evaluations.rows import Scored, write_rows
from histosynth.generator_settings import AutoencoderSettings
from histosynth.report import copying, leaderboard, privacy
from histosynth.report.cells import Column, fill
from histosynth.report.collect import collect
from histosynth.report.pages import render

CONDITIONS = {
    "honest": {"signals": []},
    "decoded": {"signals": ["map"]},
    "jpeg": {"signals": ["map", {"kind": "crop", "source": "other_slide"}]},
    "few": {"signals": ["map"], "guidance_scale": 2.0},
}
NEAR, AUC = "memorized_share_1pct", "nearest_train_auc"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Scores of further patients' tissue, of training tiles decoded or through JPEG, and of
    further patients' tissue with eight tiles of training patient p2 among it."""
    folder = tmp_path_factory.mktemp("study")
    made = Study.parse(STUDY | {"conditions": CONDITIONS})
    (folder / "config.yaml").write_text(made.dump(), encoding="utf-8")
    sets = folder / "tilesets"
    train = write_tissue(sets / "real" / "train", range(7))
    test = write_tissue(sets / "real" / "test", range(7, 12))
    table = condition_table(test, made.sampling)
    settings = AutoencoderSettings(
        channels=[16, 32], steps=200, batch_size=16, crop=32, learning_rate=0.004, warmup_steps=10
    )
    autoencoder, _ = train_autoencoder(
        list(train.images()),
        settings,
        state_folder=folder / "state",
        log=print,
        images_fingerprint=train.fingerprint,
        device=torch.device("cpu"),
    )
    originals = train.images(np.linspace(0, len(train) - 1, 200).astype(int).tolist())
    honest = write_tissue(folder / "new", range(12, 16)).images()[:200]
    of_p2 = np.flatnonzero(train.table["patient_id"] == "p2")[::7][:8]
    images = {
        "honest": honest,
        "few": np.concatenate([train.images(of_p2.tolist()), honest[8:]]),
        "decoded": round_trip(autoencoder, originals),
        "jpeg": np.stack([copy_of(image, "jpeg") for image in originals]),
        "autoencoder": round_trip(autoencoder, test.images(table["test_row"].tolist())),
    }
    encoder = load_encoder("texture", made.encoders["texture"])
    for name, of in images.items():
        write_made(sets / "synthetic" / name / "seed0", of, test, table, name)
    opened = {name: train.open(sets / "synthetic" / name / "seed0") for name in images}
    paths = {}
    for name, tiles in {"train": train, "test": test, **opened}.items():
        paths[name] = folder / f"{name}.npy"
        features = embed_tileset(tiles, encoder, progress=False)
        save_features(paths[name], features, fingerprint=features_fingerprint(encoder, tiles))
    for name in ("real", *images):
        own = [] if name == "real" else [name]
        scored = Scored(made.study, name, 0, name, "memorization")
        rows, facts = memorization_of_files(
            scored,
            made,
            train=train.folder,
            test=test.folder,
            synthetic=opened[name].folder if own else None,
            features={"texture": [str(paths[n]) for n in ("train", "test", *own)]},
        )
        told = {"versions": {}, "protocols": scored.protocols, "facts": facts}
        path = folder / "metrics" / name / "seed0" / "memorization.json"
        path.parent.mkdir(parents=True)
        write_rows(path, rows, seconds=1.0, **told)
    return collect(folder, partial=True)


@pytest.mark.parametrize("name", ["decoded", "jpeg"])
def test_a_set_of_training_tiles_is_flagged_and_named(results, name):
    """Every image is a copy; of the decoded ones no pixel is as it was."""
    verdict = copying.judge(results)
    assert {f.space for f in verdict.flags if f.condition == name} >= {"pixels"}
    assert not any(f.remark for f in verdict.flags if f.condition == name)
    column = Column("memorization", NEAR, "pixels")
    cell = fill(results, name, column)
    assert cell.value > 0.95 and cell.flag and 0.01 < cell.ci_low < cell.ci_high <= 1
    told = copying.sentence(verdict)
    clear, _, _ = told.partition(" Look at the pairs")
    assert clear.startswith("Clearly nearer to training tiles than real tissue of other patients")
    assert f"`{name}` (in pixels" in clear
    board = leaderboard.build(results, leaderboard.main_columns(results))
    assert board.cell(name, column).flag == cell.flag


def test_a_share_of_one_is_flagged_though_no_resample_shows_a_spread(results):
    """The bound of five patients' images that are all copies."""
    cell = fill(results, "jpeg", Column("memorization", NEAR, "pixels"))
    assert cell.value == cell.ci_high == 1
    assert cell.ci_low == pytest.approx(0.025 ** (1 / 5), abs=0.01) and cell.flag


def test_held_out_tissue_is_not_flagged(results):
    """Real tiles of other patients: every score of every space."""
    told = copying.sentence(copying.judge(results))
    assert "`honest`" not in told
    for name in ("honest", "real"):
        for space in ("pixels", "texture"):
            for score in (NEAR, AUC):
                cell = fill(results, name, Column("memorization", score, space))
                assert cell.status == "ok" and not cell.flag, (name, space, score, cell)


def test_a_few_copies_of_one_patient_are_seen_among_the_near_images(results):
    """Eight of 200: of all images another patient's tiles may be nearest more often."""
    told = {f.name: f for f in privacy.favourites(results) if f.space == "pixels"}
    few, honest = told["few"], told["honest"]
    assert few.near_patient == "p2" and few.near_most >= 8 > 3 * few.near * few.near_train
    assert few.nearest < 0.35
    assert few.near - honest.near >= 6 and (honest.near_most or 0) < 8
    assert few.near_train == pytest.approx(1 / 7)


def test_headline_flag_list_and_tables_say_the_same(results):
    page = Page(render(results)).text
    section = page[page.index("Privacy: does it copy?") :]
    for flag in copying.judge(results).flags:
        assert f"{flag.condition}, {flag.space}: {flag.words}" in section
    assert copying.sentence(copying.judge(results)).replace("`", "") in page


def memorization(condition, score, value, *, space="pixels", seed=0, **more):
    return row(condition, "memorization", score, value, encoder=space, seed=seed, **more)


def judged(folder, rows, **changes):
    return collect(folder_of(folder, study(**changes), rows))


def told_of(folder, rows, **changes):
    """The sentence on these rows, less what it says of scores that are not among them."""
    told = copying.sentence(copying.judge(judged(folder, rows, **changes)))
    return told.partition(" Not judged")[0]


def test_one_copying_seed_among_several_is_flagged_and_named(tmp_path):
    """Though their mean, and the lowest bound of all, are those of honest seeds."""
    rows = [
        memorization("map", NEAR, value, seed=seed, width=0.009)
        for seed, value in ((0, 0.01), (1, 0.4), (2, 0.01))
    ]
    results = judged(tmp_path / "a", rows, seeds=[0, 1, 2])
    cell = fill(results, "map", Column("memorization", NEAR, "pixels"))
    assert cell.ci_low < 0.01 and cell.flag.startswith("seed 1: nearer")
    assert "`map` (in pixels; seed 1)" in copying.sentence(copying.judge(results))
    rows[2] |= {"ci_low": None, "ci_high": None}  # another seed has no interval
    rows[1]["protocol"] = "p2"  # nor is the copying one in the mean
    results = judged(tmp_path / "b", rows, seeds=[0, 1, 2])
    assert "`map` (in pixels; seed 1)" in copying.sentence(copying.judge(results))
    honest = [memorization("map", NEAR, 0.01, seed=seed, width=0.009) for seed in (0, 1, 2)]
    assert told_of(tmp_path / "c", honest, seeds=[0, 1, 2]).startswith("No set of images that")


@pytest.mark.parametrize(
    ("trip", "width", "explained"),
    [(0.58, 0.05, True), (0.58, 0.01, False), (0.49, 0.2, False)],
    ids=["as near", "clearly farther", "no nearer than expected"],
)
def test_what_the_autoencoder_does_to_any_tile_is_told_beside_the_flag(
    tmp_path, trip, width, explained
):
    rows = [
        memorization("map", AUC, 0.65, width=0.05, space="texture"),
        memorization("autoencoder", AUC, trip, width=width, space="texture"),
    ]
    results = judged(tmp_path, rows)
    cell = fill(results, "map", Column("memorization", AUC, "texture"))
    assert cell.flag and bool(cell.flag_remark) == explained
    told = copying.sentence(copying.judge(results))
    assert told.startswith("Nearer to" if explained else "Clearly nearer")
    assert "`map` (in features of texture)" in told
    assert ("Its blur may explain that" in told) == explained
    assert ("reach" not in cell.flag) and (cell.flag in Page(render(results)).text)
    assert not explained or cell.flag_remark in Page(render(results)).text


def test_no_silence_where_a_score_beyond_the_expected_has_no_interval(tmp_path):
    bare = {"ci_low": None, "ci_high": None}
    rows = [memorization("map", score, 1.0, **bare) for score in (NEAR, AUC)]
    told = copying.sentence(copying.judge(judged(tmp_path, rows)))
    assert told.startswith("No set of images that could be judged")
    assert "Not judged" in told and "`map` (in pixels" in told
