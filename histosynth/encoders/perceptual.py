"""How different two images look to a network: a distance of deep features.

After Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"
(arXiv 1801.03924): at every position of seven layers of SqueezeNet 1.1 the channels are normalized
to unit length; squared differences are summed over channels, averaged over positions, and summed
over layers. The paper's learned weights of the channels are left out (its "baseline"), so that
values are comparable with others of this file only, under the same network weights.
"""

import torch
import torchvision
from torch import nn

from histosynth.encoders.network import hash_weights, load_weights, read_weights
from histosynth.errors import InputError

LAYERS = (1, 4, 7, 9, 10, 11, 12)  # of `features`: the first convolution and the Fire modules
MIN_SIDE = 17  # below it nothing is left after the last pooling
CAFFE_MEAN = (104.0, 117.0, 123.0)  # blue, green, red


class PerceptualDistance(nn.Module):
    """The distance of image pairs under a frozen SqueezeNet 1.1.

    Parameters
    ----------
    weights
        A state dict as torchvision's squeezenet1_1 has it, of a network that takes BGR of 0 .. 255
        minus (104, 117, 123).
    key
        The config key that named it, for errors.

    Attributes
    ----------
    fingerprint
        SHA-256 of the weights.

    Raises
    ------
    InputError
        No such file, or not these weights.
    """

    mean: torch.Tensor

    def __init__(self, weights: str, *, key: str) -> None:
        super().__init__()
        network = torchvision.models.squeezenet1_1(weights=None)
        load_weights(network, read_weights(weights, key=key), key=key)
        self.features = network.features
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN).view(3, 1, 1))
        self.fingerprint = hash_weights(self.features.state_dict())
        self.eval().requires_grad_(False)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Distances (b,) of the pairs in two batches (b, 3, h, w) of RGB in [-1, 1].

        Differentiable in both; 0 for equal images, 14 at most.

        Raises
        ------
        InputError
            Images smaller than the network takes.
        """
        if min(first.shape[-2:]) < MIN_SIDE:
            raise InputError(
                f"perceptual distance: images of {tuple(first.shape[-2:])} px; SqueezeNet takes "
                f"{MIN_SIDE} px or more (autoencoder.crop, tiling.size)"
            )
        hidden = (torch.cat([first, second]).float().flip(1) + 1) * 127.5 - self.mean
        total = torch.zeros(len(first), device=first.device)
        for position, layer in enumerate(self.features):
            hidden = layer(hidden)
            if position in LAYERS:
                unit = hidden / hidden.square().sum(1, keepdim=True).add(1e-10).sqrt()
                one, other = unit.chunk(2)
                total = total + (one - other).square().sum(1).mean((1, 2))
        return total
