"""Architecture `pretrained`: the UNet of a Stable Diffusion pipeline, tuned whole or by LoRA.

Its cross-attention reads the hidden states of a prompt as they are, so it takes signals that join
as vectors of its own width, and no others (Osorio et al., arXiv 2312.09792, tune it on prompts). A
withheld signal is its null, the empty prompt: that is what Stable Diffusion was trained to be
guided away from, so guidance needs no condition dropout of ours.

LoRA (Hu et al. 2021, arXiv 2106.09685) goes into the projections of every attention layer; then
only its weights are trained and saved, and the base is opened again to sample.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel

from histosynth.diffusion.network import (
    ConditionBatch,
    ConditionedNetwork,
    Prepared,
    SignalsSpec,
    check_levels,
)
from histosynth.diffusion.process import DIFFUSION_STEPS
from histosynth.errors import InputError
from histosynth.files import sha256_file
from histosynth.hub import load_weights, pretrained_folder, require_files

if TYPE_CHECKING:
    from histosynth.generator_settings import GeneratorSettings

KEY = "generator.base"
UNET_FILES = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
SCHEDULER_FILE = "scheduler/scheduler_config.json"
LORA_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
# What a UNet may ask for beside hidden states; Stable Diffusion 1 and 2 ask for none of it.
OTHER_INPUTS = (
    "class_embed_type",
    "addition_embed_type",
    "encoder_hid_dim_type",
    "num_class_embeds",
)


class PretrainedNetwork(ConditionedNetwork):
    """A pipeline's UNet between latents as its autoencoder scales them and hidden states.

    Attributes
    ----------
    origin : the base's name and fingerprint and the UNet's configuration, to build it again from
    """

    def build(self, origin: dict[str, Any] | None) -> None:
        settings, spec, latent_shape = self.settings, self.spec, self.latent_shape
        if origin is not None and settings.lora_rank is None:
            self.unet = UNet2DConditionModel.from_config(origin["unet"])
        else:
            self.unet, self.origin = _open_base(settings)
            if origin is not None and origin["fingerprint"] != self.origin["fingerprint"]:
                raise InputError(
                    f"{KEY}: {settings.base} has other weights ({self.origin['fingerprint'][:12]}) "
                    f"than the ones that the LoRA was trained on ({origin['fingerprint'][:12]}); "
                    "put those back, or train again"
                )
        _check_signals(spec, self.unet, settings)
        _check_latents(latent_shape, self.unet, settings)
        if settings.lora_rank is not None:
            from peft import LoraConfig

            self.unet.requires_grad_(False)
            self.unet.add_adapter(
                LoraConfig(
                    r=settings.lora_rank,
                    lora_alpha=settings.lora_rank,
                    init_lora_weights="gaussian",
                    target_modules=LORA_LAYERS,
                )
            )

    def prepare(self, conditions: ConditionBatch, drop: torch.Tensor) -> Prepared:
        withheld = self.withheld(drop)
        states = []
        for name in self.spec.vectors:
            given, null = conditions[name], conditions.nulls.get(name)
            if null is None:
                raise InputError(
                    f"signal {name!r} names nothing that stands for it where it is withheld, as "
                    "generator.architecture: pretrained needs; take a prompt"
                )
            given = given[:, None] if given.ndim == 2 else given
            states.append(torch.where(withheld[name][:, None, None], null, given))
        return Prepared(tokens=torch.cat(states, 1))

    def denoise(self, noisy: torch.Tensor, times: torch.Tensor, prepared: Prepared) -> torch.Tensor:
        return self.unet(
            noisy, self.process.network_times(times), prepared.tokens, return_dict=False
        )[0]

    def weights_to_save(self) -> dict[str, torch.Tensor]:
        """All weights, or those of the LoRA alone."""
        if self.settings.lora_rank is None:
            return self.state_dict()
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        if weights.keys() != self.weights_to_save().keys():
            raise ValueError("expected the weights that `weights_to_save` gives, and no others")
        self.load_state_dict(weights, strict=False)  # the base's own are there


def _open_base(settings: "GeneratorSettings") -> tuple[UNet2DConditionModel, dict[str, Any]]:
    assert settings.base is not None
    files = [*UNET_FILES, SCHEDULER_FILE]
    folder = pretrained_folder(settings.base, key=KEY, files=files)
    require_files(folder, files, key=KEY, what="a Stable Diffusion pipeline")
    _check_process(folder / SCHEDULER_FILE, settings)
    unet = load_weights(UNet2DConditionModel, folder / "unet", key=KEY, torch_dtype=torch.float32)
    others = [key for key in OTHER_INPUTS if unet.config.get(key) is not None]
    if others:
        raise InputError(
            f"{KEY}: {folder}/unet asks for more than hidden states ({', '.join(others)}); "
            "pipelines like Stable Diffusion 1 and 2 are known here"
        )
    origin = {
        "base": settings.base,
        "fingerprint": sha256_file(folder / UNET_FILES[1]),
        "unet": {key: value for key, value in unet.config.items() if not key.startswith("_")},
    }
    return unet, origin


def _check_process(path: Path, settings: "GeneratorSettings") -> None:
    """Refuse settings that contradict what the base was trained with.

    Settings say what is run, so that a record of them is complete; they are not taken from the
    folder, only held against it.
    """
    told = json.loads(path.read_text(encoding="utf-8"))
    prediction = told.get("prediction_type", "epsilon")
    targets = {"epsilon": "epsilon", "v_prediction": "velocity"}
    zero_end = told.get("rescale_betas_zero_snr", False)
    steps = told.get("num_train_timesteps", DIFFUSION_STEPS)
    plain = told.get("trained_betas") is None and not zero_end and steps == DIFFUSION_STEPS
    if not plain or prediction not in targets:
        raise InputError(
            f"{path}: a process that is not known here (prediction_type {prediction!r}, {steps} "
            "steps, trained_betas or rescale_betas_zero_snr); expected epsilon or v_prediction "
            f"over {DIFFUSION_STEPS} steps of linear or scaled_linear betas"
        )
    # What diffusers' schedulers take where a file leaves them out.
    first, last = told.get("beta_start", 0.0001), told.get("beta_end", 0.02)
    for key, expected, found in (
        ("target", targets[prediction], settings.target),
        ("betas", (first, last), tuple(settings.betas)),
        ("beta_schedule", told.get("beta_schedule", "linear"), settings.beta_schedule),
    ):
        if expected != found:
            raise InputError(
                f"generator.{key}: {found}, but {path} says that the base was trained with "
                f"{expected}; set that, or give another base"
            )


def _check_signals(
    spec: SignalsSpec, unet: UNet2DConditionModel, settings: "GeneratorSettings"
) -> None:
    others = [*spec.planes, *spec.tokens]
    if others or not spec.vectors:
        found = f"signal {others[0]!r} is no vector" if others else "there is no signal"
        raise InputError(
            f"{found}, and generator.architecture: pretrained attends to vectors only; take a "
            "prompt, whose template may also be a constant sentence"
        )
    width = unet.config.cross_attention_dim
    for name, given in spec.vectors.items():
        if given != width:
            raise InputError(
                f"signal {name!r} gives vectors of width {given}, but the UNet of {settings.base} "
                f"attends to a width of {width}; give the text encoder of the same pipeline"
            )


def _check_latents(
    latent_shape: tuple[int, int, int], unet: UNet2DConditionModel, settings: "GeneratorSettings"
) -> None:
    channels = unet.config.in_channels
    if latent_shape[0] != channels:
        raise InputError(
            f"autoencoder: its latents have {latent_shape[0]} channels, but the UNet of "
            f"{settings.base} takes {channels}; set autoencoder: {{kind: pretrained, path: ...}} "
            "to the same pipeline's"
        )
    check_levels(unet.config.block_out_channels, latent_shape[1])
