"""The sections of a study: conditions, judges, scores.

`cohort_settings.py` has the slides' part, `generator_settings.py` the generator's.

Each is a Pydantic model whose fields carry the defaults, the bounds and the words of the schema;
`histosynth.config.Study` puts them together and checks them against each other.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from histosynth.settings_base import DataPath, Guidance, Settings


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


class PromptBalance(Settings):
    """Train on as many tiles of every label and cluster, as Osorio et al. (arXiv 2312.09792)."""

    step: int = Field(5000, ge=1, description="The subset's size is a multiple of this.")
    min_prompts: int = Field(10, ge=1, description="At least this many clusters a label survive.")


class Clusters(Settings):
    """K-means morphology types, fitted on train tiles only."""

    encoder: str
    k: int = Field(8, ge=2)
    balance: PromptBalance | None = None
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
    guidance_scale: Guidance | None = Field(
        None, description="Instead of the study's: the best one differs between signals."
    )
    init_from: str | None = Field(
        None,
        description="Another condition, of whose weights (same seed) training starts; signals that "
        "it lacks contribute nothing at first.",
    )
    steps: int | None = Field(
        None, ge=1, description="Training steps instead of generator.steps: init_from needs fewer."
    )

    @model_validator(mode="after")
    def _one_of(self) -> "Condition":
        if (self.signals is None) == (self.external is None):
            raise ValueError(
                "give either `signals` (a list, may be empty) or `external` (a folder)"
            )
        for key in ("init_from", "steps"):
            if self.external is not None and getattr(self, key) is not None:
                raise ValueError(f"`{key}` goes with `signals`: images of a folder are not trained")
        return self


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
    min_subset_tiles: int = Field(
        20,
        ge=2,
        description="The same of the kernel distances of a label, class, site or cluster, which "
        "have no bias in few tiles; not above min_tiles.",
    )
    legacy: list[Literal["osorio"]] = Field(
        default_factory=list,
        description="Published protocols, scored too and kept apart as not comparable.",
    )
    seed: int = 0
