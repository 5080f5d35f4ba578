"""Camelyon16 is read as released: names, official test slides, normal slides, metastases."""

import shutil

import numpy as np
import pytest
from cohort_files import (
    CAMELYON16_TEST,
    CAMELYON16_TRAINING,
    TUMOUR,
    grid_of,
    specimen,
    study_of,
    tiles_of,
    write_camelyon16,
)

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.cohorts import load_cohort


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_camelyon16(tmp_path_factory.mktemp("written") / "camelyon16", masks=True)


@pytest.fixture
def release(written, tmp_path):
    """A copy to spoil, in the challenge's layout with its XML only."""
    folder = tmp_path / "camelyon16"
    shutil.copytree(written, folder, ignore=shutil.ignore_patterns("masks"))
    return folder


def rows(folder, **cohort):
    return load_cohort(study_of("camelyon16", folder, **cohort)).set_index("slide_id")


def labelled(folder):
    """The study with the slides' labels instead of the tiles'."""
    settings = study_of("camelyon16", folder).model_dump()
    settings["label"] = {"source": "column", "names": ["normal", "tumor"]}
    return Study.parse(settings)


def test_slides_are_known_by_their_names_and_official_test_slides_stay_test(release):
    cohort = rows(release)
    assert sorted(cohort.index) == sorted([*CAMELYON16_TRAINING, *CAMELYON16_TEST])
    assert cohort.index[cohort["split"] == "test"].tolist() == list(CAMELYON16_TEST)
    assert set(cohort.loc[CAMELYON16_TRAINING, "split"]) == {"train", "val"}
    assert (cohort["patient_id"] == cohort.index).all() and set(cohort["split_unit"]) == {"patient"}
    sites = {"Radboud": {"normal_001", "tumor_001", "tumor_002", "tumor_070"}}
    sites |= {"Utrecht": {"normal_101", "tumor_071", "tumor_072", "tumor_110"}}
    sites |= {"unknown": set(CAMELYON16_TEST)}
    assert {site: set(cohort.index[cohort["site"] == site]) for site in sites} == sites


def test_slides_without_metastases_are_normal_throughout_and_the_others_have_their_xml(release):
    cohort = rows(release)
    for slide in ("normal_001", "normal_101", "test_002"):
        assert cohort["annotation"][slide] == "uniform:normal"
    xml = release / "training/lesion_annotations/tumor_070.xml"
    assert cohort["annotation"]["tumor_070"] == str(xml)
    xml = release / "testing/lesion_annotations/test_001.xml"
    assert cohort["annotation"]["test_001"] == str(xml)


def test_the_class_of_normal_slides_is_the_one_with_mask_value_0(release):
    settings = study_of("camelyon16", release).model_dump()
    settings["classes"][0] |= {"name": "lymphoid"}
    assert load_cohort(Study.parse(settings))["annotation"][0] == "uniform:lymphoid"
    settings["classes"][0]["values"] = [2]
    with pytest.raises(InputError, match=r"no class has it .*add `values: \[0\]`"):
        load_cohort(Study.parse(settings))


def test_labels_tell_which_slides_have_metastases(release):
    cohort = load_cohort(labelled(release)).set_index("slide_id")
    tumours = {name for name in CAMELYON16_TRAINING if name.startswith("tumor")} | {"test_001"}
    assert set(cohort.index[cohort["label"] == "tumor"]) == tumours
    assert set(cohort["label"]) == {"normal", "tumor"}


def test_the_aws_layout_reads_as_the_challenges(written, release, tmp_path):
    aws = tmp_path / "aws"
    for path in sorted(written.rglob("*.*")):
        kind = {".xml": "annotations", ".tif": "images"}[path.suffix]
        target = aws / ("masks" if path.stem.endswith("_mask") else kind) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (aws / "background_tissue").mkdir()
    (aws / "background_tissue/normal_001_tissue.tif").touch()
    (aws / "images/._normal_001.tif").touch()  # as macOS leaves beside a copied file
    columns = ["site", "split", "patient_id"]
    assert rows(aws)[columns].equals(rows(release)[columns])
    assert rows(aws)["image"]["tumor_001"] == str(aws / "images/tumor_001.tif")
    masks = rows(aws, annotations="mask")
    assert masks["annotation"]["tumor_001"] == str(aws / "masks/tumor_001_mask.tif")
    assert masks["annotation"]["test_002"] == "uniform:normal"


@pytest.mark.parametrize("kind", ["xml", "mask"])
def test_tiles_hold_the_tumour_that_was_outlined(written, tmp_path, kind):
    slides = [*CAMELYON16_TRAINING, *CAMELYON16_TEST]
    seen, splits = set(), set()
    for row, class_map in tiles_of(study_of("camelyon16", written, annotations=kind), tmp_path):
        seen.add(row["slide_id"])
        splits.add(row["split"])
        truth = specimen(slides.index(row["slide_id"])).regions == TUMOUR
        x, y = int(row["x"]), int(row["y"])
        truth = truth[y : y + 128, x : x + 128]  # 64 px at 1 um of a slide at 0.5 um
        # The map has a fourth of the slide's pixels, and a polygon of 90 corners is no circle.
        assert row["class_tumor"] == pytest.approx(truth.mean(), abs=0.01)
        # A pixel of the map lies between four of the slide; where these agree it is as they are.
        corners = [truth[j::2, i::2] for j in (0, 1) for i in (0, 1)]
        inside, outside = np.all(corners, axis=0), ~np.any(corners, axis=0)
        assert (class_map[inside] == 1).mean() > 0.99
        assert (class_map[outside] == 0).mean() > 0.99
    assert seen == {slide for slide in slides if slide.startswith("tumor")} | {"test_001"}
    assert splits == {"train", "val", "test"}


def test_a_name_that_is_no_slides_is_refused(release):
    shutil.copy(release / "testing/images/test_001.tif", release / "testing/images/patient_1.tif")
    with pytest.raises(InputError, match=r"patient_1\.tif: no slide name of Camelyon16; expected"):
        rows(release)


def test_a_slide_that_is_there_twice_is_refused(release):
    shutil.copy(release / "training/tumor/tumor_001.tif", release / "Tumor_001.tif")
    with pytest.raises(
        InputError, match=r"slide tumor_001: there 2 times: .*Tumor_001\.tif.*/tumor_001\.tif; keep"
    ):
        rows(release)


def test_a_tumour_slide_without_annotation_is_named(release):
    (release / "training/lesion_annotations/tumor_002.xml").unlink()
    with pytest.raises(
        InputError, match=r"1 tumour slide\(s\) have no annotation: tumor_002; looked for tumor_002"
    ):
        rows(release)
    with pytest.raises(InputError, match=r"looked for test_001_mask\.tif at any depth below"):
        rows(release, annotations="mask")


def test_test_slides_are_not_called_normal_because_nothing_was_unpacked(release):
    shutil.rmtree(release / "testing/lesion_annotations")
    with pytest.raises(InputError, match=r"nothing tells which test slides .*unpack"):
        rows(release)
    reference = release / "testing/reference.csv"
    reference.write_text("test_001,Tumor,IDC,Macro\ntest_002,Normal,None,None\n")
    with pytest.raises(InputError, match=r"have no annotation: test_001"):
        rows(release)
    reference.write_text("test_001,Normal,None,None\ntest_002,Normal,None,None\n")
    assert rows(release)["annotation"]["test_001"] == "uniform:normal"
    reference.write_text("test_001,tumour\n")
    with pytest.raises(InputError, match=r"reference\.csv, line 1: label 'tumour' of test_001"):
        rows(release)


def test_masks_of_normal_slides_too_do_not_make_every_test_slide_a_tumour(written, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(written, folder, ignore=shutil.ignore_patterns("*.xml"))
    assert rows(folder, annotations="mask")["annotation"]["test_002"] == "uniform:normal"
    shutil.copy(folder / "masks/test_001_mask.tif", folder / "masks/normal_001_mask.tif")
    with pytest.raises(InputError, match="nothing tells which test slides hold tumour"):
        rows(folder, annotations="mask")


def test_what_the_release_says_is_wrong_with_it_is_logged(release, capsys):
    shutil.copy(release / "training/normal/normal_001.tif", release / "normal_086.tif")
    rows(release)
    said = capsys.readouterr().err
    assert "1 slide(s) are not outlined exhaustively" in said and "tumor_110" in said
    assert "normal_086 was withdrawn from the release" in said


def test_a_root_that_is_not_there_or_holds_no_slides_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cohort\.root: .*none does not exist; expected a folder"):
        rows(tmp_path / "none")
    with pytest.raises(InputError, match=r"cohort\.root: .* holds no slide normal_NNN\.tif"):
        rows(tmp_path)


def test_the_study_needs_one_path_only(release, monkeypatch):
    grid = grid_of("camelyon16", release.parent, monkeypatch)
    assert grid.judges == ["segmenter", "classifier"]
    assert len(load_cohort(grid.study)) == 10
    with pytest.raises(InputError, match=r"cohort\.root: .*nowhere/camelyon16 does not exist"):
        grid_of("camelyon16", release / "nowhere", monkeypatch)
