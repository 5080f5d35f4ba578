"""The self-test claims nothing that could not fail, and gives reasons for these tiles alone."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from selftest_scenes import phantom

from histosynth.errors import InputError
from histosynth.metrics import nearest_distances
from histosynth.report.selftest import render_selftest
from histosynth.selftest import Score, self_test
from histosynth.selftest import faults as plant
from histosynth.selftest.__main__ import build_parser, main
from histosynth.selftest.cases import Stage
from histosynth.selftest.claims import BLIND, claim_of
from histosynth.selftest.leaks import exchange
from histosynth.selftest.reasons import KNOWN, measured_reason
from histosynth.selftest.scene import embed
from histosynth.selftest.score import SCORES
from histosynth.selftest.sources import LEAST, LEAST_IMAGES, thirds
from histosynth.selftest.words import blind_words, limits, summary_words, text_reasons, unmet

FAST = ("frechet_distance", "kernel_distance", "density", "recall", "coverage", "vendi")


@pytest.fixture(scope="module")
def scene():
    return phantom()


@pytest.fixture(scope="module")
def result(scene):
    """Of tiles without patients: each stands for itself."""

    def alone(tiles, role):
        return replace(tiles, patients=np.array([f"{role}{i}" for i in range(len(tiles))]))

    of_images = replace(scene, real=alone(scene.real, "r"), made=alone(scene.made, "m"))
    chosen = ["turned", "mode dropped", "averages", "training copies", "test images leaked"]
    return self_test(of_images, scores=[SCORES[name] for name in FAST], faults=chosen)


@pytest.mark.parametrize("name", SCORES)
def test_an_outlier_is_claimed_of_no_score_that_one_image_cannot_move(scene, name):
    """One image of n, however far: a few n-ths is all it can do to a score called robust.

    Recall needs a set that covers little: the outlier's own neighbourhood then covers the rest.
    """
    score, moved = SCORES[name], []
    narrow = Stage(scene).moved(lambda f: plant.spread(f, 0.5))
    for clean in (scene, narrow):
        stage = Stage(clean)
        for distance in (100, 1e4):
            far = stage.moved(lambda f: plant.with_outlier(f, stage.step, distance))  # noqa: B023
            try:
                moved.append(abs(score.value(far) - score.value(clean)))
            except InputError:  # pixels, where features were changed
                assert name == "memorized_share_pixels"
                return
    assert (max(moved) < 5 / len(scene.made)) == score.robust, moved
    if score.robust:
        assert claim_of(score, "one outlier") == ""


def test_nothing_is_claimed_of_turned_images_that_the_encoder_cannot_tell(scene, result):
    assert {r.claim for r in result.headline if r.fault == "turned"} == {""}

    def corners(images):  # an encoder that tells them
        half = images.shape[1] // 2
        parts = [images[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        means = [part.mean(axis=(1, 2)) for part in parts]
        return np.concatenate(means, axis=1).astype(np.float32)

    shade = np.linspace(0.5, 1, scene.made.images.shape[1])[:, None, None]  # darker on top

    def lit(tiles):
        images = np.rint(tiles.images * shade).astype(np.uint8)
        return replace(tiles, images=images, features=embed(images, corners))

    parts = {name: lit(getattr(scene, name)) for name in ("real", "made", "train", "reserve")}
    oriented = replace(scene, **parts, encode=corners)
    scores = [SCORES["frechet_distance"], SCORES["precision"]]
    found = self_test(oriented, scores=scores, faults=["turned"])
    assert [r.verdict for r in found.headline] == ["is moved", "is moved"]


def test_no_tick_is_given_for_copies_and_leaks_and_none_is_counted(result):
    told = {(r.fault, r.score): r for r in result.headline}
    for name in FAST:
        copied, leaked = told["training copies", name], told["test images leaked", name]
        assert copied.claim == leaked.claim == ""
        assert {copied.verdict, leaked.verdict} <= {"blind", "rewarded", ""}
        assert not copied.met and not leaked.met and not leaked.reason
    rewarded = told["test images leaked", "frechet_distance"]
    assert rewarded.verdict == "rewarded" and rewarded.leaked < rewarded.other < rewarded.clean
    assert abs(rewarded.change) < 1  # its own interval does not show it
    claims = [r for r in result.headline if r.fault in ("mode dropped", "averages") and r.claim]
    met = sum(r.met for r in claims)
    assert summary_words(result).startswith(f"{met} of {len(claims)} claims hold")
    words = blind_words(result)
    assert "rewarded by Fréchet distance" in words and "seen by no score" in words


def test_a_leak_is_rewarded_only_by_scores_that_gain_from_the_leaked_images(scene):
    def score(value, **more):
        return Score("mine", "Mine", BLIND[0], value, **more)

    def reached(scene):  # how far synthetic tiles lie from real ones: 0 for those leaked
        return float(nearest_distances(scene.made.features, scene.real.features)[0].mean())

    stage = Stage(scene)
    found = exchange(score(reached), stage, reached(scene))
    assert found.rewarded and found.leaked < 0.9 * found.other
    turned_round = exchange(score(reached, higher_is_better=True), stage, reached(scene))
    assert not turned_round.rewarded and turned_round.leaked == found.leaked

    def patients(scene):  # gains from any other tiles as much
        return float(len(np.unique(scene.made.patients)))

    more = exchange(score(patients, higher_is_better=True), stage, patients(scene))
    assert more.leaked == more.other == 24 and not more.rewarded
    assert not exchange(score(lambda s: 1.0), stage, 1.0).rewarded


def test_patients_are_the_reason_only_where_they_are_few_and_the_effect_is_near(result):
    assert "with 12 patients" in measured_reason("misses", 0.8, 12)
    assert "patients" not in measured_reason("misses", 0.8, 192)
    for worse in (0.1, -0.1):
        assert measured_reason("misses", worse, 12).endswith("half width, or not at all")
    assert measured_reason("wrong way", -3.0, 12) == "it gets better"
    # Tiles without patients: what was found of the phantom's twelve is not said of them.
    assert [r for r in result.claimed if not r.met]
    assert all(bool(r.reason) == (not r.met) for r in result.claimed)
    assert "patients" not in text_reasons(result)


def test_a_claim_that_is_not_met_stands_in_one_list_and_the_page_says_where_it_was_measured(result):
    lists = (unmet(result), limits(result))
    listed = [
        (label, fault)
        for reasons in lists
        for _, of_scores in reasons
        for label, faults in of_scores
        for fault in faults
    ]
    labels = {score.name: score.label for score in result.scores}
    broken = [(labels[r.score], r.fault) for r in result.claimed if not r.met]
    assert sorted(listed) == sorted(broken) and ("Density", "averages") in broken
    page = render_selftest(result, about="images", encoder="texture")
    assert "by limits measured on phantom tiles</h3>" in page
    counts = [sum(len(own) for _, found in part for _, own in found) for part in lists]
    assert f"{counts[1]} by limits measured on phantom tiles, {counts[0]} by what" in page


def test_no_claim_that_the_phantom_meets_clearly_is_excused(scene):
    names = ("frechet_distance", "kernel_distance", "precision", "density", "recall", "vendi")
    chosen = ["mode dropped", "spread narrowed", "averages", "mode invented", "JPEG", "colour cast"]
    found = self_test(scene, scores=[SCORES[name] for name in names], faults=chosen)
    clear = {(r.score, r.fault) for r in found.claimed if r.met and abs(r.change) > 1.4}
    assert len(clear) > 15 and not clear & KNOWN


def test_the_help_names_as_many_images_as_it_takes(scene, tmp_path):
    assert f"{LEAST_IMAGES} or more" in " ".join(build_parser().format_help().split())
    for count, enough in ((LEAST_IMAGES, True), (LEAST_IMAGES - 1, False)):
        real, made, train = (len(rows) for rows in thirds(np.arange(count).astype(str), seed=0))
        assert (min(real, round(2 / 3 * made), train) >= LEAST) == enough
    for i, image in enumerate(scene.made.images[:50]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    with pytest.raises(InputError, match=f"50 images are too few.*{LEAST_IMAGES}"):
        main(build_parser().parse_args(["--images", str(tmp_path)]))
    with pytest.raises(InputError, match="name them by --images"):
        main(build_parser().parse_args(["--labels"]))
