"""A real Slurm of one node, in a folder of the test: munged, slurmctld and slurmd, without systemd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.wait import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
KILL_WAIT = 5
"""Seconds between SIGTERM and SIGKILL."""

_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ctld}
SlurmdPort={d}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=100000
KillWait={kill_wait}
MinJobAge=3600
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=60
PartitionName=high Nodes={host} PriorityTier=9 PreemptMode=OFF MaxTime=60
"""


def why_not() -> str | None:
    """Return why no Slurm can be started here, None if one can."""
    if os.geteuid() != 0:
        return "slurmd runs as root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"{', '.join(missing)} missing (Debian: slurm-wlm, munge)" if missing else None


_PACE = 0.1
"""Seconds before each question: callers ask until the answer is right."""

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Slurm:
    """A cluster that lives as long as the block. Commands find it by SLURM_CONF."""

    def __init__(self, folder: Path, cpus: int = 4) -> None:
        self.folder = folder
        self._cpus = cpus
        self._stack = ExitStack()
        self.environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> Self:
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(mode=0o755)
        host = socket.gethostname()
        ports = _free_ports(2)
        text = _CONFIG.format(
            host=host, ctld=ports[0], d=ports[1], folder=self.folder, kill_wait=KILL_WAIT, cpus=self._cpus
        )
        (self.folder / "slurm.conf").write_text(text)
        try:
            self._start_munge()
            self._start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
            self._start("slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", host)
            wait_until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), 60, self.logs)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ask("scancel", "--quiet", *self.jobs())
        self.ask("scancel", "--quiet", "--full", "--signal=KILL", *self.jobs())
        wait_until(lambda: not self.jobs(), 60, self.logs)
        self._stack.close()

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.write_bytes(os.urandom(64))
        key.chmod(0o600)
        self._start(
            "munged", "--foreground", "--force", f"--socket={folder}/socket", f"--key-file={key}",
            f"--pid-file={folder}/pid", f"--seed-file={folder}/seed", f"--log-file={folder}/log", "--num-threads=1",
        )  # fmt: skip
        wait_until((folder / "socket").exists, 30, self.logs)

    def _start(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment, process_group=0
            )
        self._stack.callback(_end, process)

    def ask(self, *command: str) -> str:
        """Return what a command of Slurm prints; nothing if it fails."""
        time.sleep(_PACE)
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=60, check=False)
        return done.stdout if done.returncode == 0 else ""

    def submit(self, script: str, *options: str, environment: Mapping[str, str] | None = None) -> str:
        """Submit a script, and return the id of its job."""
        done = subprocess.run(
            ["sbatch", "--parsable", *options], input=script, capture_output=True, text=True, timeout=60, check=False,
            env={**self.environment, **(environment or {})}, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that are not over."""
        return [line for line in self.ask("squeue", "-h", "-o", "%A").split() if line]

    def job(self, number: str) -> dict[str, str]:
        """Return what `scontrol show job` says of a job: JobState, ExitCode, Restarts …"""
        words = self.ask("scontrol", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, *states: str, seconds: float = 120) -> dict[str, str]:
        """Wait until a job has one of these states, and return what is known of it."""
        wait_until(
            lambda: self.job(number).get("JobState") in states, seconds, lambda: f"{self.job(number)}\n{self.logs()}"
        )
        return self.job(number)

    def logs(self) -> str:
        """Return the ends of the logs, for a failure."""
        texts = [
            (path.name, path.read_text(errors="replace")[-1500:]) for path in self.folder.glob("*.*") if path.is_file()
        ]
        return "\n".join(f"--- {name}\n{text}" for name, text in texts)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
