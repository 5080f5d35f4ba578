"""The sections of a study about its generator: latent space, network, training, sampling."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from histosynth.presets import PRESETS, PresetName, with_preset
from histosynth.settings_base import DataPath, Fraction, Guidance, GuidanceScale, Settings


class PerceptualSettings(Settings):
    """A distance of SqueezeNet's deep features, beside pixels."""

    weights: DataPath = Field(
        description="State dict of SqueezeNet 1.1 that takes BGR of 0 .. 255 minus (104, 117, 123)."
    )
    weight: float = Field(0.1, ge=0, description="In the training loss; 0: for the report only.")


class AutoencoderSettings(Settings):
    """The latent space, shared by all conditions of a study."""

    kind: Literal["train", "pretrained", "finetune"] = Field(
        "train", description="Trained from nothing, taken as it is, or taken and trained on."
    )
    path: DataPath | None = Field(
        None,
        description="pretrained, finetune: a folder in diffusers' layout, of an autoencoder or of "
        "a pipeline that holds one; a folder with a tiny autoencoder's *_encoder.pth and "
        "*_decoder.pth; or an id on the Hugging Face hub.",
    )
    subfolder: str | None = Field(
        None, description="Where below `path` it lies; default: vae or vqvae, where one is there."
    )
    finetune: Literal["decoder", "all"] = Field(
        "decoder", description="finetune: what is trained; with decoder the latents stay the same."
    )
    resolution: int | None = Field(
        None,
        ge=8,
        description="Tiles are resized to this side before encoding, and decoded images back.",
    )
    channels: list[int] = [16, 32, 64]
    layers_per_block: int = 1
    latent_channels: int = Field(8, ge=1)
    steps: int = Field(3000, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(2e-3, gt=0, description="finetune: 2e-4 where it is not given.")
    warmup_steps: int = Field(50, ge=0)
    crop: int | None = Field(
        32, ge=8, description="Train on random crops of this side; null: the whole tile."
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
    perceptual: PerceptualSettings | None = None
    adversarial_weight: float = Field(
        0.0, ge=0, description="Of what a PatchGAN discriminator says of decoded crops; 0: none."
    )
    adversarial_start: int = Field(
        1000, ge=0, description="The step from which the discriminator trains and counts."
    )
    cached_flips: Literal["none", "horizontal", "all"] | None = Field(
        None,
        description="Flips whose latents are cached, each encoded by itself; default: those that "
        "`generator.flips` asks for.",
    )
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        None,
        description="Samples that go through at once, as `generator.micro_batch`; but the noise on "
        "latents is measured by the spread of these.",
    )
    save_every_seconds: float = Field(60, gt=0)
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _gentle_on_what_is_trained_already(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("kind") == "finetune":
            return {"learning_rate": 2e-4, **given}
        return given

    @model_validator(mode="after")
    def _path(self) -> "AutoencoderSettings":
        if (self.kind == "train") == (self.path is not None):
            raise ValueError("`path` goes with kind: pretrained or finetune, and only with them")
        if self.subfolder is not None and self.path is None:
            raise ValueError("`subfolder` is below `path`, which is not given")
        if self.finetune == "all" and self.kind != "finetune":
            raise ValueError("`finetune` goes with kind: finetune, and only with it")
        return self


class GeneratorSettings(Settings):
    """The latent diffusion model of one condition; `preset` fills what is not given."""

    preset: PresetName = Field("tiny", description="Where the values not given come from.")

    architecture: Literal["conditioned", "plain", "pretrained"] = Field(
        "conditioned",
        description="conditioned: a UNet with cross-attention to tokens. plain: one for planes "
        "alone, with self-attention in its middle block only. pretrained: `base`'s, for prompts.",
    )
    base: DataPath | None = Field(
        None,
        description="pretrained: a folder of a Stable Diffusion pipeline, or a name of the hub.",
    )
    lora_rank: int | None = Field(
        None, ge=1, description="pretrained: train LoRA weights of this rank; default: the UNet."
    )
    channels: list[int] = [32, 64, 128]
    layers_per_block: int = Field(1, ge=1)
    attention_levels: int = Field(
        1, ge=0, description="conditioned: how many of the lowest levels attend."
    )
    head_width: int = Field(32, ge=1, description="Channels of one attention head.")
    token_width: int = Field(64, ge=8, description="Width of the cross-attention tokens.")
    plane_width: int = Field(16, ge=1, description="Channels that the planes become.")
    plane_encoder: Literal["convolutions", "bilinear"] = Field(
        "convolutions",
        description="How planes shrink to the latent's side: strided convolutions, or bilinear "
        "halvings and one 1x1 convolution without a bias.",
    )
    planes_join: Literal["concat", "controlnet"] = Field(
        "concat",
        description="Planes as channels beside the noisy latent, or through a copy of the UNet's "
        "encoder joined by zeros (arXiv 2302.05543; conditioned only).",
    )
    latents: Literal["whitened", "unscaled", "model"] = Field(
        "whitened",
        description="Scale of the latents: unit variance a channel, as the autoencoder gives "
        "them, or by the scaling_factor (and shift_factor) that it names.",
    )
    flips: Literal["none", "horizontal", "all"] = Field(
        "all", description="Flips that tiles are trained in; all: both axes."
    )

    target: Literal["flow", "velocity", "epsilon"] = Field(
        "flow", description="What is predicted: rectified flow's, or a diffusion's v or noise."
    )
    times: Literal["logit_normal", "uniform"] = "logit_normal"
    betas: tuple[float, float] = Field(
        (0.00085, 0.012), description="velocity, epsilon: first and last of 1,000 noise variances."
    )
    beta_schedule: Literal["linear", "scaled_linear"] = "scaled_linear"
    loss: Literal["l1", "l2"] = "l2"
    min_snr_gamma: float | None = Field(
        None, gt=0, description="Weigh times as min-SNR-gamma does (arXiv 2303.09556); usual: 5."
    )

    steps: int = Field(1500, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(50, ge=0)
    decay: Literal["linear", "constant"] = Field(
        "linear", description="The learning rate after warm-up: falling to zero, or constant."
    )
    weight_decay: float = Field(0.01, ge=0)
    beta2: float = Field(
        0.95, ge=0, lt=1, description="Of AdamW, for squared gradients; its beta1 is 0.9."
    )
    max_gradient_norm: float | None = Field(
        1.0, gt=0, description="Longer gradients are shortened to it; null: they stay as they are."
    )
    ema_widths: list[Annotated[float, Field(gt=0, le=0.28)]] = Field(
        [0.05, 0.1],
        description="Relative widths of power-function averages of the weights "
        "(arXiv 2312.02696), of which the best is taken; empty: the last weights.",
    )
    ema_decay: Fraction | None = Field(
        None, description="An exponential average instead, its decay warming up; usual: 0.9999."
    )
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        None,
        description="Samples that go through at once; the gradients of a batch add up. "
        "auto: halved where memory runs out; default: the batch.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 on CUDA, fp32 on a CPU without bf16 matrix units."
    )
    compile: bool | Literal["auto"] = Field(
        "auto", description="Compile the network's passes in training; auto: on CUDA only."
    )
    condition_dropout: Fraction = Field(
        0.1, description="Share of samples trained without any condition, for guidance."
    )
    signal_dropout: dict[str, Fraction] = Field(
        default_factory=dict, description="Signal -> share of samples trained without it alone."
    )
    processes: int = Field(
        1, ge=1, description="Processes, a GPU each, that share every batch of a training."
    )
    validate_every: int = Field(
        200, ge=0, description="Steps between losses on fixed validation tiles; 0: none are taken."
    )
    selection_images: int = Field(
        64,
        ge=0,
        description="Samples, on validation tiles' conditions, by whose kernel distance one of the "
        "averages is chosen; 0: the first is taken.",
    )
    selection_encoder: str | None = Field(
        None, description="The encoder of that distance; default: the study's first."
    )
    save_every_seconds: float = Field(60, gt=0)

    @model_validator(mode="after")
    def _even_shares(self) -> "GeneratorSettings":
        if self.batch_size % self.processes:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared by {self.processes} processes; "
                f"make it a multiple of {self.processes}"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_average(self) -> "GeneratorSettings":
        if self.ema_decay is not None and self.ema_widths:
            raise ValueError("`ema_decay` goes with `ema_widths: []`; give one kind of average")
        return self

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return with_preset(given, PRESETS, given.get("preset", "tiny"))

    @model_validator(mode="after")
    def _pretrained(self) -> "GeneratorSettings":
        pretrained = self.architecture == "pretrained"
        if pretrained != (self.base is not None):
            raise ValueError("`base` goes with architecture: pretrained, and only with it")
        if self.lora_rank is not None and not pretrained:
            raise ValueError("`lora_rank` goes with architecture: pretrained, and only with it")
        if pretrained and self.latents != "model":
            raise ValueError(
                f"latents: {self.latents}, but a pretrained network knows latents as its "
                "autoencoder scales them; set latents: model, or preset: osorio"
            )
        return self

    @model_validator(mode="after")
    def _planes_join(self) -> "GeneratorSettings":
        if self.planes_join == "controlnet" and self.architecture != "conditioned":
            raise ValueError(
                f"planes_join: controlnet needs architecture: conditioned, not {self.architecture}"
            )
        return self


Solver = Literal["euler", "heun", "dpmpp", "unipc", "ddim"]
SOLVERS: dict[str, tuple[Solver, ...]] = {
    "flow": ("euler", "heun", "dpmpp", "unipc"),
    "velocity": ("ddim", "dpmpp", "unipc"),
    "epsilon": ("ddim", "dpmpp", "unipc"),
}


class SamplingSettings(Settings):
    """Synthetic sets: image i has seed i, whatever the batch."""

    n: int = Field(256, ge=2, description="Images a condition and seed.")
    solver: Solver = Field(
        "euler",
        description="flow: euler, heun, dpmpp, unipc; velocity, epsilon: ddim, dpmpp, unipc.",
    )
    steps: int = Field(25, ge=1, description="Of the solver; heun takes two passes a step.")
    eta: Fraction = Field(
        0.0, description="ddim: noise added on the way, from none (0) to ancestral sampling (1)."
    )
    guidance_scale: Guidance = Field(
        1.5,
        description="Of all signals, or signal -> scale, nested in that order; 1 is unguided. "
        "A list is a sweep: its first scale as ever, each further one a set scored for fidelity.",
    )
    batch_size: int = Field(32, ge=1)
    shards: int = Field(
        1, ge=1, description="Jobs that sample one set, each its part; what comes out is the same."
    )
    seed: int = 0

    @property
    def guidance(self) -> GuidanceScale:
        """Of the set itself: the first of a sweep."""
        scale = self.guidance_scale
        return scale[0] if isinstance(scale, list) else scale
