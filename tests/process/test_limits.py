"""Limits and watchdogs: memory, silence, wear, priority, and what an agent says of itself."""

from __future__ import annotations

import queue
import weakref
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from orchestrator.outcome import Outcome
from runtime.model import ExecutionStatus, InterruptReason
from runtime.process import usage
from tests.process.agents import limited
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import run_cli
from tests.support.sync import AnnouncementPipe, Gate

MEBIBYTE = 1 << 20


def silent(*_: Any) -> None:
    """A log that is not looked at."""


def by_key(outcomes: Any) -> dict[str, Outcome[Any]]:
    return {outcome.key: outcome for outcome in outcomes}


def test_a_task_over_the_memory_limit_fails_with_the_size_and_its_executor_is_replaced(tmp_path: Path) -> None:
    tasks = [{"key": "small 1"}, {"key": "big", "bytes": 300 * MEBIBYTE}, {"key": "small 2"}]
    source, journal = jsonl(tmp_path / "in.jsonl", tasks), tmp_path / "j.db"
    options = ("-w", "1", "--memory-limit", "150M", "--term-grace", "1")
    done = run_cli("run", agent("limited:hog"), "-i", source, "-j", journal, *options)
    assert done.returncode == 1, done
    seen = look(journal)
    assert seen.values == {"small 1": "small", "small 2": "small"}
    big = seen.outcomes["big"]
    assert big.error is not None
    assert "resource_limit" in big.error
    assert "the limit is 150 MiB" in big.error
    assert big.signal is not None
    assert big.signal.reason is InterruptReason.RESOURCE_LIMIT
    assert "out of memory" in big.error
    (again,) = seen.named("task.out_of_memory")
    assert (again["key"], again["times"]) == ("big", 1), "the task is tried once more, alone in a new executor"
    for grown in seen.named("executor.memory_exceeded"):
        assert grown["memory"] > 150 * MEBIBYTE
    assert {event["incarnation"] for event in seen.named("executor.started")} == {1, 2, 3}


def test_memory_that_processes_share_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of 100 MiB in five processes: their RSS is above 500 MiB, and what they take a little above 100 MiB."""
    looks: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    measure = usage.memory_of_tree

    def spy(pid: int, *, above: int) -> int:
        rss, size = usage.tree_rss(pid), measure(pid, above=above)
        looks.put((rss, size))
        return size

    monkeypatch.setattr(usage, "memory_of_tree", spy)
    log: list[str] = []
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        Gate(tmp_path / "gate") as gate,
        Supervisor(workers=1, memory_limit=300 * MEBIBYTE, log=lambda name, *_: log.append(name)) as supervisor,
    ):
        task = {"bytes": 100 * MEBIBYTE, "children": 4, "post": post.path, "gate": gate.path}
        handle = supervisor.submit(limited.shares, task)
        post.expect()
        while (seen := looks.get(timeout=30))[0] < 500 * MEBIBYTE:  # a look from before they were all there
            pass
        gate.open()
        assert handle.result() == "shared"
    assert 80 * MEBIBYTE < seen[1] < 300 * MEBIBYTE  # shares of pages are rounded down
    assert "executor.memory_exceeded" not in log


def test_memory_that_processes_share_counts(tmp_path: Path) -> None:
    with (
        Gate(tmp_path / "gate") as gate,
        Supervisor(workers=1, memory_limit=80 * MEBIBYTE, term_grace=1, log=silent) as supervisor,
    ):
        task = {"bytes": 100 * MEBIBYTE, "children": 4, "gate": gate.path}
        outcome = supervisor.submit(limited.shares, task).outcome()
    assert outcome.status is ExecutionStatus.FAILED
    assert outcome.signal is not None
    assert outcome.signal.reason is InterruptReason.RESOURCE_LIMIT
    size = float(str(outcome.error).partition("children hold ")[2].partition(" MiB")[0])
    assert 80 < size < 250


def test_an_executor_that_shows_no_sign_of_life_is_replaced_and_its_task_runs_again() -> None:
    log: list[str] = []
    tasks: list[dict[str, Any]] = [{"key": "a"}, {"key": "b", "freeze": True}, {"key": "c"}]
    with Supervisor(
        workers=1, heartbeat_timeout=1.5, term_grace=0.2, log=lambda name, *_: log.append(name)
    ) as supervisor:
        outcomes = by_key(supervisor.map(limited.freezes, tasks))
    assert {key: outcome.value for key, outcome in outcomes.items()} == {"a": "fine", "b": "thawed", "c": "fine"}
    assert "executor.heartbeat_lost" in log
    assert outcomes["c"].attempts == 1


def test_executors_are_replaced_after_so_many_tasks() -> None:
    with Supervisor(workers=1, max_tasks_per_executor=3, log=silent) as supervisor:
        pids = [supervisor.submit(limited.pid, number).result() for number in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_an_executor_that_grew_is_replaced_and_nothing_fails() -> None:
    with Supervisor(workers=1, max_memory_per_executor=100 * MEBIBYTE, log=silent) as supervisor:
        before = supervisor.submit(limited.keeps, {"key": "a", "bytes": 200 * MEBIBYTE}).result()
        pids = {supervisor.submit(limited.keeps, {"key": f"n{number}"}).result() for number in range(20)}
    assert before in pids or len(pids) == 1
    assert len(pids | {before}) == 2


def test_an_urgent_task_makes_room_for_itself_and_the_other_goes_on_from_its_snapshot(tmp_path: Path) -> None:
    for journal in (None, tmp_path / "j.db"):
        with (
            AnnouncementPipe(tmp_path / f"post-{journal is None}") as post,
            Gate(tmp_path / f"gate-{journal is None}") as gate,
            Supervisor(workers=1, preempt=True, journal=journal, log=silent) as supervisor,
        ):
            task = {"post": post.path, "steps": 5}
            first = supervisor.submit(limited.counts, {"key": "first", **task, "gate": gate.path})
            second = supervisor.submit(limited.counts, {"key": "second", **task})
            assert post.expect() == ["first from 0"]
            urgent = supervisor.submit(limited.counts, {"key": "urgent", **task}, priority=7)
            assert urgent.result()[0] == 5
            assert not first.done()
            gate.open()
            assert first.result()[0] == second.result()[0] == 5
            words = post.seen + post.expect(3)
        assert words[1] == "urgent from 0"
        assert words[2].startswith("first from ")
        assert words[2] != "first from 0"
        assert first.outcome().attempts == 1


def test_without_preemption_an_urgent_task_is_only_the_next_one(tmp_path: Path) -> None:
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        Gate(tmp_path / "gate") as gate,
        Supervisor(workers=1, log=silent) as supervisor,
    ):
        task = {"post": post.path, "gate": gate.path, "steps": 2}
        handles = [supervisor.submit(limited.counts, {"key": f"n{number}", **task}) for number in range(3)]
        post.expect()
        handles.append(supervisor.submit(limited.counts, {"key": "urgent", **task}, priority=1))
        gate.open()
        for handle in handles:
            handle.result()
        post.expect(3)
    assert post.seen == ["n0 from 0", "urgent from 0", "n1 from 0", "n2 from 0"]


def test_an_agents_own_limits_are_kept() -> None:
    with Supervisor(workers=1, log=silent) as supervisor:
        outcomes = by_key(supervisor.map(limited.own_limits, ["quick", "slow"], keys=["quick", "slow"]))
    assert outcomes["quick"].value == "quick"
    assert outcomes["slow"].attempts == 2
    assert outcomes["slow"].error == "timeout: the task took longer than 1 s"


def test_what_c_code_says_when_the_stop_has_cut_it_short_is_no_result(tmp_path: Path) -> None:
    """sleep(3) returns early when the stacks are asked for: the agent goes on, and returns as if it had slept."""
    source = jsonl(tmp_path / "in.jsonl", [{"do": "sleeps_in_c"}] * 6)
    options = ("-w", "1", "--timeout", "0.1", "--grace", "0.1", "--term-grace", "5")
    done = run_cli("run", agent("wild:misbehave"), "-i", source, "-j", tmp_path / "j.db", *options)
    assert done.returncode == 1, done
    outcomes = look(tmp_path / "j.db").outcomes.values()
    said = [outcome.error for outcome in outcomes]
    assert said == ["timeout: the task took longer than 0.1 s"] * 6, (list(outcomes), done.stderr)


def test_a_task_that_is_met_at_its_very_end_has_no_result() -> None:
    """Its agent has returned, perhaps because a signal had ended a system call of C code."""
    with Supervisor(workers=1, log=silent) as supervisor:
        outcome = supervisor.submit(limited.is_met_at_its_end, 1).outcome()
    assert outcome.status != "completed"
    assert outcome.error == "timeout: it is over"


def test_no_task_begins_while_the_signal_for_the_last_one_is_on_its_way() -> None:
    """It would end a system call of the next task, whose C code takes that for the end of what it waited for."""
    with Supervisor(workers=1, log=silent) as supervisor:
        outcomes = by_key(supervisor.map(limited.one_of, [{"key": "late"}, {"key": "sleeps"}]))
    assert {key: (outcome.value, outcome.attempts) for key, outcome in outcomes.items()} == {
        "late": (None, 1),
        "sleeps": (0, 1),
    }


def test_a_program_that_hands_its_tasks_in_again_gets_what_is_known_and_executes_the_rest(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with Supervisor(workers=1, journal=journal, run_id="nightly", log=silent) as supervisor:
        first = by_key(supervisor.map(limited.pid, range(3)))
    with Supervisor(workers=1, journal=journal, run_id="nightly", log=silent) as supervisor:
        again = by_key(supervisor.map(limited.pid, range(3)))
    assert {key: outcome.value for key, outcome in again.items()} == {
        key: outcome.value for key, outcome in first.items()
    }
    assert look(journal, "nightly").recorded == 3


@pytest.mark.parametrize("kind", [limited.Large, limited.LargeAsync])
@pytest.mark.parametrize("workers", [1, 2])
def test_large_agents_that_no_task_needs_are_dropped_and_sent_again_when_one_does(kind: Any, workers: int) -> None:
    agents = [kind(number, 4 * MEBIBYTE) for number in range(12)]
    with Supervisor(workers=workers, concurrency=2, log=silent) as supervisor:
        for order in (agents, agents[::-1], agents):
            one_by_one = [supervisor.submit(agent, None).result() for agent in order]
            at_once = [handle.result() for handle in [supervisor.submit(agent, None) for agent in order]]
            for results in (one_by_one, at_once):
                assert [number for number, _ in results] == [agent.number for agent in order]
            assert max(count for _, count in one_by_one) <= 5


def test_the_supervisor_keeps_no_agent_that_its_caller_has_let_go_of() -> None:
    with Supervisor(workers=1, log=silent) as supervisor:
        agent = limited.Large(1, 10)
        gone = weakref.ref(agent)
        outcomes = supervisor.map(agent, range(3))
        del agent
        assert [outcome.value[0] for outcome in outcomes] == [1, 1, 1]
        assert gone() is None
        assert supervisor.submit(limited.Large(1, 10), None).result()[0] == 1


def test_an_agent_that_no_executor_can_load_fails_its_own_tasks_only() -> None:
    class Unloadable:
        def __reduce__(self) -> Any:
            return (getattr, ("nothing has", "this attribute"))

        def __call__(self, task_input: Any, state: Any) -> Any:
            return task_input

    with Supervisor(workers=1, log=silent) as supervisor:
        assert supervisor.submit(limited.pid, 1).result() > 0
        broken = supervisor.submit(Unloadable(), 2).outcome()
        assert supervisor.submit(limited.pid, 3).result() > 0
    assert not broken.ok
    assert broken.error is not None
    assert "cannot load the agent" in broken.error


def test_a_second_agent_can_be_handed_in_while_every_executor_is_busy(tmp_path: Path) -> None:
    with AnnouncementPipe(tmp_path / "post") as post, Supervisor(workers=1, log=silent) as supervisor:
        task = {"key": "long", "post": post.path, "steps": 1000, "pause": 0.1}
        long = supervisor.submit(limited.counts, task)
        post.expect()
        other = supervisor.submit(limited.pid, 1)
        assert not other.done()
        long.interrupt()
        assert other.result() > 0


def test_tasks_of_an_agent_that_is_hired_later_wait_for_it(tmp_path: Path) -> None:
    """An earlier start was stopped with tasks of two agents left; now the second agent is loaded last."""
    journal = tmp_path / "j.db"

    def twice(task_input: int, state: Any) -> int:
        return 2 * task_input

    may_end = tmp_path / "may-end"

    def waits(task_input: int, state: Any) -> int:
        if not may_end.exists():
            state.sleep(60)
        return task_input

    with Supervisor(workers=1, journal=journal, run_id="two", log=silent) as supervisor:
        held = [supervisor.submit(waits, 1, key="a"), supervisor.submit(twice, 2, key="b")]
        supervisor.interrupt(message="for now")
        del held
    may_end.touch()
    with Supervisor(workers=1, journal=journal, run_id="two", log=silent) as supervisor:
        a = supervisor.submit(waits, 1, key="a")
        assert a.result() == 1
        assert supervisor.submit(twice, 2, key="b").result() == 4
