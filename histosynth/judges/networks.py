"""The two supervised networks: a segmenter (DeepLabv3+) and a classifier (any timm model).

Both take RGB in 0..1 and normalise it themselves. DeepLabv3+ (Chen et al. 2018) looks at features
of a sixteenth of the image's side, which leaves 4 x 4 of them in a 64-pixel tile: `depth` 3 or 4
cuts the encoder short, so that small tiles keep a grid worth looking at, in less time.
"""

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.settings import NetworkTraining

Task = Literal["segmentation", "classification"]

# Rates of the atrous pyramid for features of 33 x 33 (Chen et al. 2018); smaller ones get their
# share, since a rate beyond the features' side sees nothing but padding.
_RATES, _SIDE = (12, 24, 36), 33


class Network(nn.Module):
    """A network with its input normalisation; logits (n, classes, H, W) or (n, labels)."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        # ImageNet's statistics: what pretrained weights expect, and near enough to H&E.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.body((images - self.mean) / self.deviation)


def build_network(task: Task, settings: "NetworkTraining", *, n_classes: int, size: int) -> Network:
    """The network of a task; `size` is the shorter side of the tiles in pixels."""
    if task == "segmentation":
        return build_segmenter(settings, n_classes=n_classes, size=size)
    return build_classifier(settings, n_labels=n_classes)


def build_segmenter(settings: "NetworkTraining", *, n_classes: int, size: int) -> Network:
    """DeepLabv3+ with an encoder of segmentation-models-pytorch.

    Parameters
    ----------
    settings : `model` is the encoder's name, such as resnet34
    n_classes : classes of the maps
    size : the shorter side of the tiles in pixels; sets the rates of the atrous pyramid

    Raises
    ------
    InputError
        Unknown encoder, or weights that do not fit it.
    """
    import segmentation_models_pytorch as smp

    stride = 8 if settings.depth == 3 else 16
    side = max(size // stride, 1)
    try:
        body = smp.DeepLabV3Plus(
            settings.model,
            encoder_depth=settings.depth,
            encoder_weights="imagenet" if settings.weights == "pretrained" else None,
            encoder_output_stride=16,
            decoder_channels=settings.decoder_channels,
            decoder_atrous_rates=tuple(max(1, min(r, round(r * side / _SIDE))) for r in _RATES),
            classes=n_classes,
        )
    except KeyError as error:
        raise InputError(
            f"segmenter model {settings.model!r}: segmentation-models-pytorch has no such "
            "encoder; resnet18 and resnet34 are usual, and `tu-<name>` takes one of timm"
        ) from error
    _load(body.encoder, settings)
    return Network(body)


def build_classifier(settings: "NetworkTraining", *, n_labels: int) -> Network:
    """A timm model with a fresh head of `n_labels`.

    Raises
    ------
    InputError
        Unknown model, or weights that do not fit it.
    """
    import timm

    if not timm.is_model(settings.model):
        raise InputError(
            f"classifier model {settings.model!r}: timm has no such model; "
            "resnet18 and resnet34 are usual"
        )
    body = timm.create_model(
        settings.model, pretrained=settings.weights == "pretrained", num_classes=n_labels
    )
    _load(body, settings)
    return Network(body)


def _load(module: nn.Module, settings: "NetworkTraining") -> None:
    """Take the weights file, but for layers it lacks or has in another shape (the head)."""
    if settings.weights in (None, "pretrained"):
        return
    weights = _read_weights(settings.weights)
    own = module.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    if len(fitting) < len(own) / 2:
        raise InputError(
            f"weights {settings.weights}: only {len(fitting)} of the {len(own)} tensors of "
            f"{settings.model} are in it by name and shape; expected its state dict"
        )
    module.load_state_dict(fitting, strict=False)


def _read_weights(path: str) -> dict[str, torch.Tensor]:
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"weights {path}: no such file") from None
    except Exception as error:
        raise InputError(f"weights {path}: cannot be read as a state dict: {error}") from error
    return content.get("state_dict", content)
