"""The report on image folders: one page, with the leaderboard and tables of a study's report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from histosynth.encoders.features import load_features
from histosynth.evaluations.folders import FEW, Scores, repeated_images, shared_images
from histosynth.evaluations.rows import SPLIT_UNIT, software
from histosynth.external import REAL, TRAIN, External
from histosynth.report import (
    copying,
    differences,
    glossary,
    leaderboard,
    legacy,
    pages,
    planted,
    plots,
    privacy,
    tables,
    tissue,
)
from histosynth.report.cells import Column
from histosynth.report.collect import ConditionInfo, Results
from histosynth.report.data import DataFacts
from histosynth.report.figures import COLORS
from histosynth.report.folder_answer import FEW_PATIENTS, sentences
from histosynth.report.folder_cautions import cautions
from histosynth.report.folder_pixels import pixel_warnings
from histosynth.report.gallery import Strip, nearest_rows
from histosynth.report.pictures import Picture, choose, tile_uri

COLUMNS = 8  # images of each set that are shown
_TERMS = (
    (
        "Verdict",
        "By how much farther a set lies from one half of the real images than the other half does. "
        "It is clearly farther where the 95 % interval of this difference lies above zero, for the "
        "Fréchet distance or for the kernel distance. It is no farther where the leading distance "
        "is the Fréchet distance, the upper end of its interval no more than the distance of real "
        "images itself (the set then lies at most twice as far as they do), and each half has "
        f"{FEW_PATIENTS} patients or more, where patients are known. "
        "It is nearer where the "
        "interval of the leading distance lies below zero. All else leaves the question open.",
    ),
    (
        "Interval",
        "95 %, by leaving out one group of real patients (or images) and one of synthetic images "
        "at a time: how far the score would move with others of their kind. What another training "
        "of the generator would give is not in it.",
    ),
    (
        "Shared rank",
        "A set ranks behind another only where their difference is more than chance: what both "
        "owe to the choice of real images cancels, and all pairs of a score are corrected for by "
        "Holm’s method.",
    ),
    (
        "Protocol",
        "A short hash of what must agree for two numbers to be comparable, such as encoder "
        "weights, size before and after resizing, codec, reference images and their number.",
    ),
)


@dataclass(frozen=True)
class SetFacts:
    """A line of the table of what was compared."""

    name: str
    folder: str
    images: int
    scored: str
    pixels: str
    codec: str
    patients: str
    labels: str
    areas: tuple[float, ...]  # share of each class in its masks, where it has any


def render_folders(
    scores: Scores,
    folders: Mapping[str, External],
    provenance: pages.Provenance | None = None,
    *,
    say: Callable[[str], None],
) -> str:
    """The whole report as HTML; `say` is told its verdicts and warnings too."""
    results = _results(scores)
    columns = main_columns(scores, results)
    board = leaderboard.build(results, columns)
    troubles = [
        item
        for item in pages.trouble_list(results, board)
        if not item["name"].startswith("every score")  # the page's first lines say it
    ]
    verdict = copying.judge(results)
    copies = planted.planted_of(scores.memorization.get(REAL, {}))
    answer, caution = sentences(scores, board, verdict), warnings(scores, folders, verdict)
    for head, text in [*caution, *answer]:
        say(f"{head} {text.replace('`', '')}")
    used = set(scores.rows["metric"])
    template = pages.page_environment().get_template("folders.html.j2")
    return template.render(
        r=results,
        scores=scores,
        study=scores.study,
        board=board,
        headings=pages.headings(board),
        sentences=answer,
        findings=findings(scores, folders),
        warnings=caution,
        troubles=troubles,
        plots=plots.dot_plots(results, board),
        strips=gallery(scores),
        fidelity=tables.fidelity_tables(results),
        legacy=legacy.sections(results),
        differences=differences.tables(zip(board.columns, board.pairs, strict=True)),
        privacy=privacy.tables_of(results, copies),
        flags=verdict.flags,
        copies_found=planted.found_words(copies),
        pairs=pair_rows(scores),
        tissue=tissue.section(_tissue_source(scores, results), plots.colors(results)),
        facts=set_facts(scores, folders),
        classes=scores.sets[REAL].classes,
        protocols=tables.protocol_rows(results),
        versions=pages.versions(results),
        glossary=[m for m in glossary.METRICS.values() if m.name in used],
        terms=_TERMS,
        colors={n: f"s{i % COLORS}" for n, i in plots.colors(results).items()},
        starts={c.name: c.start for c in results.conditions if c.start},
        by_patient=split_unit(scores) == "patient",
        provenance=provenance or pages.Provenance(),
        counts=pages.counts,
    )


def main_columns(scores: Scores, results: Results) -> list[Column]:
    """What the leaderboard shows, of each encoder the distance first that is to be trusted."""
    columns = []
    for i, encoder in enumerate(scores.study.evaluation.encoders):
        names = [*leaderboard.distances(results, encoder)] + ["precision", "recall"] * (i == 0)
        columns += [Column("fidelity", name, encoder) for name in names]
    return columns + (leaderboard.privacy_columns(scores.study) if TRAIN in scores.sets else [])


def _results(scores: Scores) -> Results:
    """The frame that tables and plots are made from; stages before the scores have left nothing."""
    return Results(
        folder=scores.reference.tiles.folder.parent,
        study=scores.study,
        rows=scores.rows,
        partial=False,
        conditions=tuple(
            ConditionInfo(name, "somebody else’s images") for name in scores.study.conditions
        ),
        splits=(),
        data=DataFacts((), {}, {}, (), split_unit(scores), ()),
        duplicates=None,
        trainings=(),
        clusters=(),
        protocols=scores.protocols,
        versions=software(),
        score_seconds={},
        absent=(),
        comparisons=scores.comparisons,
    )


def _tissue_source(scores: Scores, results: Results) -> tissue.Source:
    sets = {**scores.sets, REAL: scores.reference.tiles}
    return tissue.Source(
        results, list(scores.tissue), scores.tissue, sets.__getitem__, "the reference images"
    )


def split_unit(scores: Scores) -> str:
    """What the halves of the real images keep apart: patient, or image."""
    return str(scores.reference.tiles.provenance[SPLIT_UNIT])


def warnings(
    scores: Scores, folders: Mapping[str, External], verdict: copying.Verdict
) -> list[tuple[str, str]]:
    """What can make every score misleading: (in bold, the rest)."""
    found = []
    for name, tiles in scores.sets.items():
        if name == REAL:
            continue
        count = shared_images(scores.sets[REAL], tiles)
        if count and name == TRAIN:
            rest = "They cannot stand for tissue that the generator has not seen."
            found.append((f"{count} training images are among the real images.", rest))
        elif count:
            rest = (
                "The same pixels on both sides bring a set nearer to the reference than anything "
                "generated could come: take them out and score again."
            )
            found.append((f"{count} images of {name} are real images themselves.", rest))
    known = [name for name in (REAL, TRAIN) if name in folders and _patients_known(folders[name])]
    if known == [REAL, TRAIN]:
        patients = [set(scores.sets[name].table["patient_id"]) for name in known]
        if both := sorted(patients[0] & patients[1]):
            rest = (
                f"The first is {both[0]}. Real images are then nearer to the training images than "
                "those of new patients, and copying is harder to see."
            )
            told = f"{len(both)} patients have real images among the training images too."
            found.append((told, rest))
    for name in dict.fromkeys(flag.condition for flag in verdict.flags):
        rest = (
            "Copies look like good images to every other score: look at the pairs under Privacy "
            "before any of them."
        )
        found.append((f"{name} lies nearer to the training images than real images do.", rest))
    found += pixel_warnings(folders, scores.reference.tiles.size[1])
    if scores.n < FEW:
        rest = "Expect wide intervals, and prefer the kernel distance: it has no bias at small n."
        found.append((f"Only {scores.n} images of each set could be scored.", rest))
    return found + cautions(scores, folders)


def _patients_known(folder: External) -> bool:
    return any("patient_id" in row for row in folder.facts.values())


def findings(scores: Scores, folders: Mapping[str, External]) -> list[str]:
    """What was noticed about the images, and does no more than need a word."""
    told = []
    for name, tiles in scores.sets.items():
        about = tiles.provenance
        others = {m: n for m, n in about["modes"].items() if m != "RGB"}
        if others:
            words = ", ".join(f"{n} of mode {mode}" for mode, n in others.items())
            told.append(f"{name}: {words} became RGB; what was transparent became white.")
        if about["skipped"]:
            listed = ", ".join(about["skipped"][:5]) + ", …" * (len(about["skipped"]) > 5)
            told.append(f"{name}: {len(about['skipped'])} unreadable files were left out: {listed}")
        repeated = repeated_images(tiles)
        if repeated:
            told.append(f"{name}: {repeated} images are exact copies of others in the set.")
    return told


def set_facts(scores: Scores, folders: Mapping[str, External]) -> list[SetFacts]:
    """What each set is."""
    lines = []
    side = scores.reference.tiles.size
    for name, tiles in scores.sets.items():
        table, given = tiles.table, folders[name]
        pixels, now = given.sizes.replace("x", "×"), f"{side[1]} × {side[0]}"
        if pixels != now:
            pixels += f" → {now}"
        scored = {REAL: f"{len(scores.reference.rows)} + {scores.n}", TRAIN: "–"}
        known = _patients_known(given)
        labels = table["label"].dropna()
        lines.append(
            SetFacts(
                name,
                given.images.folder.name,
                len(tiles),
                scored.get(name, str(scores.n)),
                pixels,
                str(given.codec),
                str(table["patient_id"].nunique()) if known else "unknown",
                ", ".join(f"{k} {v}" for k, v in labels.value_counts().sort_index().items()) or "–",
                tuple(table[f"class_{c}"].mean() for c in tiles.classes),
            )
        )
    return lines


def gallery(scores: Scores) -> list[Strip]:
    """Images of every set, spread over its names, with the nearest real image below each."""
    real = scores.sets[REAL]
    encoder = scores.study.evaluation.encoders[0]
    rows = scores.reference.rows[choose(len(scores.reference.rows), COLUMNS)]
    shown = tuple(Picture(tile_uri(real.image(i)), f"real image {i}") for i in rows)
    strips = [Strip("real", "of the reference half", "real", shown)]
    features = load_features(scores.features[REAL, encoder])
    for name in scores.study.conditions:
        tiles = scores.sets[name]
        chosen = choose(len(tiles), COLUMNS)
        cells = tuple(Picture(tile_uri(tiles.image(i)), f"{name}, image {i}") for i in chosen)
        made = load_features(scores.features[name, encoder])[chosen]
        near = tuple(
            Picture(tile_uri(real.image(i)), f"nearest real image, {real.table['tile_id'][i]}")
            for i in nearest_rows(features, made)
        )
        strips.append(Strip(name, "", "sample", cells))
        strips.append(Strip("nearest real", f"in {encoder} features", "nearest", near))
    return strips


def pair_rows(scores: Scores) -> list[tuple[str, str, list[privacy.Pair]]]:
    """(set, space, its closest pairs with training images)."""
    rows = []
    for name, facts in scores.memorization.items():
        for space in dict.fromkeys(pair["encoder"] for pair in facts["pairs"]):
            shown = [
                privacy.show_pair(pair, scores.sets[name], scores.sets[TRAIN])
                for pair in facts["pairs"]
                if pair["encoder"] == space
            ]
            rows.append((name, space, shown))
    return rows
