"""Claims about the phantom: reproducible, readable as real slides, and what its settings say."""

import csv
from types import SimpleNamespace

import numpy as np
import openslide
import pytest
import tifffile

from histosynth.slides.phantom import PHANTOM_CLASSES, render_slide, write_phantom_cohort
from histosynth.slides.phantom_tiff import write_pyramid

SIZE = {"width": 512, "height": 384}


def render(**changes):
    settings = {"mpp": 1.0, "seed": 0, "site": 0, "patient": 0, "difficulty": 0.5}
    return render_slide(SIZE["width"], SIZE["height"], **(settings | changes))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    settings = SimpleNamespace(
        patients=6, sites=2, slides_per_patient=2, mpp=1.0, seed=3, difficulty=0.5, **SIZE
    )
    table = write_phantom_cohort(tmp_path_factory.mktemp("phantom"), settings, progress=False)
    with table.open(newline="", encoding="utf-8") as handle:
        return table, list(csv.DictReader(handle)), settings


def test_same_arguments_give_the_same_pixels():
    image, mask = render()
    again, mask_again = render()
    assert image.dtype == mask.dtype == np.uint8
    assert image.shape == (384, 512, 3) and mask.shape == (384, 512)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)


@pytest.mark.parametrize("change", [{"seed": 1}, {"patient": 1}, {"slide": 1}])
def test_seed_patient_and_slide_number_each_give_other_tissue(change):
    assert (render()[1] != render(**change)[1]).mean() > 0.2


def test_site_changes_the_stain_and_not_the_tissue():
    image, mask = render(site=0)
    other, other_mask = render(site=1)
    np.testing.assert_array_equal(mask, other_mask)
    assert np.abs(image.astype(int) - other).mean() > 3


def test_openslide_reads_size_levels_resolution_and_exact_pixels(cohort):
    table, rows, settings = cohort
    row = rows[3]
    image, mask = render_slide(
        settings.width, settings.height, mpp=1.0, seed=3, site=1, patient=1, difficulty=0.5, slide=1
    )
    with openslide.OpenSlide(table.parent / row["image"]) as slide:
        assert slide.dimensions == (512, 384)
        assert slide.level_dimensions == ((512, 384), (256, 192))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(1.0, rel=1e-6)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(1.0, rel=1e-6)
        read = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
        small = np.asarray(slide.read_region((0, 0), 1, (256, 192)))[..., :3]
    np.testing.assert_array_equal(read, image)
    mean = image.reshape(192, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - mean).max() <= 0.5  # half a grey level: rounding
    np.testing.assert_array_equal(tifffile.imread(table.parent / row["annotation"]), mask)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_pyramid_of_odd_size_opens_at_its_resolution(tmp_path, mpp):
    pixels = np.random.default_rng(0).integers(0, 256, (701, 1301, 3), dtype=np.uint8)
    write_pyramid(tmp_path / "odd.tiff", pixels, mpp=mpp)
    with openslide.OpenSlide(tmp_path / "odd.tiff") as slide:
        assert slide.level_dimensions == ((1301, 701), (650, 350), (325, 175))
        assert slide.level_downsamples == pytest.approx((1, 2, 4), rel=0.01)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(mpp, rel=1e-6)
        read = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    np.testing.assert_array_equal(read, pixels)


def test_masks_hold_known_classes_and_the_cohort_holds_all(cohort):
    table, rows, _ = cohort
    seen = np.zeros(256, int)
    for row in rows:
        mask = tifffile.imread(table.parent / row["annotation"])
        seen += np.bincount(mask.ravel(), minlength=256)
    share = seen[: len(PHANTOM_CLASSES)] / seen.sum()
    assert seen[len(PHANTOM_CLASSES) :].sum() == 0
    assert (share > 0.02).all(), dict(zip(PHANTOM_CLASSES, share, strict=True))


def test_cohort_table_names_existing_files_by_patient_and_site(cohort):
    table, rows, _ = cohort
    assert list(rows[0]) == ["slide_id", "patient_id", "site", "image", "annotation"]
    assert len({row["slide_id"] for row in rows}) == len(rows) == 12
    assert len({row["patient_id"] for row in rows}) == 6
    assert len({(row["patient_id"], row["site"]) for row in rows}) == 6  # one site a patient
    assert {row["site"] for row in rows} == {"site0", "site1"}
    for row in rows:
        assert (table.parent / row["image"]).is_file()
        assert (table.parent / row["annotation"]).is_file()


def test_sites_differ_in_stain_more_than_slides_of_a_site_do(cohort):
    table, rows, _ = cohort
    directions = {"site0": [], "site1": []}
    for row in rows:
        image = tifffile.imread(table.parent / row["image"], key=0)
        mask = tifffile.imread(table.parent / row["annotation"])
        # Stroma alone, so that the stain is compared and not which tissue a slide happens to hold.
        density = -np.log(np.maximum(image[mask == 1].astype(float), 1) / 255).mean(axis=0)
        directions[row["site"]].append(density)
    first, second = (np.array(values) for values in directions.values())
    between = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    within = [
        np.linalg.norm(values - values.mean(axis=0), axis=1).mean() for values in (first, second)
    ]
    assert between > 1.5 * max(within)


def test_tissue_lies_within_glass_and_absorbs_more_than_it():
    image, mask = render_slide(1024, 768, mpp=1.0, seed=0, site=0, patient=0, difficulty=0.5)
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert (border == 0).mean() > 0.8
    brightness = {name: image[mask == value].mean() for value, name in enumerate(PHANTOM_CLASSES)}
    assert brightness["background"] > brightness["fat"] > brightness["stroma"]
    assert brightness["stroma"] > brightness["tumour"]
    assert brightness["stroma"] > brightness["lymphocytes"]


def test_structures_keep_their_physical_size_at_another_resolution():
    coarse = render_slide(512, 384, mpp=2.0, seed=0, site=0, patient=0, difficulty=0.5)[1]
    fine = render_slide(1024, 768, mpp=1.0, seed=0, site=0, patient=0, difficulty=0.5)[1]

    def glands(mask, mpp):
        from skimage.measure import label, regionprops

        areas = [r.area * mpp**2 for r in regionprops(label(mask == 2)) if r.area * mpp**2 > 2000]
        return np.sqrt(np.median(areas) * 4 / np.pi)

    # Equivalent diameters; the draws differ, the range of a gland (60-150 um) does not.
    assert 60 < glands(coarse, 2.0) < 150
    assert 60 < glands(fine, 1.0) < 150


def test_zero_and_full_difficulty_render():
    for difficulty in (0.0, 1.0):
        image, mask = render(difficulty=difficulty)
        assert image.std() > 10 and len(np.unique(mask)) >= 3
