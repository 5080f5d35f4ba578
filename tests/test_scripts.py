"""Every rule has a script of its name that can be typed by hand."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def rule_commands() -> dict[str, str]:
    """Rule -> the script that its shell command runs."""
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    blocks = re.split(r"^ *rule (\w+):", text, flags=re.MULTILINE)[1:]
    found = {}
    for name, block in zip(blocks[::2], blocks[1::2], strict=True):
        script = re.search(r"python scripts/(\w+)\.py", block)
        if script:
            found[name] = script.group(1)
    return found


def test_a_rule_runs_the_script_of_its_name():
    commands = rule_commands()
    assert len(commands) > 10
    renamed = {rule: script for rule, script in commands.items() if rule != script}
    assert renamed == {"external": "import_images"}
    by_hand = {"evaluate", "remake"}  # folders without a study; one image to look at
    assert {path.stem for path in SCRIPTS} - by_hand == set(commands.values())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_is_short_and_knows_nothing_of_snakemake(path):
    text = path.read_text()
    assert len(text.splitlines()) < 60
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (
            node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")]
        )
    }
    assert "snakemake" not in imported


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_ends_with_an_example_that_parses(path):
    shown = subprocess.run(
        [sys.executable, path, "--help"], capture_output=True, text=True, check=True
    ).stdout
    example = shown.split("example:", 1)[1].replace("\\\n", " ").split()
    assert example[:2] == ["python", f"scripts/{path.stem}.py"]
    known = set(re.findall(r"--[a-z_-]+", shown.split("example:")[0]))
    assert {word for word in example if word.startswith("--")} <= known
    usage = shown.split("options:")[0]
    for _ in range(2):  # an option's values may stand in brackets within its own
        usage = re.sub(r"\[[^\[\]]*\]", "", usage)
    required = set(re.findall(r"--[a-z_-]+", usage))
    assert required <= set(example), "the example lacks a required option"


def test_bad_input_ends_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "cohort.py"]
        + ["--config", str(Path("nowhere.yaml")), "--output", str(tmp_path / "cohort.parquet")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "nowhere.yaml: no such config file" in done.stderr and "Traceback" not in done.stderr
