"""No image is asked for a tissue class that no generator was shown, and the reason is told."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from generator_workspace import STUDY, Workspace

from histosynth.conditions.unseen import class_presence, unseen_classes
from histosynth.tilesets import TileSet, TileSetWriter


def recoloured(source: TileSet, folder: Path, keep_tumour: set[int]) -> TileSet:
    """The set, its maps without tumour but for some tiles; class fractions follow."""
    with TileSetWriter(folder, classes=source.classes) as writer:
        for i in range(len(source)):
            map = source.map(i) if i in keep_tumour else np.zeros_like(source.map(i))
            row = source.table.iloc[i].to_dict()
            row |= {"class_stroma": (map == 0).mean(), "class_tumour": (map == 1).mean()}
            writer.add(source.image(i), row, map)
    return TileSet.open(folder)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("unseen"))
    made.cluster("clusters", "test.npy")
    recoloured(made.train, made.folder / "real/no_tumour", keep_tumour=set())
    recoloured(made.test, made.folder / "real/some_tumour", keep_tumour={2, 5, 7})
    return made


def draw(workspace, config="config.yaml", test="real/some_tumour", train="real/no_tumour", **more):
    said = workspace.script(
        "condition_table", "--config", config, "--test", test, "--train", train,
        "--clusters", "clusters", "--output", "table.parquet", **more,
    )  # fmt: skip
    return said, workspace.folder / "table.parquet"


def test_tiles_of_a_class_that_no_train_tile_shows_are_left_out_and_counted(workspace):
    said, path = draw(workspace)
    asked = set(pd.read_parquet(path)["test_row"])
    assert not asked & {2, 5, 7} and len(asked) == 9
    assert "no train tile shows the class tumour (in 3 test tiles)" in said
    assert "put patients with it in train" in said and "merge the class" in said


def test_nothing_is_left_out_where_train_tiles_show_every_class(workspace):
    said, path = draw(workspace, train="real/train")
    assert "left out" not in said and len(set(pd.read_parquet(path)["test_row"])) == 10


def test_a_test_set_of_an_unseen_class_alone_is_refused_before_any_training(workspace):
    said, _ = draw(workspace, test="real/test", fails=True)
    assert "real/test: no tile that satisfies a condition: no train tile shows the class" in said
    assert "tumour (in 12 test tiles)" in said


def test_a_study_without_maps_among_its_signals_is_not_held_up(workspace):
    plain = {"conditions": {"unconditional": {"signals": []}, "label": {"signals": ["label"]}}}
    (workspace.folder / "plain.yaml").write_text(yaml.safe_dump(STUDY | plain))
    said, path = draw(workspace, config="plain.yaml", test="real/test")
    assert "left out" not in said and len(pd.read_parquet(path)) == 10


def test_presence_is_the_same_from_class_fractions_and_from_maps(workspace, tmp_path):
    tiles = TileSet.open(workspace.folder / "real/some_tumour")
    told = class_presence(tiles)
    tiles.table = tiles.table.drop(columns=["class_stroma", "class_tumour"])
    np.testing.assert_array_equal(class_presence(tiles), told)
    assert told[:, 1].sum() == 3


def test_only_the_tiles_that_were_trained_on_count_as_shown(workspace):
    tiles = TileSet.open(workspace.folder / "real/some_tumour")
    assert not unseen_classes(tiles, tiles)
    found = unseen_classes(tiles, tiles, trained_on=np.array([0, 1, 3]))
    assert {name: rows.tolist() for name, rows in found.items()} == {"tumour": [2, 5, 7]}
