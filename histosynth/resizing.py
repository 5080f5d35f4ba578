"""The one filter by which images change their size: Pillow's bicubic, which antialiases.

Pillow widens the kernel when it shrinks. PyTorch has the same filter in vector code, five times
faster, but not for every place; it is taken where it can be. Their fixed-point weights differ in
the last bit, so that now and then a value of the result is one off. Both round and clip between
their two passes; Pillow picks the order of these by the shape, PyTorch goes across first. Where
bicubic overshoots white or black, as in noise, a few values differ by two or three for that.
"""

import numpy as np
from PIL import Image

RESIZE_FILTER = "pillow-bicubic"  # part of a tile's protocol
REACH = 2  # half-width of the kernel, in pixels of the coarser grid
Box = tuple[float, float, float, float]


def resize(image: np.ndarray, size: tuple[int, int], box: Box | None = None) -> np.ndarray:
    """Resize an image, or a part of it.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    size : (width, height) of the result
    box : left, top, right, bottom of the part, in pixels; what lies around it is still taken into
        account, so that neighbouring parts join without a seam. Default: the whole image.

    Returns
    -------
    uint8 (height, width, 3)
    """
    height, width = image.shape[:2]
    box = box or (0, 0, width, height)
    if (width, height) == size and box == (0, 0, width, height):
        return image
    across = _whole_cells(box[0], box[2], size[0], width)
    down = _whole_cells(box[1], box[3], size[1], height)
    if across and down and across[0] == down[0] > 1:
        return _shrink_by_torch(image, size, across, down)
    made = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, box=box)
    return np.asarray(made)


def _whole_cells(low: float, high: float, pixels: int, bound: int) -> tuple[int, int, int] | None:
    """Whole pixels that become one, where the first cell starts, and how many lie before the box.

    None where the box does not consist of such cells, or where the image goes on past its last
    whole cell before or behind the box, within the kernel's reach: a grid of cells would cut that.
    """
    factor = round((high - low) / pixels)
    if (low, high) != (int(low), int(low) + factor * pixels):
        return None
    before, first = divmod(int(low), factor)
    behind, rest = divmod(bound - int(high), factor)
    if (first and before < REACH) or (rest and behind < REACH):
        return None
    return factor, first, before


def _shrink_by_torch(
    image: np.ndarray,
    size: tuple[int, int],
    across: tuple[int, int, int],
    down: tuple[int, int, int],
) -> np.ndarray:
    import torch  # slow to load, and of no use to what never resizes

    factor, left, before = across
    _, top, above = down
    rows, columns = (image.shape[0] - top) // factor, (image.shape[1] - left) // factor
    cells = image[top : top + rows * factor, left : left + columns * factor]
    planes = torch.from_numpy(cells if cells.flags.writeable else cells.copy()).permute(2, 0, 1)
    shrunk = torch.nn.functional.interpolate(
        planes[None], size=(rows, columns), mode="bicubic", antialias=True
    )
    part = shrunk[0, :, above : above + size[1], before : before + size[0]].numpy()
    made = np.empty((size[1], size[0], 3), dtype=np.uint8)
    for channel in range(3):  # several times faster than one transposed copy
        made[..., channel] = part[channel]
    return made
