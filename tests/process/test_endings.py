"""How the process ends, by its exit status; and that by then nothing of it is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.core.shutdown import DEBOUNCE
from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import QUIESCE, Completed, Running, run_cli, start_cli
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe, Gate

SHORT = ("--grace", "0.3", "--term-grace", "0.3")


@dataclass
class Waiting:
    """A run whose task `b` waits until it is interrupted (wait) or the gate opens (meet); `a` is completed."""

    running: Running
    journal: Path
    post: AnnouncementPipe
    gate: Gate
    proof: ExitDetector

    def ends(self, deadline: float = 10) -> Completed:
        done = self.running.wait(deadline)
        self.proof.wait(2)
        assert procs.processes_of_run("r") == []
        return done


def waiting(tmp_path: Path, name: str, *options: str, prefix: tuple[str, ...] = ()) -> Iterator[Waiting]:
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate, ExitDetector() as proof:
        source = jsonl(
            tmp_path / "in.jsonl",
            [{"key": "a"}, {"key": "b", "post": post.path, "gate": gate.path, "proof": proof.path}, {"key": "c"}],
        )
        journal = tmp_path / "j.db"
        arguments: list[str | os.PathLike[str]] = ["run", agent(name), "-i", source, "-w", "1", "-j", journal]
        arguments += ["--run-id", "r", *options]
        with Running([*prefix, *QUIESCE, *arguments], timeout=30) as running:
            post.expect()
            yield Waiting(running, journal, post, gate, proof)


@pytest.fixture
def polite(tmp_path: Path) -> Iterator[Waiting]:
    yield from waiting(tmp_path, "plain:wait")


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Waiting]:
    """Its task hears neither flag nor anything else but SIGTERM's exception and SIGKILL."""
    yield from waiting(tmp_path, "plain:meet", "--grace", "20", "--term-grace", "20")


def test_all_completed_is_0_and_some_failed_is_1(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", range(40))
    done = run_cli("run", agent("plain:double"), "-i", source, "-w", "2", "-j", tmp_path / "a.db")
    assert done.returncode == 0, done
    assert done.stdout == ""
    seen = look(tmp_path / "a.db")
    assert seen.values == {str(line): 2 * (line - 1) for line in range(1, 41)}
    assert seen.recorded == 40
    assert seen.record.status == "completed"
    done = run_cli("run", agent("plain:fail_odd"), "-i", source, "-w", "2", "-j", tmp_path / "b.db")
    assert done.returncode == 1, done
    seen = look(tmp_path / "b.db")
    assert len(seen.values) == 20
    assert seen.outcomes["2"].error == "ValueError: 1 is odd"
    assert "plain.py" in (seen.outcomes["2"].detail or "")
    assert seen.record.status == "failed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda it: it.name)
def test_a_signal_ends_it_by_that_signal_with_everything_written(polite: Waiting, number: signal.Signals) -> None:
    polite.running.send(number)
    done = polite.ends()
    assert done.returncode == -number, done
    seen = look(polite.journal)
    assert seen.values == {"a": "a"}
    assert seen.statuses() == {"a": "completed", "b": "interrupted"}
    assert seen.record.status == "interrupted"
    assert seen.record.signal is not None
    assert seen.record.signal.triggered_by == f"signal:{number.name}"
    assert seen.named("cleanup.verified")[0]["remaining"] == []
    assert seen.events[-1][0] == "run.finished"
    assert "quiesce resume r" in done.stderr


def test_ctrl_c_reaches_the_supervisor_only(polite: Waiting) -> None:
    """The whole foreground group gets SIGINT; the executors are not in it."""
    polite.running.send_group(signal.SIGINT)
    done = polite.ends()
    assert done.returncode == -signal.SIGINT, done
    assert look(polite.journal).statuses() == {"a": "completed", "b": "interrupted"}


def test_the_interrupted_exit_code_overrides_the_signal(tmp_path: Path) -> None:
    for it in waiting(tmp_path, "plain:wait", "--interrupted-exit-code", "5"):
        it.running.send(signal.SIGTERM)
        assert it.ends().returncode == 5


@pytest.mark.parametrize(("options", "code"), [((), 75), (("--interrupted-exit-code", "0"), 0)])
def test_the_deadline_is_75(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"key": "a"}, {"key": "b", "post": os.devnull}])
    done = run_cli(
        "run", agent("plain:wait"), "-i", source, "-w", "1", "-j", tmp_path / "j.db", "--deadline", "4", *options
    )
    assert done.returncode == code, done
    record = look(tmp_path / "j.db").record
    assert record.signal is not None
    assert record.signal.reason == "timeout"


def test_two_signals_at_once_count_once(deaf: Waiting) -> None:
    """A terminal and a parent both send one: the second within the debounce is not a second press."""
    deaf.running.send(signal.SIGTERM)
    deaf.running.send(signal.SIGINT)
    deaf.running.expect("interrupt.requested")
    deaf.gate.open()
    done = deaf.ends()
    assert done.returncode == -signal.SIGTERM, done
    assert "interrupt.escalated" not in done.stderr
    assert look(deaf.journal).values == {"a": "a", "b": "b"}


def test_a_second_press_skips_to_term(deaf: Waiting) -> None:
    deaf.running.send(signal.SIGTERM)
    deaf.running.expect("interrupt.requested")
    press_again(deaf.running, "TERM")
    done = deaf.ends()
    assert done.returncode == -signal.SIGTERM, done
    assert "rung=TERM" in done.stderr
    assert "rung=KILL" not in done.stderr
    assert look(deaf.journal).statuses() == {"a": "completed", "b": "interrupted"}


def test_a_third_press_skips_to_kill(tmp_path: Path) -> None:
    """The agent ignores SIGTERM: only the third press, long before the graces are over, ends it."""
    with AnnouncementPipe(tmp_path / "post") as post, ExitDetector() as proof:
        source = jsonl(
            tmp_path / "in.jsonl", [{"key": "a"}, {"do": "ignores_term", "post": post.path, "proof": proof.path}]
        )
        arguments = ("run", agent("wild:misbehave"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
        with start_cli(*arguments, "--grace", "25", "--term-grace", "25") as running:
            post.expect()
            running.send(signal.SIGINT)
            running.expect("interrupt.requested")
            for rung in ("TERM", "KILL"):
                press_again(running, rung)
            done = running.wait(10)
            proof.wait(2)
    assert done.returncode == -signal.SIGINT, done
    assert look(tmp_path / "j.db").values == {"a": "good"}


def press_again(running: Running, rung: str) -> None:
    """Press once more, when the press that has been heard is so long ago that the next one counts."""
    time.sleep(DEBOUNCE)
    running.send(signal.SIGINT)
    running.expect(f"rung=.?{rung}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda it: it.name)
def test_an_inherited_ignored_signal_stays_ignored(tmp_path: Path, number: signal.Signals) -> None:
    """As `nohup` and the background jobs of scripts mean it."""
    ignore = (
        f"import os, signal, sys; signal.signal({int(number)}, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    for it in waiting(tmp_path, "plain:meet", prefix=(sys.executable, "-c", ignore)):
        it.running.send(number)
        it.gate.open()
        done = it.ends()
        assert done.returncode == 0, done
        assert len(look(it.journal).values) == 3


def test_as_pid_1_it_ends_with_128_plus_n(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    wrapper = (unshare or "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
    if unshare is None or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no new pid namespace is to be had here")
    for it in waiting(tmp_path, "plain:wait", prefix=wrapper):
        (first,) = [each for each in procs.descendants(it.running.pid) if each.ppid() == it.running.pid]
        first.send_signal(signal.SIGTERM)
        done = it.running.wait(10)
        assert done.returncode == 128 + signal.SIGTERM, done
        assert look(it.journal).statuses() == {"a": "completed", "b": "interrupted"}


def test_a_signal_while_the_agent_is_imported(tmp_path: Path) -> None:
    """There is no run yet: nothing is left of it, and the ending is the signal all the same."""
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        module = tmp_path / "slow_import.py"
        module.write_text(
            "from tests.support.sync import announce, wait_for_gate\n"
            f"announce({post.path!r})\n"
            f"wait_for_gate({gate.path!r})\n"
        )
        source = jsonl(tmp_path / "in.jsonl", [1])
        long = ("--grace", "60", "--term-grace", "60")  # which there is no need for: an import has nothing to lose
        with start_cli("run", f"{module}:f", "-i", source, "-w", "2", "-j", tmp_path / "j.db", *long) as running:
            post.expect(2)
            running.send(signal.SIGTERM)
            done = running.wait(10)
    assert done.returncode == -signal.SIGTERM, done
    assert "rung=TERM" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signal_while_a_resumed_runs_agent_is_imported(tmp_path: Path) -> None:
    """What is left, and how to go on, is said although the run was not taken up."""
    module, source, journal = tmp_path / "later_slow.py", jsonl(tmp_path / "in.jsonl", [1, 2, 3]), tmp_path / "j.db"
    function = (
        "def f(x, state):\n    if x == 2:\n        state.request_interrupt()\n        state.raise_if_interrupted()\n"
    )
    module.write_text(function)
    done = run_cli("run", f"{module}:f", "-i", source, "-w", "1", "-j", journal, "--run-id", "r")
    assert done.returncode == 75, done
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        words = f"announce({post.path!r})\nwait_for_gate({gate.path!r})\n"
        module.write_text(f"from tests.support.sync import announce, wait_for_gate\n{words}{function}")
        with start_cli("resume", "-j", journal) as running:
            post.expect(1)
            running.send(signal.SIGTERM)
            done = running.wait(10)
    assert done.returncode == -signal.SIGTERM, done
    assert "2 completed, 1 left" in done.stderr
    assert "To resume: quiesce resume r" in done.stderr


def test_a_log_for_machines_is_nothing_but_json(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1, 2, 3])
    options = ("--log-format", "json", "--json")
    done = run_cli("run", agent("plain:fail_odd"), "-i", source, "-j", tmp_path / "j.db", *options)
    assert done.returncode == 1, done
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert logged[-1]["event"] == "run.finished"
    assert all({"event", "level", "timestamp"} <= line.keys() for line in logged)
    told = json.loads(done.stdout)
    assert (told["status"], told["completed"], told["failed"]) == ("failed", 1, 2)


def test_a_signal_while_a_slow_file_is_read(tmp_path: Path) -> None:
    """A FIFO given as --input is read as a stream: it cannot hold the end up."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    try:
        os.write(writer, b"1\n")
        with start_cli("run", agent("plain:double"), "-i", fifo, "-w", "1", "-j", tmp_path / "j.db") as running:
            running.expect("executor.started")
            running.send(signal.SIGTERM)
            done = running.wait(10)
        assert done.returncode == -signal.SIGTERM, done
    finally:
        os.close(writer)


def test_a_signal_while_a_large_file_is_taken_in(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f"{number}\n" for number in range(1_000_000)))
    with start_cli("run", agent("plain:double"), "-i", source, "-w", "1", "-j", tmp_path / "j.db", *SHORT) as running:
        wal = tmp_path / "j.db-wal"
        while not wal.exists():
            assert running.popen.poll() is None
        running.send(signal.SIGTERM)
        done = running.wait(5)
    assert done.returncode == -signal.SIGTERM, done
