"""A run is its agents and its inputs: what is handed in at a later start must be what the journal has."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import RunMismatchError, Supervisor
from runtime.errors import UsageError
from runtime.model import ExecutionStatus
from tests.process.helpers import agent, jsonl, look
from tests.process.test_resume import completed
from tests.process.test_wrong_usage import refused
from tests.support.cli import environment, run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.wait import wait_until

FRUIT = ["apple", "pear", "plum"]


def quiet(*_: Any) -> None:
    """A log that is not looked at."""


def shout(word: Any, state: Any) -> str:
    return str(word).upper()


def whisper(word: Any, state: Any) -> str:
    return str(word).lower()


def count(items: Any, state: Any) -> int:
    return len(items)


def leave_trace(task_input: dict[str, Any], state: Any) -> str:
    """Append the word to a file, so that a test sees what was executed; fail or interrupt on request."""
    with open(task_input["log"], "a", encoding="utf-8") as file:
        file.write(f"{task_input['word']}\n")
    if task_input.get("stop") and os.path.exists(task_input["stop"]):
        state.request_interrupt(message="stop here")
        state.raise_if_interrupted()
    return str(task_input["word"]).upper()


def begin(journal: Path, inputs: Any = FRUIT, agent: Any = shout, **more: Any) -> list[Any]:
    """One start of a program."""
    with Supervisor(workers=1, journal=journal, run_id="r", log=quiet, **more) as supervisor:
        return [outcome.value for outcome in supervisor.map(agent, inputs)]


def begin_and_stop(journal: Path, inputs: list[Any], after: int = 1) -> None:
    """A start that is left by an error after so many outcomes."""
    with pytest.raises(ZeroDivisionError), Supervisor(workers=1, journal=journal, run_id="r", log=quiet) as supervisor:
        outcomes = supervisor.map(leave_trace, inputs)
        for _ in range(after):
            next(outcomes)
        raise ZeroDivisionError


# -- from Python ------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_results_and_run_nothing(tmp_path: Path) -> None:
    assert begin(tmp_path / "j.db") == begin(tmp_path / "j.db") == ["APPLE", "PEAR", "PLUM"]
    assert {outcome.attempts for outcome in look(tmp_path / "j.db").outcomes.values()} == {1}


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (["aaa", *FRUIT], ["task 1", "'1'", '"aaa"', '"apple"']),
        (["apple", "plum", "pear"], ["task 2", "'2'", '"plum"', '"pear"']),
        (["apple", "pear", 1], ["task 3", "'3'", "1", '"plum"']),
        (["apple", "pear", {"a": "x" * 10_000}], ["task 3", "…", '"plum"']),
    ],
    ids=["one in front", "another order", "another type", "a long one"],
)
def test_a_finished_run_with_other_inputs_is_refused(tmp_path: Path, inputs: list[Any], words: list[str]) -> None:
    begin(tmp_path / "j.db")
    with pytest.raises(RunMismatchError) as caught:
        begin(tmp_path / "j.db", inputs)
    message = str(caught.value)
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in message
    assert len(message) < 500
    for word in [*words, "run r", "run_id"]:
        assert word in message, message
    assert look(tmp_path / "j.db").values == {"1": "APPLE", "2": "PEAR", "3": "PLUM"}


def _stream(inputs: list[Any]) -> Iterator[Any]:
    yield from inputs


async def _async_stream(inputs: list[Any]) -> AsyncIterator[Any]:
    for each in inputs:
        yield each


def by_submit(supervisor: Supervisor, inputs: list[Any]) -> None:
    for handle in [supervisor.submit(leave_trace, each) for each in inputs]:
        handle.result(20)


def by_map(supervisor: Supervisor, inputs: list[Any]) -> None:
    list(supervisor.map(leave_trace, inputs))


def by_stream(supervisor: Supervisor, inputs: list[Any]) -> None:
    list(supervisor.map(leave_trace, _stream(inputs)))


def by_amap(supervisor: Supervisor, inputs: list[Any]) -> None:
    async def go() -> None:
        async for _ in supervisor.amap(leave_trace, inputs):
            pass

    asyncio.run(go())


def by_async_stream(supervisor: Supervisor, inputs: list[Any]) -> None:
    async def go() -> None:
        async for _ in supervisor.amap(leave_trace, _async_stream(inputs)):
            pass

    asyncio.run(go())


@pytest.mark.parametrize("hand_in", [by_map, by_stream, by_submit, by_amap, by_async_stream])
def test_an_unfinished_run_with_other_inputs_is_refused_and_executes_nothing_past_the_difference(
    tmp_path: Path, hand_in: Callable[[Supervisor, list[Any]], None]
) -> None:
    journal, log = tmp_path / "j.db", tmp_path / "log"
    log.touch()
    stop = tmp_path / "stop"
    stop.touch()
    inputs = [{"word": word, "log": str(log), "stop": str(stop) if word == "c" else ""} for word in "abcdef"]
    begin_and_stop(journal, inputs, after=3)
    before = log.read_text().split()
    others = [*inputs[:3], {**inputs[3], "word": "other"}, *inputs[4:]]
    with (
        pytest.raises(RunMismatchError, match="task 4"),
        Supervisor(workers=1, journal=journal, run_id="r", log=quiet) as supervisor,
    ):
        hand_in(supervisor, others)
    now = log.read_text().split()[len(before) :]
    assert set(now) <= {"c"}  # a stream's tasks run as they come; nothing behind the difference does
    if hand_in in (by_map, by_amap):
        assert now == []  # the inputs are all there: all of them were compared first
    stop.unlink()
    assert begin(journal, inputs, leave_trace) == list("ABCDEF")


def test_a_resumed_stream_yields_in_order_what_was_stored_and_what_was_not(tmp_path: Path) -> None:
    journal, log, stop = tmp_path / "j.db", tmp_path / "log", tmp_path / "stop"
    stop.touch()
    inputs = [{"word": word, "log": str(log), "stop": str(stop) if word in "be" else ""} for word in "abcdef"]
    begin_and_stop(journal, inputs, after=6)
    stop.unlink()
    log.unlink()
    with Supervisor(workers=2, journal=journal, run_id="r", log=quiet) as supervisor:
        outcomes = list(supervisor.map(leave_trace, _stream(inputs)))
    assert [(outcome.index, outcome.value) for outcome in outcomes] == list(enumerate("ABCDEF"))
    assert [outcome.input for outcome in outcomes] == inputs
    assert sorted(log.read_text().split()) == ["b", "e"]


def test_a_stored_task_runs_only_once_it_is_handed_in_again(tmp_path: Path) -> None:
    """And what is not handed in again is said to be left."""
    journal, log, stop = tmp_path / "j.db", tmp_path / "log", tmp_path / "stop"
    stop.touch()
    inputs = [{"key": word, "word": word, "log": str(log), "stop": str(stop)} for word in "abc"]
    begin_and_stop(journal, inputs)
    log.unlink()
    stop.unlink()
    notes: list[str] = []
    with Supervisor(workers=1, journal=journal, run_id="r", log=lambda name, *_: notes.append(name)) as supervisor:
        assert supervisor.submit(leave_trace, inputs[0]).result(20) == "A"
    assert log.read_text().split() == ["a"]
    assert "run.tasks_left" in notes
    assert supervisor.ending is not None
    assert supervisor.ending.status is ExecutionStatus.INTERRUPTED


def test_inputs_may_be_appended_to_a_list_that_is_open(tmp_path: Path) -> None:
    journal, log = tmp_path / "j.db", tmp_path / "log"
    inputs = [{"word": word, "log": str(log)} for word in "abc"]
    begin_and_stop(journal, inputs, after=3)
    assert begin(journal, [*inputs, {"word": "d", "log": str(log)}], leave_trace) == list("ABCD")
    with pytest.raises(RunMismatchError, match=r"run r: .*complete.*task 5.*run_id"):
        begin(journal, [*inputs, {"word": "d", "log": str(log)}, {"word": "e", "log": str(log)}], leave_trace)


def test_a_key_is_not_enough(tmp_path: Path) -> None:
    begin(tmp_path / "j.db", [{"key": "a", "n": 1}, {"key": "b", "n": 2}])
    with pytest.raises(RunMismatchError, match=r"task 2 .*'b'.*\"n\":3.*\"n\":2"):
        begin(tmp_path / "j.db", [{"key": "a", "n": 1}, {"key": "b", "n": 3}])


WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]

ODD = """
import datetime, sys
from dataclasses import dataclass
from orchestrator import Supervisor

@dataclass(frozen=True)
class Job:
    name: str
    tags: frozenset

class Plain:
    def __init__(self, tags): self.tags = tags
    def __len__(self): return len(self.tags)

def size(x, state): return len(x) if hasattr(x, "__len__") else 0

words = {words}
if __name__ == "__main__":
    inputs = [set(words), dict.fromkeys(set(words)), Job("a", frozenset(words)), Plain(set(words)),
              (1, float("nan"), datetime.date(2026, 1, 1)), [set(words), {{frozenset(words): b"x"}}], complex(1, 2)]
    if len(sys.argv) > 1:
        inputs[int(sys.argv[1])] = eval(sys.argv[2])
    with Supervisor(workers=1, journal="j.db", run_id="r", log=lambda *_: None) as supervisor:
        print(len([outcome.value for outcome in supervisor.map(size, inputs)]))
"""


def odd_program(tmp_path: Path, way: str, seed: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    text = ODD.format(words=WORDS)
    (tmp_path / "program.py").write_text(text)
    start = ["program.py"] if way == "file" else ["-c", text]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**environment(), "PYTHONHASHSEED": str(seed)},
        check=False,
    )


@pytest.mark.parametrize("way", ["file", "-c"])
def test_inputs_that_have_no_bytes_of_their_own_are_compared_by_value(tmp_path: Path, way: str) -> None:
    """The order of a set is another one in every process; that is no difference. Another element is."""
    for seed in (1, 2, 3):
        done = odd_program(tmp_path, way, seed)
        assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    for number, other in [
        (0, "{*words[1:], 'x'}"), (2, "Job('b', frozenset(words))"), (3, "Plain({*words, 'x'})"),
        (4, "(1, 2.0, datetime.date(2026, 1, 1))"), (5, "[set(words), {frozenset(words): b'y'}]"), (6, "complex(1, 3)"),
    ]:  # fmt: skip
        done = odd_program(tmp_path, way, 4, str(number), other)
        assert done.returncode == 1, done
        last = done.stderr.splitlines()[-1]
        assert "RunMismatchError" in last, done.stderr
        assert f"task {number + 1}" in last, done.stderr


def test_equal_is_not_the_same(tmp_path: Path) -> None:
    begin(tmp_path / "j.db", [Decimal("1.0")])
    with pytest.raises(RunMismatchError, match=r"task 1 .*Decimal\('1.00'\) now, and was Decimal\('1.0'\)"):
        begin(tmp_path / "j.db", [Decimal("1.00")])


def test_agents_are_known_by_their_names(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    begin(journal)
    with pytest.raises(RunMismatchError, match=r"task 1 .*whisper.*shout"):
        begin(journal, agent=whisper)


def test_what_is_bound_to_an_agent_is_part_of_it(tmp_path: Path) -> None:
    def call(model: str, word: str, state: Any) -> str:
        return f"{model}:{word}"

    journal = tmp_path / "j.db"
    assert begin(journal, agent=partial(call, "small"))[0] == "small:apple"
    assert begin(journal, agent=partial(call, "small"))[0] == "small:apple"
    with pytest.raises(RunMismatchError, match=r"task 1 .*large.*small"):
        begin(journal, agent=partial(call, "large"))


def test_several_agents_may_come_in_another_order(tmp_path: Path) -> None:
    """A stored task belongs to its agent, not to the agent that came as the first."""
    journal, log = tmp_path / "j.db", tmp_path / "log"

    def up(word: str, state: Any) -> str:
        return word.upper()

    def fails_first(word: str, state: Any) -> str:
        if not log.exists():
            state.request_interrupt(message="later")
            state.raise_if_interrupted()
        return word.lower()

    with pytest.raises(ZeroDivisionError), Supervisor(workers=1, journal=journal, run_id="r", log=quiet) as supervisor:
        assert supervisor.submit(up, "Abc", key="u").result(20) == "ABC"
        supervisor.submit(fails_first, "Abc", key="l").outcome(20)
        raise ZeroDivisionError
    log.touch()
    with Supervisor(workers=1, journal=journal, run_id="r", log=quiet) as supervisor:
        assert supervisor.submit(fails_first, "Abc", key="l").result(20) == "abc"
        assert supervisor.submit(up, "Abc", key="u").result(20) == "ABC"
        assert supervisor.submit(up, "xyz", key="new").result(20) == "XYZ"


def test_a_snapshot_comes_back_with_the_task_that_is_handed_in_again(tmp_path: Path) -> None:
    journal, flag = tmp_path / "j.db", tmp_path / "flag"

    def work(word: str, state: Any) -> Any:
        if not flag.exists():
            state.save_snapshot([word, 1])
            state.request_interrupt(message="later")
            state.raise_if_interrupted()
        return state.snapshot

    with pytest.raises(ZeroDivisionError), Supervisor(workers=1, journal=journal, run_id="r", log=quiet) as supervisor:
        supervisor.submit(work, "a").outcome(20)
        raise ZeroDivisionError
    flag.touch()
    assert begin(journal, ["a"], work) == [["a", 1]]


def test_what_may_change_may_change(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    begin(journal)
    with Supervisor(
        workers=2, journal=journal, run_id="r", log=quiet, grace=3, timeout=50, retries=2, max_failures="10%"
    ) as supervisor:
        assert [outcome.value for outcome in supervisor.map(shout, FRUIT)] == ["APPLE", "PEAR", "PLUM"]


def test_keys_with_odd_characters_and_large_inputs_are_found_again(tmp_path: Path) -> None:
    inputs = [{"key": key, "x": "y" * 2_000_000} for key in ("a\0b", "\u2028", "ü", "", "1")]
    expected = begin(tmp_path / "j.db", inputs, count)
    assert begin(tmp_path / "j.db", inputs, count) == expected
    inputs[0]["x"] = "z"
    with pytest.raises(RunMismatchError, match="task 1"):
        begin(tmp_path / "j.db", inputs, count)


def test_a_run_of_the_command_line_is_no_run_of_a_program(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [1, 2])
    assert run_cli("run", agent("plain:double"), "-i", source, "-j", journal, "--run-id", "r").returncode == 0
    with pytest.raises(RunMismatchError, match=r"quiesce run"):
        begin(journal, [1, 2])


# -- the command line -------------------------------------------------------------------------------


def again(tmp_path: Path, source: Path, *more: str, name: str = "plain:double") -> Any:
    return run_cli("run", agent(name), "-i", source, "-j", tmp_path / "j.db", "--run-id", "r", "--or-resume", *more)


def test_a_finished_run_with_another_file_is_refused(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1, 2, {"key": "k", "n": 3}])
    args = ("run", agent("plain:double"), "-i", source, "-j", tmp_path / "j.db", "--run-id", "r", "--or-resume")
    assert run_cli(*args).returncode == 0
    assert run_cli(*args).returncode == 0
    (tmp_path / "in.jsonl").write_text('1\n2\n{ "n": 3,  "key":"k"}\n')  # the same values
    assert run_cli(*args).returncode == 0
    others: list[tuple[list[Any], list[str]]] = [
        ([7, 2, {"key": "k", "n": 3}], ["line 1", "7", "1"]),
        ([1, 2, {"key": "k", "n": 4}], ["line 3", "'k'", '"n": 4', '"n": 3']),
        ([1, 2, {"key": "m", "n": 3}], ["line 3", "'m'", "'k'"]),
        ([1, 2.0, {"key": "k", "n": 3}], ["line 2", "2.0"]),
        ([1, 2], ["ends", "3 tasks"]),
        ([1, 2, {"key": "k", "n": 3}, 4], ["line 4", "complete"]),
    ]
    for values, words in others:
        jsonl(source, values)
        line = refused(run_cli(*args), "in.jsonl", "run r", *words)
        assert "--run-id" in line
    assert len(look(tmp_path / "j.db").outcomes) == 3


def test_an_unfinished_run_with_another_file_is_refused_before_any_work(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        held = {"key": "held", "post": post.path, "gate": gate.path}
        source = jsonl(tmp_path / "in.jsonl", [held, {"key": "b"}])
        args = ("run", agent("plain:meet"), "-i", source, "-w", "1", "-j", journal, "--run-id", "r", "--or-resume")
        with start_cli(*args, "--grace", "0.2", "--term-grace", "0.2") as running:
            post.expect()
            running.send(signal.SIGTERM)
            running.wait(15)
        gate.open()
        before = look(journal)
        jsonl(source, [held, {"key": "b", "x": 1}])
        refused(run_cli(*args), "line 2", "'b'")
        assert look(journal).record.starts == before.record.starts
        jsonl(source, [held, {"key": "b"}])
        assert run_cli(*args).returncode == 0
    assert set(look(journal).outcomes) == {"held", "b"}


def test_another_agent_is_refused(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1, 2])
    assert again(tmp_path, source).returncode == 0
    refused(again(tmp_path, source, name="plain:meet"), "plain.py:double", "plain.py:meet", "run r")


def test_a_run_of_a_program_is_not_taken_up_by_the_command_line(tmp_path: Path) -> None:
    begin(tmp_path / "j.db", [1, 2], count_nothing)
    source = jsonl(tmp_path / "in.jsonl", [1, 2])
    refused(again(tmp_path, source), "Python", "run r")


def count_nothing(task_input: Any, state: Any) -> int:
    return 0


def test_a_file_completes_what_was_read_of_a_stream(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with start_cli(
        "run", agent("plain:double"), "-i", "-", "-w", "1", "-j", journal, "--run-id", "r", stdin=subprocess.PIPE
    ) as running:
        running.write("1\n2\n")
        wait_until(lambda: completed(journal) == 2, 20, "two lines have ended")
        running.send(signal.SIGKILL)
        running.wait(15)
    source = jsonl(tmp_path / "in.jsonl", [1, 5, 3])
    refused(again(tmp_path, source), "line 2")
    jsonl(source, [1])
    refused(again(tmp_path, source), "ends", "2 tasks")
    before = look(journal).record
    source.write_text("1\n2\n3\n{4\n")
    refused(again(tmp_path, source), "line 4")
    assert look(journal).record == before
    jsonl(source, [1, 2, 3])
    done = again(tmp_path, source)
    assert done.returncode == 0, done
    assert "not read to its end" not in done.stderr
    assert look(journal).values == {"1": 2, "2": 4, "3": 6}


def test_a_large_file_is_compared_to_its_end(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", range(5000))
    assert again(tmp_path, source).returncode == 0
    jsonl(source, [*range(4999), 7])
    refused(again(tmp_path, source), "line 5000", json.dumps(4999))
