"""Contact sheets: every slide small, its tissue outlined, its tiles kept or not, and why."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from histosynth.slides.tiling import LITTLE_TISSUE, ONE_CLASS, OVER_CAP, UNREADABLE

PICTURE_WIDTH = 480  # pixels
PAGE = 24  # slides a page
_COLUMNS = 3
_GAP = 16
_PADDING = 10  # between an empty panel's edge and its words
_TITLE, _TEXT = 15, 13  # font sizes in pixels
_LEADING = 5  # pixels between lines
_LONGEST = 2000  # characters of a reason: a page must stay a page, slides.json has them all
_INK, _QUIET, _PAPER, _EMPTY = "#1d1b22", "#5d5966", "#ffffff", "#f1eff4"
_OUTLINE = (29, 27, 34)

# Okabe and Ito's colours, which the colour-blind tell apart, none of them that of a stain.
KEPT = (0, 158, 115)
COLOURS = {
    ONE_CLASS: (86, 180, 233),
    OVER_CAP: (95, 95, 95),
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

    title : its name, cut off where it is longer than a line
    subtitle : what came of it, all of it shown
    picture : uint8 (H, W, 3) of `slide_picture`; None where there is none
    words : what stands in the picture's place, all of it shown
    """

    title: str
    subtitle: str
    picture: np.ndarray | None
    words: str = ""


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
    inside = np.asarray(Image.fromarray(tissue).resize(size, Image.Resampling.NEAREST))
    canvas[~inside] = 0.35 * canvas[~inside] + 0.65 * 255
    kinds = [short_kind(reason) for reason in reasons]
    # What was kept lies on top, what was only left over at the bottom.
    order = sorted(range(len(kinds)), key=lambda i: (kinds[i] == "", kinds[i] != OVER_CAP))
    for i in order:
        if kinds[i] == LITTLE_TISSUE:
            continue
        left, top, right, bottom = np.rint(boxes[i] * scale).astype(int)
        tile = canvas[top : max(bottom, top + 1), left : max(right, left + 1)]
        _mark(tile, kinds[i])
    drawn = canvas.round().clip(0, 255).astype(np.uint8)
    drawn[_rim(inside)] = _OUTLINE
    return drawn


def _mark(tile: np.ndarray, kind: str) -> None:
    """Tint and frame a tile's pixels, float (h, w, 3), in place."""
    colour = np.array(COLOURS.get(kind, KEPT), dtype=np.float32)
    framed = min(tile.shape[:2]) >= 4  # else there is no room
    if kind == OVER_CAP:  # most tiles of a slide: its tissue must still be seen through them
        tint, line = (0.0, 0.6) if framed else (0.25, 0.0)
    else:
        tint, line = 0.35 if kind else 0.15, 1.0 if framed else 0.0
    tile += tint * (colour - tile)
    frame = np.ones(tile.shape[:2], dtype=bool)
    frame[1:-1, 1:-1] = False
    tile[frame] += line * (colour - tile[frame])


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
    captions = [max(_caption_height(panel) for panel in row) for row in rows]
    heights = [max(_height(panel) for panel in row) for row in rows]
    legend = _TEXT + 2 * _GAP
    # Room for the legend, however few the slides.
    width = _GAP + max(columns, 2) * (PICTURE_WIDTH + _GAP)
    sheet = Image.new("RGB", (width, legend + sum(captions) + sum(heights) + len(rows) * _GAP))
    sheet.paste(_PAPER, (0, 0, *sheet.size))
    draw = ImageDraw.Draw(sheet)
    _legend(draw)
    top = legend
    for row, caption, tallest in zip(rows, captions, heights, strict=True):
        for column, panel in enumerate(row):
            left = _GAP + column * (PICTURE_WIDTH + _GAP)
            _caption(draw, panel, (left, top))
            at = (left, top + caption)
            if panel.picture is None:
                draw.rectangle((*at, left + PICTURE_WIDTH - 1, at[1] + tallest - 1), fill=_EMPTY)
                _write(draw, panel_lines(panel), (left + _PADDING, at[1] + _PADDING))
            else:
                sheet.paste(Image.fromarray(panel.picture), at)
        top += caption + tallest + _GAP
    return sheet


def panel_lines(panel: Panel) -> list[str]:
    """The words of a panel without a picture, as they are broken to fit into it."""
    return wrap(panel.words, PICTURE_WIDTH - 2 * _PADDING)


def wrap(text: str, width: int) -> list[str]:
    """Lines that, drawn at the size of running text, are at most `width` pixels wide.

    Joined, they are the text, its white space single spaces and the end of very long ones cut off.
    They break behind spaces, and within a word only where it is longer than a line, as paths are.
    """
    text = " ".join(text.split())
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "… (the rest is in slides.json)"
    font, lines, line = _font(_TEXT), [], ""
    for word in text.replace(" ", " \n").split("\n"):
        if line and font.getlength((line + word).rstrip()) > width:
            lines.append(line)
            line = ""
        for letter in word if font.getlength(word.rstrip()) > width else [word]:
            if line and font.getlength((line + letter).rstrip()) > width:
                lines.append(line)
                line = ""
            line += letter
    return [*lines, line] if line else lines


def _height(panel: Panel) -> int:
    if panel.picture is not None:
        return len(panel.picture)
    return 2 * _PADDING + len(panel_lines(panel)) * (_TEXT + _LEADING)


def _caption_height(panel: Panel) -> int:
    lines = len(wrap(panel.subtitle, PICTURE_WIDTH))
    return _TITLE + _LEADING + lines * (_TEXT + _LEADING) + _LEADING


def _caption(draw: ImageDraw.ImageDraw, panel: Panel, at: tuple[int, int]) -> None:
    left, top = at
    draw.text((left, top), fit(panel.title), fill=_INK, font=_font(_TITLE))
    _write(draw, wrap(panel.subtitle, PICTURE_WIDTH), (left, top + _TITLE + _LEADING))


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[str], at: tuple[int, int]) -> None:
    left, top = at
    for number, line in enumerate(lines):
        place = (left, top + number * (_TEXT + _LEADING))
        draw.text(place, line, fill=_QUIET, font=_font(_TEXT))


def fit(title: str) -> str:
    """A title in one line of a panel's width."""
    title, font = " ".join(title.split()), _font(_TITLE)
    if font.getlength(title) <= PICTURE_WIDTH:
        return title
    while title and font.getlength(title + "…") > PICTURE_WIDTH:
        title = title[:-1]
    return title + "…"


def _legend(draw: ImageDraw.ImageDraw) -> None:
    left = _GAP
    for colour, words in [(KEPT, "kept"), *((COLOURS[kind], WORDS[kind]) for kind in COLOURS)]:
        draw.rectangle((left, _GAP, left + _TEXT, _GAP + _TEXT), fill=colour)
        draw.text((left + _TEXT + 5, _GAP - 2), words, fill=_INK, font=_font(_TEXT))
        left += _TEXT + 20 + round(_font(_TEXT).getlength(words))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # Pillow's own: the same picture on every machine
