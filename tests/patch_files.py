"""Small copies of releases of ready-cut patches, in exactly the released layout and format."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from PIL import Image

NCT_CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
_COLOURS = {0: (214, 140, 180), 1: (128, 60, 140)}  # pale stroma, dark tumour


def patch(label: int, *, side: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 (side, side, 3): blurred noise in the colour of its label, no two alike."""
    coarse = rng.normal(0, 40, (side // 8, side // 8, 1)).repeat(8, 0).repeat(8, 1)
    field = np.array(_COLOURS[label]) + coarse + rng.normal(0, 8, (side, side, 3))
    return np.clip(field, 0, 255).astype(np.uint8)


def write_pcam_hdf5(folder: Path, *, slides: int = 3, patches: int = 6, seed: int = 0) -> Path:
    """PatchCamelyon's nine files, unpacked: `slides` a split, `patches` a slide, in mixed order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    numbers = iter(range(1, 1000))
    for split in ("train", "valid", "test"):
        part = "test" if split == "test" else "train_tumor"
        names = [f"camelyon16_{part}_{next(numbers):03d}" for _ in range(slides)]
        count = slides * patches
        order = rng.permutation(count)
        labels = np.arange(count)[order] % 2
        meta = pd.DataFrame(
            {
                "coord_y": rng.permutation(50 * count)[:count] * 96,
                "coord_x": rng.permutation(50 * count)[:count] * 96,
                "tumor_patch": labels == 1,
                "center_tumor_patch": labels == 1,
                "wsi": np.repeat(names, patches)[order],
            }
        )
        stem = f"camelyonpatch_level_2_split_{split}"
        with h5py.File(folder / f"{stem}_x.h5", "w") as file:
            images = [patch(label, side=96, rng=rng) for label in labels]
            file.create_dataset("x", data=np.stack(images))
        with h5py.File(folder / f"{stem}_y.h5", "w") as file:
            file.create_dataset("y", data=labels.astype(np.uint8).reshape(-1, 1, 1, 1))
        meta.to_csv(folder / f"{stem}_meta.csv")  # its first column is the row's number, unnamed
    return folder


def write_pcam_kaggle(folder: Path, *, images: int = 24, seed: int = 0) -> Path:
    """Kaggle's copy: train/<id>.tif, train_labels.csv, and a test/ without labels."""
    (folder / "train").mkdir(parents=True, exist_ok=True)
    (folder / "test").mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        pixels = patch(i % 2, side=96, rng=rng)
        name = hashlib.sha1(pixels.tobytes()).hexdigest()
        Image.fromarray(pixels).save(folder / f"train/{name}.tif")
        rows.append({"id": name, "label": i % 2})
    Image.fromarray(patch(0, side=96, rng=rng)).save(folder / "test/00006537328c33e284c9.tif")
    pd.DataFrame(rows).to_csv(folder / "train_labels.csv", index=False)
    return folder


def write_class_folders(folder: Path, *, images: int = 3, seed: int = 0) -> Path:
    """NCT-CRC-HE: two sets of folders a class, with the litter that copying leaves in them."""
    rng = np.random.default_rng(seed)
    for part, infix in (("NCT-CRC-HE-100K", ""), ("CRC-VAL-HE-7K", "TCGA-")):
        for index, name in enumerate(NCT_CLASSES):
            place = folder / part / name
            place.mkdir(parents=True, exist_ok=True)
            for _ in range(images):
                code = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 8))
                pixels = patch(index % 2, side=224, rng=rng)
                Image.fromarray(pixels).save(place / f"{name}-{infix}{code}.tif")
            (place / "Thumbs.db").write_bytes(b"not an image")
            (place / f"._{name}-copy.tif").write_bytes(b"not an image")
        (folder / part / ".DS_Store").write_bytes(b"not a class")
    return folder
