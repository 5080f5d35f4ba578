"""Which differences are real, from the metrics files alone."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import yaml
from conftest import ROOT

from histosynth.errors import InputError
from histosynth.evaluations.comparison import (
    compare,
    compare_rows,
    read_comparison,
    write_comparison,
)
from histosynth.evaluations.rows import Scored, write_rows
from histosynth.metrics import Contributions, Interval, cluster_bootstrap, holm

PATIENTS = np.arange(12)
RNG = np.random.default_rng(0)
HARD = RNG.normal(size=12)  # what every condition finds hard
NOISE = {name: 0.1 * RNG.normal(size=12) for name in ("map", "label", "plain", "real")}


def write(
    folder, condition, metric, gain, *, group="adherence", seed=0, arm="", protocol=1, error=True
):
    """A metrics file with one score, whose patients vary far more than the conditions do."""
    scored = Scored("study", condition, seed, "x", group)
    values = HARD + NOISE[condition] + gain
    interval = cluster_bootstrap(values, PATIENTS, n_resamples=50)
    if not error:
        interval = Interval(interval.value)
    place = {"encoder": "texture"} if group == "fidelity" else {"arm": arm}
    rows = [scored.row(metric, interval, protocol={"n": protocol}, **place)]
    path = folder / condition / f"seed{seed}" / f"{group}{arm}.json"
    write_rows(path, rows, seconds=1, versions={}, protocols=scored.protocols)
    return path


def test_pairs_are_tested_by_patient_and_corrected_for_one_another(tmp_path):
    gains = {"map": 0.5, "label": 0.1, "plain": 0.05}
    files = [write(tmp_path, name, "map_iou", gain) for name, gain in gains.items()]
    made = compare(files, ["map", "label", "plain"])
    assert [(r.first, r.second) for r in made] == [
        ("map", "label"),
        ("map", "plain"),
        ("label", "plain"),
    ]
    scores = {name: HARD + NOISE[name] + gain for name, gain in gains.items()}
    expected = [scipy.stats.ttest_rel(scores[r.first], scores[r.second]).pvalue for r in made]
    # Parts are kept to six digits.
    assert [r.p for r in made] == pytest.approx(expected, rel=1e-3)
    assert [r.p_holm for r in made] == pytest.approx(holm(np.array(expected)), rel=1e-3)
    assert [r.better for r in made] == ["map", "map", ""]
    assert {r.pairs for r in made} == {3}
    # A distance is better where it is smaller.
    files = [write(tmp_path, n, "frechet_distance", g, group="fidelity") for n, g in gains.items()]
    assert [r.better for r in compare(files, list(gains))] == ["label", "plain", ""]


def test_numbers_of_two_protocols_or_of_unknown_error_are_not_compared(tmp_path):
    files = [
        write(tmp_path, "map", "map_iou", 0.5),
        write(tmp_path, "label", "map_iou", 0.0, protocol=2),
        write(tmp_path, "plain", "map_iou", 0.0, error=False),
    ]
    made = compare(files, ["map", "label", "plain"])
    assert [row.status for row in made] == ["not_applicable"] * 3
    assert "protocols" in made[0].reason and "no error" in made[1].reason
    assert all(np.isnan(row.p_holm) and row.better == "" for row in made)


def test_seeds_are_averaged_and_what_is_left_out_is_not_compared(tmp_path):
    files = [write(tmp_path, "map", "map_iou", 0.5 + s / 10, seed=s) for s in range(3)]
    files += [write(tmp_path, "label", "map_iou", 0.0, seed=s) for s in range(3)]
    files += [write(tmp_path, "plain", "map_iou", 0.0)]
    (row,) = compare(files, ["map", "label"])
    # 0.6 up to the noise of 12 patients.
    assert row.difference == pytest.approx(0.6, abs=0.1)
    assert row.seed_sd == pytest.approx(0.1) and (row.first_seeds, row.second_seeds) == (3, 3)
    (alone,) = compare([files[0], files[3]], ["map", "label"])
    assert np.isnan(alone.seed_sd) and alone.p < row.p  # one seed tells nothing of the others


def test_a_condition_that_was_told_of_the_features_is_in_no_family_of_theirs(tmp_path):
    gains = {"map": 0.5, "label": 0.1, "plain": 0.05}
    files = [write(tmp_path, n, "frechet_distance", g, group="fidelity") for n, g in gains.items()]
    made = {(r.first, r.second): r for r in compare(files, list(gains), told={"texture": {"map"}})}
    for with_map in (("map", "label"), ("map", "plain")):
        row = made[with_map]
        assert (row.status, row.better) == ("not_applicable", "") and np.isnan(row.p_holm)
        assert "told of features" in row.reason
    left = made["label", "plain"]
    assert left.pairs == 1 and left.p_holm == left.p  # nothing to correct for
    others = compare(files, list(gains), told={"random": {"map"}})
    assert {row.pairs for row in others} == {3}


def auc(condition, parts, *, value, half):
    """A row of the classifier's AUC with an interval of that half-width."""
    scored = Scored("study", condition, 0, condition, "fidelity")
    error = Contributions(dict(zip("abcdefgh", parts, strict=True)))
    interval = Interval(value, value - half, value + half, contributions=error)
    return scored.row("classifier_auc", interval, protocol={}, encoder="texture")


def test_an_auc_below_chance_is_no_better_than_chance():
    parts = 0.001 * RNG.normal(size=(4, 8))
    values = {"below": (0.3, 0.01), "about": (0.52, 0.03), "above": (0.6, 0.01), "far": (0.9, 0.01)}
    rows = [
        auc(name, own, value=value, half=half)
        for (name, (value, half)), own in zip(values.items(), parts, strict=True)
    ]
    made = {(r.first, r.second): r for r in compare_rows(rows, list(values))}
    assert made["below", "about"].status == "not_applicable"
    assert "0.5, which is chance" in made["below", "about"].reason
    # From 0.5 on, not from 0.3.
    assert made["below", "above"].difference == pytest.approx(-0.1)
    assert made["above", "far"].difference == pytest.approx(-0.3)
    better = {names: row.better for names, row in made.items()}
    assert better == {
        ("below", "about"): "",
        ("below", "above"): "below",
        ("below", "far"): "below",
        ("about", "above"): "about",
        ("about", "far"): "about",
        ("above", "far"): "above",
    }


def test_training_on_synthetic_tiles_is_held_against_training_on_real_ones(tmp_path):
    files = [write(tmp_path, "real", "downstream_iou", 0.0, group="utility", arm="real")]
    for name, gain in (("map", 0.4), ("label", 0.0)):
        files.append(write(tmp_path, name, "downstream_iou", gain, group="utility", arm="mixed"))
    made = compare(files, ["map", "label"])
    against = {row.first: row for row in made if row.second == "real"}
    assert against["map"].better == "map" and against["label"].better == ""
    assert [row.pairs for row in made] == [1, 2, 2]  # two families


def test_comparisons_are_read_as_they_were_written_and_the_script_makes_them(tmp_path):
    files = [write(tmp_path, "map", "map_iou", 0.5), write(tmp_path, "label", "map_iou", 0.0)]
    made = compare(files, ["map", "label"])
    write_comparison(tmp_path / "own.json", made)
    (read,) = read_comparison(tmp_path / "own.json")
    assert repr(read) == repr(made[0])  # NaN and all
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, ROOT / "scripts" / "comparison.py"]
    command += ["--config", tmp_path / "config.yaml", "--metrics", *files]
    subprocess.run([*command, "--output", tmp_path / "made.json"], check=True, cwd=tmp_path)
    # The study lists `label` before `map`: the same pair, turned round.
    (row,) = read_comparison(tmp_path / "made.json")
    assert (row.first, row.second, row.better) == ("label", "map", "map")
    assert row.difference == -made[0].difference


def test_files_that_are_something_else_are_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"rows": [{"status": "ok"}]}')
    with pytest.raises(InputError, match=r"x\.json: not a metrics file"):
        compare([path], ["map"])
    with pytest.raises(InputError, match=r"x\.json: not a file of comparisons"):
        read_comparison(path)
