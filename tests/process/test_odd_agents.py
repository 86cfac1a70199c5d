"""Agents that say what cannot be said, or break what they share: that costs their own task, and no other anything."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from runtime import InterruptReason
from runtime.errors import UsageError
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import QUIESCE, environment, run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.wait import wait_until


def quiet(*_: Any) -> None:
    """A log that is not looked at."""


def test_an_event_that_cannot_be_sent_takes_no_results_along(tmp_path: Path) -> None:
    """Results of tiny tasks were waiting to be sent in the same frame; the run then waited for them for ever."""
    journal = tmp_path / "j.db"
    tasks = [{"key": f"k{number}", "do": "kind" if number % 10 == 0 else ""} for number in range(200)]
    done = run_cli("run", agent("odd:says"), "-i", jsonl(tmp_path / "in.jsonl", tasks), "-w", "1", "-j", journal)
    assert done.returncode == 0, done
    assert len(look(journal).values) == 200


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("raise", r"ValueError: not \ud800 text"),
        ("silent", "Silent"),
        ("result", "the result cannot be kept: KeyboardInterrupt"),
    ],
)
def test_what_an_agent_says_in_no_known_letters_fails_its_task_once(tmp_path: Path, what: str, error: str) -> None:
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [{"key": "a"}, {"key": "bad", "do": what}, {"key": "b"}])
    done = run_cli("run", agent("odd:says"), "-i", source, "-w", "1", "-j", journal)
    assert done.returncode == 1, done
    seen = look(journal)
    assert seen.statuses() == {"a": "completed", "bad": "failed", "b": "completed"}
    assert (seen.outcomes["bad"].attempts, seen.outcomes["bad"].error) == (1, error)
    assert seen.named("task.crashed") == []


def test_one_that_has_itself_traced_pays_for_its_signals_alone(tmp_path: Path) -> None:
    """A traced child's stop looks like a death to who waits for it: the guardian fell over it."""
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [{"key": "a"}, {"key": "bad", "do": "traced"}, {"key": "b"}])
    done = run_cli("run", agent("odd:says"), "-i", source, "-w", "2", "-j", journal)
    assert done.returncode == 1, done
    seen = look(journal)
    assert seen.statuses() == {"a": "completed", "bad": "failed", "b": "completed"}
    assert "SIGUSR2" in str(seen.outcomes["bad"].error)
    assert seen.named("guardian.lost") == []


def test_a_last_word_that_nobody_reads_holds_up_no_end(tmp_path: Path) -> None:
    """Standard output is a pipe that is full, and its reader has stopped."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while os.write(write, bytes(1 << 16)):
            pass
    os.set_blocking(write, True)
    words = ["run", agent("odd:says"), "-i", str(jsonl(tmp_path / "in.jsonl", [{}])), "-j", str(tmp_path / "j.db")]
    try:
        popen = subprocess.Popen(
            [*QUIESCE, *words, "--json"], stdout=write, stderr=subprocess.DEVNULL, env=environment()
        )
        try:
            assert popen.wait(20) == 0
        finally:
            popen.kill()
            popen.wait()
    finally:
        os.close(read)
        os.close(write)


def test_an_interrupt_of_the_agents_own_in_no_known_letters_is_kept(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [{"key": "own", "do": "interrupt"}, {"key": "a"}])
    done = run_cli("run", agent("odd:says"), "-i", source, "-w", "1", "-j", journal)
    assert done.returncode == 75, done
    seen = look(journal)
    assert seen.statuses() == {"own": "interrupted", "a": "completed"}
    assert seen.outcomes["own"].error == r"custom: not \ud800 text"


def test_a_snapshot_that_cannot_be_read_fails_its_task(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [{"key": "bad", "bad": True}, {"key": "a"}])
    done = run_cli("run", agent("odd:changes"), "-i", source, "-w", "1", "-j", journal, "--retries", "1")
    assert done.returncode == 1, done
    seen = look(journal)
    said = "DecodeError: the snapshot cannot be read here: it is of type odd.Changed (RuntimeError: changed since)"
    assert seen.outcomes["bad"].error == said
    assert seen.outcomes["bad"].attempts == 2
    assert seen.named("task.crashed") == []


@pytest.mark.parametrize("what", ["exit", "stop", "thread", "cancel", "snapshot"])
def test_who_shares_a_loop_with_one_that_breaks_it_loses_nothing(tmp_path: Path, what: str) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post:
        places = {"post": post.path, "go": str(tmp_path / "go"), "over": str(tmp_path / "over")}
        source = jsonl(
            tmp_path / "in.jsonl",
            [{"key": "i0", **places}, {"key": "bad", "bad": what, **places}, {"key": "i1", **places}],
        )
        arguments = ("run", agent("odd:together"), "-i", source, "-w", "1", "--concurrency", "3", "-j", journal)
        with start_cli(*arguments, "--retries", "1", "--grace", "0.2", "--term-grace", "0.2") as running:
            post.expect(3)
            (tmp_path / "go").touch()
            wait_until(lambda: "bad" in look(journal).outcomes, 20, "its end")
            (tmp_path / "over").touch()
            done = running.wait(15)
    assert done.returncode == 1, done
    seen = look(journal)
    assert seen.values == {"i0": "fine", "i1": "fine"}
    assert {seen.outcomes[key].attempts for key in ("i0", "i1")} == {1}
    assert seen.outcomes["bad"].status == "failed"


def test_a_task_that_sends_its_own_executor_sigterm_fails_in_the_end(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [{"key": "bad", "do": "self"}, {"key": "a"}])
    done = run_cli("run", agent("odd:says"), "-i", source, "-w", "1", "-j", journal)
    assert done.returncode == 1, done
    assert look(journal).statuses() == {"bad": "failed", "a": "completed"}
    assert "the task seems to send it itself" in str(look(journal).outcomes["bad"].error)


def test_an_executor_that_is_silent_from_its_first_second_on_is_found(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    arguments = ("-w", "1", "-j", journal, "--heartbeat-timeout", "1", "--grace", "0.2", "--term-grace", "0.2")
    source = jsonl(tmp_path / "in.jsonl", [1])
    done = run_cli("run", agent("odd:holds_the_interpreter"), "-i", source, *arguments)
    assert done.returncode == 0, done
    assert len(look(journal).named("executor.heartbeat_lost")) == 1


@pytest.mark.parametrize("place", ["in the executor", "in the supervisor"])
def test_a_task_that_has_not_begun_is_interrupted_and_the_one_in_front_is_not(tmp_path: Path, place: str) -> None:
    """One tiny task is enough for the next ones to be handed out ahead."""
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        first = [{"key": "tiny"}] if place == "in the executor" else []
        held = {"key": "held", "post": post.path, "gate": gate.path}
        source = jsonl(tmp_path / "in.jsonl", [*first, held, {"key": "waits"}, {"key": "last"}])
        arguments = ("run", agent("plain:meet"), "-i", source, "-w", "1", "-j", journal, "--grace", "0.2")
        with start_cli(*arguments, "--term-grace", "0.2", "--run-id", "r") as running:
            post.expect()
            asked = run_cli("interrupt", "r", "--task", "waits", "-j", journal)
            assert asked.returncode == 0, asked
            wait_until(lambda: look(journal).statuses().get("waits") == "interrupted", what="the interrupt")
            gate.open()
            done = running.wait(15)
    seen = look(journal)
    assert seen.values == {key: key for key in ("tiny", "held", "last") if key != "tiny" or first}, done
    assert seen.outcomes["held"].attempts == 1
    assert seen.named("ladder.rung") == []


@pytest.mark.parametrize("ahead", [0, 50])
def test_an_urgent_task_does_not_wait_for_a_long_one(ahead: int) -> None:
    """Also after tiny tasks, when tasks are handed out in advance: it was put behind the one that it may interrupt."""

    def work(task: dict[str, Any], state: Any) -> str:
        for step in range(state.snapshot or 0, task.get("steps", 0)):
            state.sleep(0.02)
            state.save_snapshot(step + 1)
        return "done"

    with Supervisor(workers=1, preempt=True, grace=5, log=quiet) as supervisor:
        for _ in supervisor.map(work, [{}] * ahead):
            pass
        stream = supervisor.events()
        long = supervisor.submit(work, {"steps": 3000}, key="long")
        wait_until(lambda: "long" in {task.key for slot in supervisor.status.executors for task in slot.tasks})
        assert supervisor.submit(work, {}, key="urgent", priority=9).outcome().ok
        assert not long.done()
        long.interrupt()
        assert long.outcome().signal is not None
        stream.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"key": 5}, "a key must be a string, not 5"),
        ({"key": b"x"}, "a key must be a string, not b'x'"),
        ({"key": "a\ud800"}, "is not text in UTF-8"),
        ({"priority": None}, "a priority must be an integer of at most 53 bits, not None"),
        ({"priority": "high"}, "a priority must be an integer of at most 53 bits, not 'high'"),
        ({"priority": 10**30}, "a priority must be an integer of at most 53 bits, not 1000"),
    ],
)
def test_a_key_or_a_priority_that_is_none_is_refused_where_it_is_given(given: dict[str, Any], message: str) -> None:
    with Supervisor(workers=1, log=quiet) as supervisor:
        with pytest.raises(UsageError, match=message.replace("(", r"\(")):
            supervisor.submit(lambda x, state: x, 1, **given)
        assert supervisor.submit(lambda x, state: x, 2).result() == 2


@pytest.mark.parametrize(
    ("reason", "message", "kept"),
    [
        (InterruptReason.CUSTOM, "because \ud800", r"because \ud800"),
        ("lunch", None, "reason 'lunch'"),
        (None, b"\xff", r"\xff"),
    ],
)
def test_a_reason_in_no_known_letters_stops_all_the_same(reason: Any, message: Any, kept: str) -> None:
    with Supervisor(workers=1, grace=1, log=quiet) as supervisor:
        handle = supervisor.submit(lambda x, state: state.sleep(60), 1)
        wait_until(lambda: any(executor.tasks for executor in supervisor.status.executors), what="it runs")
        supervisor.interrupt(key="no such \ud800")
        supervisor.interrupt(reason, message)
        signal = handle.outcome().signal
    assert signal is not None
    assert signal.message == kept


def test_several_large_inputs_reach_one_executor(tmp_path: Path) -> None:
    async def size(task: dict[str, str], state: Any) -> int:
        return len(task["x"])

    with Supervisor(workers=1, concurrency=8, log=quiet) as supervisor:
        large = 70 << 20
        sizes = [outcome.value for outcome in supervisor.map(size, ({"x": "x" * large} for _ in range(4)))]
    assert sizes == [large] * 4


def test_an_urgent_line_of_a_stream_makes_room_for_itself(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    options = ("-i", "-", "-w", "1", "--preempt", "--priority-field", "urgency", "-j", journal)
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        start_cli("run", agent("odd:makes_room"), *options, stdin=subprocess.PIPE) as running,
    ):
        running.write(json.dumps({"key": "long", "post": post.path}) + "\n")
        post.expect()
        running.write('{"key": "soon", "urgency": 5}\n')
        running.close_stdin()
        done = running.wait(15)
    assert done.returncode == 0, done
    seen = look(journal)
    assert seen.values == {"long": "done", "soon": "done"}
    assert {outcome.attempts for outcome in seen.outcomes.values()} == {1}
    assert [each["reason"] for each in seen.named("task.interrupting")] == ["priority_override"]


def exits_in_a_fork(code: Any, state: Any) -> int:
    child = os.fork()
    if child == 0:
        raise SystemExit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_that_exits_ends_as_it_says_and_without_a_traceback() -> None:
    lines: list[str] = []

    def log(event: str, _severity: object, fields: Any) -> None:
        if event == "executor.output":
            lines.append(fields["line"])

    with Supervisor(workers=1, log=log) as supervisor:
        codes = [supervisor.submit(exits_in_a_fork, code).result() for code in (None, 0, 3, True, -1, "it is over")]
    assert codes == [0, 0, 3, 1, 255, 1]
    assert lines == ["it is over"]
