"""Folders that cannot be scored are refused before any work, with the file, and what to do."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from noise_folders import check, noise, score, write
from PIL import Image

from histosynth.errors import InputError
from histosynth.evaluations.embedded import features_of
from histosynth.external_arguments import (
    name_folders,
    read_labels,
    read_masks,
)
from histosynth.imports import import_images


@pytest.fixture
def real(tmp_path):
    return write(tmp_path / "real", 20)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_folder_of_too_few_images_is_named_with_its_count(real, tmp_path, count):
    few = write(tmp_path / "few", count)
    expected = rf"{few}: {count} images are too few.*give 10" if count else rf"{few}: no images"
    with pytest.raises(InputError, match=expected):
        check(real, few)
    expected = rf"{few}: {count} images are too few.*give 20" if count else rf"{few}: no images"
    with pytest.raises(InputError, match=expected):
        check(few, real)


def test_images_of_mixed_modes_are_scored_as_rgb_and_the_page_says_so(real, tmp_path):
    mixed = write(tmp_path / "mixed", 8)
    for mode in ("RGBA", "L", "CMYK", "P"):
        suffix = "tif" if mode == "CMYK" else "png"
        Image.fromarray(noise(99)).convert(mode).save(mixed / f"{mode}.{suffix}")
    scores, page = score(real, mixed, tmp_path / "work")
    rows = scores.rows[(scores.rows.condition == "theirs") & (scores.rows.subset == "all")]
    assert (rows[rows.group == "fidelity"].status == "ok").all()
    assert set(rows[rows.group == "tissue"].status) == {"ok", "not_applicable"}  # no classes
    modes = scores.sets["theirs"].provenance["modes"]
    assert modes == {"RGB": 8, "RGBA": 1, "L": 1, "CMYK": 1, "P": 1}
    assert "1 of mode RGBA" in page and "1 of mode CMYK" in page and "became RGB" in page


def test_masks_beside_the_images_are_told_first_with_their_subfolder(real, tmp_path):
    write(tmp_path / "theirs" / "images", 12, seed=100)
    masks = tmp_path / "theirs" / "masks"
    masks.mkdir()
    for i in range(12):
        Image.fromarray(noise(i, channels=1) % 3).save(masks / f"i{i:04}.png")
    _, page = score(real, tmp_path / "theirs", tmp_path / "work")
    banner = "theirs mixes image modes: 12 of 24 are grey, all in masks/."
    assert page.index(banner) < page.index("<strong>theirs: ")
    _, page = score(real, tmp_path / "theirs" / "images", tmp_path / "work")
    assert "mixes image modes" not in page
    for path in masks.iterdir():
        path.rename(masks.parent / "images" / f"mask_{path.name}")
    _, page = score(real, tmp_path / "theirs", tmp_path / "work")
    assert "theirs mixes image modes: 12 of 24 are grey." in page


def test_labels_without_a_partner_are_told_first_and_those_of_another_case_named(real, tmp_path):
    theirs = write(tmp_path / "theirs", 12, seed=100)
    tables = {}
    for name, folder, labels in (("real", real, "Cancer normal"), ("theirs", theirs, "cancer fat")):
        words = labels.split()
        lines = [f"{path.name},{words[i % 2]}" for i, path in enumerate(sorted(folder.iterdir()))]
        tables[name] = tmp_path / f"{name}.csv"
        tables[name].write_text("\n".join(["image,label", *lines]))
    _, page = score(real, theirs, tmp_path / "work", labels=tables)
    told = "theirs: no real image has the label cancer and fat; no image of theirs has the label "
    assert page.index(f"{told}Cancer and normal.") < page.index('class="answer"')
    assert "write cancer and Cancer alike" in page
    tables["theirs"].write_text(tables["real"].read_text().replace("i001", "x").split("\nx")[0])
    few = write(tmp_path / "few" / "theirs", 10, seed=100)
    _, page = score(real, few, tmp_path / "work", labels=tables)
    assert "no real image has the label" not in page


def test_masks_of_black_and_white_are_refused_and_a_class_that_255_may_hide_is_told(real, tmp_path):
    theirs = write(tmp_path / "theirs", 12, seed=100)
    masks = {}
    for name, folder, values in (("real", real, (0, 1, 2)), ("theirs", theirs, (0, 255))):
        masks[name] = tmp_path / f"masks_{name}"
        masks[name].mkdir()
        for i, path in enumerate(sorted(folder.iterdir())):
            drawn = np.random.default_rng(i).choice(values, (32, 32)).astype(np.uint8)
            Image.fromarray(drawn).save(masks[name] / path.name)
    options = {"masks": masks, "classes": ("stroma", "tumour", "fat")}
    refused = r"masks_theirs: the masks hold nothing but 0 and 255; 255 means unl.*store it as 1"
    with pytest.raises(InputError, match=refused):
        score(real, theirs, tmp_path / "work", **options)
    for path in sorted(masks["theirs"].iterdir())[::2]:
        Image.fromarray(np.asarray(Image.open(path)) // 255).save(path)
    _, page = score(real, theirs, tmp_path / "work", **options)
    assert "No mask of theirs holds fat, while 255 is there." in page


@pytest.mark.parametrize("array", [noise(1).astype(np.uint16)[..., 0] * 257, None])
def test_sixteen_bit_images_are_refused_by_name(real, tmp_path, array):
    deep = write(tmp_path / "deep", 10)
    if array is not None:
        Image.fromarray(array).save(deep / "grey16.png")
    else:
        Image.fromarray(noise(1)[..., 0].astype(np.float32)).save(deep / "grey16.tif")
    with pytest.raises(InputError, match=r"(?s)deep: 1 images have more than 8 bits.*grey16"):
        check(real, deep)


def test_a_picture_cut_off_among_thousands_is_named_and_may_be_skipped(tmp_path):
    many = write(tmp_path / "many", 2000, side=8)
    cut = many / "i1234.png"
    cut.write_bytes(cut.read_bytes()[:120])  # its header is whole
    with pytest.raises(InputError, match=r"(?s)1 of 2000 images cannot be read.*i1234\.png"):
        import_images(many, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    tiles = import_images(many, tmp_path / "out", skip_broken=True, progress=False)
    assert len(tiles) == 1999 and tiles.provenance["skipped"] == ["i1234.png"]


def test_sizes_that_differ_within_a_set_are_listed_and_can_be_resized(real, tmp_path):
    uneven = write(tmp_path / "uneven", 9)
    Image.fromarray(noise(5, 40)).save(uneven / "large.png")
    expected = r"uneven: images of 2 sizes: 9 of 32 x 32, as i0000\.png; 1 of 40 x 40, as large.*--"
    with pytest.raises(InputError, match=expected):
        check(real, uneven)
    assert check(real, uneven, size=32).keys() == {"real", "theirs"}
    Image.fromarray(noise(5, 40)[:20]).save(uneven / "wide.png")
    with pytest.raises(InputError, match=r"wide\.png is 40 x 20 pixels.*crop it first"):
        check(real, uneven, size=32)


def test_real_test_images_in_a_synthetic_set_are_counted(real, tmp_path):
    mixed = write(tmp_path / "mixed", 10, seed=500)
    for i in range(4):
        (mixed / f"real{i}.png").write_bytes((real / f"i{i:04}.png").read_bytes())
    _, page = score(real, mixed, tmp_path / "work")
    assert "4 images of theirs are real images themselves." in page


def test_features_of_unequal_width_are_refused_by_file(tmp_path):
    tiles = [import_images(write(tmp_path / n, 3), tmp_path / f"{n}-set") for n in ("a", "b")]
    paths = []
    for made, width in zip(tiles, (7, 8), strict=True):
        path = made.folder.with_suffix(".npy")
        np.save(path, np.zeros((3, width), np.float32))
        about = {"tile_set": made.fingerprint, "shape": [3, width]}
        path.with_suffix(".json").write_text(json.dumps(about))
        paths.append(path)
    with pytest.raises(InputError, match=r"a-set\.npy has 7 features a tile, .*b-set\.npy 8"):
        features_of(tiles, paths)


def test_folders_that_count_twice_are_refused(real, tmp_path):
    theirs = write(tmp_path / "real" / "theirs", 2)
    for synthetic, words in (
        ([str(real)], "is given as real and as"),
        ([str(theirs)], "lies inside"),
        ([f"a={tmp_path}/none"], "no such folder"),
        ([f"real={theirs}"], "the name 'real' is kept"),
    ):
        with pytest.raises(InputError, match=words):
            name_folders(real, synthetic, None)


def test_patients_labels_and_masks_that_do_not_fit_are_named(real, tmp_path):
    theirs = write(tmp_path / "theirs", 10)
    folders = {"real": real, "theirs": theirs}
    for pattern, words in (
        ("no_group", "has 0 groups; expected one"),
        ("(x+)_", r"does not fit 20 of 20 images in .*real, the first is i0000\.png"),
        ("(", "no such table, and no regular expression"),
    ):
        with pytest.raises(InputError, match=words):
            check(real, theirs, patients=pattern)
    with pytest.raises(InputError, match="20 images lie in no subfolder, the first is i0000"):
        check(real, theirs, labels="folders")
    with pytest.raises(InputError, match="NAME being one of real, theirs"):
        read_labels(["ours=table.csv"], folders)
    masks = write(tmp_path / "masks", 19)
    given = [f"real={masks}"]
    with pytest.raises(InputError, match="go together: found 1 folders of masks and the classes n"):
        read_masks(given, None, folders, None)
    with pytest.raises(InputError, match="real has --labels too"):
        read_masks(given, "a,b", folders, {"real": "table.csv"})
    with pytest.raises(InputError, match="expected real=FOLDER too"):
        read_masks([f"theirs={masks}"], "a,b", folders, None)
    with pytest.raises(InputError, match=r"lies inside .*real \(real\).*move the masks out"):
        read_masks([f"real={write(real / 'masks', 1)}"], "a,b", folders, None)
    (real / "masks" / "i0000.png").unlink()
    found, names = read_masks(given, "a,b", folders, None)
    with pytest.raises(InputError, match=r"1 of 20 images have no mask.*i0019\.png"):
        check(real, theirs, masks=found, classes=names)


def test_half_of_the_patients_must_suffice(real, tmp_path):
    table = tmp_path / "patients.csv"
    lines = [f"i{i:04}.png,p{int(i > 2)}" for i in range(20)]
    table.write_text("\n".join(["image,patient_id", *lines]))
    theirs = write(tmp_path / "theirs", 10)
    with pytest.raises(InputError, match=r"split by patient into 17 and 3 \(2 patients\).*10 or m"):
        score(real, theirs, tmp_path / "work", patients=str(table))


def test_the_script_ends_with_one_line_and_no_traceback(real, tmp_path):
    command = [sys.executable, ROOT / "scripts" / "evaluate.py", "--real", real]
    command += ["--synthetic", write(tmp_path / "few", 3), "--report", tmp_path / "out.html"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "few: 3 images are too few for a score" in done.stderr
    assert not (tmp_path / "out.html").exists() and not any((tmp_path / "evaluate-work").iterdir())
