"""Tissue statistics against oracles: stains unmixed, nuclei counted, planted changes seen."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from report_files import Page
from scipy.stats import ttest_ind, wasserstein_distance

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.evaluations.rows import HIGHER_IS_BETTER, Scored, write_rows
from histosynth.evaluations.tissue import TISSUE_METRICS, tissue_of_files
from histosynth.evaluations.tissue_sides import resolution
from histosynth.judges.judge import load_judge, make_judge
from histosynth.metrics import cohens_d, histogram_distance, jackknife_interval
from histosynth.nuclei import NucleusRule, count_and_areas, nucleus_labels, nucleus_rule
from histosynth.report import tissue as report
from histosynth.report.cells import Cell, Column, flagged
from histosynth.report.collect import collect
from histosynth.report.densities import Histogram, common_frame
from histosynth.report.leaderboard import main_columns
from histosynth.report.pages import render
from histosynth.slides import phantom_cells
from histosynth.slides.phantom import render_slide
from histosynth.slides.phantom_layout import lay_out
from histosynth.stains import STAINS, optical_density, stain_amounts
from histosynth.tilesets import TileSet, TileSetWriter
from histosynth.tissue_statistics import EDGES, class_shares, measure_tiles

SIDE, WIDTH, MPP = 64, 384, 1.0
STUDY = {
    "study": "tiny",
    "cohort": {"kind": "phantom"},
    "tiling": {"size": SIDE},
    "encoders": {"texture": {"kind": "texture"}},
    "conditions": {"plain": {"signals": []}},
    "sampling": {"n": 300},
    "evaluation": {"encoders": ["texture"], "min_tiles": 20},
}


def image_of(hematoxylin, eosin):
    """Light through given amounts of the two stains, as the module's own law says, in 8 bits."""
    amounts = np.stack(np.broadcast_arrays(hematoxylin, eosin), axis=-1)
    return np.round(255 * 10 ** -(amounts @ STAINS)).clip(0, 255).astype(np.uint8)


def test_unmixing_is_the_inverse_of_the_stains_with_a_third_across_both():
    image = np.random.default_rng(0).integers(1, 256, (8, 8, 3), dtype=np.uint8)
    across = np.cross(STAINS[0], STAINS[1])
    matrix = np.stack([*STAINS, across / np.linalg.norm(across)])
    expected = -np.log10(image / 255) @ np.linalg.inv(matrix)
    found = stain_amounts(optical_density(image))
    np.testing.assert_allclose(found, expected[..., :2], atol=1e-5)  # float32


def test_unmixing_agrees_with_scikit_image_where_there_is_no_third_stain():
    from skimage.color import rgb2hed

    image = image_of(np.linspace(0, 0.7, 12)[:, None], np.linspace(0, 0.7, 12))
    theirs = rgb2hed(image) * 6  # theirs is in units of -log10(1e-6)
    ours = stain_amounts(optical_density(image))
    # Their colours are not of unit length, ours are; 8 bits round dark pixels by about 0.01.
    lengths = np.linalg.norm([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], axis=1)
    np.testing.assert_allclose(ours, theirs[..., :2] * lengths, atol=0.02)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 0.8), st.floats(0, 0.8))
def test_the_amounts_that_made_a_pixel_are_found_again(hematoxylin, eosin):
    found = stain_amounts(optical_density(image_of(hematoxylin, eosin)))
    np.testing.assert_allclose(found, [hematoxylin, eosin], atol=0.03)  # 8 bits


def discs(places, radius, *, side=120, dark=0.75):
    """Dark round nuclei of this radius (pixels) on pale pink tissue."""
    rows, columns = np.mgrid[:side, :side]
    amount = np.full((side, side), 0.08)
    for row, column in places:
        amount[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = dark
    return image_of(amount, 0.25)


def test_single_discs_are_counted_and_measured():
    places = [(20, 20), (20, 60), (60, 25), (60, 90), (95, 55)]
    image = discs(places, 7)
    count, areas = count_and_areas(nucleus_labels(image, nucleus_rule([image], 0.5)))
    assert count == 5
    np.testing.assert_allclose(areas, np.pi * 7**2, rtol=0.15)  # a rim of half a pixel is 14 %


@pytest.mark.parametrize("gap", [1.5, 1.7, 2.0])
def test_touching_discs_are_parted(gap):
    """Centres `gap` radii apart: at 2 they touch, at 1.5 they share a fifth of their areas."""
    radius = 8
    places = [(30, 30), (30, 30 + gap * radius), (80, 70), (80 + gap * radius, 70)]
    image = discs(places, radius)
    count, areas = count_and_areas(nucleus_labels(image, nucleus_rule([image], 0.5)))
    assert count == 4
    assert np.ptp(areas) < 0.3 * areas.mean()


def test_a_nucleus_cut_by_the_lower_or_right_edge_is_left_to_the_next_tile():
    labels = np.zeros((20, 20), int)
    labels[0:4, 5:9] = 1  # cut above: counted, but not seen whole
    labels[8:12, 8:12] = 2
    labels[16:20, 8:12] = 3
    labels[8:12, 17:20] = 4
    count, areas = count_and_areas(labels)
    assert count == 2 and areas.tolist() == [16]


def test_a_tiling_counts_each_nucleus_once():
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(12, 230, 24), np.arange(12, 230, 24)), -1).reshape(-1, 2)
    image = discs(grid + rng.uniform(-3, 3, grid.shape), 6, side=240)
    rule = nucleus_rule([image], 0.5)
    tiles = [image[y : y + 60, x : x + 60] for y in range(0, 240, 60) for x in range(0, 240, 60)]
    counted = sum(count_and_areas(nucleus_labels(tile, rule))[0] for tile in tiles)
    # What is left of a nucleus in the next tile may be too small to be one.
    assert len(grid) * 0.9 <= counted <= len(grid)


def test_tissue_without_nuclei_has_none():
    with_nuclei = discs([(30, 30), (80, 80)], 7)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, (120, 120))
    bare = image_of(0.1 + noise, 0.3)
    glass = np.full((120, 120, 3), 245, np.uint8)
    rule = nucleus_rule([with_nuclei, bare], 0.5)
    assert nucleus_labels(bare, rule).max() == 0
    assert nucleus_labels(glass, rule).max() == 0


def phantom_nuclei(width, mpp, patient, *, seed, difficulty):
    """Centres (n, 2) in pixels of all nuclei that `render_slide` draws."""
    geometry, content, _ = np.random.default_rng([seed, patient, 0]).spawn(3)
    layout = lay_out(geometry, (width, width), mpp=mpp, difficulty=difficulty)
    streams = content.spawn(12)
    flat = np.zeros((width, width))  # the fibres turn nuclei, but do not move them
    drawn = (
        phantom_cells.stromal_nuclei(streams[7], layout, flat, mpp=mpp),
        phantom_cells.lymphocytes(streams[8], layout, mpp=mpp, difficulty=difficulty),
        phantom_cells.tumour_nuclei(streams[9], layout, mpp=mpp, difficulty=difficulty),
        phantom_cells.gland_nuclei(streams[10], layout.glands),
    )
    return np.concatenate([cells.centre for cells in drawn]) / mpp


@pytest.mark.parametrize("mpp", [0.8, 2.0])
def test_nuclei_of_a_phantom_slide_are_counted(mpp):
    """Crowded, overlapping and stained as two laboratories do: counts follow the truth.

    At 0.5 um a pixel, 144 tiles of four patients: correlation 0.90, sum 0.70 of the truth.
    """
    side, width = int(96 / mpp), int(576 / mpp)
    tiles, truth = [], []
    for patient in (0, 1):
        options = {"seed": 5, "difficulty": 0.5}
        image, _ = render_slide(width, width, mpp=mpp, site=patient, patient=patient, **options)
        tile_of = phantom_nuclei(width, mpp, patient, **options) // side
        for y in range(width // side):
            for x in range(width // side):
                tiles.append(image[y * side : (y + 1) * side, x * side : (x + 1) * side])
                truth.append((tile_of == [y, x]).all(axis=1).sum())
    rule = nucleus_rule(tiles, mpp)
    found = measure_tiles(tiles, rule).values["nuclei_count"]
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert 0.7 < found.sum() / np.sum(truth) < 1.1  # overlapping ones merge, cut ones are left out


def tissue(patients):
    """Tiles of phantom slides as (patient, image)."""
    for patient in patients:
        options = {"mpp": MPP, "seed": 5, "site": patient % 2, "difficulty": 0.4}
        image, mask = render_slide(WIDTH, WIDTH, patient=patient, **options)
        for y in range(0, WIDTH, SIDE):
            for x in range(0, WIDTH, SIDE):
                if (mask[y : y + SIDE, x : x + SIDE] > 0).mean() > 0.5:
                    yield f"p{patient}", image[y : y + SIDE, x : x + SIDE]


def write(folder, tiles, *, mpp=MPP, maps=(), classes=()):
    with TileSetWriter(folder, classes=classes) as writer:
        for i, (patient, image) in enumerate(tiles):
            row = {"tile_id": f"t{i}", "slide_id": patient, "patient_id": patient, "mpp": mpp}
            writer.add(image, row, maps[i] if len(maps) else None)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sets") / "real", tissue(range(6)))


def scores(real, made, *, judge=None, **study):
    scored = Scored("tiny", "plain", 0, "synthetic/plain/seed0", "tissue")
    rows, facts = tissue_of_files(
        scored, Study.parse(STUDY | study), real=real, made=made, judge=judge
    )
    return {(row.metric, row.subset): row for row in rows}, facts


def changed(folder, real, change, **options):
    """The real set with every image changed."""
    tiles = TileSet.open(real)
    patients = tiles.table["patient_id"]
    images = ((patients[i], change(tiles.image(i))) for i in range(len(tiles)))
    return write(folder, images, **options)


def restained(image, factor):
    """The image with its haematoxylin multiplied, all else as it was."""
    density = optical_density(image).astype(float)
    density += (factor - 1) * stain_amounts(density)[..., :1] * STAINS[0]
    return np.round(255 * 10**-density).clip(0, 255).astype(np.uint8)


def without_nuclei(image, rule):
    """The image with its nuclei painted over in the colour of its other tissue."""
    nuclei = nucleus_labels(image, rule) > 0
    grown = nuclei.copy()
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        grown |= np.roll(nuclei, shift, (0, 1))
    painted = image.copy()
    if (~grown).any():
        painted[grown] = np.median(image[~grown], axis=0)
    return painted


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
    same, _ = scores(folders["real"], folders["real"], judge=judge, **study)
    assert same["class_area_d", "class=tumour"].value == 0


def test_without_classes_their_rows_say_why(real):
    rows, _ = scores(real, real)
    assert rows["class_entropy_d", "all"].status == "not_applicable"
    assert "no classes" in rows["class_entropy_d", "all"].reason


def test_class_shares_add_up_to_the_pixels_of_each_class():
    maps = np.random.default_rng(0).integers(0, 3, (5, 8, 8), dtype=np.uint8)
    shares = class_shares(maps, 4)
    assert shares.shape == (5, 4)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[2, 1] == np.count_nonzero(maps[2] == 1) / 64


def test_cohens_d_is_the_t_statistic_scaled():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=30), rng.normal(0.7, 1.5, size=45)
    t = ttest_ind(y, x).statistic  # equal variances: the pooled one
    assert cohens_d(x, y) == pytest.approx(t * np.sqrt(1 / 30 + 1 / 45), rel=1e-12)
    both = cohens_d(np.stack([x, -x], 1), np.stack([y, -y], 1))
    np.testing.assert_allclose(both, [both[0], -both[0]])
    assert np.isnan(cohens_d(np.full(9, 0.1), np.full(7, 0.3))) and np.isnan(cohens_d([1.0], x))


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(np.int64, 12, elements=st.integers(0, 50)),
    arrays.arrays(np.int64, 12, elements=st.integers(0, 50)),
)
def test_histogram_distance_is_scipys_of_the_bins(a, b):
    if not a.any() or not b.any():
        assert np.isnan(histogram_distance(a, b, width=0.1))
        return
    bins = np.arange(12) * 0.1
    expected = wasserstein_distance(bins, bins, a, b)
    assert histogram_distance(a, b, width=0.1) == pytest.approx(expected, abs=1e-12)
    assert histogram_distance(a, a, width=0.1) == 0


@pytest.mark.parametrize("shared", [True, False])
def test_the_interval_covers_a_known_effect(shared):
    """Eight patients who differ by as much as their tiles do; requests from them, or not."""
    rng = np.random.default_rng(0)
    patient = np.arange(160) % 8
    names = np.array([f"p{p}" for p in range(16)])
    others = patient if shared else patient + 8
    covered = []
    for _ in range(300):
        level = rng.normal(size=16) * 0.7
        x = rng.normal(level[patient], 0.7)[:, None]
        y = rng.normal(level[others] + 0.5, 0.7)[:, None]
        found = jackknife_interval(
            x,
            y,
            real_groups=names[patient],
            synthetic_groups=names[others],
            statistic=lambda a, b: float(cohens_d(a, b)[0]),
        )
        truth = 0.5 / np.hypot(0.7, 0.7)
        covered.append(found.ci_low <= truth <= found.ci_high)
    assert 0.9 <= np.mean(covered) <= 0.99


def test_values_beyond_the_bins_are_counted_at_the_ends():
    dark, glass = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    found = measure_tiles([dark, glass], None).histograms["od_eosin"]
    assert found.sum(axis=1).tolist() == [16, 16] and found.shape == (2, len(EDGES["od_eosin"]) - 1)


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


def test_a_rule_without_resolution_measures_in_pixels():
    assert NucleusRule(0.4, None).area_unit == "pixels" and NucleusRule(0.4, 0.5).area_unit == "µm²"


def test_sets_of_two_tile_sizes_are_refused(tmp_path, real):
    small = changed(tmp_path / "small", real, lambda image: image[:32, :32])
    rows, _ = scores(real, small)
    assert "tile size" in rows["od_eosin_d", "all"].reason
    with pytest.raises(InputError, match="not a tile set"):
        TileSet.open(tmp_path / "nothing")


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
    heads, means = report.means(results)
    told = {name: dict(zip(heads, values, strict=True)) for name, values in means}
    counts = {name: float(values["nuclei a tile"].split()[0]) for name, values in told.items()}
    assert counts["bare"] < counts["plain"] / 2 and counts["plain"] == counts[report.TEST]


def test_what_has_no_tissue_statistics_is_said_to_have_none(page):
    results, _ = page
    told = report.notes(report.tables_of(results))
    names = {name for name, reason in told if "no result file" in reason}
    assert names == {"real", "autoencoder"}


def test_effects_rank_nobody_and_are_flagged_where_beyond_doubt(page):
    assert "tissue" not in {column.group for column in main_columns(page[0])}
    column = Column("tissue", "od_eosin_d")
    assert column.expected == 0 and Column("tissue", "od_eosin_w1").expected is None
    for low, high, flag in ((0.25, 0.4, True), (-0.6, -0.3, True), (0.1, 0.9, False)):
        cell = Cell("ok", value=(low + high) / 2, ci_low=low, ci_high=high)
        assert bool(flagged(cell, column).flag) == flag


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
