"""A study that cannot succeed is refused when it is planned, not hours later."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.preflight import check_study

DEMO = (ROOT / "config.yaml").read_text()
CASES = {
    "unknown signal": (
        {"conditions": {"x": {"signals": ["mapp"]}}},
        ["conditions.x.signals[0]", "mapp", "map"],
    ),
    "unknown encoder": (
        {"encoders": {"texture": {"kind": "textur"}, "random": {"kind": "texture"}}},
        ["encoders.texture.kind", "'textur'", "texture, timm"],
    ),
    "weights that are not there": (
        {"encoders": {"texture": {}, "random": {"kind": "timm", "weights": "no.pth"}}},
        ["encoders.random.weights", "no.pth does not exist"],
    ),
    "cohort table that is not there": (
        {"cohort": {"kind": "table", "table": "slides.csv"}},
        ["cohort.table", "slides.csv does not exist"],
    ),
    "external folder that is not there": (
        {"conditions": {"theirs": {"external": "their/images"}}},
        ["conditions.theirs.external", "their/images does not exist"],
    ),
    "clusters where none are configured": (
        {"clusters": None},
        ["conditions.label_cluster.signals[1]", "clusters"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_key_and_cure(case):
    changes, expected = CASES[case]
    study = Study.parse({**yaml.safe_load(DEMO), **changes})
    with pytest.raises(InputError) as error:
        check_study(study)
    for words in expected:
        assert words in str(error.value)


def test_snakemake_shows_the_message_and_starts_nothing(tmp_path):
    study = yaml.safe_load(DEMO)
    study["conditions"]["oops"] = {"signals": ["mapp"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    done = subprocess.run(
        [Path(sys.executable).parent / "snakemake", "-n", "--cores", "1"]
        + ["--configfile", tmp_path / "study.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "conditions.oops.signals[0]" in done.stdout + done.stderr
    assert "mapp" in done.stdout + done.stderr


def test_planning_imports_nothing_heavy():
    code = (
        "import sys, yaml; from histosynth.grid import Grid\n"
        "Grid.from_config(yaml.safe_load(open('config.yaml')))\n"
        "print(sorted({'torch', 'diffusers', 'sklearn', 'skimage', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
