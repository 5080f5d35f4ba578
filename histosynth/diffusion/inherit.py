"""Training that starts from another condition's weights, so that a variant costs few steps.

What both networks have is copied by name. What only the new one has says nothing at first: columns
of planes are zeros, as in inpainting models made of plain ones; tokens shift the others by zero
(`network.SignalsSpec.added`); a ControlNet branch starts as a copy of the encoder behind zero
convolutions. So the first prediction is the base's for the same shared conditions. A signal that
only the base has is taken as withheld: its indicator goes into the bias. That is exact away from
the image's border, where padding would have shown; tokens of which others remain are left out.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from histosynth.diffusion.network import ConditionBatch, ConditionedNetwork
from histosynth.diffusion.planes import is_indicated, stack_planes
from histosynth.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

CONV_IN = "unet.conv_in"
# Weights of single signals, and those that a network has because of signals.
OF_SIGNALS = ("plane_stem.", "control.", "token_tables.", "vector_layers.", "null_")
BRANCH, STEM = "control.encoder.", "controlnet_cond_embedding.0."


@torch.no_grad()
def start_from(network: ConditionedNetwork, base: ConditionedNetwork, *, name: str) -> None:
    """Give an untrained `network` the weights of `base`, in place.

    Parameters
    ----------
    name
        What the base is called in errors.

    Raises
    ------
    InputError
        A weight that both need differs in shape, or the base lacks one that no signal explains.
    """
    own, given = network.state_dict(), base.state_dict()
    special = {f"{CONV_IN}.weight", f"{CONV_IN}.bias"} | _stem_inputs(network)
    for key, value in own.items():
        if key in special:
            continue
        if key in given and given[key].shape == value.shape:
            value.copy_(given[key])
        elif key in given or not key.startswith(OF_SIGNALS):
            found = f"is {tuple(given[key].shape)}" if key in given else "is missing"
            raise InputError(
                f"{name}: cannot be started from: weight {key} {found}, expected "
                f"{tuple(value.shape)}. Give both conditions the same options of the signals they "
                "share, or drop init_from"
            )
    _copy_stem(network, base)
    _copy_conv_in(network, base)
    if "null_token" in own and "null_token" not in given:
        own["null_token"].copy_(_withheld_tokens(base))
    if _branch(network) and not _branch(base):
        for key, value in own.items():
            of_unet = "unet." + key.removeprefix(BRANCH)
            if key.startswith(BRANCH) and of_unet in own:
                value.copy_(own[of_unet])


def _branch(network: ConditionedNetwork) -> bool:
    return getattr(network, "control", None) is not None


def _stem_prefix(network: ConditionedNetwork) -> str:
    return BRANCH + STEM if _branch(network) else "plane_stem."


def _stem_input(network: ConditionedNetwork) -> tuple[str, nn.Conv2d] | None:
    """The convolution whose input channels are the stacked planes, and its name."""
    prefix = _stem_prefix(network)
    return next(
        (
            (name, module)
            for name, module in network.named_modules()
            if name.startswith(prefix) and isinstance(module, nn.Conv2d)
        ),
        None,
    )


def _stem_inputs(network: ConditionedNetwork) -> set[str]:
    found = _stem_input(network)
    return {f"{found[0]}.weight", f"{found[0]}.bias"} if found else set()


def _columns(network: ConditionedNetwork) -> dict[str, range]:
    """Signal -> its channels among the stacked planes, its indicator last."""
    columns, start = {}, 0
    for signal, count in network.spec.planes.items():
        stop = start + count + is_indicated(network.settings, signal)
        columns[signal] = range(start, stop)
        start = stop
    return columns


def _copy_stem(network: ConditionedNetwork, base: ConditionedNetwork) -> None:
    new, old = _stem_input(network), _stem_input(base)
    if new is None or old is None:
        return
    to, of = _columns(network), _columns(base)
    weight = torch.zeros_like(new[1].weight)
    for signal in to.keys() & of.keys():
        weight[:, list(to[signal])] = old[1].weight[:, list(of[signal])]
    new[1].weight.copy_(weight)
    if new[1].bias is None or old[1].bias is None:
        return
    new[1].bias.copy_(old[1].bias)
    for signal in of.keys() - to.keys():
        if is_indicated(base.settings, signal):
            new[1].bias += old[1].weight[:, of[signal][-1]].sum((1, 2))


def _copy_conv_in(network: ConditionedNetwork, base: ConditionedNetwork) -> None:
    """The first convolution: of latents always, of planes where both have them there."""
    new, old = network.state_dict(), base.state_dict()
    weight, bias = f"{CONV_IN}.weight", f"{CONV_IN}.bias"
    shared = min(new[weight].shape[1], old[weight].shape[1])
    new[weight].zero_()
    new[weight][:, :shared] = old[weight][:, :shared]
    new[bias].copy_(old[bias])
    if shared < old[weight].shape[1]:
        new[bias].add_(old[weight][:, shared:].sum((2, 3)) @ _withheld_planes(base))


def _withheld_planes(base: ConditionedNetwork) -> "Tensor":
    """What the planes become where all are withheld, away from the border: (plane_width,)."""
    side = base.tile_size
    nothing = {name: torch.zeros(1, n, side, side) for name, n in base.spec.planes.items()}
    withheld = {name: torch.ones(1, dtype=torch.bool) for name in base.spec.planes}
    planes = stack_planes(base.settings, base.spec, ConditionBatch(nothing), withheld)
    found = base.get_submodule("plane_stem")(planes)
    return found[0, :, found.shape[2] // 2, found.shape[3] // 2]


def _withheld_tokens(base: ConditionedNetwork) -> "Tensor":
    """The mean of what the base's own tokens become where they are withheld: (width,)."""
    given = base.state_dict()
    own = [name for name in base.spec.tokens if name not in base.spec.added]
    nulls = [given[f"token_tables.{name}.weight"][-1] for name in own]
    vectors = [name for name in base.spec.vectors if name not in base.spec.added]
    return torch.stack([*nulls, *(given[f"null_vectors.{name}"] for name in vectors)]).mean(0)
