"""The sections of a study: cohort, tiles, conditions, networks, scores.

Each is a Pydantic model whose fields carry the defaults, the bounds and the words of the schema;
`histosynth.config.Study` puts them together and checks them against each other.
"""

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from histosynth.config_errors import NAME_PATTERN

Name = Annotated[
    str,
    Field(pattern=NAME_PATTERN, description="Letters, digits and underscores: it becomes a path."),
]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _expand_path(value: Any) -> Any:
    """Expand `~` and `${NAME}`; HISTOSYNTH_DATA defaults to the shared data beside the checkout."""
    if not isinstance(value, str):
        return value
    os.environ.setdefault("HISTOSYNTH_DATA", "../shared/data")
    expanded = os.path.expanduser(os.path.expandvars(value))
    if "${" in expanded:
        raise ValueError(f"{value!r} names an environment variable that is not set")
    return expanded


DataPath = Annotated[str, BeforeValidator(_expand_path)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TissueClass(Settings):
    """One tissue class of the maps; its index in the list is its value in a tile's map."""

    name: Name
    values: list[int] = Field(min_length=1, description="Pixel values in the annotation masks.")
    color: str = Field("#888888", pattern=r"^#[0-9A-Fa-f]{6}$")


class PhantomCohort(Settings):
    """Procedural H&E slides with exact masks: the embedded default."""

    kind: Literal["phantom"] = "phantom"
    patients: int = Field(16, ge=3)
    sites: int = Field(2, ge=1)
    slides_per_patient: int = Field(1, ge=1)
    width: int = Field(2048, ge=256, description="Level-0 pixels.")
    height: int = Field(1536, ge=256, description="Level-0 pixels.")
    mpp: float = Field(1.0, gt=0, description="Micrometres a level-0 pixel.")
    difficulty: Fraction = 0.5
    seed: int = 0


class TableCohort(Settings):
    """Slides listed in a CSV, TSV or Parquet table.

    Columns: slide_id, patient_id, image, and optionally annotation, label, site, split, mpp.
    Relative paths start at the table's folder.
    """

    kind: Literal["table"]
    table: DataPath
    mpp: float | None = Field(None, gt=0, description="For slides that carry no mpp themselves.")


class ImageMaskCohort(Settings):
    """Ready-made tiles: images with masks of the same size, listed in a CSV."""

    kind: Literal["image_mask"]
    index: DataPath
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Our column name -> the CSV's: image, mask, patient_id, label, site, split.",
    )
    mask_threshold: int | None = Field(
        None, description="Grey masks: values above it become 1, the others 0."
    )
    mpp: float | None = Field(None, gt=0)


Cohort = Annotated[PhantomCohort | TableCohort | ImageMaskCohort, Field(discriminator="kind")]


class Label(Settings):
    """Where a tile's label comes from: the cohort's `label` column, or its class fractions."""

    source: Literal["column", "class_fraction"] = "column"
    names: list[str] = Field(min_length=2, description="All labels, in the order of their index.")
    classes: list[str] = Field(
        default_factory=list,
        description="class_fraction: tiles with at least `threshold` of these get the last label.",
    )
    threshold: Fraction = 0.1


class Tiling(Settings):
    size: int = Field(64, ge=16, description="Tile side in pixels.")
    mpp: float | None = Field(2.0, gt=0, description="Requested micrometres a pixel.")
    stride: int | None = Field(None, ge=1, description="In tile pixels; default: the tile size.")
    min_tissue: Fraction = Field(0.5, description="Smallest share of tissue in a tile kept.")
    heterogeneity: tuple[Fraction, Fraction] | None = Field(
        (0.2, 0.8),
        description="Keep a tile only where at least two classes each cover a share within this.",
    )
    max_tiles_per_slide: int | None = Field(None, ge=1, description="A seeded random subset.")
    chunks: int = Field(2, ge=1, description="Slides are tiled in this many jobs.")
    seed: int = 0


class Split(Settings):
    """Patient-level split; a `split` column of the cohort wins over the fractions."""

    train: float = Field(0.6, gt=0)
    val: float = Field(0.15, gt=0)
    test: float = Field(0.25, gt=0)
    seed: int = 0


class EncoderSettings(Settings):
    """How images become features. `kind` texture needs no weights."""

    kind: str = "texture"
    model: str | None = None
    weights: DataPath | None = Field(
        None, description="A file, `random` (seeded), or `pretrained` (from the model's hub)."
    )
    seed: int = 0
    input_size: int | None = Field(None, ge=8, description="Resize (antialiased) to this side.")
    normalization: Literal["imagenet", "half", "caffe_bgr"] = "imagenet"
    batch_size: int = Field(64, ge=1)


class Clusters(Settings):
    """K-means morphology types, fitted on train tiles only."""

    encoder: str
    k: int = Field(8, ge=2)
    seed: int = 0


class SignalSettings(BaseModel):
    """One conditioning signal; the signal itself checks the keys other than `kind`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


def _as_signal(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class Condition(Settings):
    """A conditioning variant: signals for our generator, or a folder of somebody else's images."""

    signals: list[Annotated[SignalSettings, BeforeValidator(_as_signal)]] | None = None
    external: DataPath | None = Field(None, description="A folder of images to score as they are.")
    guidance_scale: float | None = Field(
        None, ge=0, description="Instead of the study's: the best one differs between signals."
    )

    @model_validator(mode="after")
    def _one_of(self) -> "Condition":
        if (self.signals is None) == (self.external is None):
            raise ValueError(
                "give either `signals` (a list, may be empty) or `external` (a folder)"
            )
        return self


class AutoencoderSettings(Settings):
    """The latent space, shared by all conditions of a study."""

    kind: Literal["train", "pretrained"] = "train"
    path: DataPath | None = Field(None, description="pretrained: a folder in diffusers' layout.")
    channels: list[int] = [16, 32, 64]
    layers_per_block: int = 1
    latent_channels: int = Field(8, ge=1)
    steps: int = Field(3000, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    warmup_steps: int = Field(50, ge=0)
    crop: int | None = Field(
        32, ge=8, description="Train on random crops of this side; default: the whole tile."
    )
    fourier_weight: float = Field(
        1.0, ge=0, description="Weight of the L1 distance of Fourier magnitudes beside plain L1."
    )
    pooled_weight: float = Field(
        0.5, ge=0, description="Weight of the L1 distances of the images halved 1, 2 and 3 times."
    )
    kl_weight: float = Field(1e-6, ge=0)
    latent_noise: float = Field(
        0.2, ge=0, description="Noise on latents before decoding, in standard deviations."
    )
    save_every_seconds: float = Field(60, gt=0)
    seed: int = 0

    @model_validator(mode="after")
    def _path(self) -> "AutoencoderSettings":
        if (self.kind == "pretrained") != (self.path is not None):
            raise ValueError("`path` goes with kind: pretrained, and only with it")
        return self


class GeneratorSettings(Settings):
    """The latent diffusion model of one condition (rectified flow)."""

    channels: list[int] = [32, 64, 128]
    layers_per_block: int = Field(1, ge=1)
    attention_levels: int = Field(1, ge=0, description="How many of the lowest levels attend.")
    token_width: int = Field(64, ge=8, description="Width of the cross-attention tokens.")
    plane_width: int = Field(16, ge=1, description="Channels that the planes become.")
    steps: int = Field(1500, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(50, ge=0)
    ema: Fraction = Field(0.999, description="Largest decay; it warms up with the steps.")
    condition_dropout: Fraction = 0.1
    save_every_seconds: float = Field(60, gt=0)


class SamplingSettings(Settings):
    """Synthetic sets: image i has seed i, whatever the batch."""

    n: int = Field(256, ge=2, description="Images a condition and seed.")
    solver: Literal["euler", "heun"] = "euler"
    steps: int = Field(25, ge=1)
    guidance_scale: float = Field(1.5, ge=0)
    batch_size: int = Field(32, ge=1)
    seed: int = 0


class NetworkTraining(Settings):
    """A small supervised network: a judge, or a downstream model."""

    model: str = Field(description="Segmentation: DeepLabv3+'s encoder. Else: a timm model.")
    weights: DataPath | None = Field(None, description="A file, or `pretrained` (from the hub).")
    depth: Literal[3, 4, 5] = Field(5, description="Segmentation: stages of the encoder in use.")
    decoder_channels: int = Field(256, ge=8, description="Segmentation: width of the decoder.")
    steps: int = Field(300, ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)


class Judges(Settings):
    """Networks trained on real train tiles that judge whether a sample obeys its condition."""

    segmenter: NetworkTraining = NetworkTraining(
        model="tu-resnet10t", depth=3, decoder_channels=64, steps=350, learning_rate=3e-3
    )
    classifier: NetworkTraining = NetworkTraining(model="resnet10t", steps=300, learning_rate=3e-3)
    seed: int = 0


class Downstream(Settings):
    """Utility: models trained on real, synthetic or mixed tiles, tested on real test patients."""

    segmentation: NetworkTraining | None = NetworkTraining(
        model="tu-resnet10t", depth=3, decoder_channels=64, steps=150, learning_rate=5e-3
    )
    classification: NetworkTraining | None = NetworkTraining(
        model="resnet10t", steps=150, learning_rate=3e-3
    )
    mixed_ratio: float = Field(1.0, gt=0, description="Synthetic tiles for one real, mixed arm.")
    seeds: list[int] = [0]


class Evaluation(Settings):
    encoders: list[str] = Field(min_length=1)
    neighbours: int = Field(5, ge=1, description="k of precision, recall, density, coverage.")
    min_tiles: int = Field(50, ge=2, description="Fewer tiles than this give no score.")
    seed: int = 0
