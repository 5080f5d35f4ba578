"""The prompt-balanced subset is the largest there is, and it is what every condition trains on."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from generator_workspace import STUDY, Workspace
from hypothesis import given, settings
from hypothesis import strategies as st

from histosynth.clusters import (
    kept_prompts,
    prompt_balanced_subset,
    read_assignments,
    selected_rows,
)
from histosynth.config import Study
from histosynth.diffusion.latents import LatentCache
from histosynth.errors import InputError
from histosynth.grid import Grid


def tiles_of(counts: dict[str | None, list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and clusters of tiles, from the number of tiles by label and cluster, shuffled."""
    pairs = [
        (label, cluster)
        for label, of_cluster in counts.items()
        for cluster, count in enumerate(of_cluster)
        for _ in range(count)
    ]
    order = np.random.default_rng(0).permutation(len(pairs))
    labels = np.array([pairs[i][0] for i in order], dtype=object)
    return labels, np.array([pairs[i][1] for i in order], dtype=np.int64)


def by_trial(counts: list[list[int]], step: int, least: int) -> tuple[int, int] | None:
    """(N, n) by trying all of them, as the paper words it."""
    best = None
    for size in range(step, sum(map(sum, counts)) + 1, step):
        for prompts in range(least, max(map(len, counts)) + 1):
            needed = size / (len(counts) * prompts)
            most_populated = [sorted(c, reverse=True)[:prompts] for c in counts]
            if all(len(c) == prompts and min(c) >= needed for c in most_populated):
                best = (size, prompts)  # later ones are larger, first in N, then in n
    return best


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=5), min_size=1, max_size=3),
    step=st.integers(1, 12),
    least=st.integers(1, 4),
)
def test_the_subset_is_the_largest_that_can_be_found_by_trial(counts, step, least):
    named = {f"label{i}": c for i, c in enumerate(counts)}
    labels, clusters = tiles_of({**named, None: [3, 0, 2]})
    counts = [c for c in counts if any(c)]  # a label without tiles is none
    expected = by_trial(counts, step, least) if counts else None
    if expected is None:
        with pytest.raises(InputError, match=r"clusters\.balance"):
            prompt_balanced_subset(labels, clusters, step=step, min_prompts=least, seed=0)
        return
    subset = prompt_balanced_subset(labels, clusters, step=step, min_prompts=least, seed=0)
    assert (subset.size, subset.prompts) == expected
    # As many of every prompt, of n prompts a label, N tiles in all but for rounding up.
    found = pd.DataFrame({"label": labels, "cluster": clusters}).iloc[subset.rows]
    assert found.groupby(["label", "cluster"]).size().to_dict() == subset.by_prompt
    assert len(set(subset.by_prompt.values())) == 1
    assert found.groupby("label")["cluster"].nunique().tolist() == [expected[1]] * len(counts)
    assert 0 <= len(found) - subset.size < len(subset.by_prompt)
    assert (np.diff(subset.rows) > 0).all()


def test_the_rarest_clusters_go_and_the_draw_follows_the_seed():
    labels, clusters = tiles_of({"healthy": [50, 3, 40, 60], "cancer": [45, 70, 2, 41]})
    subset = prompt_balanced_subset(labels, clusters, step=10, min_prompts=2, seed=1)
    # Three of each label have 40 or more: 2 x 3 x 40 = 240; two have 50 and 45: 180 only.
    assert (subset.size, subset.prompts, len(subset.rows)) == (240, 3, 240)
    kept = {"cancer": [0, 1, 3], "healthy": [0, 2, 3]}
    assert {label: sorted(c) for label, c in subset.facts()["clusters"].items()} == kept
    again = prompt_balanced_subset(labels, clusters, step=10, min_prompts=2, seed=1)
    other = prompt_balanced_subset(labels, clusters, step=10, min_prompts=2, seed=2)
    assert np.array_equal(subset.rows, again.rows) and not np.array_equal(subset.rows, other.rows)


def test_an_impossible_balance_is_refused_with_the_counts_and_the_cure():
    labels, clusters = tiles_of({"healthy": [9, 4, 0], "cancer": [5, 6, 7]})
    chosen = {"step": 100, "min_prompts": 2, "seed": 0}
    with pytest.raises(
        InputError,
        match=r"(?s)has 16 tiles, clusters\.balance\.step is 100; lower step.*"
        r"cancer: 7 in cluster 2, 6 in cluster 1, 5 in cluster 0\n  healthy: 9 in cluster 0",
    ):
        prompt_balanced_subset(labels, clusters, **chosen)
    with pytest.raises(
        InputError, match=r"label healthy is in 2 cluster\(s\) only, .* is 3; lower"
    ):
        prompt_balanced_subset(labels, clusters, **{**chosen, "min_prompts": 3})
    with pytest.raises(InputError, match="no train tile has a label"):
        prompt_balanced_subset(np.full(4, None, object), np.arange(4), **chosen)


# --- through the scripts

BALANCED = STUDY | {
    "clusters": {"encoder": "texture", "k": 2, "balance": {"step": 2, "min_prompts": 1}}
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("balanced"))
    made.config.write_text(yaml.safe_dump(BALANCED))
    made.cluster("clusters", "test.npy")
    made.script(
        "autoencoder", "--train", "real/train", "--val", "real/val",
        "--state", ".ae.state", "--output", "models/autoencoder",
    )  # fmt: skip
    made.script(
        "latents", "--autoencoder", "models/autoencoder", "--tileset", "real/train",
        "--output", "latents",
    )  # fmt: skip
    return made


def train(workspace: Workspace, condition: str, *extra: str, fails: bool = False) -> str:
    return workspace.script(
        "train", "--condition", f"conditions/{condition}.yaml", "--train", "real/train",
        "--latents", "latents", "--state", f"{condition}.state", "--output", condition, *extra,
        fails=fails,
    )  # fmt: skip


def test_the_script_writes_who_is_selected_and_what_the_subset_is(workspace):
    assigned = read_assignments(workspace.folder / "clusters")
    of_train = assigned[assigned["split"] == "train"]
    assert not assigned["selected"][assigned["split"] != "train"].any()
    labels = workspace.train.table["label"].to_numpy()
    expected = prompt_balanced_subset(
        labels, of_train["cluster"].to_numpy(), step=2, min_prompts=1, seed=0
    )
    assert np.flatnonzero(of_train["selected"]).tolist() == expected.rows.tolist()
    assert 0 < len(expected.rows) < len(of_train)
    assert workspace.json("clusters/summary.json")["subset"] == expected.facts()


def test_no_image_is_asked_for_that_training_left_out(workspace):
    from histosynth.conditions.table import condition_table
    from histosynth.generator_settings import SamplingSettings

    assigned = read_assignments(workspace.folder / "clusters")
    settings = SamplingSettings(n=20)
    free = condition_table(workspace.test, settings, clusters=assigned)
    pairs = list(zip(free["label"], free["cluster"], strict=True))
    kept = {pairs[0]}
    assert len(set(pairs)) > 1
    held = condition_table(workspace.test, settings, clusters=assigned, prompts=kept)
    assert set(zip(held["label"], held["cluster"], strict=True)) == kept and len(held) == 20
    with pytest.raises(InputError, match=r"real/test: no test tile has a label and cluster"):
        condition_table(workspace.test, settings, clusters=assigned, prompts={("other", 0)})
    workspace.script(
        "condition_table", "--test", "real/test", "--clusters", "clusters", "--output", "t.parquet"
    )
    table = pd.read_parquet(workspace.folder / "t.parquet")
    trained = kept_prompts(workspace.folder / "clusters")
    assert set(zip(table["label"], table["cluster"], strict=True)) <= trained


@pytest.mark.parametrize("condition", ["unconditional", "map_crop"])
def test_conditions_without_clusters_train_on_the_selected_tiles_too(workspace, condition):
    train(workspace, condition, "--clusters", "clusters")
    selected = read_assignments(workspace.folder / "clusters")["selected"].sum()
    assert workspace.json(f"{condition}/train.json")["tiles"] == selected


def test_a_tile_that_is_not_selected_changes_no_weight(workspace):
    assigned = read_assignments(workspace.folder / "clusters")
    left_out = np.flatnonzero(~assigned["selected"][assigned["split"] == "train"])
    weights = {}
    for name, rows in (("as_is", []), ("left_out", left_out), ("all", range(16))):
        shutil.copytree(workspace.folder / "latents", workspace.folder / name)
        mean = np.load(workspace.folder / name / "mean.npy")
        mean[:, rows] += 3
        np.save(workspace.folder / name / "mean.npy", mean)
        output = ["--output", f"by_{name}", "--state", f"{name}.state", "--latents", name]
        train(workspace, "map_crop", "--clusters", "clusters", *output)
        weights[name] = (workspace.folder / f"by_{name}/weights.safetensors").read_bytes()
    assert weights["as_is"] == weights["left_out"] != weights["all"]


def test_a_study_that_balances_trains_nothing_without_its_subset(workspace):
    message = train(workspace, "unconditional", fails=True)
    assert "every condition trains on the subset" in message and "--clusters" in message
    plain = yaml.safe_dump(BALANCED | {"clusters": {"encoder": "texture", "k": 2}})
    (workspace.folder / "plain.yaml").write_text(plain)
    workspace.script(
        "cluster", "--config", "plain.yaml", "--train", "real/train", "--features", "train.npy",
        "--output", "unbalanced",
    )  # fmt: skip
    message = train(workspace, "unconditional", "--clusters", "unbalanced", fails=True)
    assert "were made without it" in message and "run scripts/cluster.py again" in message
    assigned = read_assignments(workspace.folder / "clusters")
    with pytest.raises(InputError, match=r"real/test: holds 0 of the \d+ tiles"):
        selected_rows(assigned, workspace.test)


def test_a_part_of_the_latents_and_of_the_pool_are_those_of_its_tiles(workspace):
    from histosynth.conditions.targets import TilePool

    rows, flips = np.array([1, 4, 9]), np.array([0, 3, 2])
    whole = LatentCache.open(workspace.folder / "latents")
    part = whole.take(rows)
    assert len(part) == 3
    drawn = part.sample(np.array([2, 0, 1]), flips, np.random.default_rng(0))
    expected = whole.sample(rows[[2, 0, 1]], flips, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, expected)
    needs = ["images", "maps", "labels"]
    pool = TilePool.of(workspace.train, needs, label_names=["healthy", "cancer"]).take(rows)
    assert len(pool) == 3 and pool.clusters is None
    for i, row in enumerate(rows):
        assert pool.tile_ids[i] == workspace.train.table["tile_id"][row]
        np.testing.assert_array_equal(pool.images[i], workspace.train.image(row))
        np.testing.assert_array_equal(pool.maps[i], workspace.train.map(row))
    assert pool.slides.tolist() == [0, 1, 2]


def test_a_balanced_study_plans_the_clusters_for_every_condition():
    balanced = Grid(Study.parse(BALANCED))
    assert all(balanced.needs_clusters(name) for name in STUDY["conditions"])
    assert not Grid(Study.parse(STUDY)).needs_clusters("unconditional")
