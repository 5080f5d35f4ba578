"""The report's section on training: from what it started, and which weights were kept."""

import json

import pytest
from report_files import Page, study, write_results

from histosynth.report.collect import collect
from histosynth.report.pages import render

RECORD = {
    "average": "power 0.1",
    "averages": {"power 0.05": 0.0456, "power 0.1": 0.0123},
    "validation": [{"step": 5, "loss": 0.9}, {"step": 10, "loss": 0.7}],
}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("study") / "results" / "small"
    settings = study().model_dump(mode="json")
    settings["conditions"]["map_crop"] |= {"init_from": "map", "steps": 100}
    write_results(folder, study(conditions=settings["conditions"]))
    path = folder / "models/map_crop/seed0/train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | RECORD))
    return render(collect(folder))


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}">')[1].split("</section>")[0]


def test_a_condition_started_from_another_is_told_wherever_it_is_compared(page) -> None:
    Page(page).close()
    for name in ("compared", "scores", "training"):
        assert section(page, name).count("started from map<") == 1, name


def test_the_kept_average_stands_beside_the_distances_that_chose_it(page) -> None:
    told = section(page, "training")
    row = told.split("started from map<")[1].split("</tr>")[0]
    assert "power 0.1<small>power 0.05: 0.0456</small><small>power 0.1: 0.0123</small>" in row
    assert "Loss of the generators on validation tiles" in told
    assert "map_crop, seed 0 ends at 0.700" in told
