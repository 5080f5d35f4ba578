"""The cases of the self-test: each plants one fault in a scene, some of them in several doses.

After the sanity checks of Räisä, van Breugel & van der Schaar (2025, arXiv 2505.22450), brought
from toy distributions to real features: mean difference, alone and with an outlier on either side,
standard deviation difference, modes dropped and modes invented, samples inside a hull, one feature
disjoint among many, and a synthetic set of another size. Images, copies and labels are ours. Not
taken: sphere and torus, one mode against two, heavy tails and discrete columns, which tissue
features do not have; and one feature scaled, after which a distance is in another unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from histosynth.evaluations.planted import KINDS, copy_of
from histosynth.selftest import faults
from histosynth.selftest.scene import Scene, Tiles, joined

MODES = 4
OUTLIER = 20.0  # standard deviations in every feature
_AT_ONCE = 32  # images changed at a time; a multiple of the eight turns


@dataclass(frozen=True)
class Case:
    """A fault and how to plant it.

    Attributes
    ----------
    fault : name, shared by the doses of one fault
    dose : its strength in words; empty where there is only one
    words : what is done, for a reader of the table
    group : faults of one nature, in the table's order
    plant : from the clean scene to the faulty one
    """

    fault: str
    dose: str
    words: str
    group: str
    plant: Callable[[Stage], Scene]

    @property
    def name(self) -> str:
        return f"{self.fault}, {self.dose}" if self.dose else self.fault


class Stage:
    """A clean scene with what several faults need of it, computed once."""

    def __init__(self, scene: Scene, *, seed: int = 0) -> None:
        self.scene, self.seed = scene, seed

    def random(self, *key: int) -> np.random.Generator:
        """A generator of its own for every fault, whatever was planted before."""
        return np.random.default_rng([self.seed, *key])

    @cached_property
    def step(self) -> np.ndarray:
        """One standard deviation in every feature."""
        return faults.direction(self.scene.real.features, self.random(0))

    @cached_property
    def column(self) -> int:
        """The feature of median spread."""
        return int(np.argsort(np.abs(self.step))[len(self.step) // 2])

    @cached_property
    def modes(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Modes (by k-means of the real features) of `made` and `reserve`, and the one dropped.

        It is the largest that the reserve can fill up for.
        """
        from sklearn.cluster import KMeans

        real = self.scene.real.features
        scale = np.maximum(real.std(axis=0), 1e-6)
        found = KMeans(MODES, n_init=4, random_state=self.seed).fit(real / scale)
        made = found.predict(self.scene.made.features / scale)
        reserve = found.predict(self.scene.reserve.features / scale)
        sizes = np.bincount(made, minlength=MODES)
        filling = len(reserve) - np.bincount(reserve, minlength=MODES)
        return made, reserve, int(np.where(filling >= sizes, sizes, -1).argmax())

    def moved(self, change: Callable[[np.ndarray], np.ndarray]) -> Scene:
        """The scene with the synthetic features changed."""
        made = self.scene.made
        return self.scene.with_made(made.with_features(change(made.features.astype(np.float64))))

    def repainted(self, change: Callable[[np.ndarray], np.ndarray]) -> Scene:
        """The scene with the synthetic images changed, and embedded again."""
        made = self.scene.made
        assert made.images is not None
        # A few at a time: some changes pass through floats of eight times the size.
        starts = range(0, len(made.images), _AT_ONCE)
        images = np.concatenate([change(made.images[i : i + _AT_ONCE]) for i in starts])
        return self.scene.with_made(made.with_images(images, self.scene.encode))


def cases() -> Iterator[Case]:
    """All cases, doses of one fault from weak to strong."""
    yield from _harmless()
    yield from _diversity()
    yield from _fidelity()
    yield from _images()
    yield from _copies()


def _harmless() -> Iterator[Case]:
    group = "Nothing wrong, or next to nothing"
    yield Case("identical sets", "", "The real set scored against itself.", group, _identical)
    yield Case("turned", "", "Every image flipped or turned.", group, _turned)
    yield Case("half as many", "", "Every second image left out.", group, _halved)
    yield Case("one outlier", "", "One synthetic image far from all others.", group, _outlier)
    yield Case("labels shuffled", "", "Right images, wrong labels.", group, _labels)


def _diversity() -> Iterator[Case]:
    group = "Variety is missing"
    for share in (0.25, 0.5, 1.0):

        def dropped(stage: Stage, share: float = share) -> Scene:
            made, reserve, mode = stage.modes
            kept, filled = faults.without_mode(made, reserve, mode, share)
            scene = stage.scene
            return scene.with_made(joined(scene.made.take(kept), scene.reserve.take(filled)))

        words = "One of four kinds of tissue thinned out or gone."
        yield Case("mode dropped", f"{share:.0%}", words, group, dropped)
    words = "All features drawn towards their mean."
    yield from _spreads("spread narrowed", (0.9, 0.75, 0.5), words, group)
    for prototypes in (64, 32, 8):

        def collapsed(stage: Stage, prototypes: int = prototypes) -> Scene:
            many = min(prototypes, len(stage.scene.made) // 2)
            return stage.moved(lambda f: faults.collapsed(f, many, stage.step, stage.random(1)))

        words = "A few images, repeated with next to no change."
        yield Case("collapse", f"to {prototypes}", words, group, collapsed)


def _spreads(name: str, factors: tuple[float, ...], words: str, group: str) -> Iterator[Case]:
    for factor in factors:

        def spread(stage: Stage, factor: float = factor) -> Scene:
            return stage.moved(lambda f: faults.spread(f, factor))

        yield Case(name, f"× {factor:g}", words, group, spread)


def _fidelity() -> Iterator[Case]:
    group = "Features of no real tissue"
    for distance in (0.25, 0.5, 1.0):

        def shifted(stage: Stage, distance: float = distance) -> Scene:
            return stage.moved(lambda f: faults.shifted(f, stage.step, distance))

        yield Case("mean shifted", f"{distance:g} SD", "All features moved.", group, shifted)
    words = "All features moved away from their mean."
    yield from _spreads("spread widened", (1.1, 1.25, 1.5), words, group)
    for share in (0.05, 0.1, 0.2):

        def invented(stage: Stage, share: float = share) -> Scene:
            return stage.moved(
                lambda f: faults.invented(f, share, stage.step, 5.0, stage.random(2))
            )

        words = "Some images of a kind that does not exist."
        yield Case("mode invented", f"{share:.0%}", words, group, invented)
    words = "Every image a mean of eight: amid real tissue, like none."
    yield Case("averages", "", words, group, _averaged)
    words = "One feature moved by 6 SD, all others as they were."
    yield Case("one feature off", "", words, group, _one_feature)
    words = "Mean shifted by 1 SD, and one real outlier where the images went."
    yield Case("shift behind an outlier", "", words, group, _hidden_shift)
    words = "Collapsed to 8 images, and one synthetic outlier far from all."
    yield Case("collapse behind an outlier", "", words, group, _hidden_collapse)


def _images() -> Iterator[Case]:
    group = "Image faults"
    for sigma in (0.5, 1.0, 2.0):

        def blurred(stage: Stage, sigma: float = sigma) -> Scene:
            return stage.repainted(lambda x: faults.blurred(x, sigma))

        yield Case("blur", f"{sigma:g} px", "Gaussian blur.", group, blurred)
    for quality in (90, 60, 30):

        def compressed(stage: Stage, quality: int = quality) -> Scene:
            return stage.repainted(lambda x: faults.jpeg(x, quality))

        yield Case("JPEG", f"q{quality}", "Compressed once.", group, compressed)
    for strength in (0.05, 0.1, 0.2):

        def stained(stage: Stage, strength: float = strength) -> Scene:
            return stage.repainted(lambda x: faults.colour_cast(x, strength))

        yield Case("colour cast", f"{strength:.0%}", "Another stain.", group, stained)
    for sigma in (4.0, 8.0, 16.0):

        def grained(stage: Stage, sigma: float = sigma) -> Scene:
            random = stage.random(3)
            return stage.repainted(lambda x: faults.noisy(x, sigma, random))

        yield Case("noise", f"{sigma:g} levels", "Noise on every pixel.", group, grained)


def _copies() -> Iterator[Case]:
    group = "Copies"
    for share in (0.05, 0.25, 1.0):

        def copied(stage: Stage, share: float = share) -> Scene:
            return _with_copies(stage, share, KINDS[:1])

        words = "Images that are training images, pixel by pixel."
        yield Case("training copies", f"{share:.0%}", words, group, copied)
    for share in (0.05, 0.25):

        def disguised(stage: Stage, share: float = share) -> Scene:
            return _with_copies(stage, share, KINDS[1:])

        words = "Training images flipped, stored as JPEG, or in another stain."
        yield Case("disguised copies", f"{share:.0%}", words, group, disguised)
    words = "A quarter of the images are those they are compared with."
    yield Case("test images leaked", "", words, group, _leaked)


def _identical(stage: Stage) -> Scene:
    return stage.scene.with_made(stage.scene.real)


def _turned(stage: Stage) -> Scene:
    return stage.repainted(faults.turned_over)


def _halved(stage: Stage) -> Scene:
    return stage.scene.with_made(stage.scene.made.take(np.arange(0, len(stage.scene.made), 2)))


def _outlier(stage: Stage) -> Scene:
    return stage.moved(lambda f: faults.with_outlier(f, stage.step, OUTLIER))


def _labels(stage: Stage) -> Scene:
    made = stage.scene.made
    dealt = made.labels[stage.random(4).permutation(len(made))]
    return stage.scene.with_made(replace(made, labels=dealt))


def _averaged(stage: Stage) -> Scene:
    return stage.moved(lambda f: faults.averaged(f, 8, stage.random(5)))


def _one_feature(stage: Stage) -> Scene:
    return stage.moved(lambda f: faults.one_feature_shifted(f, stage.step, stage.column, 6.0))


def _hidden_shift(stage: Stage) -> Scene:
    scene = stage.moved(lambda f: faults.shifted(f, stage.step, 1.0))
    real = scene.real.features.astype(np.float64)
    odd = faults.with_outlier(real, stage.step, 1.0)
    return replace(scene, real=scene.real.with_features(odd))


def _hidden_collapse(stage: Stage) -> Scene:
    def change(features: np.ndarray) -> np.ndarray:
        few = faults.collapsed(features, 8, stage.step, stage.random(1))
        return faults.with_outlier(few, stage.step, OUTLIER)

    return stage.moved(change)


def _with_copies(stage: Stage, share: float, kinds: tuple[str, ...]) -> Scene:
    scene, random = stage.scene, stage.random(6)
    made, train = scene.made, scene.train
    assert made.images is not None and train.images is not None
    count = max(len(kinds), round(share * len(made)))
    places = np.sort(random.permutation(len(made))[:count])
    originals = train.take(random.permutation(len(train))[np.arange(count) % len(train)])
    assert originals.images is not None
    copies = [copy_of(x, kinds[i % len(kinds)]) for i, x in enumerate(originals.images)]
    return scene.with_made(made.put(places, originals.with_images(np.stack(copies), scene.encode)))


def _leaked(stage: Stage) -> Scene:
    return exchanged(stage, stage.scene.real)


def exchanged(stage: Stage, source: Tiles, *, draw: int = 0) -> Scene:
    """A quarter of the synthetic tiles exchanged for others; a draw has its places and rows."""
    made, random = stage.scene.made, stage.random(7, draw)
    count = min(len(made) // 4, len(source))
    places = random.permutation(len(made))[:count]
    return stage.scene.with_made(
        made.put(places, source.take(random.permutation(len(source))[:count]))
    )
