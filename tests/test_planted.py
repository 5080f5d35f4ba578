"""The planted copies: every encoder has them, and only a copy of the nearest original counts."""

import numpy as np
import pytest
from report_files import Page, folder_of, row, study
from test_memorization import CLASSES, write_tissue

from histosynth.config import Study
from histosynth.encoders import load_encoder
from histosynth.encoders.features import embed_tileset, features_fingerprint, save_features
from histosynth.evaluations.memorization import DISTANCE_METRICS, memorization_of_files
from histosynth.evaluations.nearest import FeatureSpace, PixelSpace
from histosynth.evaluations.planted import (
    DISGUISES,
    KINDS,
    ORIGINALS,
    copies_of,
    copy_of,
    found_copies,
    plant,
)
from histosynth.evaluations.rows import Scored
from histosynth.files import read_json, write_json
from histosynth.report.collect import collect
from histosynth.report.pages import render
from histosynth.report.planted import blind_words, found_words, planted_of
from histosynth.slides.duplicates import TURNS, small, turned
from histosynth.tilesets import TileSet, TileSetWriter

STUDY = {
    "study": "tiny",
    "cohort": {"kind": "phantom"},
    "classes": [{"name": name, "values": [i]} for i, name in enumerate(CLASSES)],
    "tiling": {"size": 32},
    "encoders": {
        "texture": {"kind": "texture"},
        "network": {"kind": "timm", "model": "resnet18", "weights": "random", "input_size": 32},
    },
    "conditions": {"map": {"signals": ["map"]}},
    "sampling": {"n": 240},
    "evaluation": {"encoders": ["texture", "network"]},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Training and test tissue, test tiles through a stand-in of an autoencoder, and features."""
    folder = tmp_path_factory.mktemp("planted")
    study = Study.parse(STUDY)
    write_tissue(folder / "train", range(5))
    test = write_tissue(folder / "test", range(7, 11))
    with TileSetWriter(folder / "blurred") as writer:  # the order of its tiles is its own
        for i in np.random.default_rng(0).permutation(len(test)).tolist():
            told = test.table.iloc[i][["slide_id", "patient_id"]].to_dict()
            told |= {"tile_id": f"a{i}", "source_tile_id": test.table["tile_id"].iloc[i]}
            writer.add(blurred(test.image(i)), told)
    for name, settings in study.encoders.items():
        encoder = load_encoder(name, settings)
        for which in ("train", "test", "blurred"):
            tiles = TileSet.open(folder / which)
            save_features(
                folder / f"{which}-{name}.npy",
                embed_tileset(tiles, encoder, progress=False),
                fingerprint=features_fingerprint(encoder, tiles),
            )
    return folder


def blurred(image):
    """A tile as a lossy codec might leave it: means of 2 x 2 pixels."""
    means = image.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    return np.rint(means.repeat(2, axis=0).repeat(2, axis=1)).astype(np.uint8)


def score(place, condition, *, study=STUDY):
    made = None if condition == "real" else place / "blurred"
    sets = ["train", "test"] + ["blurred"] * (made is not None)
    study = Study.parse(study)
    return memorization_of_files(
        Scored("tiny", condition, 0, condition, "memorization"),
        study,
        train=place / "train",
        test=place / "test",
        synthetic=made,
        features={name: [str(place / f"{s}-{name}.npy") for s in sets] for name in study.encoders},
    )


def test_every_encoder_has_a_row_of_planted_copies_and_counts_of_every_kind(place):
    rows, facts = score(place, "real")
    assert set(facts["planted"]) == {"texture", "network", "pixels"}
    for space, kinds in facts["planted"].items():
        assert list(kinds) == list(DISGUISES)
        assert kinds["exact"] == {"planted": ORIGINALS, "found": ORIGINALS}, space
        own = {r.metric: r for r in rows if (r.condition, r.encoder) == ("planted_copies", space)}
        floor = {r.metric: r for r in rows if (r.condition, r.encoder) == ("real", space)}
        assert set(own) == set(DISTANCE_METRICS)
        near = "memorized_share_1pct"
        assert own[near].status == "ok" and own[near].value > floor[near].value
        assert own[near].protocol == floor[near].protocol


def test_what_is_counted_of_an_encoder_is_what_its_features_say(place):
    """Each copy embedded and held against all training tiles, tile by tile."""
    _, facts = score(place, "real")
    study, train = Study.parse(STUDY), TileSet.open(place / "train")
    features = {s: np.load(place / f"{s}-network.npy").astype(float) for s in ("train", "test")}
    from histosynth.evaluations.counts import patients
    from histosynth.evaluations.memorization_cast import halves

    groups = patients(TileSet.open(place / "test"))
    made, heldout = halves(groups, seed=study.evaluation.seed)
    gaps = features["test"][heldout][:, None] - features["train"][None]
    limit = np.quantile(np.linalg.norm(gaps, axis=2).min(axis=1), 0.01, method="weibull")
    originals = plant(len(made), len(train), seed=study.evaluation.seed).originals
    encoder = load_encoder("network", study.encoders["network"])
    for kind in DISGUISES:
        found = 0
        for original in originals.tolist():
            copy = encoder(copy_of(train.image(original), kind)[None])[0]
            distances = np.linalg.norm(features["train"] - copy, axis=1)
            found += bool(distances[original] < limit and distances.argmin() == original)
        assert facts["planted"]["network"][kind]["found"] == found, kind


def test_a_near_stranger_is_no_find():
    to_original = np.array([0.1, 0.3, 0.1, 0.9])
    to_nearest = np.array([0.1, 0.1, 0.1 - 1e-5, 0.9])  # the third has a twin among the training
    assert found_copies(to_original, to_nearest, limit=0.5) == {"planted": 4, "found": 2}


def test_round_trips_are_looked_for_as_if_their_originals_had_been_trained_on(place):
    _, facts = score(place, "autoencoder")
    study, test = Study.parse(STUDY), TileSet.open(place / "test")
    blurred_tiles = TileSet.open(place / "blurred")
    rows = [list(test.table["tile_id"]).index(t) for t in blurred_tiles.table["source_tile_id"]]
    assert rows != sorted(rows)
    for name in study.encoders:
        told = facts["planted"][name]
        assert list(told) == ["autoencoder"]
        train, heldout, made = (
            np.load(place / f"{s}-{name}.npy").astype(float) for s in ("train", "test", "blurred")
        )
        to_train = np.linalg.norm(made[:, None] - train[None], axis=2).min(axis=1)
        of_heldout = np.linalg.norm(heldout[:, None] - train[None], axis=2).min(axis=1)
        limit = np.quantile(of_heldout, 0.01, method="weibull")
        own = np.linalg.norm(made - heldout[rows], axis=1)
        expected = {"planted": len(made), "found": int(((own < limit) & (own < to_train)).sum())}
        assert told["autoencoder"] == expected
    assert facts["planted"]["pixels"]["autoencoder"]["found"] == len(test)  # blocks keep means


def test_an_encoder_that_did_not_make_the_features_takes_the_control_away_and_nothing_else(place):
    other = STUDY["encoders"] | {"network": STUDY["encoders"]["network"] | {"seed": 5}}
    rows, facts = score(place, "real", study=STUDY | {"encoders": other})
    control = [r for r in rows if (r.condition, r.encoder) == ("planted_copies", "network")]
    assert {r.metric for r in control} == set(DISTANCE_METRICS)
    assert all(r.status == "failed" and "encoders.network is not" in r.reason for r in control)
    assert "network" not in facts["planted"] and "texture" in facts["planted"]
    kept = [r for r in rows if (r.condition, r.encoder) == ("real", "network")]
    assert {r.status for r in kept} == {"ok", "not_applicable"}


def test_a_shifted_copy_is_the_tile_a_twentieth_further_down_and_right():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    copy = copy_of(image, "shifted")
    assert copy.shape == image.shape and copy.dtype == np.uint8
    assert np.array_equal(copy[3:, 3:], image[:-3, :-3])
    assert not np.array_equal(copy, image)


@pytest.mark.parametrize(("n", "n_train"), [(300, 800), (5000, 800), (300, 7), (3, 800)])
def test_few_originals_are_embedded_however_many_copies_are_hidden(n, n_train):
    made = plant(n, n_train, seed=0)
    assert len(made.places) == len(set(made.places.tolist())) == min(n, max(4, round(0.05 * n)))
    assert len(set(made.originals.tolist())) == len(made.originals) == min(ORIGINALS, n_train)
    assert made.originals.max() < n_train and made.places.max() < n
    counts = [made.kinds.count(kind) for kind in KINDS]
    assert max(counts) - min(counts) <= 1
    if n_train > ORIGINALS:
        pairs = set(zip(made.of.tolist(), made.kinds, strict=True))
        assert len(pairs) == min(len(made.places), len(KINDS) * ORIGINALS)


def test_a_pair_has_the_distance_that_its_space_finds(place):
    train = TileSet.open(place / "train")
    rows = np.arange(0, len(train), 30)
    features = np.load(place / "train-network.npy")
    encoder = load_encoder("network", Study.parse(STUDY).encoders["network"])
    pictures = np.stack([small(train.image(i)) for i in range(len(train))])
    for kind, images in copies_of(train, rows).items():
        space, made = FeatureSpace(features), encoder(images)
        every = np.linalg.norm(made[:, None].astype(float) - features[None], axis=2)
        assert space.between(made, space.described(rows)) == pytest.approx(
            every[np.arange(len(rows)), rows], abs=1e-4
        )
        small_space, made = PixelSpace(pictures), np.stack([small(image) for image in images])
        only = [PixelSpace(pictures[[row]]).nearest(made[[i]]) for i, row in enumerate(rows)]
        between = small_space.between(made, small_space.described(rows))
        expected = np.concatenate([found.distance for found in only])
        assert between == pytest.approx(expected, abs=2e-3), kind  # of float32 products
    turns = np.stack([small(turned(train.image(5), turn).copy()) for turn in range(TURNS)])
    space = PixelSpace(pictures)
    assert space.between(turns, space.described(np.full(TURNS, 5))).max() < 1e-6


PLANTED = {
    "texture": {
        "exact": {"planted": 16, "found": 16},
        "jpeg": {"planted": 16, "found": 0},
        "colour_shifted": {"planted": 16, "found": 12},
    },
    "pixels": {"exact": {"planted": 16, "found": 16}},
}
ROUND_TRIPS = {
    "texture": {"autoencoder": {"planted": 256, "found": 7}},
    "pixels": {"autoencoder": {"planted": 256, "found": 256}},
}


def test_a_space_says_which_copies_it_does_not_see():
    told = planted_of({"planted": PLANTED}, {"planted": ROUND_TRIPS}, {})
    assert blind_words(told, "texture") == (
        "This space does not see copies as JPEG or through the autoencoder, and finds only "
        "12 of 16 in another stain."
    )
    assert blind_words(told, "pixels") == blind_words(told, "random") == ""
    words = dict(found_words(told))
    assert words["pixels"] == "16 of 16 as they are, 256 of 256 through the autoencoder"


def test_the_report_shows_the_control_of_every_space_and_marks_the_blind_one(tmp_path):
    share = "memorized_share_1pct"
    rows = [
        row(who, "memorization", share, value, encoder=space)
        for space in ("texture", "pixels")
        for who, value in (("map", 0.01), ("real", 0.01))
    ]
    rows.append(row("planted_copies", "memorization", share, 0.05, encoder="pixels"))
    gone = {"status": "failed", "reason": "InputError: no weights here"}
    rows.append(row("planted_copies", "memorization", share, None, encoder="texture", **gone))
    folder = folder_of(tmp_path, study(), rows)
    for name, told in (("real", PLANTED), ("autoencoder", ROUND_TRIPS)):
        path = folder / "metrics" / name / "seed0" / "memorization.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = read_json(path) if path.is_file() else {"rows": []}
        write_json(path, content | {"facts": {"pairs": [], "patients": {}, "planted": told}})
    html = render(collect(folder))
    text = " ".join(Page(html).text.split())
    assert text.count("This space does not see copies as JPEG or through the autoencoder") == 1
    assert "7 of 256 through the autoencoder" in text
    assert html.count('<th scope="row">planted_copies</th>') == 2
    assert "no weights here" in html
