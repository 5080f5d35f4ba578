"""Signal `prompt`: a sentence about the tile through a frozen CLIP text model.

After Osorio et al. (arXiv 2312.09792), who tune Stable Diffusion on "Histology image of healthy
tissue, morphology type twenty-one": the label in lower case, the cluster's number in words. The
hidden states of all tokens join the network as a sequence; a withheld prompt is the empty one,
which is what Stable Diffusion is guided away from.
"""

from functools import cached_property
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator

from histosynth.conditions.signal import Signal, SignalOptions, register_signal
from histosynth.errors import InputError
from histosynth.settings_base import DataPath

if TYPE_CHECKING:
    from histosynth.conditions.targets import Targets, TilePool
    from histosynth.config import Study
    from histosynth.encoders.text import TextEncoder

# field of a template -> what it needs of the tiles, and gives to a sample
FIELDS = {"label": "labels", "cluster": "clusters"}

TEMPLATE = "Histology image of {label} tissue, morphology type {cluster}"

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_words(number: int) -> str:
    """An integer in 0..999 as English words: 0 zero, 21 twenty-one, 105 one hundred and five."""
    if not 0 <= number <= 999:
        raise ValueError(f"expected a number in 0..999, found {number}")
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{_ONES[hundreds]} hundred" + (f" and {number_words(rest)}" if rest else "")


def template_fields(template: str) -> list[str]:
    """The fields that a template names, each once, in order.

    Raises
    ------
    ValueError
        Braces that do not match, or a field that is not in FIELDS.
    """
    fields = []
    for _, name, layout, conversion in Formatter().parse(template):
        if name is None:
            continue
        if name not in FIELDS or layout or conversion:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise ValueError(f"{{{name}}} is no field of a prompt; the fields are {known}")
        fields.append(name)
    return list(dict.fromkeys(fields))


class PromptOptions(SignalOptions):
    """Which sentence, and which text model reads it."""

    template: str = Field(
        TEMPLATE,
        description="The sentence, with the fields {label} and {cluster} where they are wanted.",
    )
    text_encoder: DataPath = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        description="A folder of a Stable Diffusion pipeline or a CLIP model, or a name of the hub",
    )

    @field_validator("template")
    @classmethod
    def _known_fields(cls, template: str) -> str:
        template_fields(template)
        return template


@register_signal
class PromptSignal(Signal):
    """A templated sentence; says and makes possible what its template's fields do."""

    kind = "prompt"
    joins = "vector"
    Options = PromptOptions
    options: PromptOptions

    def __init__(self, options: Any, study: "Study") -> None:
        super().__init__(options, study)
        self.needs = frozenset(FIELDS[name] for name in template_fields(options.template))
        self.provides = self.needs
        if "clusters" in self.needs and study.clusters and study.clusters.k > 1000:
            raise InputError(
                f"clusters.k: {study.clusters.k}; a prompt has words for 1,000 clusters at most"
            )

    @cached_property
    def _encoder(self) -> "TextEncoder":
        from histosynth.encoders.text import TextEncoder

        return TextEncoder(self.options.text_encoder, key="text_encoder of signal prompt")

    @property
    def width(self) -> int:
        return self._encoder.width

    @property
    def paths(self) -> dict[str, str]:
        return {"text_encoder": self.options.text_encoder}

    def fingerprint(self) -> str:
        return self._encoder.fingerprint()

    def text(self, *, label: int | None = None, cluster: int | None = None) -> str:
        """The prompt of a label (its index in `label.names`) and a cluster."""
        words = {}
        if label is not None:
            words["label"] = self.study.label_names[label].lower()
        if cluster is not None:
            words["cluster"] = number_words(cluster)
        return self.options.template.format(**words)

    def encode(self, targets: "Targets") -> np.ndarray:
        prompt_of_tile, states = self._states(targets.pool)
        return states[prompt_of_tile[targets.rows]]

    def null(self, pool: "TilePool") -> np.ndarray:
        return self._states(pool)[1][-1]

    def texts(self, pool: "TilePool") -> list[str]:
        """The prompt of each tile of a pool."""
        fields = template_fields(self.options.template)
        columns = {"label": pool.labels, "cluster": pool.clusters}
        told = {name: column for name, column in columns.items() if name in fields}
        return [
            self.text(**{name: int(column[row]) for name, column in told.items()})  # type: ignore[index]
            for row in range(len(pool))
        ]

    def _states(self, pool: "TilePool") -> tuple[np.ndarray, np.ndarray]:
        """The prompt of each tile, int64 (n,), and hidden states of the prompts and of ""."""
        key = ("prompt", self.options)
        if key not in pool.memo:
            texts = self.texts(pool)
            number = {text: i for i, text in enumerate(sorted(set(texts)))}
            prompt_of_tile = np.array([number[text] for text in texts], np.int64)
            pool.memo[key] = prompt_of_tile, self._encoder([*number, ""])
        return pool.memo[key]
