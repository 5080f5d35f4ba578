"""Folders of noise images to score, and the short way to do so."""

import numpy as np
from PIL import Image

from histosynth.evaluations.folders import Scores, evaluate_folders
from histosynth.external import Options, check_folders
from histosynth.external_arguments import name_folders, read_encoders
from histosynth.report.folders import render_folders

LEAST = {"real": 20, "": 10}


def noise(seed, side=32, channels=3):
    shape = (side, side, channels) if channels > 1 else (side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(folder, count, *, side=32, suffix="png", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(noise(seed + i, side)).save(folder / f"i{i:04}.{suffix}")
    return folder


def check(real, synthetic, **options):
    return check_folders({"real": real, "theirs": synthetic}, Options(**options), least=LEAST)


def score(real, synthetic, work, **options) -> tuple[Scores, str]:
    """Scores of two folders, and the page about them."""
    folders = name_folders(real, [f"theirs={synthetic}"], None)
    encoders = read_encoders([])
    scores, checked = evaluate_folders(
        folders, encoders, work, Options(**options), log=lambda _: None
    )
    return scores, render_folders(scores, checked, say=lambda _: None)
