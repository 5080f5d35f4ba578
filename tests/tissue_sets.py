"""Sets of drawn tissue, and what is done to them, for tests of tissue statistics."""

import numpy as np

from histosynth.config import Study
from histosynth.evaluations.rows import Scored
from histosynth.evaluations.tissue import tissue_of_files
from histosynth.nuclei import nucleus_labels
from histosynth.slides.phantom import render_slide
from histosynth.stains import STAINS
from histosynth.tilesets import TileSet, TileSetWriter

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


def discs(places, radius, *, side=120, dark=0.75):
    """Dark round nuclei of this radius (pixels) on pale pink tissue."""
    rows, columns = np.mgrid[:side, :side]
    amount = np.full((side, side), 0.08)
    for row, column in places:
        amount[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = dark
    return image_of(amount, 0.25)


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
