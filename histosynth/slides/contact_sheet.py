"""Contact sheets: every slide small, its tissue outlined, its tiles kept or not, and why."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from histosynth.slides.tiling import LITTLE_TISSUE, ONE_CLASS, OVER_CAP, UNREADABLE

PICTURE_WIDTH = 480  # pixels
PAGE = 24  # slides a page
_COLUMNS = 3
_GAP = 16
_TITLE, _TEXT = 15, 13  # font sizes in pixels
_INK, _QUIET, _PAPER, _EMPTY = "#1d1b22", "#5d5966", "#ffffff", "#f1eff4"
_OUTLINE = (29, 27, 34)

# Okabe and Ito's colours, which the colour-blind tell apart, none of them that of a stain.
KEPT = (0, 158, 115)
COLOURS = {
    ONE_CLASS: (86, 180, 233),
    OVER_CAP: (160, 160, 160),
    "pen": (240, 228, 66),
    "border": (0, 0, 0),
    "blurred": (230, 159, 0),
    "outlier": (213, 94, 0),
    UNREADABLE: (255, 0, 0),
}
WORDS = {
    ONE_CLASS: "one class",
    OVER_CAP: "over the cap",
    "pen": "pen",
    "border": "black border",
    "blurred": "blurred",
    "outlier": "outlier",
    UNREADABLE: "unreadable",
}


class Panel(NamedTuple):
    """A slide on the sheet.

    title : its name
    subtitle : what came of it
    picture : uint8 (H, W, 3) of `slide_picture`; None where there is none
    """

    title: str
    subtitle: str
    picture: np.ndarray | None


def slide_picture(
    overview: np.ndarray,
    tissue: np.ndarray,
    *,
    boxes: np.ndarray,
    reasons: Sequence[str],
    width: int = PICTURE_WIDTH,
) -> np.ndarray:
    """A slide with its tissue and tiles.

    Parameters
    ----------
    overview : uint8 (H, W, 3)
    tissue : bool (H, W)
    boxes : float (n, 4), tiles: left, top, right, bottom in pixels of the overview
    reasons : n, "" for tiles kept; tiles with little tissue are not drawn
    width : pixels of the longer side of the result; 480 shows tiles of three pixels

    Returns
    -------
    uint8 (h, w, 3)
    """
    scale = width / max(overview.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in overview.shape[1::-1])
    image = Image.fromarray(overview).resize(size, Image.Resampling.LANCZOS)
    canvas = np.asarray(image, dtype=np.float32).copy()
    outside = Image.fromarray(tissue).resize(size, Image.Resampling.NEAREST)
    canvas[~np.asarray(outside)] = 0.35 * canvas[~np.asarray(outside)] + 0.65 * 255
    kinds = [short_kind(reason) for reason in reasons]
    # What was kept lies on top, what was only left over at the bottom.
    order = sorted(range(len(kinds)), key=lambda i: (kinds[i] == "", kinds[i] != OVER_CAP))
    for i in order:
        if kinds[i] == LITTLE_TISSUE:
            continue
        left, top, right, bottom = np.rint(boxes[i] * scale).astype(int)
        colour = np.array(COLOURS.get(kinds[i], KEPT), dtype=np.float32)
        strength = {"": 0.15, OVER_CAP: 0.08}.get(kinds[i], 0.35)
        tile = canvas[top : max(bottom, top + 1), left : max(right, left + 1)]
        tile += strength * (colour - tile)
        if min(tile.shape[:2]) >= 4 and kinds[i] != OVER_CAP:  # else there is no room for a frame
            for edge in (tile[0], tile[-1], tile[:, 0], tile[:, -1]):
                edge[:] = colour
    drawn = canvas.round().clip(0, 255).astype(np.uint8)
    drawn[_rim(np.asarray(outside))] = _OUTLINE
    return drawn


def short_kind(reason: str) -> str:
    """The kind of a reason: its first word, all of Osorio's outliers as one."""
    kind = reason.split(":", 1)[0]
    return "outlier" if kind.startswith("outlier") else kind


def _rim(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask that touch what is not of it; the picture's edge is no rim."""
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def contact_sheets(panels: Sequence[Panel]) -> list[Image.Image]:
    """Pages of up to `PAGE` slides each, under 1600 pixels wide, with a legend."""
    starts = range(0, len(panels), PAGE)
    return [_page(panels[start : start + PAGE]) for start in starts]


def _page(panels: Sequence[Panel]) -> Image.Image:
    columns = min(_COLUMNS, len(panels))
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(_height(panel) for panel in row) for row in rows]
    caption = _TITLE + _TEXT + 14
    legend = _TEXT + 2 * _GAP
    # Room for the legend, however few the slides.
    width = _GAP + max(columns, 2) * (PICTURE_WIDTH + _GAP)
    height = legend + sum(h + caption + _GAP for h in heights)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _legend(draw)
    top = legend
    for row, tallest in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left = _GAP + column * (PICTURE_WIDTH + _GAP)
            _caption(draw, panel, (left, top))
            at = (left, top + caption)
            if panel.picture is None:
                draw.rectangle((*at, left + PICTURE_WIDTH, at[1] + tallest), fill=_EMPTY)
            else:
                sheet.paste(Image.fromarray(panel.picture), at)
        top += caption + tallest + _GAP
    return sheet


def _height(panel: Panel) -> int:
    return 40 if panel.picture is None else len(panel.picture)


def _caption(draw: ImageDraw.ImageDraw, panel: Panel, at: tuple[int, int]) -> None:
    left, top = at
    draw.text((left, top), _fit(panel.title, _TITLE), fill=_INK, font=_font(_TITLE))
    text = _fit(panel.subtitle, _TEXT)
    draw.text((left, top + _TITLE + 5), text, fill=_QUIET, font=_font(_TEXT))


def _fit(text: str, size: int) -> str:
    """The text in one line of a panel's width."""
    text = " ".join(text.split())
    if _font(size).getlength(text) <= PICTURE_WIDTH:
        return text
    while text and _font(size).getlength(text + "…") > PICTURE_WIDTH:
        text = text[:-1]
    return text + "…"


def _legend(draw: ImageDraw.ImageDraw) -> None:
    left = _GAP
    for colour, words in [(KEPT, "kept"), *((COLOURS[kind], WORDS[kind]) for kind in COLOURS)]:
        draw.rectangle((left, _GAP, left + _TEXT, _GAP + _TEXT), fill=colour)
        draw.text((left + _TEXT + 5, _GAP - 2), words, fill=_INK, font=_font(_TEXT))
        left += _TEXT + 20 + round(_font(_TEXT).getlength(words))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # Pillow's own: the same picture on every machine
