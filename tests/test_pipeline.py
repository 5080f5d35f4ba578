"""The whole graph at the size of a test, through a real Slurm where there is one.

One run of tests/micro.yaml serves all tests here: each looks at another side of it.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import slurm_cluster
import yaml
from conftest import ROOT, missing
from PIL import Image

from histosynth.files import read_json
from histosynth.slides.phantom import render_slide

PARTS = ["Snakefile", "rules", "scripts", "histosynth", "profiles", "slurm", "envs", "config.yaml"]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@dataclass
class Run:
    folder: Path
    jobs: dict[str, str]  # Slurm job name or comment -> what `scontrol show job` says of it

    @property
    def results(self) -> Path:
        return self.folder / "results" / "micro"


def snakemake(folder: Path, *arguments: str, environment=None, check=True):
    done = subprocess.run(
        ["snakemake", *arguments],
        cwd=folder,
        env=environment or ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    if check and done.returncode != 0:
        pytest.fail(
            f"snakemake {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        )
    return done


def copy_of_the_checkout(folder: Path) -> Path:
    """What a fresh clone would hold of it, without the history."""
    folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir() and not source.is_symlink():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(source, folder / part, follow_symlinks=False)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Run:
    """The micro study, run once: through Slurm where one can be started, else on this machine."""
    base = tmp_path_factory.mktemp("pipeline")
    folder = copy_of_the_checkout(base / "checkout")
    study = yaml.safe_load((ROOT / "tests" / "micro.yaml").read_text())
    study["conditions"]["theirs"] = {"external": str(four_images(base / "theirs"))}
    study["conditions"]["bought"] = {"external": str(bought_images(base / "bought"))}
    (folder / "micro.yaml").write_text(yaml.safe_dump(study))
    why = slurm_cluster.why_unavailable()
    if why:
        snakemake(folder, "--profile", "profiles/local", "--configfile", "micro.yaml")
        return Run(folder, {})
    with slurm_cluster.running(base / "slurm") as environment:
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        arguments = ["--profile", "slurm", "--configfile", "micro.yaml"]
        arguments += ["--slurm-status-command", "squeue"]  # a test Slurm keeps no accounts
        arguments += ["--slurm-init-seconds-before-status-checks", "3"]
        done = snakemake(folder, *arguments, environment=environment, check=False)
        if done.returncode != 0:
            logs = sorted((folder / ".snakemake" / "slurm_logs").rglob("*.log"))
            told = "\n".join(f"{log}:\n{log.read_text()[-1500:]}" for log in logs[-3:])
            pytest.fail(f"snakemake --profile slurm\n{done.stderr[-5000:]}\n{told}")
        shown = subprocess.run(
            ["scontrol", "show", "job"], env=environment, capture_output=True, text=True
        ).stdout
    jobs = {}
    for record in filter(None, (r.strip() for r in shown.split("\n\n"))):
        comment = re.search(r"Comment=(\S+)", record)
        jobs[comment.group(1) if comment else record.split()[0]] = record
    return Run(folder, jobs)


def four_images(folder: Path) -> Path:
    """Somebody else's images: too few of them to score."""
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (32, 32), (200, 100 + i, 180)).save(folder / f"theirs_{i}.png")
    return folder


def bought_images(folder: Path) -> Path:
    """Somebody else's images of tissue, of another size: enough to score."""
    folder.mkdir()
    options = {"mpp": 2.0, "seed": 7, "site": 0, "patient": 99, "difficulty": 0.5}
    slide, _ = render_slide(288, 192, **options)
    for i in range(24):
        y, x = 48 * (i // 6), 48 * (i % 6)
        Image.fromarray(np.ascontiguousarray(slide[y : y + 48, x : x + 48])).save(
            folder / f"bought_{i}.png"
        )
    return folder


@pytest.fixture(scope="session")
def rows(run) -> pd.DataFrame:
    return pd.read_parquet(run.results / "summary.parquet")


@pytest.mark.slurm
def test_slurm_gave_training_one_gpu_and_tiling_none(run):
    if not run.jobs:
        missing(slurm_cluster.why_unavailable() or "no jobs were recorded")
    trained = {n: text for n, text in run.jobs.items() if n.startswith("rule_train_wildcards")}
    tiled = {n: text for n, text in run.jobs.items() if n.startswith("rule_tile_wildcards")}
    assert len(trained) == 3 and len(tiled) == 2
    for text in trained.values():
        assert "Partition=gpu" in text and re.search(r"TresPerJob=gres[:/]gpu[:=]1\b", text)
    for text in tiled.values():
        assert "Partition=cpu" in text and "gpu" not in text.replace("Partition=cpu", "")


def test_every_stage_leaves_what_the_next_one_reads(run):
    for name in (
        "config.yaml",
        "cohort.parquet",
        "tilesets/real/train/tiles.parquet",
        "features/real/train/texture.npy",
        "clusters/texture-k3/assignments.parquet",
        "models/autoencoder/train.json",
        "conditions/map_crop.yaml",
        "models/map_crop/seed0/weights.safetensors",
        "tilesets/synthetic/map_crop/seed0/tiles.parquet",
        "metrics/map_crop/seed0/utility.json",
        "metrics/real/seed0/memorization.json",
        "metrics/map_crop/seed0/tissue.json",
        "summary.csv",
        "comparison.json",
    ):
        assert (run.results / name).is_file(), name
    assert (run.folder / "reports" / "micro" / "index.html").stat().st_size < 10e6


def test_no_patient_stands_on_two_sides(run):
    patients = {
        split: set(
            pd.read_parquet(run.results / "tilesets" / "real" / split / "tiles.parquet").patient_id
        )
        for split in ("train", "val", "test")
    }
    assert all(patients.values())
    assert not patients["train"] & patients["test"] and not patients["train"] & patients["val"]
    assert not patients["val"] & patients["test"]


def test_every_promised_cell_has_a_row_with_a_status(run, rows):
    shown = set(zip(rows.condition, rows.group, strict=True))
    for condition in ("real", "unconditional", "label_cluster", "map_crop", "theirs", "bought"):
        for group in ("fidelity", "adherence", "utility", "memorization", "tissue"):
            assert (condition, group) in shown
    unmapped = rows[(rows.condition == "unconditional") & (rows.metric == "map_iou")]
    assert set(unmapped.status) == {"not_applicable"} and unmapped.reason.str.len().min() > 10


def test_reference_rows_and_subsets_are_scored_and_every_number_has_a_protocol(rows):
    scored = rows[rows.status == "ok"]
    assert (scored.protocol.str.len() > 0).all()
    distances = scored[(scored.group == "fidelity") & (scored.metric == "kernel_distance")]
    whole = set(distances[distances.subset == "all"].condition)
    assert {"real", "autoencoder", "jpeg90", "noise", "other_site"} <= whole
    kinds = distances.subset.str.split("=").str[0]
    assert set(kinds) == {"all", "label", "class", "site", "cluster"}
    assert distances[kinds != "all"].n_synthetic.min() >= 8  # evaluation.min_tiles


def test_a_failed_cell_keeps_its_reason_and_the_report_stands(run, rows):
    theirs = rows[(rows.condition == "theirs") & (rows.group == "fidelity")]
    assert "failed" in set(theirs.status)
    assert theirs.reason.str.contains("4").any(), theirs.reason.tolist()
    page = (run.folder / "reports" / "micro" / "index.html").read_text()
    assert "theirs" in page


def test_somebody_elses_images_get_every_score_that_takes_no_request(rows):
    bought = rows[(rows.condition == "bought") & (rows.subset == "all")]
    scored = bought[bought.status == "ok"]
    assert set(scored.group) == {"fidelity", "memorization", "tissue"}
    assert set(scored[scored.metric == "frechet_distance"].encoder) == {"texture", "random"}
    nearest = scored[scored.metric == "nearest_train_auc"]
    assert set(nearest.encoder) == {"texture", "random", "pixels"}
    asked = bought[bought.group.isin(["adherence", "utility"])]
    assert set(asked.status) == {"not_applicable"} and asked.reason.str.len().min() > 10


def test_all_conditions_sample_the_same_held_out_tiles(run):
    tables = [
        pd.read_parquet(run.results / "tilesets/synthetic" / name / "seed0/tiles.parquet")
        for name in ("unconditional", "label_cluster", "map_crop")
    ]
    test = pd.read_parquet(run.results / "tilesets/real/test/tiles.parquet")
    assert set(tables[0].source_tile_id) <= set(test.tile_id)
    for table in tables[1:]:
        assert table.source_tile_id.tolist() == tables[0].source_tile_id.tolist()


def test_a_further_guidance_is_a_set_of_the_same_model_and_scored_for_fidelity_alone(run, rows):
    point = rows[rows.condition == "label_cluster~g4"]
    assert set(point.group) == {"fidelity"} and (point.status == "ok").any()
    assert not (run.results / "models" / "label_cluster~g4").exists()
    folder = run.results / "tilesets/synthetic"
    own, further = (
        read_json(folder / name / "seed0/tileset.json")
        for name in ("label_cluster", "label_cluster~g4")
    )
    told = [about["provenance"]["sampling"]["guidance_scale"] for about in (own, further)]
    assert told == [1.5, 4] and own["fingerprint"] != further["fingerprint"]
    assert own["provenance"]["weights"] == further["provenance"]["weights"]
    page = (run.folder / "reports" / "micro" / "index.html").read_text()
    assert "how hard to push towards the request" in page


def test_an_image_of_a_finished_study_is_made_again(run):
    command = ["scripts/remake.py", "--results", "results/micro", "--tile"]
    done = subprocess.run(
        [sys.executable, *command, "label_cluster-g4-s0-000009", "--output", "tile.png"],
        cwd=run.folder,
        env=ENVIRONMENT | {"PYTHONPATH": str(run.folder)},
        capture_output=True,
        text=True,
    )
    apart = re.search(r"at most (\d+) grey levels", done.stderr)
    # the batch of one sums in another order than the batch of eight
    assert apart and int(apart[1]) <= 2, done.stderr


def planned(run: Run, configfile: str = "micro.yaml") -> dict[str, int]:
    """Rule -> number of jobs that a dry run would start."""
    done = snakemake(run.folder, "-n", "--profile", "profiles/local", "--configfile", configfile)
    stats = re.search(r"Job stats:\n.*?\n-.*?\n(.*?)\ntotal ", done.stdout + done.stderr, re.DOTALL)
    jobs = re.findall(r"^(\w+) +(\d+)$", stats.group(1), re.MULTILINE) if stats else []
    return {rule: int(count) for rule, count in jobs if rule != "all"}


def changed_study(run: Run, name: str, change) -> str:
    study = yaml.safe_load((run.folder / "micro.yaml").read_text())
    change(study)
    (run.folder / name).write_text(yaml.safe_dump(study))
    return name


def test_a_second_run_finds_nothing_to_do(run):
    assert planned(run) == {}


def test_a_new_condition_runs_only_its_own_jobs(run):
    def add(study):
        study["conditions"]["map_label"] = {"signals": ["map", "label"]}

    jobs = planned(run, changed_study(run, "with_map_label.yaml", add))
    own = ["condition", "train", "sample"]
    own += ["fidelity", "adherence", "utility", "memorization", "tissue"]
    assert jobs == dict.fromkeys([*own, "comparison", "summary", "report"], 1) | {"embed": 2}


def test_changed_generator_settings_retrain_and_leave_slides_alone(run):
    def change(study):
        study["generator"]["steps"] = 11

    jobs = planned(run, changed_study(run, "more_steps.yaml", change))
    assert jobs["train"] == 3 and jobs["sample"] == 4  # one of them a further guidance
    assert not jobs.keys() & {"phantom", "tile", "split", "cluster", "autoencoder", "judge"}


def test_a_set_may_be_sampled_by_several_jobs_and_no_more_than_it_has_batches(run):
    def share(study):
        study["sampling"]["shards"] = 5

    jobs = planned(run, changed_study(run, "shards.yaml", share))
    assert jobs["sample"] == 4 * 3 and jobs["join_parts"] == 4  # 24 images, 8 at a time
    assert "train" not in jobs


def test_a_changed_score_setting_and_a_stale_file_are_both_seen(run):
    """With the resolved study as a rule's output, Snakemake overlooked the one for the other."""

    def change(study):
        study["evaluation"]["neighbours"] = 4

    features = run.results / "features" / "real" / "test" / "texture.npy"
    before = features.stat()
    os.utime(features, (before.st_atime, before.st_mtime - 3600))
    try:
        jobs = planned(run, changed_study(run, "more_neighbours.yaml", change))
    finally:
        os.utime(features, (before.st_atime, before.st_mtime))
    assert jobs["embed"] >= 1 and jobs["cluster"] == 1  # made anew from the stale features
    assert jobs["fidelity"] == 11 and "judge" not in jobs
    study_alone = planned(run, "more_neighbours.yaml")
    assert study_alone == {"fidelity": 11, "comparison": 1, "summary": 1, "report": 1}


def test_snakemake_report_archives_the_page_and_the_scores(run):
    arguments = ["--profile", "profiles/local", "--configfile", "micro.yaml"]
    snakemake(run.folder, *arguments, "--report", "archive.zip")
    assert (run.folder / "archive.zip").stat().st_size > 10_000


def test_a_failing_job_is_told_as_such_and_leaves_a_report_that_says_so(run, tmp_path):
    """The last test here: it leaves a partial report behind."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no image")

    def add(study):
        study["conditions"]["broken"] = {"external": str(tmp_path / "broken")}

    configfile = changed_study(run, "broken.yaml", add)
    arguments = ["--profile", "profiles/local", "--configfile", configfile]
    done = snakemake(run.folder, *arguments, check=False)
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Error in rule external" in told and "cannot identify image file" in told
    page = (run.folder / "reports" / "micro" / "index.html").read_text()
    assert "broken" in page and "no result file" in page and "label_cluster" in page
    # The partial page stands where the whole one goes, and is not taken for it.
    (run.results / "summary.parquet").unlink()
    jobs = planned(run)
    assert jobs["summary"] == jobs["report"] == 1 and "train" not in jobs
