"""Folders of somebody else's images are scored by one command: what it says of planted cases."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image, ImageFilter

from histosynth.evaluations.halves import Side, beyond_floor, deal_halves
from histosynth.metrics import Interval, kernel_distance
from histosynth.report.folder_answer import verdict

CASE = r"case([^_]+)_"
BLUR = ImageFilter.GaussianBlur(1.2)
TURN = Image.Transpose.ROTATE_90


@pytest.fixture(scope="module")
def tissue(shared_data):
    """Path -> real tissue at 64 x 64 pixels, in three parts without a common patient."""
    table = pd.read_csv(shared_data / "ebhi_seg" / "index.csv")
    cases = np.random.default_rng(0).permutation(sorted(table["case"].astype(str).unique()))
    part = {case: i % 3 for i, case in enumerate(cases)}
    parts = [{}, {}, {}]
    for i, row in enumerate(table.itertuples()):
        with Image.open(shared_data / "ebhi_seg" / row.image) as image:
            picture = image.convert("RGB").crop((48, 48, 176, 176)).resize((64, 64))
        parts[part[str(row.case)]][f"{row.cls}/case{row.case}_{i:03}.png"] = picture
    return parts


def write(folder, pictures):
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)
    return folder


def evaluate(*arguments):
    command = [sys.executable, ROOT / "scripts" / "evaluate.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def reference_half(real):
    """Paths of the real images that the report takes as the reference."""
    paths = sorted(real)
    labels = np.array([path.split("/")[0] for path in paths])
    patients = np.array([path.split("case")[1].split("_")[0] for path in paths])
    return [paths[i] for i in deal_halves(patients, labels)[0]]


@pytest.fixture(scope="module")
def scored(tissue, tmp_path_factory):
    """One run over sets of which it is known what they are: what it told, its page, its scores."""
    folder = tmp_path_factory.mktemp("folders")
    train, real, other = tissue
    turned = {f"{k[:-4]}t.png": p.transpose(TURN) for k, p in list(train.items())[::8]}
    sets = {
        "other": other,
        "blurred": {k: p.filter(BLUR) for k, p in other.items()},
        "leaked": {k: real[k] for k in reference_half(real)},
        "copying": dict(list(other.items())[len(turned) :]) | turned,
    }
    arguments = [f"--synthetic={write(folder / name, of)}" for name, of in sets.items()]
    arguments += [f"--real={write(folder / 'real', real)}"]
    arguments += [f"--train={write(folder / 'train', train)}"]
    arguments += ["--labels=folders", f"--patients={CASE}", f"--report={folder / 'scores.html'}"]
    done = evaluate(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr, (folder / "scores.html").read_text(), pd.read_csv(folder / "scores.csv")


def line_of(scored, head):
    """The line on standard error that starts so, which the page says too."""
    told, page, _ = scored
    line = next(line for line in told.splitlines() if line.startswith(head))
    assert line.split(".")[0].split(":")[0] in page
    return line


def test_real_images_of_other_patients_are_not_called_farther_or_nearer(scored):
    verdict = re.search(
        "cannot be told from real|no farther from the real", line_of(scored, "other:")
    )
    assert verdict, line_of(scored, "other:")


def test_blurred_images_are_clearly_farther(scored):
    line = line_of(scored, "blurred:")
    assert "clearly farther from the real images" in line
    for distance in ("kernel", "Fréchet"):
        assert re.search(rf"the {distance} distance is [^;]*, a difference of \d", line)


def test_bad_images_of_six_patients_are_not_called_near(tissue, tmp_path):
    """With few patients the interval of the Fréchet distance alone holds zero."""
    train, real, _ = tissue
    case = np.array([path.split("case")[1].split("_")[0] for path in real])
    six = set(pd.Series(case).value_counts().index[:6])
    sets = {
        "real": {k: p for (k, p), c in zip(real.items(), case, strict=True) if c in six},
        "train": train,
        "blurred": {k: p.filter(ImageFilter.GaussianBlur(1.5)) for k, p in train.items()},
        "grey": {k: Image.new("RGB", p.size, (128, 128, 128)) for k, p in train.items()},
    }
    folders = {name: write(tmp_path / name, of) for name, of in sets.items()}
    arguments = [f"--synthetic=s_{name}={folders[name]}" for name in ("train", "blurred", "grey")]
    arguments += [f"--real={folders['real']}", f"--patients={CASE}"]
    done = evaluate(*arguments, f"--report={tmp_path / 'scores.html'}")
    assert done.returncode == 0, done.stderr[-3000:]
    lines = {line.split(":")[0]: line for line in done.stderr.splitlines()}
    assert "clearly farther from the real images" in lines["s_blurred"]
    assert "clearly farther from the real images" in lines["s_grey"]
    images = min(len(of) for of in reference_and_floor(sets["real"]))
    expected = f"cannot be told from real images with {images} images of each set and 6 patients"
    assert expected in lines["s_train"]
    page = (tmp_path / "scores.html").read_text()
    banner = "Few patients: 3 patients in one half of the real images, 3 in the other."
    assert banner in done.stderr and page.index(banner) < page.index(expected)


def reference_and_floor(real):
    patients = np.array([path.split("case")[1].split("_")[0] for path in sorted(real)])
    return deal_halves(patients)


def test_jpeg_is_farther_than_real_images_and_noise_farthest_of_all(scored):
    table = scored[2]
    rows = table[(table["metric"] == "kernel_distance") & (table["subset"] == "all")]
    rows = rows[(rows["group"] == "fidelity") & (rows["status"] == "ok")]
    for _, of_encoder in rows.groupby("encoder"):
        value = of_encoder.set_index("condition")["value"]
        assert value["real"] < value["jpeg90"] < value["noise"] == value.max()
    assert "that half through JPEG" in scored[1]


def test_sets_are_compared_in_pairs_and_blur_loses(scored):
    page = scored[1]
    section = page[page.index('id="differences"') : page.index('id="plots"')]
    assert "Which differences are real?" in section
    summary = re.search(r"<strong>Fréchet distance, texture.*?</summary>", section, re.S)[0]
    words = re.sub(r"<[^>]+>", "", summary)
    assert re.search(r"[^.;]*other[^.;]* better than [^.;]*blurred", words), words


def test_real_images_in_a_synthetic_set_are_counted_and_told_first(scored, tissue):
    told, page, rows = scored
    warning = f"{len(reference_half(tissue[1]))} images of leaked are real images themselves."
    assert warning in told and page.index(warning) < page.index("leaked: ")
    beyond = rows[(rows.group == "minus_real") & (rows.metric == "frechet_distance")]
    value = beyond.set_index("condition")["value"]
    assert value["leaked"] < 0 and value["leaked"] < value.drop("leaked").min() - 5


def test_turned_copies_of_training_images_are_told_before_any_score(scored):
    told, page, rows = scored
    warning = "copying lies nearer to the training images than real images do."
    assert warning in told and page.index(warning) < page.index("<strong>other: ")
    shares = rows[(rows.metric == "memorized_share_1pct") & (rows.encoder == "pixels")]
    value = shares.set_index("condition")["value"]
    assert value["copying"] >= 0.12 and max(value["other"], value["blurred"]) <= 0.05
    assert "other lies nearer" not in told  # blurred images lie near much, and copy nothing


def test_every_set_is_scored_on_equally_many_images_of_one_protocol(scored):
    rows = scored[2]
    rows = rows[(rows.metric == "frechet_distance") & (rows.subset == "all")]
    rows = rows[rows.group == "fidelity"]
    made = {"other", "blurred", "leaked", "copying"}
    assert set(rows.condition) == made | {"real", "jpeg90", "noise"}
    assert rows.n_synthetic.nunique() == rows.n_real.nunique() == rows.protocol.nunique() == 1


def test_labels_are_scored_one_by_one(scored):
    rows = scored[2]
    rows = rows[(rows.metric == "kernel_distance") & rows.subset.str.startswith("label=")]
    assert {"label=Adenocarcinoma", "label=Normal"} <= set(rows.subset)
    assert (rows[rows.condition == "blurred"].status == "ok").any()


def test_masks_stand_for_labels_by_the_class_that_covers_most(tissue, tmp_path):
    _, real, other = tissue
    sets = {"real": dict(list(real.items())[:40]), "other": dict(list(other.items())[:20])}
    arguments = ["--classes=gland,stroma", f"--report={tmp_path / 'scores.html'}"]
    for name, pictures in sets.items():
        kind = "real" if name == "real" else "synthetic"
        arguments += [f"--{kind}={write(tmp_path / name, pictures)}"]
        masks = {}
        for i, path in enumerate(pictures):
            mask = np.full((64, 64), i % 2, np.uint8)
            mask[:20] = 1 - i % 2  # less than half
            masks[path] = Image.fromarray(mask)
        arguments += [f"--masks={name}={write(tmp_path / f'masks_{name}', masks)}"]
    done = evaluate(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = pd.read_csv(tmp_path / "scores.csv")
    rows = rows[(rows.condition == "other") & (rows.metric == "kernel_distance")]
    rows = rows[rows.subset.isin(["label=gland", "label=stroma"])]
    assert rows.n_synthetic.tolist() == [10, 10] and set(rows.status) == {"ok"}
    page = (tmp_path / "scores.html").read_text()
    assert "gland 10, stroma 10" in page and "Share of each class" in page


def test_labels_table_with_patients_is_said_to_decide_the_halves(tissue, tmp_path):
    real = {f"{i:03}.png": p for i, p in enumerate(list(tissue[1].values())[:40])}
    other = {f"{i:03}.png": p for i, p in enumerate(list(tissue[2].values())[:20])}
    lines = [f"{name},{'ab'[i % 2]},p{i % 4}" for i, name in enumerate(real)]
    (tmp_path / "real.csv").write_text("\n".join(["image,label,patient_id", *lines]))
    arguments = ["--real", write(tmp_path / "real", real), "--report", tmp_path / "scores.html"]
    arguments += ["--synthetic", write(tmp_path / "other", other)]
    done = evaluate(*arguments, "--labels", f"real={tmp_path / 'real.csv'}")
    assert "patients of real taken from its labels table: 4" in done.stderr
    assert "Few patients: 2 patients in one half" in done.stderr
    # The report and its work folder lie among the images now; the work folder is not searched.
    report = tmp_path / "other" / "scores.html"
    for _ in range(2):
        done = evaluate(*arguments[:2], *arguments[4:], "--report", report)
        assert "patients of real" not in done.stderr and "Few patients" not in done.stderr
        Image.new("RGB", (64, 64)).save(tmp_path / "other" / "evaluate-work" / "preview.png")
        rows = pd.read_csv(report.with_suffix(".csv"))
        assert rows[rows.condition == "other"].n_synthetic.max() == 20
        assert f'<td class="num">{len(other)}</td>' in report.read_text()


@pytest.mark.parametrize(
    ("leading", "other", "expected"),
    [
        ((0.1, 0.3), (-0.2, 0.2), "farther"),
        ((-0.1, 0.3), (-0.2, 0.2), "undecided"),
        ((-0.1, 0.3), (0.1, 0.2), "farther"),
        ((-0.1, 0.2), (-0.2, 0.9), "alike"),
        ((-0.1, 0.2), (0.1, 0.9), "farther"),
        ((-0.3, -0.1), (-0.2, 0.2), "nearer"),
        ((-0.3, -0.1), (0.1, 0.2), "farther"),
    ],
)
def test_the_verdict_follows_the_intervals_of_both_differences(leading, other, expected):
    both = [Interval(sum(ends) / 2, *ends, 0.1) for ends in (leading, other)]
    assert verdict(*both, at_most=0.2) == expected
    assert verdict(Interval(0.1), both[1]) == verdict(both[1])
    assert verdict(Interval(0.1)) == verdict(None) == "unknown"


def some(rng, patients, shift=0.0):
    """Six images each of patients that differ, with three features."""
    centres = rng.normal(0, 0.5, (patients, 1, 3))
    features = rng.normal(0, 1, (patients, 6, 3)) + centres + shift
    return Side(features.reshape(-1, 3), np.repeat(np.arange(patients), 6))


def test_a_set_as_near_as_copies_of_the_reference_is_nearer_than_real_images():
    rng = np.random.default_rng(1)
    reference, floor = some(rng, 30), some(rng, 30, shift=0.5)
    copies = Side(reference.features.copy(), reference.groups)
    assert verdict(beyond_floor(kernel_distance, reference, copies, floor, seed=0)) == "nearer"
    assert verdict(beyond_floor(kernel_distance, reference, floor, copies, seed=0)) == "farther"


@pytest.mark.parametrize("shift", [0.0, 0.35])
def test_the_interval_of_the_difference_to_the_floor_covers_the_truth(shift):
    """Patients differ, so images are not independent; the truth is known from a large sample."""
    rng = np.random.default_rng(0)
    large = [some(rng, 700, s).features for s in (0.0, shift)]
    truth = kernel_distance(*large) if shift else 0.0
    runs, covered = 40, 0
    for _ in range(runs):
        sides = some(rng, 16), some(rng, 16, shift), some(rng, 16)
        found = beyond_floor(kernel_distance, *sides, seed=0)
        covered += found.ci_low <= truth <= found.ci_high
    assert covered / runs >= 0.85  # 95 % less three standard errors of 40 runs
