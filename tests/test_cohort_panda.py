"""PANDA is read as released: two providers whose mask values differ, slides without masks."""

import shutil

import numpy as np
import pytest
from cohort_files import (
    BENIGN,
    PANDA,
    SIDE,
    grid_of,
    specimen,
    study_of,
    tiles_of,
    write_panda,
)
from slide_files import write_slide

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.chunks import tile_chunk
from histosynth.slides.cohorts import load_cohort

BARE = PANDA[-1][0]  # the slide without a mask


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_panda(tmp_path_factory.mktemp("written") / "panda")


@pytest.fixture
def release(written, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(written, tmp_path / "panda")


def changed(folder, **changes):
    """The study with other settings at its top."""
    settings = study_of("panda", folder).model_dump()
    for name, value in changes.items():
        settings[name] = settings[name] | value if isinstance(value, dict) else value
    return Study.parse(settings)


def edit(folder, old, new):
    path = folder / "train.csv"
    path.write_text(path.read_text().replace(old, new))


def test_slides_come_with_provider_grade_and_mask(written):
    cohort = load_cohort(study_of("panda", written)).set_index("slide_id")
    known = [row for row in PANDA if row[0] != BARE]
    assert cohort.index.tolist() == [row[0] for row in known]
    assert cohort["site"].tolist() == [row[1] for row in known]
    assert cohort["label"].tolist() == [row[2] for row in known]
    name = known[0][0]
    assert cohort["image"][name] == str(written / f"train_images/{name}.tiff")
    assert cohort["annotation"][name] == str(written / f"train_label_masks/{name}_mask.tiff")


def test_the_split_says_that_it_keeps_slides_apart_not_patients(written):
    cohort = load_cohort(study_of("panda", written))
    assert set(cohort["split_unit"]) == {"slide"}
    assert cohort["patient_id"].equals(cohort["slide_id"])


def test_slides_without_a_mask_are_left_out_only_where_a_rule_needs_it(written, capsys):
    assert BARE not in set(load_cohort(study_of("panda", written))["slide_id"])
    assert "1 of 7 slides have no mask; left out" in capsys.readouterr().err
    study = changed(written, tiling={"heterogeneity": None})
    cohort = load_cohort(study).set_index("slide_id")
    assert cohort["annotation"][BARE] == "" and len(cohort) == 7
    assert "1 of 7 slides have no mask; kept, unlabelled" in capsys.readouterr().err


def test_benign_gleason_scores_are_spelled_alike(written):
    scores = ["0+0", "3+3", "3+4", "4+3", "4+4", "4+5"]
    study = study_of("panda", written, label_column="gleason_score").model_dump()
    study["label"]["names"] = scores
    cohort = load_cohort(Study.parse(study)).set_index("slide_id")
    assert cohort["label"].tolist() == ["0+0", "3+3", "4+4", "0+0", "3+4", "4+5"]


def test_mask_values_mean_what_their_provider_says(written, tmp_path):
    seeds = {row[0]: seed for seed, row in enumerate(PANDA)}
    seen = set()
    for row, class_map in tiles_of(study_of("panda", written), tmp_path):
        seen.add(row["slide_id"])
        regions = specimen(seeds[row["slide_id"]]).regions  # 0 glass, 1 benign, 2 tumour, for both
        x, y = int(row["x"]), int(row["y"])
        # A pixel of the map takes the value of the slide's pixel at its centre.
        expected = regions[y + 1 : y + 128 : 2, x + 1 : x + 128 : 2]
        np.testing.assert_array_equal(class_map, expected)
        assert row["class_benign"] == pytest.approx((expected == BENIGN).mean(), abs=1e-6)
    assert seen == seeds.keys() - {BARE}


def test_mask_values_are_distinct_on_each_site_but_not_between_sites(written):
    classes = study_of("panda", written).model_dump()["classes"]
    classes[1]["values"] = {"karolinska": [1, 2], "radboud": [1, 2]}
    with pytest.raises(InputError, match=r"mask value \(site karolinska\) 2 is given more than"):
        changed(written, classes=classes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("data_provider", "provider", r"train\.csv: column 'data_provider' is missing; found: "),
        ("isup_grade", "isup", r"train\.csv: column 'isup_grade' is missing; found: image_id"),
        ("radboud,5", "radbuod,5", r"data_provider 'radbuod' of image 0+6 \(1 image"),
        (f"{1:032x}", f"{2:032x}", r"slide_id is not unique .*in line 2, .* in line 3"),
        ("karolinska,4", "karolinska,7", r"label '7' \(slide 0+3\) is not in label\.names: 0, 1"),
        (f"{3:032x}", f"{9:032x}", r"1 `image` file\(s\) do not exist(?s:.*)0009\.tiff"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(release, old, new, message):
    edit(release, old, new)
    # Without the rule every row counts, those without masks as well.
    with pytest.raises(InputError, match=message):
        load_cohort(changed(release, tiling={"heterogeneity": None}))


def test_classes_that_know_nothing_of_a_provider_are_refused(written):
    classes = study_of("panda", written).model_dump()["classes"]
    for c in classes:
        c["values"] = {"Radboud": c["values"]["radboud"]}
    with pytest.raises(InputError, match="no class has `values` for site karolinska"):
        load_cohort(changed(written, classes=classes))


def test_missing_parts_of_the_release_are_named(release, tmp_path):
    with pytest.raises(InputError, match=r"cohort\.root: .*none does not exist"):
        load_cohort(study_of("panda", tmp_path / "none"))
    masks = release / "train_label_masks"
    shutil.move(masks, tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"train_label_masks does not exist; the study has `class"):
        load_cohort(study_of("panda", release))
    masks.mkdir()
    with pytest.raises(InputError, match=r"train_label_masks holds no <image_id>_mask\.tiff"):
        load_cohort(study_of("panda", release))
    (release / "train.csv").unlink()
    with pytest.raises(InputError, match=r"train\.csv: no such table"):
        load_cohort(study_of("panda", release))


def test_a_mask_of_another_shape_fails_its_slide_by_name(release, tmp_path):
    name = PANDA[0][0]
    rgb = np.zeros((SIDE // 2, SIDE, 3), np.uint8)
    write_slide(release / f"train_label_masks/{name}_mask.tiff", rgb, levels=1)
    study = study_of("panda", release)
    entries = tile_chunk(load_cohort(study), study, tmp_path / "out", progress=False)
    (failed,) = [entry for entry in entries if entry["status"] == "failed"]
    assert failed["slide_id"] == name and "another aspect ratio" in failed["reason"]


def test_the_study_needs_one_path_only(written, monkeypatch):
    grid = grid_of("panda", written.parent, monkeypatch)
    assert grid.judges == ["segmenter", "classifier"]
    assert len(load_cohort(grid.study)) == 6
