"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598), of all signals or by signal.

One scale s for all signals, joint:

    v = v(none) + s (v(all) - v(none))

A scale a signal, nested in the order given (Brooks et al., arXiv 2211.09800, equation 3), on top of
the signals that have none, U, which count as they are:

    v = v(U) + s_1 (v(U, 1) - v(U)) + s_2 (v(U, 1, 2) - v(U, 1)) + ...

Terms of equal scale telescope, so the passes of the network are as few as the scales allow: one
where all are 1.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from histosynth.errors import InputError

if TYPE_CHECKING:
    from histosynth.generator_settings import GeneratorSettings


class Stage(NamedTuple):
    """One pass of the network: `scale` weighs its difference to the stage before."""

    withheld: tuple[str, ...]
    scale: float


def guidance_stages(
    scale: float | Mapping[str, float], signals: Sequence[str]
) -> tuple[Stage, ...]:
    """The passes that guidance takes, most withheld first; the sum starts at the first's value.

    Parameters
    ----------
    scale
        Of all signals together, or by signal; names that are not among `signals` do not count.
    signals
        What the condition gives.
    """
    groups: list[tuple[tuple[str, ...], float]]
    if isinstance(scale, Mapping):
        groups = [((name,), float(s)) for name, s in scale.items() if name in signals]
    else:
        groups = [(tuple(signals), float(scale))] if signals else []
    withheld = tuple(name for names, _ in groups for name in names)
    stages = [Stage(withheld, 1.0)]
    for names, s in groups:
        withheld = tuple(name for name in withheld if name not in names)
        stages.append(Stage(withheld, s))
    # A stage's weight in the sum is its scale less the next one's; those without weight go.
    following = [stage.scale for stage in stages[1:]] + [0.0]
    return tuple(
        stage for stage, after in zip(stages, following, strict=True) if stage.scale != after
    )


def check_dropout(
    scale: float | Mapping[str, float],
    signals: Sequence[str],
    settings: "GeneratorSettings",
    *,
    model: str,
    key: str = "sampling.guidance_scale",
) -> None:
    """What guidance withholds must have been withheld in training too.

    A pretrained base may always be guided: it was trained with empty prompts.

    Raises
    ------
    InputError
        The model never saw a sample without those signals: `condition_dropout` withholds all at
        once, `signal_dropout` one alone; what it predicts without them would mean nothing.
    """
    if settings.architecture == "pretrained":
        return
    alone = {name for name in signals if settings.signal_dropout.get(name, 0) > 0}
    for stage in guidance_stages(scale, signals):
        together = len(stage.withheld) == len(signals) and settings.condition_dropout > 0
        unseen = [name for name in stage.withheld if name not in alone]
        if not unseen or together:
            continue
        shown = dict(scale) if isinstance(scale, Mapping) else scale
        cure = "generator.condition_dropout: 0.1"
        if len(stage.withheld) < len(signals):
            shares = ", ".join(f"{name}: 0.1" for name in unseen)
            cure = f"generator.signal_dropout: {{{shares}}}"
        raise InputError(
            f"{model}: {key} {shown} compares with predictions that have no "
            f"{', '.join(stage.withheld)}, but the model is never trained without "
            f"{', '.join(unseen)} (generator.condition_dropout: {settings.condition_dropout:g}, "
            f"generator.signal_dropout: {settings.signal_dropout or 'none'}); train it with "
            f"{cure}, or set {key}: 1"
        )
