"""The command line that scores folders of images; light, so that `--help` is there at once."""

import argparse
from pathlib import Path

from histosynth.scripting import parser

_ABOUT = """\
Score folders of synthetic images against a folder of real ones, in one HTML report.

The real images are dealt into two halves, by patient where --patients tells them. One half is the
reference, the other the floor: what real images score themselves. Subfolders are searched too. It
takes no study, no GPU and no weights.
"""
_EXAMPLE = """\
python scripts/evaluate.py --real cohort/png --synthetic theirs=gan/samples \\
    --patients '^([^_]+)_' --report scores.html"""


def build_parser() -> argparse.ArgumentParser:
    """What `scripts/evaluate.py` takes."""
    made = parser(_ABOUT, example=_EXAMPLE, study=False)
    sets = made.add_argument_group("sets of images")
    add = sets.add_argument
    add("--real", type=Path, required=True, metavar="FOLDER", help="real images: 20 or more")
    add(
        "--synthetic",
        action="append",
        required=True,
        metavar="[NAME=]FOLDER",
        help="images to score: 10 or more; give it again for a further set",
    )
    add(
        "--train",
        type=Path,
        metavar="FOLDER",
        help="what the generator was trained on: scores memorization; the real images must be "
        "others",
    )
    add(
        "--patients",
        metavar="REGEX|TABLE",
        help="a regular expression whose one group, found in a path below the folder, is the "
        "patient; or a table of the real images with the columns image and patient_id",
    )
    add(
        "--labels",
        action="append",
        default=[],
        metavar="folders|NAME=TABLE",
        help="score label by label too: `folders` where subfolders are labels, or for each set "
        "(real=, the synthetic names) a table with the columns image and label. Where it has a "
        "column patient_id too, patients are taken from it, as by --patients",
    )
    add(
        "--masks",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="masks of a set, named as its images: scores class by class too, an image counting "
        "for the class that covers most of it. Whether images obey their masks is not scored: it "
        "takes a segmenter trained on real tissue",
    )
    add(
        "--classes",
        metavar="NAME,NAME,...",
        help="with --masks: the classes of the values 0, 1, ...; 255 is unlabelled, so store masks "
        "of 0 and 255 as 0 and 1",
    )
    how = made.add_argument_group("how they are scored")
    add = how.add_argument
    add(
        "--encoder",
        action="append",
        default=[],
        metavar="ENCODER",
        help="score in these features too: KIND[:MODEL][:WEIGHTS], as timm:resnet18:weights.pth or "
        "inception:weights.pth, or a YAML file with an `encoders` section like a study's (default: "
        "texture alone, which needs no weights)",
    )
    add("--size", type=int, metavar="N", help="resize all to N x N pixels (bicubic, antialiased)")
    add("--skip-broken", action="store_true", help="leave unreadable files out, and say which")
    add(
        "--allow-codec-mismatch",
        action="store_true",
        help="score JPEG against PNG or JPEG of another quality, and mark every score",
    )
    add(
        "--legacy",
        action="append",
        default=[],
        choices=["osorio"],
        help="score as in this published protocol too, in a table apart that ranks nobody: real "
        "images enlarged, synthetic ones reduced, both as they came (docs/comparable.md). Theirs "
        "was an Inception network: --encoder inception:weights.pth",
    )
    add("--threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    to = made.add_argument_group("what comes out").add_argument
    to(
        "--report",
        type=Path,
        required=True,
        metavar="FILE",
        help="HTML; a .csv of all scores is written beside it",
    )
    to(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="features kept for next time (default: evaluate-work beside the report)",
    )
    return made
