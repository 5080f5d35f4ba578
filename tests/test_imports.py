"""A folder of images becomes a tile set as it is, or is refused with the file at fault."""

import numpy as np
import pytest
from PIL import Image

from histosynth.errors import InputError
from histosynth.imports import import_images, unseen_classes


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for i, name in enumerate(("b.png", "a 1.bmp", "deep/c.tif")):
        Image.fromarray(noise(24, i)).save(folder / name)
    (folder / ".hidden.png").write_text("not looked at")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def write_masks(tmp_path, values=(0, 1), size=24):
    folder = tmp_path / "masks"
    (folder / "deep").mkdir(parents=True)
    masks = {}
    for i, name in enumerate(("a 1.png", "b.png", "deep/c.png")):
        masks[name] = np.random.default_rng(i).choice(values, (size, size)).astype(np.uint8)
        Image.fromarray(masks[name]).save(folder / name)
    return folder, list(masks.values())


def take(images, tmp_path, **options):
    return import_images(images, tmp_path / "out", progress=False, **options)


def test_images_are_stored_bit_by_bit_in_the_order_of_their_names(images, tmp_path):
    tiles = take(images, tmp_path)
    assert tiles.table["tile_id"].tolist() == ["a_1", "b", "deep_c"]
    for i, seed in enumerate((1, 0, 2)):
        np.testing.assert_array_equal(tiles.image(i), noise(24, seed))
    assert tiles.map(0) is None
    assert tiles.table["patient_id"].tolist() == ["a_1", "b", "deep_c"]
    assert tiles.table["label"].isna().all() and tiles.table["accepted"].all()


def test_grey_palette_and_transparent_images_become_rgb(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(noise(8)[..., 0]).save(folder / "grey.png")
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(folder / "clear.png")
    Image.new("P", (8, 8)).save(folder / "palette.png")
    tiles = take(folder, tmp_path)
    assert (tiles.image(0) == 255).all()  # transparent: white
    np.testing.assert_array_equal(tiles.image(1), noise(8)[..., :1].repeat(3, axis=2))


def test_labels_are_found_by_path_name_or_stem(images, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image;label;patient_id\na 1;x;p1\nb.png;y;p1\ndeep/c.tif;x;p2\n")
    tiles = take(images, tmp_path, labels=table)
    assert tiles.table["label"].tolist() == ["x", "y", "x"]
    assert tiles.table["patient_id"].tolist() == ["p1", "p1", "p2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na 1,x\nb,y\n", r"1 of 3 images have no row, the first is deep/c\.tif"),
        ("image,label\na 1,x\nb,y\nc,x\nz,x\n", r"image 'z' fits no image in"),
        ("image,label\na 1,x\nb,y\nb.png,y\nc,x\n", r"image 'b\.png' is listed twice"),
        ("image,label\na 1,x\nb,\nc,x\n", r"image 'b' has no label"),
        ("file,label\na 1,x\n", r"column 'image' is missing; found: file, label"),
    ],
)
def test_labels_that_do_not_fit_are_refused(images, tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        take(images, tmp_path, labels=tmp_path / "labels.csv")


def test_masks_of_the_same_names_become_maps(images, tmp_path):
    folder, masks = write_masks(tmp_path, values=(0, 1, 255))
    tiles = take(images, tmp_path, masks=folder, classes=["stroma", "tumour"])
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(tiles.map(i), mask)
        assert tiles.table["class_tumour"][i] == pytest.approx((mask == 1).mean())


def test_a_mask_value_without_a_class_is_named(images, tmp_path):
    folder, _ = write_masks(tmp_path, values=(0, 5))
    with pytest.raises(InputError, match=r"a 1\.png: values \[5\] have no class; known: 0 \(a\)"):
        take(images, tmp_path, masks=folder, classes=["a", "b"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "classes"), [((0, 255), "ab"), ((0, 255), "a"), ((1, 255), "ab"), ((255,), "ab")]
)
def test_masks_in_which_255_must_be_a_class_are_refused(images, tmp_path, values, classes):
    folder, _ = write_masks(tmp_path, values=values)
    found = " and ".join(map(str, values))
    with pytest.raises(InputError, match=rf"nothing but {found}; 255 means unlab.*store it as 1"):
        take(images, tmp_path, masks=folder, classes=list(classes))
    assert not (tmp_path / "out").exists()


def test_a_class_that_no_mask_holds_is_known_where_255_may_stand_for_it(images, tmp_path):
    folder, _ = write_masks(tmp_path, values=(0, 1, 255))
    tiles = take(images, tmp_path, masks=folder, classes=["a", "b", "c"])
    assert tiles.provenance["mask_values"] == [0, 1, 255] and unseen_classes(tiles) == ["c"]
    for path in folder.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) % 2).save(path)
    again = import_images(
        images, tmp_path / "again", masks=folder, classes=["a", "b", "c"], progress=False
    )
    assert unseen_classes(again) == []  # nothing that could hide it


def test_a_mask_of_another_size_is_named(images, tmp_path):
    folder, _ = write_masks(tmp_path, size=20)
    with pytest.raises(InputError, match=r"mask .*a 1\.png is 20 x 20 .*a 1\.bmp 24 x 24"):
        take(images, tmp_path, masks=folder, classes=["a", "b"])


def test_a_missing_mask_is_named(images, tmp_path):
    folder, _ = write_masks(tmp_path)
    (folder / "b.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 images have no mask .* first is b\.png"):
        take(images, tmp_path, masks=folder, classes=["a", "b"])


def test_masks_and_classes_go_together(images, tmp_path):
    with pytest.raises(InputError, match="--masks and --classes go together"):
        take(images, tmp_path, classes=["a"])


def test_mixed_sizes_are_refused_with_examples_and_counts(images, tmp_path):
    Image.fromarray(noise(30)).save(images / "d.png")
    with pytest.raises(
        InputError, match=r"2 sizes: 3 of 24 x 24, as a 1\.bmp; 1 of 30 x 30, as d\.png.*--size"
    ):
        take(images, tmp_path)


def test_mixed_sizes_are_resized_when_asked(images, tmp_path):
    big = noise(48, 9)
    Image.fromarray(big).save(images / "d.png")
    tiles = take(images, tmp_path, size=24)
    np.testing.assert_array_equal(tiles.image(0), noise(24, 1))  # of that size already
    resized = np.asarray(Image.fromarray(big).resize((24, 24), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(tiles.image(2), resized.astype(float), atol=1)


def test_resizing_does_not_squeeze(images, tmp_path):
    Image.fromarray(noise(24)[:12]).save(images / "wide.png")
    with pytest.raises(InputError, match=r"wide\.png is 24 x 12 pixels; --size takes square"):
        take(images, tmp_path, size=16)


def test_unreadable_images_are_all_named(images, tmp_path):
    (images / "e.png").write_text("no image")
    (images / "f.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"(?s)2 of 5 images cannot be read.*e\.png.*f\.jpg"):
        take(images, tmp_path)


def test_an_image_cut_off_is_named_and_leaves_nothing(images, tmp_path):
    Image.fromarray(noise(24)).save(images / "z.png")
    whole = (images / "z.png").read_bytes()
    (images / "z.png").write_bytes(whole[: len(whole) // 2])  # its header still tells the size
    with pytest.raises(InputError, match=r"(?s)1 of 4 images cannot be read.*z\.png: .*truncated"):
        take(images, tmp_path)
    assert not (tmp_path / "out").exists()


def test_names_that_become_one_tile_are_refused(images, tmp_path):
    Image.fromarray(noise(24)).save(images / "b.jpg")
    with pytest.raises(InputError, match=r"b\.jpg and b\.png would have the same tile_id b"):
        take(images, tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        take(tmp_path / "absent", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no images in it"):
        take(tmp_path / "empty", tmp_path)
