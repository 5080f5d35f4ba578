"""Named recipes of a generator: ordinary settings, which a study may override key by key.

`PRESETS` fills the study's section `generator`, `SAMPLING` its section `sampling`. What each recipe
is, and where it differs from its paper: docs/presets.md.
"""

from typing import Any, Literal

PresetName = Literal["tiny", "small", "base", "htd", "osorio"]

# Ours, for tiles of 256 px and latents at f8 (32 x 32) or f4 (64 x 64): rectified flow with
# logit-normal times, averaged weights, falling rate; attention in the two lowest levels.
_OURS: dict[str, Any] = {
    "layers_per_block": 2,
    "attention_levels": 2,
    "head_width": 64,
    "warmup_steps": 1000,
    "validate_every": 1000,
    "save_every_seconds": 600,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Minutes on two CPU cores: the defaults as they are.
    "tiny": {},
    # 33 million parameters.
    "small": {
        **_OURS,
        "channels": [128, 192, 256],
        "token_width": 256,
        "plane_width": 32,
        "batch_size": 128,
        "learning_rate": 4e-4,
        "steps": 50_000,
    },
    # 133 million parameters.
    "base": {
        **_OURS,
        "channels": [256, 384, 512],
        "token_width": 512,
        "plane_width": 64,
        "batch_size": 256,
        "learning_rate": 2e-4,
        "steps": 100_000,
    },
    # HeteroTissue-Diffuse (Alfasly et al., arXiv 2509.17847), as the authors' code trains on
    # Camelyon16 and PANDA with crops; 215 million parameters.
    "htd": {
        # Text, as noted by others: a ControlNet-style branch. Code: channels beside the latent.
        "architecture": "plain",
        "planes_join": "concat",
        "plane_encoder": "bilinear",
        "plane_width": 3,
        "channels": [128, 512, 1024],  # 128 x [1, 4, 8]
        "layers_per_block": 2,
        "head_width": 128,  # 8 heads
        "latents": "unscaled",  # VQ-f4: 64 x 64 x 3 for 256 px
        # Text: flips, stain and brightness vary. Code: no augmentation.
        "flips": "none",
        "target": "epsilon",
        "times": "uniform",
        "betas": (0.0015, 0.0205),
        "beta_schedule": "scaled_linear",  # what latent diffusion's code calls linear
        # Text: squared error. Code: absolute error.
        "loss": "l1",
        "batch_size": 48,  # 4 GPUs x 12
        "learning_rate": 4.8e-5,  # 1e-6 x GPUs x samples of each
        "warmup_steps": 10_000,
        "decay": "constant",
        # torch's AdamW as it is
        "weight_decay": 0.01,
        "beta2": 0.999,
        "max_gradient_norm": None,
        "ema_widths": [],
        "ema_decay": 0.9999,
        # Neither withheld conditions nor guidance.
        "condition_dropout": 0.0,
        # Not published (epochs 14 to 32 of folders of unknown size): ten times the warm-up.
        "steps": 100_000,
        # Not published either: their framework's default.
        "precision": "fp32",
        "validate_every": 1000,
        "save_every_seconds": 600,
    },
    # Osorio et al. (arXiv 2312.09792): diffusers' train_text_to_image.py on Stable Diffusion 1.5,
    # its UNet tuned, text encoder and autoencoder frozen; 860 million parameters. Prompts come from
    # the signal prompt, 512 px and the latent space from `autoencoder`.
    "osorio": {
        "architecture": "pretrained",
        "base": "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "latents": "model",
        "flips": "horizontal",
        # What Stable Diffusion 1.5 was trained with, and the script goes on with.
        "target": "epsilon",
        "times": "uniform",
        "betas": (0.00085, 0.012),
        "beta_schedule": "scaled_linear",
        "loss": "l2",
        "learning_rate": 1e-5,
        "warmup_steps": 0,
        "decay": "constant",
        # The script's AdamW; theirs is an 8-bit one, to save memory.
        "weight_decay": 0.01,
        "beta2": 0.999,
        "max_gradient_norm": 1.0,
        # Their command asks for no average.
        "ema_widths": [],
        "ema_decay": None,
        # The script withholds no prompt. Guidance is against the empty prompt, which Stable
        # Diffusion knows, and which tuning leaves as it may.
        "condition_dropout": 0.0,
        # Not published (their example, 15 steps of 1 image, is there to fit a small GPU): five
        # times through their 50,000 images.
        "batch_size": 16,
        "steps": 15_000,
        # Theirs is fp16.
        "precision": "auto",
        "save_every_seconds": 600,
    },
}

SAMPLING: dict[str, dict[str, Any]] = {
    "small": {"solver": "heun", "steps": 25},
    "base": {"solver": "heun", "steps": 25},
    "htd": {"solver": "ddim", "steps": 200, "eta": 1.0, "guidance_scale": 1.0},
    # Code: the pipeline's own PNDM, or ancestral sampling of a checkpoint, or this one with LoRA;
    # which made the paper's images is not published.
    "osorio": {"solver": "dpmpp", "steps": 50, "guidance_scale": 7.5},
}


def with_preset(section: Any, recipes: dict[str, dict[str, Any]], preset: Any) -> Any:
    """A section of a study over its preset's values; what is not a mapping is given back."""
    if not isinstance(section, dict) or not isinstance(preset, str):
        return section
    return {**recipes.get(preset, {}), **section}
