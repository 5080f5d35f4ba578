"""The perceptual and the adversarial term of an autoencoder's training."""

import numpy as np
import pytest
import torch
import torchvision
from ebhi import SQUEEZENET, ebhi_images
from training_runs import Stop, StoppingImages
from training_runs import tiles as noise_tiles

from histosynth.diffusion.adversary import Adversary
from histosynth.diffusion.autoencoder import build_autoencoder, round_trip, to_network_range
from histosynth.diffusion.autoencoder_fitting import AutoencoderLoss, Inputs, train_autoencoder
from histosynth.encoders.perceptual import PerceptualDistance
from histosynth.errors import InputError
from histosynth.generator_settings import AutoencoderSettings

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = AutoencoderSettings(channels=[8, 8, 8], latent_channels=2, batch_size=4, warmup_steps=1)


@pytest.fixture(scope="module")
def distance(shared_data) -> PerceptualDistance:
    return PerceptualDistance(str(shared_data / SQUEEZENET), key="k")


@pytest.fixture(scope="module")
def tiles(shared_data) -> np.ndarray:
    return ebhi_images(shared_data, split="train", n=8, side=64)


def test_the_distance_is_that_of_unit_features_after_seven_layers(shared_data, distance, tiles):
    network = torchvision.models.squeezenet1_1(weights=None)
    network.load_state_dict(torch.load(shared_data / SQUEEZENET, weights_only=True))
    network.eval()
    bgr = torch.from_numpy(tiles[:2, ..., ::-1] - np.array([104.0, 117, 123])).float()
    expected = 0.0
    with torch.no_grad():
        for position in (1, 4, 7, 9, 10, 11, 12):
            one, other = network.features[: position + 1](bgr.permute(0, 3, 1, 2))
            cosine = torch.nn.functional.cosine_similarity(one, other, dim=0)
            expected += float((2 - 2 * cosine).mean())  # |a - b|^2 of unit vectors
    first, second = to_network_range(tiles[:1]), to_network_range(tiles[1:2])
    assert float(distance(first, second)) == pytest.approx(expected, rel=1e-3)
    assert float(distance(first, first)) == 0


def test_blur_and_noise_of_the_same_size_are_both_far_and_more_is_farther(distance, tiles):
    real = to_network_range(tiles)
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    far = [float(distance(real, real + share * noise).mean()) for share in (0.02, 0.1, 0.3)]
    assert 0 < far[0] < far[1] < far[2]
    blurred = torch.nn.functional.avg_pool2d(real, 3, 1, 1, count_include_pad=False)
    assert float(distance(real, blurred).mean()) > far[0]


def test_images_too_small_for_squeezenet_are_refused(distance):
    distance(torch.zeros(1, 3, 17, 17), torch.zeros(1, 3, 17, 17))
    with pytest.raises(InputError, match=r"17 px or more \(autoencoder.crop"):
        distance(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))


def test_the_perceptual_term_lowers_that_distance(shared_data, distance, tiles, tmp_path):
    weights = {"weights": str(shared_data / SQUEEZENET), "weight": 0.5}
    plain = SMALL.model_copy(update={"steps": 60})
    perceptual = AutoencoderSettings(**plain.model_dump() | {"perceptual": weights})
    reached = []
    for settings in (plain, perceptual):
        folder = tmp_path / str(len(reached))
        made, _ = train_autoencoder(tiles, settings, state_folder=folder, log=print, device="cpu")
        decoded = to_network_range(round_trip(made, tiles))
        reached.append(float(distance(decoded, to_network_range(tiles)).mean()))
    assert reached[1] < 0.97 * reached[0]


def batches(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real crops of fine grain, and decoded ones without it."""
    generator = torch.Generator().manual_seed(n)
    real = torch.randn((4, 3, 32, 32), generator=generator) / 2
    return real, torch.nn.functional.avg_pool2d(real, 5, 1, 2)


def test_the_discriminator_learns_to_tell_and_its_objection_points_to_the_real():
    adversary = Adversary(start=0, seed=0, device=torch.device("cpu"))
    for step in range(60):
        adversary.objection(step, 0, *batches(step))
        adversary.learn(step)
    real, decoded = batches(1000)
    with torch.no_grad():
        scores = [adversary.discriminator(x).mean() for x in (real, decoded)]
    assert scores[0] > scores[1] + 0.5
    decoded.requires_grad_()
    adversary.objection(60, 0, real, decoded).backward()
    nearer = decoded.detach() - 0.05 * decoded.grad / decoded.grad.abs().mean()
    with torch.no_grad():
        assert adversary.discriminator(nearer).mean() > scores[1]
    assert all(p.grad is None for p in adversary.discriminator.parameters())


def test_before_its_start_the_adversary_neither_objects_nor_learns():
    adversary = Adversary(start=5, seed=0, device=torch.device("cpu"))
    before = [p.clone() for p in adversary.discriminator.parameters()]
    assert float(adversary.objection(4, 0, *batches(0))) == 0
    adversary.learn(4)
    assert all(map(torch.equal, before, adversary.discriminator.parameters()))
    assert float(adversary.objection(5, 0, *batches(0))) != 0


def test_a_batch_in_pieces_teaches_what_the_whole_does():
    trained = []
    for cuts in ([(0, 4)], [(0, 3), (0, 2), (2, 4)]):  # the first piece again, after a failure
        adversary = Adversary(start=0, seed=0, device=torch.device("cpu"))
        real, decoded = batches(0)
        for low, high in cuts:
            adversary.objection(0, low, real[low:high], decoded[low:high])
        adversary.learn(0)
        trained.append([p.detach() for p in adversary.discriminator.parameters()])
    for one, other in zip(*trained, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)  # order of sums


def test_the_adversarial_term_moves_the_decoder_as_the_discriminator_says():
    settings = SMALL.model_copy(update={"adversarial_weight": 1.0, "adversarial_start": 1})
    network = build_autoencoder(settings).network
    loss = AutoencoderLoss(network, settings, torch.device("cpu"))
    real, _ = batches(0)
    noise = torch.zeros(2, 4, 2, 8, 8)
    with torch.no_grad():
        without, with_it = (loss(Inputs(step, 0, real, noise)) for step in (0, 1))
        decoded = network.decode(network.encode(real).latent_dist.mean).sample
        assert loss.adversary is not None
        expected = -loss.adversary.discriminator(decoded).mean()
    torch.testing.assert_close(with_it - without, expected, atol=1e-5, rtol=1e-4)


def test_a_training_with_a_discriminator_cut_in_two_ends_with_bit_equal_weights(tmp_path):
    changes = {"steps": 8, "crop": 16, "save_every_seconds": 1e-9}
    settings = SMALL.model_copy(
        update=changes | {"adversarial_weight": 0.1, "adversarial_start": 2, "batch_size": 2}
    )
    noise = noise_tiles()
    whole, _ = train_autoencoder(noise, settings, state_folder=tmp_path / "a", log=print)
    with pytest.raises(Stop):
        train_autoencoder(StoppingImages(14), settings, state_folder=tmp_path / "b", log=print)
    resumed, _ = train_autoencoder(noise, settings, state_folder=tmp_path / "b", log=print)
    theirs = resumed.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.state_dict().items())
    calm = settings.model_copy(update={"adversarial_weight": 0.0})
    other, _ = train_autoencoder(noise, calm, state_folder=tmp_path / "c", log=print)
    assert not torch.equal(
        next(other.network.decoder.parameters()), next(whole.network.decoder.parameters())
    )
