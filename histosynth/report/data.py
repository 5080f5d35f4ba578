"""What tiling tells about the data: tiles by rule, readers, resolutions, slides, contact sheets.

The gathered `tilesets/real/summary.json` is read first; before it is written, and for what an
older one does not hold, the chunks' own `slides.json` are counted.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histosynth.files import read_json
from histosynth.report.pictures import Picture
from histosynth.report.stages import SPLITS, json_or_none
from histosynth.slides.selection import AcceptanceRow, acceptance_table

SHEETS = 6  # contact sheets shown
SHEET_BYTES = 2 * 2**20  # of them all


@dataclass(frozen=True)
class DataFacts:
    """Attributes
    ----------
    rules : the grid's tiles, and what each rule took of them, in the order of the rules
    readers, mpp_sources : slides by reader, and by who told their micrometres a pixel
    failed_slides : (slide, reason)
    split_unit : what the split keeps apart: patient, slide or image
    sheets : paths of the contact sheets, by chunk
    """

    rules: tuple[AcceptanceRow, ...]
    readers: dict[str, int]
    mpp_sources: dict[str, int]
    failed_slides: tuple[tuple[str, str], ...]
    split_unit: str
    sheets: tuple[Path, ...]


def data_facts(folder: Path, absent: list[str]) -> DataFacts:
    """Read what tiling left in a study's results; what is not there is added to `absent`."""
    path = folder / "tilesets" / "real" / "summary.json"
    summary = json_or_none(path) or {}
    chunks = sorted(folder.glob("tiles/*/slides.json"), key=_by_chunk)
    if not chunks and not summary:
        absent.append(f"tiling summary: no such file: {path}")
    slides = [slide for chunk in chunks for slide in slide_list(read_json(chunk))]
    failed = [slide for slide in slides if slide.get("status") == "failed"]
    failed = slide_list(summary["failed_slides"]) if "failed_slides" in summary else failed
    listed = tuple((str(s.get("slide_id", "?")), str(s.get("reason", ""))) for s in failed)
    reasons = summary.get("reasons") or _total(slide.get("counts") for slide in slides)
    return DataFacts(
        rules=tuple(acceptance_table({str(k): int(v) for k, v in reasons.items()})),
        readers=_most_first(summary.get("readers") or _count(slides, "reader")),
        mpp_sources=_most_first(summary.get("mpp_sources") or _count(slides, "mpp_source")),
        failed_slides=listed,
        split_unit=_split_unit(folder),
        sheets=tuple(sorted(folder.glob("tiles/chunk*/contact_sheet-*.jpg"), key=_by_chunk)),
    )


def slide_list(content: Any) -> list[dict[str, Any]]:
    """Slides as a list of records, from a list or from a mapping of slide id to record."""
    if isinstance(content, dict):
        content = content.get("slides", content)
    if isinstance(content, dict):
        return [
            {"slide_id": key, **(value if isinstance(value, dict) else {"reason": value})}
            for key, value in content.items()
        ]
    return [item for item in content if isinstance(item, dict)]


def shown_sheets(facts: DataFacts) -> tuple[list[Picture], list[Path]]:
    """The first contact sheets as pictures, and the paths of the rest."""
    shown: list[Picture] = []
    left = SHEET_BYTES
    for path in facts.sheets[:SHEETS]:
        content = path.read_bytes()
        left -= len(content)
        if left < 0 and shown:
            break
        source = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        place = f"{path.parent.name}, {re.sub('[_-]', ' ', path.stem)}"
        shown.append(Picture(source, f"slides and their tiles, {place}", place))
    return shown, list(facts.sheets[len(shown) :])


def _by_chunk(path: Path) -> tuple[int, str]:
    """Chunk 10 after chunk 9."""
    number = re.search(r"\d+", path.parent.name)
    return (int(number[0]) if number else 0, path.name)


def _split_unit(folder: Path) -> str:
    for split in SPLITS:
        description = json_or_none(folder / "tilesets" / "real" / split / "tileset.json") or {}
        unit = (description.get("provenance") or {}).get("split_unit")
        if unit:
            return str(unit)
    return "patient"


def _total(counts: Iterable[dict[str, int] | None]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part or {})
    return total


def _count(slides: list[dict[str, Any]], key: str) -> Counter[str]:
    return Counter(str(slide[key]) for slide in slides if slide.get(key))


def _most_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
