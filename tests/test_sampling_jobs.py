"""What is sampled does not depend on how the work was cut, stopped or repeated."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from generator_workspace import ROOT, STUDY, Workspace

from histosynth.diffusion import condition_sampling
from histosynth.diffusion.condition_sampling import part_bounds
from histosynth.grid import Grid
from histosynth.tilesets import TileSet

CONDITION = "label_cluster"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("jobs"))
    made.prepare()
    table = ["--test", "real/test", "--clusters", "clusters", "--output"]
    made.script(
        "train", "--condition", f"conditions/{CONDITION}.yaml", "--latents", "latents",
        "--clusters", "clusters", "--train", "real/train", "--output", "model", "--state", "s",
    )  # fmt: skip
    sampling = STUDY["sampling"] | {"n": 40, "steps": 3}
    (made.folder / "many.yaml").write_text(yaml.safe_dump(STUDY | {"sampling": sampling}))
    made.script("condition_table", "--config", "many.yaml", *table, "many.parquet")
    return made


def arguments(output: str | Path, *, config="config.yaml", table="table.parquet") -> list[str]:
    return [
        "--config", config, "--condition", f"conditions/{CONDITION}.yaml", "--latents", "latents",
        "--clusters", "clusters", "--model", "model", "--table", table,
        "--autoencoder", "models/autoencoder", "--test", "real/test", "--output", str(output),
    ]  # fmt: skip


def many(output: str | Path) -> list[str]:
    return arguments(output, config="many.yaml", table="many.parquet")


def join(workspace: Workspace, output: str, parts: list[str], **more) -> str:
    return workspace.script(
        "join_parts", "--parts", *parts, "--output", output, study=False, **more
    )


def test_a_set_of_three_parts_is_the_set_of_one_job(workspace):
    workspace.script("sample", *arguments("whole"))
    parts = [f"parts/{part}" for part in range(3)]
    for part, output in enumerate(parts):
        workspace.script("sample", *arguments(output), "--part", str(part), "3")
    join(workspace, "joined", parts)
    whole, joined = (TileSet.open(workspace.folder / name) for name in ("whole", "joined"))
    assert [len(TileSet.open(workspace.folder / part)) for part in parts] == [4, 4, 2]
    pd.testing.assert_frame_equal(joined.table, whole.table)
    # parts end where batches end, so not even rounding differs
    np.testing.assert_array_equal(joined.images(), whole.images())
    assert joined.fingerprint == whole.fingerprint
    about = joined.provenance | {"seconds": whole.provenance["seconds"]}
    assert about == whole.provenance and about["rows"] == [0, 10]


def test_parts_that_make_no_set_are_refused(workspace):
    for name, part, more in (("a", 0, []), ("b", 1, []), ("other", 1, ["--seed", "1"])):
        workspace.script("sample", *arguments(f"bad/{name}"), "--part", str(part), "2", *more)
    said = join(workspace, "bad/set", ["bad/a"], fails=True)
    assert "hold images 0 to 3 of 10; give all parts" in said
    said = join(workspace, "bad/set", ["bad/a", "bad/a", "bad/b"], fails=True)
    assert "bad/a: begins with image 0, expected 4" in said
    said = join(workspace, "bad/set", ["bad/a", "bad/other"], fails=True)
    assert "parts of different sets: they differ in seed; delete" in said
    said = workspace.script("sample", *arguments("bad/c"), "--part", "2", "2", fails=True)
    assert "--part 2 2: expected a part from 0 to 1" in said


def test_parts_end_where_batches_end_and_hold_every_image_once():
    for n, parts, batch_size in ((10, 3, 4), (50_000, 7, 32), (64, 2, 32), (5, 5, 1)):
        bounds = [part_bounds(n, (part, parts), batch_size) for part in range(parts)]
        assert [i for first, last in bounds for i in range(first, last)] == list(range(n))
        assert all(first % batch_size == 0 for first, _ in bounds)
        sizes = [-(-(last - first) // batch_size) for first, last in bounds]
        assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


def test_no_more_jobs_are_planned_than_a_set_has_batches(workspace):
    def parts(**sampling):
        study = workspace.study.model_copy(
            update={"sampling": workspace.study.sampling.model_copy(update=sampling)}
        )
        return Grid(study).parts

    assert (parts(), parts(shards=2), parts(shards=8)) == (1, 2, 3)  # 10 images, 4 at a time
    settings = [
        Grid(workspace.study.model_copy(update={"sampling": sampling})).sample_settings(CONDITION)
        for sampling in (
            workspace.study.sampling,
            workspace.study.sampling.model_copy(update={"shards": 5}),
        )
    ]
    assert settings[0] == settings[1]  # how a set is cut is no reason to sample it again


def test_a_killed_sampling_goes_on_behind_its_last_whole_chunk(workspace, tmp_path, monkeypatch):
    # as the script runs, but in chunks of one batch
    command = "import runpy; from histosynth.diffusion import condition_sampling as sampling;"
    command += (
        f"sampling.CHUNK = 4; runpy.run_path('{ROOT}/scripts/sample.py', run_name='__main__')"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", command, *many(tmp_path / "set")],
        cwd=workspace.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    state = tmp_path / ".set.state"
    while not (state / "000000-000004" / "tileset.json").exists():
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "set").exists()
    chunk = state / "000000-000004" / "images-000000.tar"
    made_at, kept = chunk.stat().st_mtime_ns, tmp_path / "kept.tar"
    os.link(chunk, kept)

    # Chunks of another generator seed, or of other settings, are no use.
    monkeypatch.setattr(condition_sampling, "CHUNK", 4)
    shutil.copytree(state, tmp_path / ".other.state")
    said = workspace.script("sample", *many(tmp_path / "other"), "--seed", "1")
    assert "went on" not in said

    said = workspace.script("sample", *many(tmp_path / "set"))
    assert "went on: " in said and " of 40 images were there from before" in said
    assert not state.exists()
    monkeypatch.undo()
    workspace.script("sample", *many(tmp_path / "fresh"))  # in one chunk
    resumed, fresh, other = (TileSet.open(tmp_path / name) for name in ("set", "fresh", "other"))
    assert resumed.fingerprint == fresh.fingerprint != other.fingerprint
    first = tmp_path / "set" / "images-000000.tar"
    assert first.stat().st_mtime_ns == made_at and first.samefile(kept)  # not made again
