"""The command as process 1 of a PID namespace: signals, exit codes, and who waits for the orphans."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from orchestrator.integrations.pid1 import ADOPTION_SECONDS, Reaper
from orchestrator.journal.sqlite.journal import SqliteJournal
from tests.support import procs
from tests.support.cli import QUIESCE, Running
from tests.support.wait import wait_until
from tests.unit.orchestrator.integrations.probes.test_health import VIEW

AGENTS = Path(__file__).with_name("agents") / "hosts.py"


def _why_not() -> str:
    if sys.platform != "linux" or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "needs Linux, unshare and nsenter"
    tried = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"needs root: {tried.stderr.decode().strip()}"


WHY_NOT = _why_not()
needs_namespace = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--")


class Place:
    """A folder with an input of `count` tasks, and what they do."""

    def __init__(self, folder: Path, agent: str, count: int = 2) -> None:
        self.began, self.go, self.journal = folder / "began", folder / "go", folder / "quiesce.db"
        source = folder / "in.jsonl"
        task = json.dumps({"began": str(self.began), "go": str(self.go)})
        source.write_text(f"{task}\n" * count)
        self.run = [*QUIESCE, "run", f"{AGENTS}:{agent}", "-i", str(source), "-w", "2", "-j", str(self.journal)]

    def wait_begun(self, count: int = 2) -> None:
        """Until so many tasks have begun."""
        wait_until(lambda: self.began.exists() and self.began.read_text().count("\n") >= count, 20, "tasks have begun")

    def completed(self) -> int:
        """How many results the journal has."""
        with SqliteJournal(str(self.journal)) as journal:
            return journal.counts(journal.runs()[0].id).completed


def first_of(running: Running) -> psutil.Process:
    """Process 1 of the namespace: unshare's only child."""
    return wait_until(lambda: psutil.Process(running.pid).children(), what="unshare has a child")[0]


def zombies_of(process: psutil.Process) -> list[psutil.Process]:
    stats = ((child, procs.stat_of(child.pid)) for child in process.children())  # None: waited for meanwhile
    return [child for child, stat in stats if stat is not None and stat[0] == "Z"]


@needs_namespace
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_in_good_order_and_it_exits_with_128_and_n(number: signal.Signals, tmp_path: Path) -> None:
    place = Place(tmp_path, "held")
    with Running([*UNSHARE, *place.run]) as running:
        place.wait_begun()
        first_of(running).send_signal(number)
        done = running.wait()
    assert done.returncode == 128 + number, done
    assert f"received {number.name}" in done.stderr
    assert "cleanup.verified" in done.stderr


@needs_namespace
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_first_imports_is_not_lost(number: signal.Signals) -> None:
    """The kernel drops signals of process 1 that have no handler."""
    program = f"import importlib, os; importlib.import_module = lambda _: os.kill(1, {number:d}) or exit('it was lost')"
    program += "; from orchestrator.entry import main; main()"
    with Running([*UNSHARE, sys.executable, "-c", program]) as running:
        done = running.wait()
    assert done.returncode == 128 + number, done


@needs_namespace
def test_a_stuck_agent_costs_the_ladder_and_no_more(tmp_path: Path) -> None:
    place = Place(tmp_path, "deaf")
    with Running([*UNSHARE, *place.run, "--grace", "0.3", "--term-grace", "0.3"]) as running:
        place.wait_begun()
        first_of(running).send_signal(signal.SIGTERM)
        done = running.wait()
    assert done.returncode == 143, done
    assert "SIGKILL" in done.stderr


@needs_namespace
def test_what_enters_the_container_and_orphans_a_child_leaves_no_zombie(tmp_path: Path) -> None:
    place = Place(tmp_path, "held")
    with Running([*UNSHARE, *place.run]) as running:
        place.wait_begun()
        first = first_of(running)
        enter = ["nsenter", "-t", str(first.pid), "-m", "-p", "sh", "-c", "(sleep 0.05 &) ; (sleep 0.05 &)"]
        first.suspend()  # else the first one may be waited for before the second one has ended
        subprocess.run(enter, check=True)
        wait_until(lambda: len(zombies_of(first)) == 2, what="both came to process 1 and ended")
        first.resume()
        wait_until(lambda: not zombies_of(first), what="process 1 waited for them")
        place.go.touch()
        done = running.wait()
    assert done.returncode == 0, done


@needs_namespace
def test_a_task_that_leaves_orphans_leaves_no_zombies_and_nothing_alive(tmp_path: Path) -> None:
    place = Place(tmp_path, "orphaning")
    with Running([*UNSHARE, *place.run]) as running:
        place.wait_begun()
        first = first_of(running)
        wait_until(
            lambda: not any(each.status() == psutil.STATUS_ZOMBIE for each in first.children(recursive=True)),
            what="no zombie below process 1",
        )
        place.go.touch()
        done = running.wait()
    assert done.returncode == 0, done
    assert "executor.strays" in done.stderr
    assert place.completed() == 2


@needs_namespace
def test_when_the_guardian_is_killed_its_orphans_are_waited_for_and_the_run_goes_on(tmp_path: Path) -> None:
    place = Place(tmp_path, "held")
    with Running([*UNSHARE, *place.run]) as running:
        place.wait_begun()
        first = first_of(running)
        guardian = next(child for child in first.children() if "guardian" in " ".join(child.cmdline()))
        guardian.kill()
        place.wait_begun(4)
        wait_until(lambda: not zombies_of(first), what="process 1 waited for the dead executors")
        place.go.touch()
        done = running.wait()
    assert done.returncode == 0, done
    assert "guardian.lost" in done.stderr
    assert place.completed() == 2


# -- whose child is it? (in this process) ----------------------------------------------------------------


def end_a_child() -> int:
    """Return whether an unknown child of this process has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_a_zombie_is_left_to_whoever_may_wait_for_it_then_reaped() -> None:
    pid = end_a_child()
    reaper = Reaper(lambda: None)
    reaper(replace(VIEW, at=100.0))
    reaper(replace(VIEW, at=100.0 + ADOPTION_SECONDS - 0.1))
    assert reaper.reaped == 0
    reaper(replace(VIEW, at=100.0 + ADOPTION_SECONDS))
    assert reaper.reaped == 1
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_the_guardians_exit_code_is_never_taken() -> None:
    pid = end_a_child()
    reaper = Reaper(lambda: pid)
    for at in (100.0, 200.0, 300.0):
        reaper(replace(VIEW, at=at))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_child_that_is_waited_for_in_time_is_not_touched() -> None:
    pid = end_a_child()
    reaper = Reaper(lambda: None)
    reaper(replace(VIEW, at=100.0))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    reaper(replace(VIEW, at=200.0))
    assert reaper.reaped == 0
