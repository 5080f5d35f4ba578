"""Folders of other sizes or codecs: refused, or scored under a protocol of their own, and told."""

import pytest
from noise_folders import check, noise, score, write
from PIL import Image

from histosynth.errors import InputError
from histosynth.evaluations.folders import evaluate_folders
from histosynth.external import Options
from histosynth.external_arguments import read_encoders
from histosynth.report.folders import render_folders


@pytest.fixture
def real(tmp_path):
    return write(tmp_path / "real", 20)


def test_sets_of_other_sizes_are_refused_and_resized_when_asked(real, tmp_path):
    larger = write(tmp_path / "larger", 10, side=48)
    with pytest.raises(InputError, match=r"real are 32 x 32 pixels.*larger\) 48 x 48; --size N"):
        check(real, larger)
    wide = tmp_path / "wide"
    wide.mkdir()
    for i in range(10):
        Image.fromarray(noise(i, 80)[:64]).save(wide / f"{i}.png")
    with pytest.raises(InputError, match=r"wide\) 80 x 64; crop both to one size") as error:
        check(real, wide)
    assert "--size N" not in str(error.value)
    Image.fromarray(noise(5)).save(wide / "small.png")
    with pytest.raises(InputError, match=r"images of 2 sizes.*: crop them to one size, or sort"):
        check(real, wide)
    scores, page = score(real, larger, tmp_path / "work", size=32)
    assert scores.sets["theirs"].size == (32, 32)
    assert scores.sets["theirs"].provenance["resize"]
    assert "Compared at 32 px: theirs had 48 px, the real images 32 px." in page
    sizes = {name: made_of.get("resized") for name, made_of in protocols_of(scores).items()}
    assert sizes == {
        "real": None,
        "theirs": "32 x 32 against 48 x 48 to 32 x 32, pillow-bicubic",
        "jpeg90": None,
        "noise": None,
    }


def protocols_of(scores):
    """What the Fréchet distance of each set is made of."""
    rows = scores.rows[(scores.rows.metric == "frechet_distance") & (scores.rows.subset == "all")]
    rows = rows[rows.group == "fidelity"].set_index("condition")
    return {name: scores.protocols[key] for name, key in rows.protocol.items()}


def test_enlarged_images_are_told_first_and_share_no_protocol_with_native_ones(real, tmp_path):
    """The same command on the same number of real images: only the files' size differs."""
    small, native = write(tmp_path / "small", 10, side=16), write(tmp_path / "native", 10)
    told, page = score(real, small, tmp_path / "work", size=32)
    assert "theirs was enlarged from 16 px: missing detail is scored." in page
    assert "--size 16 enlarges nothing" in page and "moves scores a bit" not in page
    plain, page = score(real, native, tmp_path / "work", size=32)
    assert "enlarged" not in page[: page.index('id="scores"')]
    enlarged, right = (protocols_of(scores)["theirs"] for scores in (told, plain))
    assert enlarged.pop("resized") == "32 x 32 against 16 x 16 to 32 x 32, pillow-bicubic"
    assert enlarged == right
    of_theirs = told.rows[told.rows.condition == "theirs"]
    hashes = set(plain.rows[plain.rows.condition == "theirs"].protocol) - {""}
    assert hashes and not hashes & set(of_theirs.protocol)


def test_jpegs_of_another_quality_or_sampling_are_refused_and_never_ranked_with_others(tmp_path):
    def save(name, count, **options):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(count):
            Image.fromarray(noise(i + 10 * count)).save(folder / f"i{i:04}.jpg", **options)
        return folder

    real = save("real", 20, quality=95, subsampling="4:4:4")
    alike = save("alike", 11, quality=94, subsampling="4:4:4")
    low = save("low", 12, quality=40, subsampling="4:4:4")
    halved = save("halved", 13, quality=95, subsampling="4:2:0")
    assert check(real, alike).keys() == {"real", "theirs"}
    with pytest.raises(InputError, match=r"as jpeg, about q95, 4:4:4, .*as jpeg, about q40, 4:4:4"):
        check(real, low)
    with pytest.raises(InputError, match=r"as jpeg, about q95, 4:4:4, .*as jpeg, about q95, 4:2:0"):
        check(real, halved)
    folders = {"real": real, "alike": alike, "low": low}
    scores, checked = evaluate_folders(
        folders,
        read_encoders([]),
        tmp_path / "work",
        Options(allow_codec_mismatch=True),
        log=lambda _: None,
    )
    page = render_folders(scores, checked, say=lambda _: None)
    told = "(real: jpeg, about q95, 4:4:4; low: jpeg, about q40, 4:4:4)"
    assert f"Sets of different codecs are compared {told}" in page
    codecs = {name: made_of["codec"] for name, made_of in protocols_of(scores).items()}
    assert codecs["real"] == codecs["alike"] == "jpeg, about q95, 4:4:4"
    assert codecs["low"] == "jpeg, about q95, 4:4:4 against jpeg, about q40, 4:4:4"
    pairs = {c.reason for c in scores.comparisons if c.metric == "frechet_distance"}
    assert pairs == {"the two scores follow different protocols"}


def test_a_published_protocol_is_scored_apart_on_images_as_they_came(real, tmp_path):
    large = write(tmp_path / "large", 10, side=512)
    scores, page = score(real, large, tmp_path / "work", size=32, legacy=("osorio",))
    rows = scores.rows[scores.rows.group == "legacy"]
    assert set(rows.condition) == {"theirs", "real"} and set(rows.status) == {"ok"}
    mine = rows[(rows.condition == "theirs") & (rows.metric == "frechet_distance")].iloc[0]
    told = scores.protocols[mine.protocol]
    assert (told["size"], told["synthetic_size"]) == ([32, 32], [512, 512])
    others = set(scores.rows[scores.rows.group != "legacy"].protocol)
    assert not others & set(rows.protocol)
    section = page[page.index("As Osorio et al. (2024) scored: not comparable") :]
    section = section[: section.index("</table>")]
    assert "theirs" in section and 'class="mark"' not in section
    plain, page = score(real, large, tmp_path / "work", size=32)
    assert "legacy" not in set(plain.rows.group) and "not comparable" not in page
    same = scores.rows[scores.rows.group != "legacy"]
    assert same.drop(columns="contributions", errors="ignore").equals(
        plain.rows.drop(columns="contributions", errors="ignore")
    )


def test_a_published_protocol_that_cannot_be_followed_is_refused_before_any_work(real, tmp_path):
    uneven = write(tmp_path / "uneven", 10, side=48)
    Image.fromarray(noise(5, 40)).save(uneven / "other.png")
    with pytest.raises(InputError, match="several sizes: 40 x 40, 48 x 48; sort them"):
        check(real, uneven, size=32, legacy=("osorio",))
    small = write(tmp_path / "small", 10, side=16)
    with pytest.raises(InputError, match="synthetic tiles of 16 x 16 pixels are smaller than real"):
        check(real, small, size=32, legacy=("osorio",))


def test_sets_of_other_codecs_are_refused_and_scored_apart_when_asked(real, tmp_path):
    jpeg = write(tmp_path / "jpeg", 10, suffix="jpg")
    with pytest.raises(InputError, match=r"stored as png.*jpeg\) as jpeg, a.*--allow-codec-mismat"):
        check(real, jpeg)
    marked, page = score(real, jpeg, tmp_path / "work", allow_codec_mismatch=True)
    told = "(real: png; theirs: jpeg, about q75, 4:2:0)"
    assert f"Sets of different codecs are compared {told}" in page
    plain, page = score(real, write(tmp_path / "png", 10), tmp_path / "work")
    assert "Sets of different codecs" not in page
    both = [scores.rows[scores.rows.condition == "theirs"].protocol for scores in (marked, plain)]
    assert not set(both[0]) & (set(both[1]) - {""})
