"""Tables of scores by subset: who is ranked, what is lettered, greyed and left out."""

from dataclasses import replace

import numpy as np
from report_files import folder_of, row, study

from histosynth.report import subsets as shown
from histosynth.report.collect import collect
from histosynth.report.pages import breakable


def test_a_hundred_clusters_and_twenty_conditions_stay_readable(tmp_path):
    made = study(conditions={f"c{i}": {"signals": []} for i in range(20)})
    rng = np.random.default_rng(0)
    rows = []
    for name in made.conditions:
        rows.append(row(name, "fidelity", "kernel_distance", 0.5))
        for cluster in range(100):
            place = {"subset": f"cluster={cluster}", "n_real": 60, "n_synthetic": 55}
            if cluster < 40:
                value = float(rng.random())
                for metric in ("kernel_distance", "frechet_distance"):
                    rows.append(row(name, "fidelity", metric, value, **place))
            else:
                place |= {"n_synthetic": 3, "status": "not_applicable"}
                told = "60 real and 3 synthetic tiles; evaluation.min_tiles is 50"
                rows.append(row(name, "fidelity", "kernel_distance", None, reason=told, **place))
    results = collect(folder_of(tmp_path / "results", made, rows))
    (tables,) = shown.tables_of(results)
    for table in (tables.leading, *tables.others):
        (group,) = table.groups
        assert len(group.lines) == 40 and group.left_out == 60
        assert len(table.heads) == 20
        assert group.lines[3].name == "3" and group.lines[3].n_real == 60
    assert len(tables.others) == 1


def subset_row(name, metric, value, *, protocol="p1", **more):
    place = {"subset": "label=cancer", "n_real": 60, "n_synthetic": 55}
    return row(name, "fidelity", metric, value, protocol=protocol, **(place | more))


def told_study():
    told = {"signals": [{"kind": "embedding", "encoder": "texture"}]}
    plain = {name: {"signals": []} for name in ("one", "other")}
    return study(conditions={"told": told, **plain})


def test_who_was_told_of_the_features_is_not_ranked_by_subset_either(tmp_path):
    values = {"told": 0.1, "one": 0.5, "other": 0.9}
    rows = [subset_row(name, "kernel_distance", value) for name, value in values.items()]
    (tables,) = shown.tables_of(collect(folder_of(tmp_path, told_study(), rows)))
    (line,) = tables.leading.groups[0].lines
    cells = dict(zip(tables.leading.heads, line.cells, strict=True))
    assert (cells["told"].rank, cells["told"].mark) == (None, "")
    assert "not independent" in cells["told"].reason and cells["told"].value == 0.1
    assert (cells["one"].rank, cells["one"].mark, cells["other"].rank) == (1, "best", 2)


def test_every_subset_table_marks_protocols_and_greys_what_is_mostly_bias(tmp_path):
    rows = []
    for name, n in (("told", 55), ("one", 130), ("other", 130)):
        for metric in ("kernel_distance", "frechet_distance", "vendi"):
            protocol = "k" if metric == "kernel_distance" else f"n{n}"
            rows.append(subset_row(name, metric, 0.5, protocol=protocol, n_real=150, n_synthetic=n))
    results = collect(folder_of(tmp_path, told_study(), rows))
    results = replace(results, protocols={p: {"features": 100} for p in ("k", "n55", "n130")})
    (tables,) = shown.tables_of(results)
    made = {"leading": tables.leading} | {t.caption.split("\u00a0")[0]: t for t in tables.others}
    letters = {
        name: [cell.protocol_letter for cell in table.groups[0].lines[0].cells]
        for name, table in made.items()
    }
    lettered = ["a", "b", "b"]
    wanted = {"leading": [""] * 3, "Fréchet distance": lettered, "Vendi score": lettered}
    assert letters == wanted
    greyed = {name: table.groups[0].lines[0].greyed for name, table in made.items()}
    assert greyed["Fréchet distance"] == ("mostly bias: 55 tiles for 100 features", "", "")
    assert set(greyed["Vendi score"]) == set(greyed["leading"]) == {""}
    assert breakable("a_b<c>") == "a_<wbr>b&lt;c&gt;"
