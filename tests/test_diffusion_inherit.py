"""Training that starts from another condition's weights starts at what that one predicts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT

from histosynth.conditions import ConditionSpec
from histosynth.config import Study
from histosynth.diffusion.inherit import start_from
from histosynth.diffusion.network import ConditionBatch, SignalsSpec, build_network
from histosynth.errors import InputError
from histosynth.generator_settings import GeneratorSettings
from histosynth.grid import Grid

SETTINGS = {"channels": [8, 16], "token_width": 8, "plane_width": 4}
SIDE, BATCH = 32, 3
MAP, CROP = {"map": 2}, {"crop": 3}
LABEL, CLUSTER, PROMPT = {"label": 2}, {"cluster": 5}, {"prompt": 6}
PLAIN = {"architecture": "plain", "plane_encoder": "bilinear"}

pytestmark = pytest.mark.usefixtures("one_thread")


def network(spec: SignalsSpec, *, seed: int = 0, **changes):
    settings = GeneratorSettings(**SETTINGS, **changes)
    made = build_network(settings, spec, latent_shape=(4, 8, 8), tile_size=SIDE, seed=seed).eval()
    if seed == 0:  # a trained base: none of its weights is at a start value, zeros least of all
        random = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return made


def conditions(spec: SignalsSpec) -> ConditionBatch:
    """A batch in which signal k is always the same, whatever else there is."""
    values = {}
    for name in spec.names:
        random = torch.Generator().manual_seed(sum(name.encode()))
        if name in spec.planes:
            values[name] = torch.randn(BATCH, spec.planes[name], SIDE, SIDE, generator=random)
        elif name in spec.tokens:
            values[name] = torch.randint(spec.tokens[name], (BATCH,), generator=random)
        else:
            values[name] = torch.randn(BATCH, 5, spec.vectors[name], generator=random)
    return ConditionBatch(values)


@torch.inference_mode()
def prediction(made, *, withheld: tuple[str, ...] = ()) -> torch.Tensor:
    noisy = torch.randn(BATCH, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    drop = torch.tensor([[name in withheld for name in made.spec.names]] * BATCH)
    return made(noisy, torch.tensor([0.2, 0.5, 0.9]), conditions(made.spec), drop)


@pytest.mark.parametrize(
    ("base", "new", "changes"),
    [
        (SignalsSpec(), SignalsSpec(planes=MAP), {}),
        (SignalsSpec(planes=MAP), SignalsSpec(planes=CROP | MAP), {}),
        (SignalsSpec(planes=MAP), SignalsSpec(planes=MAP | CROP), PLAIN),
        (SignalsSpec(), SignalsSpec(planes=MAP), {"planes_join": "controlnet"}),
        (SignalsSpec(planes=MAP), SignalsSpec(planes=CROP | MAP), {"planes_join": "controlnet"}),
        (SignalsSpec(), SignalsSpec(tokens=LABEL, added=["label"]), {}),
        (SignalsSpec(tokens=LABEL), SignalsSpec(tokens=CLUSTER | LABEL, added=["cluster"]), {}),
        (
            SignalsSpec(planes=MAP, tokens=LABEL | CLUSTER),
            SignalsSpec(planes=MAP, tokens=LABEL | CLUSTER, vectors=PROMPT, added=["prompt"]),
            {},
        ),
        (
            SignalsSpec(tokens=LABEL, added=["label"]),
            SignalsSpec(tokens=LABEL, vectors=PROMPT, added=["label", "prompt"]),
            {},
        ),
    ],
    ids=lambda value: ",".join(value.names) if isinstance(value, SignalsSpec) else "",
)
def test_a_new_signal_changes_nothing_at_first(base, new, changes) -> None:
    trained, started = network(base, **changes), network(new, seed=1, **changes)
    before = prediction(started)
    start_from(started, trained, name="base")
    expected = prediction(trained)
    # float32 rounding: a convolution over more channels, a softmax over more tokens
    torch.testing.assert_close(prediction(started), expected, atol=2e-5, rtol=1e-4)
    assert (before - expected).abs().max() > 0.1
    withheld = prediction(started, withheld=tuple(set(new.names) - set(base.names)))
    torch.testing.assert_close(withheld, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("planes_join", ["concat", "controlnet"])
def test_a_new_signal_learns_from_the_first_step(planes_join) -> None:
    spec = SignalsSpec(planes=MAP | CROP, tokens=LABEL, vectors=PROMPT, added=["label", "prompt"])
    started = network(spec, seed=1, planes_join=planes_join)
    start_from(started, network(SignalsSpec(planes=MAP), planes_join=planes_join), name="base")
    drop = torch.zeros(BATCH, 4, dtype=torch.bool)
    started(
        torch.randn(BATCH, 4, 8, 8), torch.full((BATCH,), 0.5), conditions(spec), drop
    ).sum().backward()
    stem = (
        "control.encoder.controlnet_cond_embedding.0.0"
        if planes_join == "controlnet"
        else "plane_stem.0"
    )
    found = {name: parameter.grad for name, parameter in started.named_parameters()}
    assert found[f"{stem}.weight"][:, 3:6].abs().max() > 0  # the crop's columns
    assert found["token_tables.label.weight"].abs().max() > 0
    assert found["vector_layers.prompt.weight"].abs().max() > 0


def test_a_lost_token_counts_as_withheld() -> None:
    trained, started = network(SignalsSpec(tokens=LABEL)), network(SignalsSpec(), seed=1)
    start_from(started, trained, name="base")
    expected = prediction(trained, withheld=("label",))
    torch.testing.assert_close(prediction(started), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("left", [{}, MAP], ids=["no planes left", "a map left"])
def test_a_lost_plane_counts_as_withheld_away_from_the_border(left) -> None:
    trained, started = network(SignalsSpec(planes=CROP | left)), network(SignalsSpec(left), seed=1)
    start_from(started, trained, name="base")
    entered = []
    for made, withheld in ((trained, ("crop",)), (started, ()), (trained, ())):
        hook = made.unet.conv_in.register_forward_hook(lambda *seen: entered.append(seen[2]))
        prediction(made, withheld=withheld)
        hook.remove()
    expected, found, shown = (hidden[:, :, 4:6, 4:6] for hidden in entered)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    assert (shown - expected).abs().max() > 0.05


def test_a_signal_of_another_width_is_refused() -> None:
    trained = network(SignalsSpec(vectors={"embedding": 6}))
    started = network(SignalsSpec(vectors={"embedding": 7}), seed=1)
    with pytest.raises(InputError, match=r"models/a.*vector_layers.embedding.weight is \(8, 6\)"):
        start_from(started, trained, name="models/a")


def study(**init_from: str):
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name, base in init_from.items():
        settings["conditions"][name] |= {"init_from": base, "steps": 100}
    return settings


def test_tokens_are_added_to_those_of_every_condition_before() -> None:
    settings = study(label="unconditional", label_cluster="label", map_crop="map")
    made = Study.parse(settings)
    assert made.bases_of("label_cluster") == ["label", "unconditional"]
    added = {name: ConditionSpec.of(made, name).added for name in made.conditions}
    assert added["label"] == ("label",) and added["label_cluster"] == ("label", "cluster")
    assert added["unconditional"] == added["map"] == ()
    assert added["map_crop"] == ("crop_color",)  # planes are added without a shift
    assert ConditionSpec.of(made, "map_crop").resolved()["init_from"] == "map"


def test_fewer_steps_are_one_conditions_own() -> None:
    made = Study.parse(study(map_crop="map"))
    assert made.generator_of("map_crop").steps == 100 and made.generator_of("map").steps == 1600
    whole, short = Grid(made).train_settings("map"), Grid(made).train_settings("map_crop")
    assert '"steps": 1600' in whole and '"steps": 100' in short
    assert whole == Grid(Study.parse(study())).train_settings("map")  # its model stays


def test_its_base_is_trained_before_and_given_to_it_by_as_many_processes_as_told(tmp_path) -> None:
    settings = yaml.safe_load((ROOT / "tests/micro.yaml").read_text())
    settings |= {"study": "shared", "seeds": [0, 1]}
    settings["generator"]["processes"] = 2
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(settings))
    target = "results/shared/models/map_crop/seed1"
    command = [Path(sys.executable).parent / "snakemake", "-n", "-p", target, "--cores", "2"]
    done = subprocess.run(
        [*command, "--configfile", tmp_path / "study.yaml", "--rerun-triggers", "input"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    told = done.stdout + done.stderr
    started = re.findall(r"torchrun .*--nproc-per-node 2 .*scripts/train.py .*", told)
    assert len(started) == 2, told[-3000:]
    assert "--base" not in started[0] and "conditions/unconditional.yaml" in started[0]
    assert "--base results/shared/models/unconditional/seed1 " in started[1]


@pytest.mark.parametrize(
    ("init_from", "words"),
    [
        ({"map": "mapp"}, ["conditions.map.init_from", "unknown condition 'mapp'", "label"]),
        ({"map": "map"}, ["conditions.map.init_from", "map <- map"]),
        ({"map": "label", "label": "map"}, ["in a circle", "label <- map <- label"]),
        ({"map": "theirs"}, ["conditions.map.init_from", "'theirs' is a folder of images"]),
    ],
    ids=["unknown", "itself", "circle", "external"],
)
def test_a_start_that_cannot_be_is_refused_when_the_study_is_read(init_from, words) -> None:
    settings = study(**init_from)
    settings["conditions"]["theirs"] = {"external": "folder"}
    with pytest.raises(InputError) as error:
        Study.parse(settings)
    for word in words:
        assert word in str(error.value)


def test_images_of_a_folder_are_not_trained() -> None:
    settings = study()
    settings["conditions"]["theirs"] = {"external": "folder", "init_from": "map"}
    with pytest.raises(InputError, match="`init_from` goes with `signals`"):
        Study.parse(settings)
