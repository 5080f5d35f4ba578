"""A real one-machine Slurm for the tests: a cpu and a gpu partition, and two pretend GPUs.

Everything lies in one folder and speaks on free ports of the loopback address; only links in
/etc/slurm stand outside it while it runs, since a job's own `srun` looks there. A machine that has
a Slurm configuration of its own is left alone. The GPUs are device files that carry nothing: they
let Slurm count and reserve, which is what the tests look at. Needs root and Debian's slurm-wlm and
munge.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

LINK = Path("/etc/slurm/slurm.conf")
NEEDED = ("slurmctld", "slurmd", "sbatch", "munged", "mungekey")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/d
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
MpiDefault=none
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_interval=2
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={state}/jobcomp.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
"""


def why_unavailable() -> str | None:
    """None where a test cluster can be started, else what stands in the way."""
    absent = [name for name in NEEDED if shutil.which(name, path=SEARCH) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: apt-get install slurm-wlm munge)"
    if LINK.exists() and not LINK.is_symlink():
        return f"this machine has a Slurm of its own ({LINK}), which tests leave alone"
    return None if os.geteuid() == 0 else "starting a test Slurm needs root"


@contextlib.contextmanager
def running(state: Path) -> Iterator[dict[str, str]]:
    """Start a cluster under `state`; yields the environment that reaches it; stops it after."""
    for name in ("ctld", "d"):
        (state / name).mkdir(parents=True, exist_ok=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    settings = {
        "host": socket.gethostname().split(".")[0],
        "controller_port": _free_port(),
        "node_port": _free_port(),
        "state": state,
        "cpus": os.cpu_count(),
        "memory": int(memory * 0.85),
    }
    (state / "slurm.conf").write_text(CONF.format(**settings))
    gres = f"AutoDetect=off\nNodeName={settings['host']} Name=gpu File=/dev/tty[1-2]\n"
    (state / "gres.conf").write_text(gres)
    for name in (LINK.name, "gres.conf"):
        link = LINK.with_name(name)
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)  # of a run that was killed
        link.symlink_to(state / name)
    environment = {**os.environ, "SLURM_CONF": str(state / "slurm.conf"), "PATH": SEARCH}
    _start_munge(environment)
    try:
        subprocess.run(["slurmctld"], env=environment, check=True)
        subprocess.run(["slurmd"], env=environment, check=True)
        _wait_until_idle(environment, state, str(settings["host"]))
        yield environment
    finally:
        for name in (LINK.name, "gres.conf"):
            LINK.with_name(name).unlink(missing_ok=True)
        for name in ("slurmd", "slurmctld"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(int((state / f"{name}.pid").read_text()), 15)


def _start_munge(environment: dict[str, str]) -> None:
    if subprocess.run(["pgrep", "-x", "munged"], stdout=subprocess.DEVNULL).returncode == 0:
        return
    if not Path("/etc/munge/munge.key").exists():
        subprocess.run(["mungekey", "--create"], env=environment, check=True)
        shutil.chown("/etc/munge/munge.key", "munge", "munge")
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    command = ["runuser", "-u", "munge", "--", shutil.which("munged", path=SEARCH), "--force"]
    subprocess.run([str(part) for part in command], check=True)


def _wait_until_idle(environment: dict[str, str], state: Path, host: str) -> None:
    for _ in range(60):
        asked = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True
        )
        if "idle" in asked.stdout:
            return
        resume = ["scontrol", "update", f"nodename={host}", "state=resume"]
        subprocess.run(resume, env=environment, capture_output=True)
        time.sleep(1)
    log = (state / "slurmctld.log").read_text()[-2000:]
    raise RuntimeError(f"the test Slurm did not become idle within 60 s:\n{log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
