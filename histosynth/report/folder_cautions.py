"""What of the folders given looks like a slip of their owner, or makes a verdict worth little."""

from collections.abc import Mapping

from histosynth.evaluations.folders import Scores
from histosynth.external import REAL, TRAIN, External
from histosynth.image_files import odd_modes
from histosynth.imports import unseen_classes
from histosynth.report.answer import listed
from histosynth.report.folder_answer import FEW_PATIENTS, few_patients

Caution = tuple[str, str]
"""What is printed in bold, and the rest."""


def cautions(scores: Scores, folders: Mapping[str, External]) -> list[Caution]:
    """For the top of the page, and for the terminal."""
    found = []
    for name, external in folders.items():
        if odd := odd_modes(external.images.files, external.images.folder):
            rest = (
                "Subfolders are searched too, and everything in them is scored as images. Are "
                "these masks, or other files that are no images of tissue? Then move them out of "
                "the folder and score again."
            )
            found.append((f"{name} mixes image modes: {'; '.join(odd)}.", rest))
    for name, tiles in scores.sets.items():
        if unseen := unseen_classes(tiles):
            rest = (
                "255 counts as unlabelled, and is in no class. If it stands for a class in these "
                "masks, store its index instead and score again."
            )
            words = f"No mask of {name} holds {listed(unseen)}, while 255 is there."
            found.append((words, rest))
        if name not in (REAL, TRAIN):
            found += _labels(scores, name)
    if patients := few_patients(scores):
        rest = (
            "Tissue of one patient is alike, so each half speaks for its few patients and not for "
            "the next ones: real images lie far from each other, intervals are wide, and a set of "
            f"poor images may not be told from them. Give {FEW_PATIENTS} patients or more in each "
            "half."
        )
        words = f"{patients[0]} patients in one half of the real images, {patients[1]} in the other"
        found.append((f"Few patients: {words}.", rest))
    return found


def _labels(scores: Scores, name: str) -> list[Caution]:
    """Labels that only the real images have, or only the set `name`."""
    real, ours = (set(scores.sets[one].table["label"].dropna()) for one in (REAL, name))
    sides = (("no real image", ours - real), (f"no image of {name}", real - ours))
    words = [f"{who} has the label {listed(sorted(alone))}" for who, alone in sides if alone]
    if not (real and ours and words):
        return []
    rest = "Scores by label need the label on both sides."
    folded = {label.casefold().strip(): label for label in sorted(real - ours)}
    pairs = [(label, folded.get(label.casefold().strip())) for label in sorted(ours - real)]
    if same := [f"{label} and {other}" for label, other in pairs if other]:
        rest += f" Upper and lower case count: write {'; '.join(same)} alike."
    return [(f"{name}: {'; '.join(words)}.", rest)]
