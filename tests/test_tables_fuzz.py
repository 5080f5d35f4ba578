"""Tables as people have them read alike, and what cannot be read is said so with its place."""

import csv
import io
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.slides.cohorts import load_cohort, read_table

FUZZ = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # one file, written anew each time
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]  # Python's utf-16 writes the mark, as Excel does
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12).map(
    str.strip
)
NAMES = st.lists(st.from_regex(r"[A-Za-z_]{1,8}", fullmatch=True), min_size=2, unique=True)


def make_study(table: Path, kind: str = "table") -> Study:
    key = {"table": "table", "image_mask": "index"}[kind]
    return Study.parse(
        {
            "study": "test",
            "cohort": {"kind": kind, key: str(table)},
            "tiling": {"heterogeneity": None},
            "encoders": {"texture": {}},
            "conditions": {"plain": {"signals": []}},
            "evaluation": {"encoders": ["texture"]},
        }
    )


def cohort_of(folder: Path, **cells: str) -> pd.DataFrame:
    """A cohort of four slides a.svs to d.svs, of which the first has other cells."""
    rows = [
        {"slide_id": name, "patient_id": name, "image": f"{name}.svs", "split": ""}
        for name in "abcd"
    ]
    rows[0] |= cells
    for name in "abcd":
        (folder / f"{name}.svs").touch()
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return load_cohort(make_study(folder / "cohort.csv"))


# --- what reads


@FUZZ
@given(
    names=NAMES,
    data=st.data(),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(ENCODINGS),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_comes_back_from_every_separator_and_encoding(
    tmp_path, names, data, separator, encoding, ending
):
    row = st.lists(CELLS, min_size=len(names), max_size=len(names)).filter(any)
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    text = io.StringIO()
    # Before Python 3.13 only a `\r\n` writer quotes a lone carriage return.
    quoting = csv.QUOTE_MINIMAL if ending == "\r\n" else csv.QUOTE_ALL
    writer = csv.writer(text, delimiter=separator, lineterminator=ending, quoting=quoting)
    writer.writerows([names, *rows])
    (tmp_path / "table.csv").write_bytes(text.getvalue().encode(encoding))
    table = read_table(tmp_path / "table.csv")
    assert list(table.columns) == names
    assert table.to_numpy().tolist() == rows


@FUZZ
@given(names=NAMES, data=st.data())
def test_a_table_comes_back_from_parquet(tmp_path, names, data):
    row = st.lists(CELLS, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    pd.DataFrame(rows, columns=names).to_parquet(tmp_path / "table.parquet")
    table = read_table(tmp_path / "table.parquet")
    assert list(table.columns) == names and table.to_numpy().tolist() == rows


def test_blank_lines_blank_cells_and_columns_without_a_name_are_passed_over(tmp_path):
    text = '\n,slide_id,,image,,\n\n0, a ,,"x, y.svs",,\n , ,\n1,b,,z.svs\n,,,,,\n'
    (tmp_path / "table.csv").write_text(text)
    table = read_table(tmp_path / "table.csv")
    assert table.to_dict("list") == {"slide_id": ["a", "b"], "image": ["x, y.svs", "z.svs"]}


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    text = 'slide_id,patient_id,image\n\na,"two\nlines",a.svs\n\nb,,b.svs\n'
    (tmp_path / "cohort.csv").write_text(text)
    with pytest.raises(InputError, match=r"patient_id is empty in 1 row\(s\), the first in line 6"):
        load_cohort(make_study(tmp_path / "cohort.csv"))


# --- what does not


@FUZZ
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".csv", ".tsv", ".parquet", ""]))
def test_random_bytes_are_a_table_or_an_input_error(tmp_path, data, suffix):
    path = tmp_path / f"table{suffix}"
    path.write_bytes(data)
    try:
        table = read_table(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert len(table) and table.columns.is_unique
        assert all(isinstance(cell, str) for cell in table.to_numpy().ravel())


VALID = (
    b'slide_id,patient_id,image,mpp,split\n"a",p1,a.svs,0.25,train\nb,p2,"b.svs",,val\n'
    b"c,p3,c.svs,1,test\nd,p4,sub/../d.svs,,\n"
)
PIECES = [b",", b'"', b"\n", b"\r", b";", b"\t", b"\0", b"\xff", b"..", b"/", b"\\", b"~", b"C:\\"]
PIECES += [b"uniform:", b"1e400", b"inf", b"x" * 300, "ü".encode(), b"\xef\xbb\xbf", b" "]


@FUZZ
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(VALID)), st.integers(0, 12), st.sampled_from(PIECES)),
        min_size=1,
        max_size=4,
    ),
    kind=st.sampled_from(["table", "image_mask"]),
)
@example(edits=[(VALID.index(b"a.svs"), 0, b"x" * 300)], kind="table")  # too long for a file's name
@example(edits=[(VALID.index(b"a.svs"), 0, b"~nobody-of-this-name/")], kind="table")
@example(edits=[(VALID.index(b"a.svs"), 5, b"")], kind="image_mask")
def test_a_spoilt_cohort_is_a_cohort_or_an_input_error(tmp_path, edits, kind):
    for name in "abcd":
        (tmp_path / f"{name}.svs").touch()
    (tmp_path / "sub").mkdir(exist_ok=True)
    data = VALID
    for place, length, piece in edits:
        data = data[:place] + piece + data[place + length :]
    if kind == "image_mask":
        data = data.replace(b"slide_id", b"number")  # ids then come from the images' names
    (tmp_path / "cohort.csv").write_bytes(data)
    try:
        cohort = load_cohort(make_study(tmp_path / "cohort.csv", kind))
    except InputError as error:
        assert str(tmp_path / "cohort.csv") in str(error)
    else:
        assert cohort["slide_id"].is_unique and set(cohort["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the table is empty; expected a line of column names"),
        (b"\xef\xbb\xbf \n\n", "the table is empty"),
        (b"a,b\n", "has no rows"),
        (b"a,b,a\n1,2,3\n", "column 'a' is there more than once"),
        (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the header 2; quote"),
        (b"a;b\n1;2\n1\n", "line 3 has 1 cells, the header 2"),
        (b'a,b\n"1\n2",3\n4\n', "line 4 has 1 cells, the header 2"),
        (b'a,b\n"1,2\n3,4\n', "cannot be read as a table: line 3: unexpected end of data"),
        (b"a,b\n1,2\n1,\0\n", "line 3 holds a NUL character"),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1 holds a NUL character"),  # no mark
        ("a,b\n1,2\n".encode("utf-32"), "line 1 holds a NUL character"),
        ("a,b\n1,ü\n".encode("latin-1"), "not UTF-8 text .*save it as CSV UTF-8"),
        (b"\xff\xfea", "not UTF-16 text"),
    ],
)
def test_a_damaged_table_is_named_with_the_line_and_the_cure(tmp_path, data, message):
    (tmp_path / "table.csv").write_bytes(data)
    with pytest.raises(InputError, match=rf"table\.csv: .*{message}"):
        read_table(tmp_path / "table.csv")


def test_a_folder_and_an_unreadable_path_are_no_tables(tmp_path):
    (tmp_path / "table.csv").mkdir()
    (tmp_path / "table.parquet").mkdir()
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "file").touch()
    for name, message in (
        ("table.csv", "a folder, expected a table"),
        ("table.parquet", "a folder, expected a table"),
        ("loop.csv", r"the table cannot be read \(Too many levels"),
        ("file/table.csv", r"the table cannot be read \(Not a directory"),
        ("x" * 300, r"the table cannot be read \(File name too long"),
    ):
        with pytest.raises(InputError, match=message):
            read_table(tmp_path / name)


@pytest.fixture
def plain_user():
    """Not root, whom no permission bars; root becomes nobody for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_table_one_may_not_read_is_named(tmp_path, request):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    path.chmod(0)
    request.getfixturevalue("plain_user")
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\); check its perm"):
        read_table(path)


# --- paths


def test_windows_separators_lead_to_the_same_file(tmp_path):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides/a.svs").touch()
    assert cohort_of(tmp_path, image=r"slides\a.svs")["image"][0] == str(tmp_path / "slides/a.svs")
    # Where a file's name does hold a backslash, it is that file.
    (tmp_path / r"slides\a.svs").touch()
    assert cohort_of(tmp_path, image=r"slides\a.svs")["image"][0] == str(tmp_path / r"slides\a.svs")


@pytest.mark.parametrize("path", [r"C:\slides\a.svs", "d:/slides/a.svs", r"\\server\slides\a.svs"])
def test_a_windows_drive_is_refused_with_its_line(tmp_path, path):
    with pytest.raises(InputError, match=r"cohort\.csv: line 2: .* is a path of a Windows comp"):
        cohort_of(tmp_path, image=path)


@pytest.mark.parametrize("path", ["../a.svs", "x/../../a.svs", r"..\a.svs", ".."])
def test_a_path_out_of_the_tables_folder_is_refused_and_an_absolute_one_is_not(tmp_path, path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (tmp_path / "a.svs").touch()
    with pytest.raises(InputError, match=r"cohort\.csv: line 2: .* leaves the table's folder;"):
        cohort_of(folder, image=path)
    assert cohort_of(folder, image=str(tmp_path / "a.svs"))["image"][0] == str(tmp_path / "a.svs")
    (folder / "x").mkdir()
    assert len(cohort_of(folder, image="x/../a.svs")) == 4  # it stays inside


def test_images_of_an_index_are_named_by_their_files_wherever_windows_put_them(tmp_path):
    (tmp_path / "x").mkdir()
    for name in ("x/a.svs", "b.svs", "c.svs"):
        (tmp_path / name).touch()
    path = tmp_path / "cohort.csv"
    path.write_text("patient_id,image\n1,x\\a.svs\n2,b.svs\n3,c.svs\n")
    assert load_cohort(make_study(path, "image_mask"))["slide_id"].tolist() == ["a", "b", "c"]
    path.write_text("patient_id,image\n1,x\\a.svs\n2,\n3,c.svs\n")
    with pytest.raises(InputError, match=r"image is empty in 1 row\(s\), the first in line 3"):
        load_cohort(make_study(path, "image_mask"))


def test_a_uniform_annotation_is_no_path(tmp_path):
    assert cohort_of(tmp_path, annotation="uniform:normal")["annotation"][0] == "uniform:normal"


def test_two_slides_of_a_patient_in_two_official_splits_are_named(tmp_path):
    rows = [("a", "p", "train"), ("b", "p", "test"), ("c", "q", "val"), ("d", "r", "train")]
    table = pd.DataFrame(rows, columns=["slide_id", "patient_id", "split"])
    for name in table["slide_id"]:
        (tmp_path / f"{name}.svs").touch()
    table.assign(image=table["slide_id"] + ".svs").to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(InputError, match=r"(?s)1 patient.*patient p: a in train, b in test"):
        load_cohort(make_study(tmp_path / "cohort.csv"))
