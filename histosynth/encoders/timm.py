"""Any timm model as an encoder: pretrained, from a local file, or with random weights.

Pretrained models and files give the globally pooled features before the classifier.

Random weights (`weights: random`, seeded) are for where nothing can be downloaded and where
pretrained networks are far from the data's domain; Naeem et al. 2020 discuss random embeddings as
an alternative there. A random convolutional network still sees texture, and as a second encoder it
shares nothing with the one that clusters or conditions. Its deep layers tend to map all images to
nearly one point, so the pooled features of every stage are taken, not of the last one alone. Its
scores compare only with scores of the same model and seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import timm
import timm.models
import torch

from histosynth.encoders import register_encoder
from histosynth.encoders.network import NetworkEncoder, load_weights, read_weights
from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.settings import EncoderSettings


@register_encoder("timm")
def load(name: str, settings: EncoderSettings) -> NetworkEncoder:
    """Build a timm encoder from `model`, `weights`, `seed`, `input_size`, `normalization`.

    `normalization` must be the one the weights were trained with: timm's model card tells.

    Raises
    ------
    InputError
        Unknown model, no weights given, weights that cannot be had or do not fit.
    """
    key = f"encoders.{name}"
    if not settings.model or not timm.is_model(settings.model):
        near = timm.list_models(f"*{(settings.model or '')[:6]}*")[:5]
        raise InputError(
            f"{key}.model: timm {timm.__version__} has no model {settings.model!r}"
            + (f"; near it: {', '.join(near)}" if near else "; see timm.list_models()")
        )
    if settings.weights is None:
        raise InputError(
            f"{key}.weights: missing; give a file (.safetensors, .pth), `pretrained` or `random`"
        )
    if settings.weights == "random":
        network, model = (
            _random(settings.model, settings.seed),
            f"{settings.model}, mean of every stage",
        )
    else:
        network, model = (
            _trained(settings.model, settings.weights, key),
            f"{settings.model}, pooled",
        )
    return NetworkEncoder(
        name,
        network,
        model=f"timm {model}",
        packages=("timm",),
        input_size=_input_size(settings.model, settings.input_size, key),
        normalization=settings.normalization,
        batch_size=settings.batch_size,
    )


def _input_size(model: str, wanted: int | None, key: str) -> int | None:
    """The side to resize to; a transformer whose size is fixed takes that one and no other."""
    if not timm.models.get_pretrained_cfg_value(model, "fixed_input_size"):
        return wanted
    side: int = (timm.models.get_pretrained_cfg_value(model, "input_size") or (3, 224, 224))[-1]
    if wanted not in (None, side):
        raise InputError(
            f"{key}.input_size: {wanted}, but {model} takes {side} only; leave the key out"
        )
    return side


def _trained(model: str, weights: str, key: str) -> torch.nn.Module:
    pretrained = weights == "pretrained"
    try:
        network = timm.create_model(model, pretrained=pretrained, num_classes=0)
    except Exception as error:
        if not pretrained:
            raise
        raise InputError(
            f"{key}.weights: the pretrained weights of {model} could not be fetched "
            f"({type(error).__name__}: {error}); fetch them where there is a network and give the "
            "file's path instead"
        ) from error
    if not pretrained:
        head = timm.models.get_pretrained_cfg_value(model, "classifier") or ()
        heads = (head,) if isinstance(head, str) else tuple(head)
        load_weights(
            network,
            read_weights(weights, key=f"{key}.weights"),
            key=f"{key}.weights",
            ignored=tuple(f"{head}." for head in heads),
        )
    return network


def _random(model: str, seed: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            stages = timm.create_model(model, pretrained=False, features_only=True)
        except Exception as error:
            raise InputError(
                f"timm model {model} cannot give the features of its stages "
                f"({type(error).__name__}: {error}); with random weights take a convolutional "
                "one, such as resnet18"
            ) from error
    for module in stages.modules():
        # Some models start the last norm of each block at zero, which switches the block off
        # until training opens it; nothing here ever will.
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.BatchNorm2d) and weight is not None and not weight.any():
            torch.nn.init.ones_(weight)
    return _PooledStages(stages)


class _PooledStages(torch.nn.Module):
    """Mean over the image of every stage's output, side by side."""

    def __init__(self, stages: torch.nn.Module):
        super().__init__()
        self.stages = stages
        # Swin and its kin keep channels last and say so; most models do neither.
        channels_last = str(getattr(stages, "output_fmt", "NCHW")).endswith("NHWC")
        self._over_image = (1, 2) if channels_last else (2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([stage.mean(dim=self._over_image) for stage in self.stages(x)], dim=1)
