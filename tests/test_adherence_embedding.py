"""Adherence to an embedding: who follows it is told from who does not; another encoder judges."""

import numpy as np
import pytest
import yaml
from conftest import ROOT
from metric_rows import only

from histosynth.config import Study
from histosynth.encoders.features import save_features
from histosynth.errors import InputError
from histosynth.evaluations.adherence_embedding import NOT_INDEPENDENT, cosine, embedding_rows
from histosynth.evaluations.rows import Scored
from histosynth.grid import Grid
from histosynth.tilesets import TileSet, TileSetWriter

N, WIDTH = 60, 12
LABELS = ("healthy", "cancer")
ENCODER = {"model": "known", "weights": None, "transform": "", "dtype": "float32"}


def study_of(encoders=("texture", "random"), told="texture"):
    settings = yaml.safe_load((ROOT / "tests" / "micro.yaml").read_text())
    settings["label"] = {"source": "column", "names": list(LABELS)}
    settings["evaluation"]["encoders"] = list(encoders)
    settings["conditions"] = {
        "told": {"signals": [{"kind": "embedding", "encoder": told}]},
        "map": {"signals": ["map"]},
    }
    return Study.parse(settings)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Test tiles of two labels and four slides; a set like its targets, and one like any tile.

    Features are far from 0 and of unlike scales, as those of real encoders are.
    """
    folder, rng = tmp_path_factory.mktemp("embedding"), np.random.default_rng(0)
    offset, scale = 100 * rng.random(WIDTH), 10.0 ** rng.integers(-3, 3, WIDTH)
    label, slide = np.arange(N) % 2, np.arange(N) % 4
    own = rng.standard_normal((N, WIDTH))
    own[:, 0] += np.where(label == 1, 2, -2)
    own[:, 1:4] += 2 * rng.standard_normal((4, 3))[slide]
    targets = rng.permutation(N)
    features = {
        "train": rng.standard_normal((N, WIDTH))
        + np.eye(1, WIDTH) * np.where(label, 2, -2)[:, None],
        "test": own,
        "follows": own[targets] + 0.5 * rng.standard_normal((N, WIDTH)),
        "ignores": own[rng.permutation(targets)],
    }
    made, paths = {}, {}
    for kind, values in features.items():
        with TileSetWriter(folder / kind) as writer:
            for i in range(N):
                of = i if kind in ("train", "test") else targets[i]
                row = {
                    "tile_id": f"{kind}{i}",
                    "slide_id": f"s{slide[of]}",
                    "label": LABELS[label[of]],
                }
                row |= {"patient_id": f"p{slide[of]}_{of % 8}"}
                if kind in ("follows", "ignores"):
                    row["source_tile_id"] = f"test{of}"
                writer.add(np.full((8, 8, 3), i, np.uint8), row)
        made[kind] = TileSet.open(folder / kind)
        paths[kind] = folder / f"{kind}.npy"
        fingerprint = {**ENCODER, "tile_set": made[kind].fingerprint}
        save_features(
            paths[kind], (offset + scale * values).astype(np.float32), fingerprint=fingerprint
        )
    return made, paths, features, targets


def rows_of(sets, kind, condition="told", study=None, encoder="random"):
    made, paths, *_ = sets
    names = ("train", "test", kind)
    return embedding_rows(
        Scored("tiny", condition, 0, f"synthetic/{condition}/seed0", "adherence"),
        study or study_of(),
        [made[name] for name in names],
        encoder=encoder,
        features=[paths[name] for name in names],
    )


def test_a_generator_that_follows_its_features_is_told_from_one_that_does_not(sets) -> None:
    rows, columns = rows_of(sets, "follows")
    value = only(rows, condition="told", subset="all")
    # Standardised by the train tiles: the closed form from the features before offset and scale.
    _, _, plain, targets = sets
    mean, spread = plain["train"].mean(0), plain["train"].std(0)
    expected = [
        np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(
            (plain["follows"] - mean) / spread,
            (plain["test"][targets] - mean) / spread,
            strict=True,
        )
    ]
    # float32 features: offsets of 100 on a scale of 0.001 leave two digits
    assert columns["embedding_similarity"] == pytest.approx(expected, abs=0.02)
    assert value.value == pytest.approx(np.mean(expected), abs=0.01)
    assert value.ci_low <= value.value <= value.ci_high and value.value > 0.9
    ignored, _ = rows_of(sets, "ignores")
    assert only(ignored, condition="told", subset="all").value < 0.5
    assert only(rows, condition="told~shuffled").value < 0.5
    assert (
        only(rows, condition="told~wrong_class").value < only(rows, condition="told~shuffled").value
    )
    assert {r.subset for r in rows} == {"all", "label=healthy", "label=cancer"}
    assert {r.encoder for r in rows} == {"random"} and not value.reason


def test_real_tiles_are_compared_with_another_tile_of_their_slide(sets) -> None:
    rows, columns = rows_of(sets, "test", condition="real")
    value = only(rows, condition="real", subset="all")
    assert len(rows) == 3 and 0.2 < value.value < 0.9  # tissue of a slide is alike, not the same
    assert np.isfinite(columns["embedding_similarity"]).all()
    followed, _ = rows_of(sets, "follows")
    assert only(followed, condition="told~shuffled").value < value.value


def test_a_judge_that_the_generator_was_told_by_is_marked(sets) -> None:
    alone = study_of(encoders=["texture"])
    rows, _ = rows_of(sets, "follows", study=alone, encoder="texture")
    assert NOT_INDEPENDENT in only(rows, condition="told", subset="all").reason
    assert Grid(alone).embedding_judge == "texture"
    assert Grid(study_of()).embedding_judge == "random"  # one that no generator is told of
    assert Grid(study_of(told="random")).embedding_judge == "texture"
    settings = study_of().model_dump()
    settings["conditions"] = {"label": {"signals": ["label"]}}
    assert Grid(Study.parse(settings)).embedding_judge is None


def test_conditions_that_are_told_nothing_are_not_applicable_and_strange_tiles_refused(
    sets,
) -> None:
    (row,) = rows_of(sets, "follows", condition="map")[0]
    assert row.status == "not_applicable" and "no features" in row.reason
    with pytest.raises(InputError, match="made from None|which is no tile"):
        rows_of(sets, "train")


def test_a_cosine_of_nothing_is_nothing() -> None:
    ones = np.ones((2, 3))
    assert cosine(ones, np.array([[2, 2, 2], [0, 0, 0]])).tolist() == pytest.approx([1, 0])
