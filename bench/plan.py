"""Planning at full scale: wall seconds and peak memory of `snakemake -n` over a large cohort.

    python bench/plan.py                  11,765 slides (all diagnostic ones of TCGA) and 100,000
    python bench/plan.py --quick          11,765 only
    python bench/plan.py --slides 50000   as many as you like; may be given again
    python bench/plan.py --json           one JSON line a size instead of the table

The study is a whole one: six conditions, three generator seeds, morphology clusters, two encoders,
every score that labels make possible; 50 slides a chunk. There is a table of slides and no file
behind it, as planning must not look at slides. Snakemake runs in a process of its own, in an empty
folder, so nothing is finished yet: the largest graph there is.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
SIZES = (11_765, 100_000)
SLIDES_A_CHUNK = 50
CONDITIONS: dict[str, dict] = {
    "unconditional": {"signals": []},
    "label": {"signals": ["label"]},
    "cluster": {"signals": ["cluster"]},
    "label_cluster": {"signals": ["label", "cluster"]},
    "label_strong": {"signals": ["label"], "guidance_scale": 4.0},
    "label_cluster_strong": {"signals": ["label", "cluster"], "guidance_scale": 4.0},
}


def write_study(folder: Path, slides: int) -> Path:
    """A study over `slides` slides that do not exist, in `folder`."""
    table = folder / "slides.csv"
    with table.open("w") as stream:
        stream.write("slide_id,patient_id,image,site,label,mpp\n")
        for i in range(slides):
            stream.write(f"S{i:06d},P{i // 2:06d},S{i:06d}.svs,site{i % 40},type{i % 2},0.25\n")
    study = {
        "study": "plan",
        "seeds": [0, 1, 2],
        "cohort": {"kind": "table", "table": str(table)},
        "label": {"source": "column", "names": ["type0", "type1"]},
        "tiling": {
            "size": 256,
            "mpp": 0.5,
            "heterogeneity": None,
            "chunks": -(-slides // SLIDES_A_CHUNK),
        },
        "encoders": {"texture": {}, "other": {"kind": "texture", "seed": 1}},
        "clusters": {"encoder": "texture", "k": 8},
        "conditions": CONDITIONS,
        "downstream": {},
        "evaluation": {"encoders": ["texture", "other"]},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def plan(slides: int) -> dict[str, float]:
    """Jobs planned, seconds and peak MB of a dry run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["snakemake", "-n", "--snakefile", ROOT / "Snakefile", "--directory", folder]
        command += ["--profile", ROOT / "profiles" / "local"]
        command += ["--configfile", write_study(folder, slides)]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with (folder / "said.txt").open("w+") as said:
            start = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=said, stderr=subprocess.STDOUT, env=environment
            )
            _, status, usage = os.wait4(process.pid, 0)  # of this child alone
            seconds = time.perf_counter() - start
            said.seek(0)
            text = said.read()
        jobs = re.search(r"^total +(\d+)", text, re.MULTILINE)
        if status != 0 or jobs is None:
            raise SystemExit(f"snakemake -n failed over {slides} slides:\n{text[-3000:]}")
    return {
        "slides": slides,
        "jobs": int(jobs.group(1)),
        "seconds": round(seconds, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, action="append", help="size of the cohort")
    parser.add_argument("--quick", action="store_true", help=f"{SIZES[0]:,} slides only")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    args = parser.parse_args()
    if not args.json:
        print(f"{'slides':>9}{'jobs':>8}{'seconds':>9}{'peak MB':>9}")
    for slides in args.slides or (SIZES[:1] if args.quick else SIZES):
        line = plan(slides)
        if args.json:
            print(json.dumps(line), flush=True)
        else:
            row = f"{slides:9,}{line['jobs']:8,}{line['seconds']:9.1f}{line['peak_mb']:9,}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
