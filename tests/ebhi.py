"""Real tiles for tests: EBHI-Seg images of the shared data, reduced."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from histosynth.resizing import resize

SQUEEZENET = "weights/squeezenet11/squeezenet1_1_caffe.pth"


def ebhi_images(data: Path, *, split: str, n: int, side: int = 224) -> np.ndarray:
    """Every k-th image of a split, uint8 (n, side, side, 3)."""
    table = pd.read_csv(data / "ebhi_seg/index.csv").query("split == @split")
    files = table["image"].iloc[:: len(table) // n][:n]
    images = [np.asarray(Image.open(data / "ebhi_seg" / f).convert("RGB")) for f in files]
    return np.stack([resize(image, (side, side)) for image in images])
