"""TCGA's slides are told by their barcodes, and listed by a folder, a manifest or a sheet."""

import shutil

import pytest
from cohort_files import TCGA, grid_of, study_of, tcga_file, tcga_path, tiles_of, write_tcga

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.cohorts import load_cohort

BARCODES = sorted(barcode for _, barcode in TCGA)
FIRST = TCGA[0][1]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_tcga(tmp_path_factory.mktemp("written") / "tcga")


@pytest.fixture
def release(written, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(written, tmp_path / "tcga")


def unlabelled(folder, **cohort):
    """The study without the labels that only a sheet knows, and without what needs them."""
    settings = study_of("tcga", folder, **cohort).model_dump()
    settings["label"] = None
    settings["conditions"] = {"unconditional": {"signals": []}}
    return Study.parse(settings)


def sheet_of(folder):
    return folder / "gdc_sample_sheet.tsv"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_patient_and_site_are_the_barcodes(written):
    cohort = load_cohort(unlabelled(written)).set_index("slide_id").sort_index()
    assert cohort.index.tolist() == BARCODES
    assert cohort["patient_id"].tolist() == [barcode[:12] for barcode in BARCODES]
    assert cohort["site"].tolist() == [barcode[5:7] for barcode in BARCODES]
    assert cohort["image"].tolist() == [str(tcga_path(written, b)) for b in BARCODES]
    assert set(cohort["split_unit"]) == {"patient"} and set(cohort["annotation"]) == {""}
    assert cohort.groupby("patient_id")["split"].nunique().max() == 1


def test_a_sample_sheet_tells_the_projects_and_a_manifest_only_the_files(written):
    cohort = load_cohort(study_of("tcga", written, sheet=sheet_of(written)))
    projects = {barcode: project for project, barcode in TCGA}
    assert cohort.set_index("slide_id")["label"].to_dict() == projects
    manifest = written / "gdc_manifest.txt"
    assert len(load_cohort(unlabelled(written, sheet=manifest))) == len(TCGA)
    with pytest.raises(InputError, match=r"gdc_manifest\.txt: 5 slide\(s\) have no project"):
        load_cohort(study_of("tcga", written, sheet=manifest))


def test_only_a_sheets_slides_are_taken(release):
    sheet = sheet_of(release)
    lines = sheet.read_text().splitlines()
    expression = f"id\tTCGA.tsv\tTranscriptome\tCounts\tTCGA-BRCA\t{FIRST[:12]}\t\t"
    sheet.write_text("\n".join([*lines[:5], expression, lines[1]]) + "\n")  # one listed twice
    cohort = load_cohort(unlabelled(release, sheet=sheet))
    assert sorted(cohort["slide_id"]) == sorted(barcode for _, barcode in TCGA[:4])


def test_folders_named_as_projects_tell_the_label(release, tmp_path):
    for project, barcode in TCGA:
        target = tmp_path / f"sorted/{project}/slides/{tcga_path(release, barcode).name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tcga_path(release, barcode), target)
    cohort = load_cohort(study_of("tcga", tmp_path / "sorted")).set_index("slide_id")
    assert cohort["label"].to_dict() == {barcode: project for project, barcode in TCGA}
    # With a sheet the files are found by name wherever they lie.
    listed = study_of("tcga", tmp_path / "sorted", sheet=sheet_of(release))
    assert load_cohort(listed)["image"].tolist()[0] == cohort["image"][FIRST]


def test_labels_that_nothing_tells_are_an_error_with_its_cure(written):
    with pytest.raises(InputError, match=r"5 slide\(s\) have no project .*in cohort\.sheet"):
        load_cohort(study_of("tcga", written))


@pytest.mark.parametrize(
    "name",
    ["slide_1.svs", "TCGA-A1-A0SB.svs", "TCGA-A1-A0SB-01Z-00.svs", "TCGA-A1-A0S-01Z-00-DX1.svs"],
)
def test_a_name_without_a_barcode_is_refused(release, name):
    shutil.copy(tcga_path(release, FIRST), release / name)
    with pytest.raises(InputError, match=rf"{name} does not begin with a TCGA slide barcode; exp"):
        load_cohort(unlabelled(release))


def test_a_case_that_contradicts_the_barcode_is_refused(release):
    edit(sheet_of(release), "\tTCGA-E2-A14V\t", "\tTCGA-E2-A14W\t")
    with pytest.raises(
        InputError, match=r"is of patient TCGA-E2-A14V by its barcode, but of case 'TCGA-E2-A14W'"
    ):
        load_cohort(unlabelled(release, sheet=sheet_of(release)))


def test_missing_files_are_counted_and_the_first_ones_named(release):
    for barcode in BARCODES[:2]:
        tcga_path(release, barcode).unlink()
    names = {tcga_file(barcode)[1] for barcode in BARCODES[:2]}
    with pytest.raises(
        InputError, match=r"2 of 5 slides are not below .*: TCGA.*download"
    ) as error:
        load_cohort(unlabelled(release, sheet=sheet_of(release)))
    assert all(name in str(error.value) for name in names)


def test_a_file_that_is_there_twice_is_refused_unless_its_id_tells_which(release):
    name = tcga_path(release, FIRST).name
    shutil.copy(tcga_path(release, FIRST), release / name)
    with pytest.raises(InputError, match=rf"{name} is there 2 times: .*; keep one"):
        load_cohort(unlabelled(release))
    cohort = load_cohort(unlabelled(release, sheet=sheet_of(release)))
    image = cohort.set_index("slide_id")["image"][FIRST]
    assert image == str(tcga_path(release, FIRST))
    shutil.move(tcga_path(release, FIRST), tcga_path(release, TCGA[1][1]).parent / name)
    with pytest.raises(InputError, match=rf"{name} is there 2 times, and not in a folder"):
        load_cohort(unlabelled(release, sheet=sheet_of(release)))


def test_two_scans_of_one_slide_keep_their_uuids_as_ids(release):
    other = f"{FIRST}.00000000-0000-4000-8000-000000000000"
    shutil.copy(tcga_path(release, FIRST), release / f"{other}.svs")
    ids = set(load_cohort(unlabelled(release))["slide_id"])
    scans = {other.replace(".", "_"), tcga_path(release, FIRST).stem.replace(".", "_")}
    assert ids == scans | set(BARCODES) - {FIRST}


def test_other_tables_and_empty_roots_are_refused(release, tmp_path):
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,image\na,b\n")
    with pytest.raises(InputError, match=r"slides\.csv: neither a GDC manifest .*no column id, fi"):
        load_cohort(unlabelled(release, sheet=table))
    table.write_text("id\tfilename\na\tb.maf\n")
    with pytest.raises(InputError, match=r"slides\.csv: lists no \.svs file"):
        load_cohort(unlabelled(release, sheet=table))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"cohort\.root: .*empty holds no \.svs file"):
        load_cohort(unlabelled(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"cohort\.root: .*gdc_manifest\.txt is a file; expected"):
        load_cohort(unlabelled(release / "gdc_manifest.txt"))


def test_slides_become_tiles_with_their_project_and_no_map(written, tmp_path):
    study = study_of("tcga", written, sheet=sheet_of(written))
    projects = {barcode: project for project, barcode in TCGA}
    counts = dict.fromkeys(projects, 0)
    for row, class_map in tiles_of(study, tmp_path):
        counts[row["slide_id"]] += 1
        assert row["label"] == projects[row["slide_id"]] and class_map is None
        assert row["patient_id"] == row["slide_id"][:12]
    assert set(counts.values()) == {16}


def test_the_study_needs_one_path_only(written, monkeypatch):
    grid = grid_of("tcga", written.parent, monkeypatch)
    assert grid.judges == ["classifier"] and len(grid.study.conditions) == 6
    assert len(load_cohort(grid.study)) == len(TCGA)
    with pytest.raises(InputError, match=r"cohort\.sheet: .*gdc_sample_sheet\.tsv does not exist"):
        grid_of("tcga", written.parent / "nowhere", monkeypatch)
