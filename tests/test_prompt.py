"""Prompts are Osorio's sentences, through a frozen CLIP text model as Stable Diffusion reads it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers_folders import write_pipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig

from histosynth.conditions import ConditionSpec, Targets, TilePool, check_conditions
from histosynth.conditions.prompt import number_words
from histosynth.config import Study
from histosynth.errors import InputError
from histosynth.preflight import check_study

LABELS = ["Healthy", "cancer"]
OSORIO = "Histology image of {label} tissue, morphology type {cluster}"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("prompt") / "pipeline")


def study(*, drop: tuple[str, ...] = (), text_encoder="nobody/nothing", **options) -> Study:
    prompt = {"kind": "prompt", "text_encoder": str(text_encoder), **options}
    settings = {
        "study": "tiny",
        "cohort": {"kind": "phantom"},
        "label": {"names": LABELS},
        "encoders": {"texture": {}},
        "clusters": {"encoder": "texture", "k": 33},
        "evaluation": {"encoders": ["texture"]},
        "conditions": {"prompted": {"signals": [prompt]}},
    }
    return Study.parse({key: value for key, value in settings.items() if key not in drop})


def spec(**options) -> ConditionSpec:
    return ConditionSpec.of(study(**options), "prompted")


def pool(labels: list[int] | None, clusters: list[int] | None) -> TilePool:
    n = len(labels or clusters or [0])
    ids = [np.array(x, np.int64) if x is not None else None for x in (labels, clusters)]
    return TilePool([f"t{i}" for i in range(n)], np.zeros(n), labels=ids[0], clusters=ids[1])


def targets(tiles: TilePool, *rows: int) -> Targets:
    return Targets(tiles, np.array(rows), [(0, i) for i in range(len(rows))])


def test_the_prompts_are_the_papers_to_the_letter():
    (signal,) = spec().signals
    assert signal.texts(pool([0, 1, 1], [0, 21, 32])) == [
        "Histology image of healthy tissue, morphology type zero",
        "Histology image of cancer tissue, morphology type twenty-one",
        "Histology image of cancer tissue, morphology type thirty-two",
    ]
    (baseline,) = spec(template="Histology image of {label} tissue").signals
    assert baseline.texts(pool([0, 1], None)) == [
        "Histology image of healthy tissue",
        "Histology image of cancer tissue",
    ]


def test_numbers_are_spelled_as_in_english():
    words = [number_words(number) for number in range(1000)]
    assert len(set(words)) == 1000
    spelled = {13: "thirteen", 20: "twenty", 40: "forty", 99: "ninety-nine", 100: "one hundred"}
    spelled |= {105: "one hundred and five", 999: "nine hundred and ninety-nine"}
    assert {number: words[number] for number in spelled} == spelled
    with pytest.raises(ValueError, match="1000"):
        number_words(1000)


def test_a_prompt_needs_and_makes_possible_what_its_template_says():
    for template, told in {
        OSORIO: {"labels", "clusters"},
        "{label}": {"labels"},
        "type {cluster}, {cluster}": {"clusters"},
        "Histology image": set(),
    }.items():
        made = spec(template=template)
        assert made.needs == made.provides == told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"template": "{organ}"}, r"signals\[0\].template: .*\{organ\} .* \{label\}, \{cluster\}"),
        ({"template": "{label!r}"}, r"\{label\} is no field"),
        ({"template": "{label"}, r"signals\[0\].template: found '\{label'"),
        ({"drop": ("label",)}, r"needs labels, but `label` is not configured"),
        ({"drop": ("clusters",)}, r"needs clusters, but `clusters` is not configured"),
        ({"words": True}, r"signals\[0\].words: .* its options: template, text_encoder"),
    ],
)
def test_a_template_that_the_study_cannot_fill_is_refused_at_its_key(options, said):
    with pytest.raises(InputError, match=r"conditions\.prompted\.signals\[0\]") as refused:
        check_conditions(study(**options))
    refused.match(said)


def test_hidden_states_are_transformers_own(pipeline):
    made, tiles = spec(text_encoder=pipeline), pool([1, 0, 1], [2, 0, 2])
    states = made.encode(targets(tiles, 2, 1))["prompt"]
    tokenizer = CLIPTokenizer.from_pretrained(pipeline / "tokenizer")
    model = CLIPTextModel.from_pretrained(pipeline / "text_encoder").eval()
    texts = [made.signals[0].texts(tiles)[row] for row in (2, 1)]
    with torch.inference_mode():
        ids = tokenizer([*texts, ""], padding="max_length", max_length=77, return_tensors="pt")
        expected = model(ids.input_ids).last_hidden_state.numpy()
    assert states.shape == (2, 77, 16) and states.dtype == np.float32
    # the same numbers in batches of another size: float32 sums in another order
    assert np.allclose(states, expected[:2], atol=1e-5)
    assert np.allclose(made.nulls(tiles)["prompt"], expected[2], atol=1e-5)
    assert np.abs(states[0] - states[1]).max() > 0.1
    assert made.widths("vector") == {"prompt": 16}


def test_a_clip_folder_serves_as_a_pipelines_does(pipeline, tmp_path):
    text = CLIPTextModel.from_pretrained(pipeline / "text_encoder")
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        image_size=8, patch_size=8,
    )  # fmt: skip
    clip = CLIPModel(CLIPConfig(text_config=text.config.to_dict(), vision_config=vision.to_dict()))
    clip.text_model.load_state_dict(text.state_dict())
    clip.save_pretrained(tmp_path)
    for file in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(pipeline / "tokenizer" / file, tmp_path)
    tiles = pool([1], [2])
    states = [spec(text_encoder=f).encode(targets(tiles.take(np.array([0])), 0))["prompt"]
              for f in (pipeline, tmp_path)]  # fmt: skip
    assert np.array_equal(*states)


def test_what_is_missing_from_a_folder_is_named(pipeline, tmp_path):
    for missing in ("text_encoder/model.safetensors", "text_encoder/config.json",
                    "tokenizer/merges.txt"):  # fmt: skip
        folder = tmp_path / missing.replace("/", "-")
        shutil.copytree(pipeline, folder)
        (folder / missing).unlink()
        with pytest.raises(InputError, match=missing.split("/")[1]) as refused:
            spec(text_encoder=folder).widths("vector")
        refused.match(str(folder / missing.split("/")[0]))
    with pytest.raises(
        InputError, match=r"text_encoder of signal prompt: .*lacks config.json, model.safetensors"
    ):
        spec(text_encoder=tmp_path).widths("vector")


def test_weights_that_are_cut_short_or_of_another_model_are_refused(pipeline, tmp_path):
    """transformers would draw what is missing at random."""
    folder = shutil.copytree(pipeline, tmp_path / "pipeline")
    path = folder / "text_encoder/model.safetensors"
    weights = load_file(path)
    del weights["final_layer_norm.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    encode = spec(text_encoder=folder).encode
    with pytest.raises(InputError, match="text_encoder lack 1 of the model's, the first is final"):
        encode(targets(pool([0], [0]), 0))
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match="text_encoder cannot be read .* git-lfs"):
        encode(targets(pool([0], [0]), 0))


def test_weights_under_the_names_of_older_releases_are_the_same(pipeline, tmp_path):
    """Stable Diffusion's own file has them below `text_model`, and one buffer more."""
    folder = shutil.copytree(pipeline, tmp_path / "pipeline")
    path = folder / "text_encoder/model.safetensors"
    older = {f"text_model.{name}": value for name, value in load_file(path).items()}
    older["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(older, path, metadata={"format": "pt"})
    made = [spec(text_encoder=f).encode(targets(pool([0], [0]), 0)) for f in (pipeline, folder)]
    assert np.array_equal(made[0]["prompt"], made[1]["prompt"])


def test_a_model_that_is_no_clip_and_a_prompt_too_long_are_refused(pipeline, tmp_path):
    with pytest.raises(InputError, match="has 8[0-9] tokens, but .* reads 77; shorten"):
        made = spec(text_encoder=pipeline, template="healthy " * 80)
        made.encode(targets(pool([0], [0]), 0))
    folder = tmp_path / "t5"
    shutil.copytree(pipeline, folder)
    config = folder / "text_encoder/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "t5"}))
    with pytest.raises(InputError, match="model_type 't5'; expected a CLIP model"):
        spec(text_encoder=folder).widths("vector")


def test_another_text_model_has_another_fingerprint(pipeline, tmp_path):
    first = spec(text_encoder=pipeline).fingerprints()["prompt"]
    copy = shutil.copytree(pipeline, tmp_path / "copy")
    assert spec(text_encoder=copy).fingerprints()["prompt"] == first
    other = write_pipeline(tmp_path / "other", seed=1)
    assert spec(text_encoder=other).fingerprints()["prompt"] != first


def test_a_hubs_name_is_looked_up_in_its_cache_and_a_wrong_path_refused_at_planning(
    pipeline, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    repository = tmp_path / "models--owner--tiny"
    shutil.copytree(pipeline, repository / "snapshots/0123")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert spec(text_encoder="owner/tiny").widths("vector") == {"prompt": 16}
    with pytest.raises(InputError, match="owner/other is no folder here, and fetching"):
        spec(text_encoder="owner/other").widths("vector")
    with pytest.raises(InputError, match=r"signals\[0\].text_encoder: /no/such is neither a fold"):
        check_study(study(text_encoder="/no/such"))


def test_planning_with_prompts_loads_neither_torch_nor_transformers(tmp_path):
    code = (
        "import sys; from histosynth.config import Study\n"
        "from histosynth.preflight import check_study\n"
        "from histosynth.conditions import ConditionSpec\n"
        "made = Study.load(sys.argv[1]); check_study(made)\n"
        "ConditionSpec.of(made, 'prompted').resolved()\n"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    (tmp_path / "study.yaml").write_text(study().dump())
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "study.yaml")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == "[]"
