"""A frozen CLIP text model: prompts become the hidden states that Stable Diffusion attends to."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from histosynth.errors import InputError
from histosynth.files import sha256_file, short_hash
from histosynth.hub import load_weights, pretrained_folder, require_files

_FETCHED = ("config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer*.json")
_PARTS = ("text_encoder", "tokenizer")
_BATCH = 16


class TextEncoder:
    """The text model of a folder; torch and transformers load with the first call.

    Parameters
    ----------
    source
        A folder, or a name of the hub: a Stable Diffusion pipeline (its `tokenizer` and
        `text_encoder` are used) or a CLIP model.
    key
        The setting that holds it, for messages.

    Raises
    ------
    InputError
        A file is missing, or the model is no CLIP; the folder is named.
    """

    def __init__(self, source: str, *, key: str = "text_encoder") -> None:
        self.key = key
        patterns = [*_FETCHED, *(f"{part}/{file}" for part in _PARTS for file in _FETCHED)]
        folder = pretrained_folder(source, key=key, files=patterns)
        nested = any((folder / part).is_dir() for part in _PARTS)
        self.model_folder = folder / "text_encoder" if nested else folder
        self.tokenizer_folder = folder / "tokenizer" if nested else folder
        require_files(
            self.model_folder,
            ["config.json", "model.safetensors"],
            key=key,
            what="a CLIP text model",
        )
        self.tokenizer_files = ["tokenizer.json"]
        if not (self.tokenizer_folder / "tokenizer.json").is_file():
            self.tokenizer_files = ["vocab.json", "merges.txt"]
            require_files(
                self.tokenizer_folder, self.tokenizer_files, key=key, what="a CLIP tokenizer"
            )
        path = self.model_folder / "config.json"
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if config.get("model_type") not in ("clip", "clip_text_model"):
            raise InputError(
                f"{key}: {path} has model_type {config.get('model_type')!r}; expected a CLIP model "
                "(clip, clip_text_model), as Stable Diffusion 1 and 2 have"
            )
        text = config.get("text_config") or config
        # What transformers takes where a config leaves them out.
        self.width = int(text.get("hidden_size", 512))
        self.length = int(text.get("max_position_embeddings", 77))

    def fingerprint(self) -> str:
        """SHA-256 of the weights and the tokenizer, shortened."""
        files = [self.tokenizer_folder / name for name in self.tokenizer_files]
        files += [self.model_folder / name for name in ("config.json", "model.safetensors")]
        return short_hash({path.name: sha256_file(path) for path in files})

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import CLIPTextModel, CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(self.tokenizer_folder, local_files_only=True)
        model = load_weights(CLIPTextModel, self.model_folder, key=self.key)
        return tokenizer, model.float().eval()

    def __call__(self, prompts: Sequence[str]) -> np.ndarray:
        """Last hidden states of prompts padded to the model's length, on the CPU.

        Returns
        -------
        float32 (n, length, width)

        Raises
        ------
        InputError
            A prompt is longer than the model reads.
        """
        import torch

        tokenizer, model = self._loaded
        for prompt in prompts:
            if (tokens := len(tokenizer(prompt).input_ids)) > self.length:
                raise InputError(
                    f"prompt {prompt!r} has {tokens} tokens, but {self.model_folder} reads "
                    f"{self.length}; shorten the template or the labels"
                )
        states = []
        with torch.inference_mode():
            for start in range(0, len(prompts), _BATCH):
                ids = tokenizer(
                    list(prompts[start : start + _BATCH]),
                    padding="max_length",
                    max_length=self.length,
                    return_tensors="pt",
                ).input_ids
                states.append(model(ids).last_hidden_state.numpy())
        return np.concatenate(states)
