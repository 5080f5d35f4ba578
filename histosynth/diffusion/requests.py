"""What images are asked for: rows of the condition table, with their conditions and their noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from histosynth.clusters.files import read_assignments
from histosynth.conditions.spec import ConditionSpec
from histosynth.conditions.table import noise_seeds, read_condition_table, table_targets
from histosynth.conditions.targets import Targets, TilePool
from histosynth.diffusion.checks import check_classes_of
from histosynth.diffusion.synthetic import synthetic_row
from histosynth.tilesets import TileSet

if TYPE_CHECKING:
    import pandas as pd

    from histosynth.config import Study
    from histosynth.generator_settings import SamplingSettings

FEATURES = "features:"  # then the encoder: what a file of features goes by


@dataclass(frozen=True)
class Requests:
    """The images of one condition and generator seed, by their position in the condition table.

    Attributes
    ----------
    name : of the set: the condition's, or that of a point of its guidance sweep
    test : the tiles whose conditions are asked for
    rows : the condition table
    noise_seeds : int64 (n,), the seed of each image's noise
    label_names : of the study, by their index
    """

    name: str
    spec: ConditionSpec
    settings: "SamplingSettings"
    seed: int
    test: TileSet
    rows: "pd.DataFrame"
    targets: Targets
    noise_seeds: np.ndarray
    label_names: tuple[str, ...]

    @classmethod
    def read(
        cls,
        spec: ConditionSpec,
        test: TileSet,
        study: "Study",
        files: Mapping[str, Path | None],
        *,
        seed: int,
        name: str,
        settings: "SamplingSettings | None" = None,
    ) -> "Requests":
        """Read the table and what the condition needs of the test tiles.

        Parameters
        ----------
        files : table (Parquet); where the condition uses them clusters (a folder), and the .npy of
            the test tiles as features:<encoder>
        seed : the generator's seed, which also chooses the noise
        settings : default: those of the study for `name`

        Raises
        ------
        InputError
            The table is of other tiles, the maps of other classes, or something needed is missing.
        """
        check_classes_of(test, study)
        table = files["table"]
        assert table is not None
        rows = read_condition_table(table, test)
        pool = TilePool.of(
            test,
            spec.needs,
            label_names=study.label_names,
            clusters=read_assignments(files["clusters"]),
            features={
                name.removeprefix(FEATURES): path
                for name, path in files.items()
                if name.startswith(FEATURES) and path is not None
            },
        )
        targets = table_targets(rows, pool, test.classes)
        settings = settings or study.sampling_of(name)
        noise, labels = noise_seeds(rows, seed), tuple(study.label_names)
        return cls(name, spec, settings, seed, test, rows, targets, noise, labels)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the maps that the images carry; none where no map was asked for."""
        return self.test.classes if "maps" in self.spec.provides else ()

    def tile_id(self, i: int) -> str:
        """The name of image i: unique in its set, and telling which set that is."""
        name = self.name.replace("~", "-").replace(".", "_")
        return f"{name}-s{self.seed}-{i:06d}"

    def described(self, positions: np.ndarray) -> list[dict[str, Any]]:
        """The rows of a synthetic set's table for the images at some positions."""
        targets = self.targets.take(positions)
        shown, shares = self.spec.shown_tiles(targets), self.spec.shown_share(targets)
        return [
            synthetic_row(
                self.test.table.iloc[int(self.rows["test_row"].iloc[i])],
                tile_id=self.tile_id(i),
                condition=self.name,
                seed=self.seed,
                provides=self.spec.provides,
                cluster=int(self.rows["cluster"].iloc[i]),
                crop_tile_ids=tiles,
                shown_share=float(share),
            )
            | {"noise_seed": int(self.noise_seeds[i])}
            for i, tiles, share in zip(positions.tolist(), shown, shares, strict=True)
        ]
