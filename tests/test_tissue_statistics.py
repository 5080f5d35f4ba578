"""Tissue statistics: what was changed in a set is seen, and nothing else."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from conftest import ROOT
from tissue_sets import (
    MPP,
    STUDY,
    changed,
    discs,
    image_of,
    scores,
    tissue,
    without_nuclei,
    write,
)

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.evaluations.rows import HIGHER_IS_BETTER
from histosynth.evaluations.tissue import TISSUE_METRICS
from histosynth.evaluations.tissue_sides import resolution
from histosynth.judges.judge import load_judge, make_judge
from histosynth.nuclei import nucleus_rule
from histosynth.stains import STAINS, optical_density, stain_amounts
from histosynth.tilesets import TileSet


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sets") / "real", tissue(range(6)))


def restained(image, factor):
    """The image with its haematoxylin multiplied, all else as it was."""
    density = optical_density(image).astype(float)
    density += (factor - 1) * stain_amounts(density)[..., :1] * STAINS[0]
    return np.round(255 * 10**-density).clip(0, 255).astype(np.uint8)


def test_identical_sets_differ_by_nothing_and_the_interval_says_so(real):
    rows, _ = scores(real, real)
    for metric in (m for m in TISSUE_METRICS if not m.startswith("class_")):
        row = rows[metric, "all"]
        assert row.status == "ok" and row.value == 0 == row.n_real - row.n_synthetic, metric
        # Leaving out a patient of both sides changes nothing: there is no error to be seen.
        assert row.se == 0 and not (row.ci_low > 0 or row.ci_high < 0), metric


def test_other_tiles_of_the_same_patients_are_within_the_interval(tmp_path, real):
    tiles = TileSet.open(real)
    halves = []
    for start in (0, 1):
        rows = range(start, len(tiles), 2)
        images = ((tiles.table["patient_id"][i], tiles.image(i)) for i in rows)
        halves.append(write(tmp_path / f"half{start}", images))
    rows, _ = scores(*halves)
    effects = [r for (m, _), r in rows.items() if m.endswith("_d") and r.status == "ok"]
    assert sum(row.ci_low <= 0 <= row.ci_high for row in effects) >= 5 and len(effects) == 6


def test_tiles_of_other_patients_are_within_the_interval(tmp_path, real):
    rows, _ = scores(real, write(tmp_path / "other", tissue(range(10, 16))))
    effects = [r for (m, _), r in rows.items() if m.endswith("_d") and r.status == "ok"]
    assert len(effects) == 6
    assert sum(row.ci_low <= 0 <= row.ci_high for row in effects) >= 5  # each misses 1 in 20


def test_more_hematoxylin_is_seen_as_such_and_leaves_nuclei_alone(tmp_path, real):
    made = changed(tmp_path / "made", real, lambda image: restained(image, 1.1))
    rows, facts = scores(real, made)
    stain = rows["od_hematoxylin_d", "all"]
    assert stain.value > 0.1 and stain.ci_low > 0
    means = facts["means"]["od_hematoxylin"]
    assert means["made"][0] / means["real"][0] == pytest.approx(1.1, abs=0.01)
    shift = means["made"][0] - means["real"][0]  # each value moves up: the way is the mean's
    assert rows["od_hematoxylin_w1", "all"].value == pytest.approx(shift, rel=0.1)
    assert abs(rows["od_eosin_d", "all"].value) < 0.05
    assert abs(rows["nuclei_count_d", "all"].value) < 0.1


def test_larger_nuclei_are_seen_and_the_means_are_over_nuclei(tmp_path):
    def drawn(radius, seed):
        random = np.random.default_rng(seed)
        for i in range(60):
            places = np.array([(16, 16), (16, 48), (48, 16), (48, 48)])[: 1 + i % 4]
            places = places + random.integers(-2, 3, places.shape)
            yield f"p{i % 6}", discs(places, radius + random.uniform(-1.5, 1.5), side=64)

    folders = [write(tmp_path / str(r), drawn(r, r)) for r in (6, 8)]
    rows, facts = scores(*folders)
    means = facts["means"]["nuclei_area"]
    for who, radius in (("real", 6), ("made", 8)):
        area = np.pi * radius**2
        assert means[who][0] == pytest.approx(area, rel=0.2)  # a rim of half a pixel is 17 %
        assert sum(facts["histograms"]["nuclei_area"][who]) > 150  # what 60 tiles' nuclei stand for
    assert rows["nuclei_area_d", "all"].ci_low > 0.8
    shift = means["made"][0] - means["real"][0]
    assert rows["nuclei_area_w1", "all"].value == pytest.approx(shift, abs=5)  # one bin


def test_missing_nuclei_are_seen(tmp_path, real):
    tiles = TileSet.open(real)
    rule = nucleus_rule(tiles.images(), MPP)
    made = changed(tmp_path / "made", real, lambda image: without_nuclei(image, rule))
    rows, _ = scores(real, made)
    count = rows["nuclei_count_d", "all"]
    assert count.value < -0.8 and count.ci_high < 0
    assert rows["od_hematoxylin_d", "all"].value < 0


def test_blur_lowers_the_contrast_of_stain_within_tiles(tmp_path, real):
    from scipy.ndimage import gaussian_filter

    made = changed(tmp_path / "made", real, lambda image: gaussian_filter(image, (2, 2, 0)))
    rows, _ = scores(real, made)
    assert rows["od_hematoxylin_sd_d", "all"].ci_high < 0
    assert abs(rows["od_hematoxylin_d", "all"].value) < 0.2


def test_resolution_decides_what_can_be_said_of_nuclei(tmp_path, real):
    def at(name, mpp):
        return changed(tmp_path / name, real, lambda image: image, mpp=mpp)

    coarse = at("coarse", 2.5)
    rows, facts = scores(coarse, coarse)
    absent = rows["nuclei_count_d", "all"]
    assert absent.status == "not_applicable" and "3 pixels wide" in absent.reason
    assert rows["od_eosin_d", "all"].status == "ok" and facts["rule"] is None
    rows, _ = scores(at("rough", 1.5), tmp_path / "rough")
    assert "areas rough" in rows["nuclei_area_d", "all"].reason
    unknown = at("unknown", None)
    assert resolution(TileSet.open(unknown)) is None
    rows, _ = scores(unknown, unknown)
    assert "in pixels" in rows["nuclei_area_d", "all"].reason
    assert "counts may be half or twice" in rows["nuclei_count_d", "all"].reason
    rows, _ = scores(real, coarse)
    row = rows["nuclei_count_d", "all"]
    assert row.status == "failed" and "2.5 um a pixel" in row.reason and str(real) in row.reason


def test_too_few_tiles_are_named(tmp_path, real):
    rows, _ = scores(real, write(tmp_path / "few", itertools.islice(tissue([0]), 5)))
    assert {row.status for row in rows.values()} == {"failed"}
    assert "5 tiles are too few" in rows["od_eosin_d", "all"].reason


CLASSES = ("stroma", "tumour")


def two_tissues(count, *, tumour, seed):
    """Tiles whose lower part, `tumour` of them on average, is bluer; with their maps."""
    rng = np.random.default_rng(seed)
    tiles, maps = [], []
    for i in range(count):
        height = round(32 * np.clip(rng.normal(tumour, 0.15), 0.05, 0.95))
        map = np.zeros((32, 32), np.uint8)
        map[32 - height :] = 1
        amounts = np.where(map, 0.5, 0.1) + rng.normal(0, 0.02, map.shape)
        tiles.append((f"p{i % 6}", image_of(amounts, np.where(map, 0.2, 0.4))))
        maps.append(map)
    return tiles, maps


def test_class_areas_are_read_by_the_judge_on_both_sides(tmp_path):
    named = [{"name": name, "values": [i]} for i, name in enumerate(CLASSES)]
    training = {"model": "resnet18", "depth": 3, "decoder_channels": 16, "steps": 25}
    study = {
        "classes": named,
        "tiling": {"size": 32},
        "judges": {"segmenter": training | {"batch_size": 8, "learning_rate": 3e-3}},
    }
    folders = {}
    for seed, (name, share) in enumerate({"train": 0.5, "real": 0.5, "made": 0.25}.items()):
        tiles, maps = two_tissues(40, tumour=share, seed=seed)
        folders[name] = write(tmp_path / name, tiles, maps=maps, classes=CLASSES)
    train = TileSet.open(folders["train"])
    make_judge("segmenter", train, train, Study.parse(STUDY | study), output=tmp_path / "judge")
    judge = load_judge(tmp_path / "judge")
    rows, facts = scores(folders["real"], folders["made"], judge=judge, **study)
    tumour, stroma = (rows["class_area_d", f"class={name}"] for name in ("tumour", "stroma"))
    assert tumour.ci_high < 0 < stroma.ci_low
    assert facts["means"]["class=tumour"]["real"][0] == pytest.approx(0.5, abs=0.1)
    assert rows["class_entropy_d", "all"].value < 0  # nearer to one class alone
    entropies = facts["histograms"]["all"]
    assert sum(entropies["real"]) == sum(entropies["made"]) == 40
    middles = np.convolve(entropies["edges"], [0.5, 0.5], "valid")
    for who in ("real", "made"):  # to half a bin
        mean = np.average(middles, weights=entropies[who])
        assert mean == pytest.approx(facts["means"]["all"][who][0], abs=np.log(2) / 80)
    same, _ = scores(folders["real"], folders["real"], judge=judge, **study)
    assert same["class_area_d", "class=tumour"].value == 0


def test_without_classes_their_rows_say_why(real):
    rows, _ = scores(real, real)
    assert rows["class_entropy_d", "all"].status == "not_applicable"
    assert "no classes" in rows["class_entropy_d", "all"].reason


def test_the_script_writes_rows_with_directions_and_facts(tmp_path, real):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, ROOT / "scripts" / "tissue.py", "--config", tmp_path / "config.yaml"]
    command += ["--condition", "real", "--real", real, "--synthetic", real]
    command += ["--output", tmp_path / "tissue.json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "tissue.json").read_text())
    assert {row["metric"] for row in content["rows"]} == set(TISSUE_METRICS)
    assert set(TISSUE_METRICS) <= set(HIGHER_IS_BETTER)
    assert len(content["facts"]["examples"]["real"]) == 5
    assert content["facts"]["rule"]["mpp"] == MPP


def test_sets_of_two_tile_sizes_are_refused(tmp_path, real):
    small = changed(tmp_path / "small", real, lambda image: image[:32, :32])
    rows, _ = scores(real, small)
    assert "tile size" in rows["od_eosin_d", "all"].reason
    with pytest.raises(InputError, match="not a tile set"):
        TileSet.open(tmp_path / "nothing")
