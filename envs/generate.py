"""Writes envs/histosynth.yaml (for `--software-deployment-method conda`) from pyproject.toml.

Run after changing the dependencies: python envs/generate.py. A test fails when the two differ.
"""

import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def environment_text() -> str:
    """The conda environment of the rules' jobs: pyproject's dependencies, without Snakemake."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]["inception"]
    needed = [d for d in project["dependencies"] + extras if not d.startswith("snakemake")]
    lines = [
        "# Written by envs/generate.py from pyproject.toml; change that instead.",
        "channels: [conda-forge]",
        "dependencies:",
        f'  - "python {project["requires-python"]}"',
        "  - pip",
        "  - pip:",
        *[f'      - "{d}"' for d in needed],
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "histosynth.yaml").write_text(environment_text())
    print("wrote envs/histosynth.yaml")
