"""The budgets, one function each: who is measured, how often, against whom."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.contenders import CONTENDERS, available
from bench.flow import KINDS as FLOWS
from bench.long_run import long_runs
from bench.report import Goal, Table, best, percentile
from bench.run import Answer, Scale, Stood, ask, in_turns, stand_and_fall
from bench.wake import KINDS

OURS = "quiesce"
WITH_JOURNAL = "quiesce + journal"
EXECUTOR = "quiesce executor"
FLOOR = "bare pipes"
COMMIT = "one SQLite commit"
FORK, FORKSERVER = "multiprocess.Pool", "multiprocess.Pool forkserver"
PEERS = ("concurrent.futures", "multiprocess.Pool", "pebble", "mpire", "loky", "joblib")


def present(names: Sequence[str]) -> list[str]:
    """Those that are installed; a line for each that is not."""
    for name in names:
        if not available(name):
            print(f"  skipped: {name} ({CONTENDERS[name].needs} is not installed; pip install --group bench)")
    return [name for name in names if available(name)]


def numbers(answers: Sequence[Answer], word: str) -> tuple[list[float], str]:
    """One figure of every answer that has it, and the first problem."""
    values = [float(each.last[word]) for each in answers if word in each.last and not each.problem]
    return values, next((each.problem for each in answers if each.problem), "")


def wake_up(scale: Scale) -> Table:
    """Flag raised until a blocked executor notices, 8 executors."""
    table = Table(
        "Wake-up: flag raised -> 8 executors blocked in a wait notice (p50 of all, ms)",
        "ms",
        "<= 1.5 x a byte in a shared pipe with poll(); in asyncio <= 3 x; it wakes once: fresh beside fresh",
        yardstick="pipe and poll(), a fresh fork",
        goals=[
            Goal("flag raised -> 8 blocked executors notice, p50", "<= 1.5 x", "quiesce, blocked in state.sleep", 1.5)
        ],
    )
    kinds = [kind for kind in KINDS if not kind.startswith(OURS) or available(OURS)]
    asked = in_turns(kinds, scale.rounds * 3, lambda kind: ask("bench.wake", kind, workers=8, limit=30))
    for kind, answers in asked.items():
        all_of_them = [latency for each in answers for latency in each.last.get("latencies", [])]
        problem = next((each.problem for each in answers if each.problem), "")
        p99 = f"p99 {percentile(all_of_them, 0.99):.3g} ms" if all_of_them else ""
        middle = [percentile(all_of_them, 0.5)] if all_of_them else []
        table.add(kind, middle, "; ".join(filter(None, [p99, problem])))
    return table


def gone(scale: Scale) -> Table:
    """SIGTERM until everything is gone, cooperative executors."""
    table = Table(
        f"TERM -> everything gone, {scale.executors} cooperative executors (s)",
        "s",
        "<= 0.3 s with 32",
        yardstick=OURS,
    )
    names = present([OURS, *PEERS])
    slow: dict[str, Stood] = {}

    def measure(name: str) -> Stood:
        if name not in slow:
            stood = stand_and_fall(name, scale.executors, scale.limit, fall=True)
            if stood.gone is not None:
                return stood
            slow[name] = stood  # once is enough to know that it does not end
        return slow[name]

    for name, results in in_turns(names, scale.rounds, measure).items():
        table.add(name, [each.gone for each in results if each.gone is not None], results[-1].problem)
    return table


def start(scale: Scale) -> list[Table]:
    """From exec of the interpreter to the first result, and to many executors at work."""
    names = present([OURS, FORK, FORKSERVER, "loky"])
    one = Table(
        "Start: exec -> first result, 2 executors (s)", "s", "<= 1.3 x the forkserver pool", yardstick=FORKSERVER
    )
    one.goals.append(Goal("exec -> first result", "<= 1.3 x the forkserver pool", OURS, 1.3))
    for name, results in in_turns(names, scale.rounds, first_result).items():
        table_row(one, name, results)
    many = Table(
        f"Start: exec -> {scale.many} executors at work (s)", "s", "<= 2 x multiprocess by fork", yardstick=FORK
    )
    many.goals.append(Goal(f"{scale.many} executors at work", "<= 2 x multiprocess by fork", OURS, 2.0))

    def ready(name: str) -> Stood:
        return stand_and_fall(name, scale.many, scale.limit, fall=False)

    for name, results in in_turns(names, max(1, scale.rounds // 2), ready).items():
        many.add(name, [each.ready for each in results if each.ready is not None], results[-1].problem)
    return [one, many]


def first_result(name: str) -> Answer:
    """Seconds from before the exec to the first result."""
    began = time.monotonic()
    answer = ask("bench.child", name, mode="first", workers=2, limit=30)
    for line in answer.lines:
        line["seconds"] = line["at"] - began
    return answer


def table_row(table: Table, name: str, answers: Sequence[Answer], word: str = "seconds") -> None:
    """One contender's figures as a row."""
    values, problem = numbers(answers, word)
    table.add(name, values, problem)


def tiny_tasks(scale: Scale) -> Table:
    """Tiny tasks one by one, 2 executors."""
    table = Table(
        "Tiny tasks one by one, 2 executors (tasks/s)",
        "/s",
        "journal off >= 8 x, on >= 5 x the best pool",
        goals=[
            Goal("tiny tasks one by one, journal off", ">= 8 x the best pool", OURS, 8.0, at_most=False),
            Goal("tiny tasks one by one, journal on", ">= 5 x the best pool", WITH_JOURNAL, 5.0, at_most=False),
        ],
    )
    names = present([WITH_JOURNAL, OURS, EXECUTOR, *PEERS, FLOOR])

    def measure(name: str) -> Answer:
        tasks = scale.tasks // 10 if name == "joblib" else scale.tasks
        return ask("bench.child", name, mode="throughput", workers=2, tasks=tasks)

    for name, answers in in_turns(names, scale.rounds, measure).items():
        table_row(table, name, answers, "rate")
    table.yardstick = best(table, PEERS, highest=True)
    return table


def durable_trip(scale: Scale) -> Table:
    """One task there and back, committed, beside one commit of the same bytes."""
    table = Table(
        "One task there and back, journal on, in turns with one commit of the same bytes (median, µs)",
        "µs",
        "<= 1.2 x one synchronous SQLite commit of the same bytes",
        yardstick=COMMIT,
        goals=[Goal("the same, journal on", "<= 1.2 x one SQLite commit", WITH_JOURNAL, 1.2)],
    )
    answers = [
        ask("bench.child", WITH_JOURNAL, mode="durable_trip", workers=2, tasks=scale.trips) for _ in range(scale.rounds)
    ]
    table_row(table, WITH_JOURNAL, answers, "trip")
    table_row(table, COMMIT, answers, "commit")
    return table


def round_trip(scale: Scale) -> list[Table]:
    """One task there and back."""
    table = Table(
        "One task there and back (median, µs)",
        "µs",
        "journal off <= 0.7 x the best pool",
        goals=[
            Goal("one task there and back, journal off", "<= 0.7 x the best pool", OURS, 0.7),
        ],
    )
    names = present([OURS, WITH_JOURNAL, EXECUTOR, *PEERS, FLOOR])

    def measure(name: str) -> Answer:
        trips = scale.trips // 10 if name == "joblib" else scale.trips
        return ask("bench.child", name, mode="round_trip", workers=2, tasks=trips)

    for name, answers in in_turns(names, scale.rounds, measure).items():
        table_row(table, name, answers, "microseconds")
    table.yardstick = best(table, PEERS, highest=False)
    return [table, durable_trip(scale)]


BATCH = 64
"""Tasks in one message where a pool is asked for batches."""


def batches(scale: Scale) -> Table:
    """Tiny tasks by each pool's own batching."""
    table = Table(
        f"Tiny tasks by map(chunksize={BATCH}), 2 executors (tasks/s)",
        "/s",
        ">= the best pool's own batching",
        goals=[Goal(f"map(chunksize={BATCH})", ">= the best pool's batching", EXECUTOR, 1.0, at_most=False)],
    )
    peers = [peer for peer in PEERS if peer != "joblib"]  # which has no batches of results that come in order
    names = present([EXECUTOR, *peers])

    def measure(name: str) -> Answer:
        return ask("bench.child", name, mode="batched", workers=2, tasks=scale.tasks * 10, size=BATCH)

    for name, answers in in_turns(names, scale.rounds, measure).items():
        table_row(table, name, answers, "rate")
    table.yardstick = best(table, peers, highest=True)
    return table


def idle(scale: Scale) -> list[Table]:
    """Memory of idle executors, and what an idle run uses."""
    memory = Table(
        "PSS of an idle executor, 8 of them (MB)",
        "MB",
        "<= multiprocess by fork + 2 MB",
        yardstick=FORK,
        goals=[Goal("PSS per idle executor, 8 of them", "<= multiprocess by fork + 2 MB", OURS, 1.0, plus=2.0)],
    )

    def size(name: str) -> Answer:
        return ask("bench.child", name, mode="memory", workers=8)

    for name, answers in in_turns(present([OURS, FORK, FORKSERVER]), scale.rounds, size).items():
        table_row(memory, name, answers, "megabytes")
    workers = scale.many
    share = Table(f"Idle run of {workers} executors: processor time of all processes (share of one core)", "", "< 0.01")
    share.goals.append(
        Goal(f"idle run of {workers} executors: processor time", "< 1 % of a core", OURS, 0.01, base=None)
    )
    woken = Table(f"Idle run of {workers} executors: wake-ups of the busiest process (1/s)", "/s", "<= 4/s")
    woken.goals.append(Goal("the same: wake-ups of the busiest process", "<= 4/s", OURS, 4.0, base=None))

    def rest(name: str) -> Answer:
        return ask("bench.child", name, mode="idle", workers=workers, settle=scale.limit / 5, seconds=scale.limit / 3)

    for name, answers in in_turns(present([OURS]), max(1, scale.rounds // 2), rest).items():
        table_row(share, name, answers, "share")
        table_row(woken, name, answers, "wakeups")
    return [memory, share, woken]


def crash(scale: Scale) -> Table:
    """One executor killed -9 in mid-run of 200 tasks."""
    table = Table(
        "One of 4 executors killed -9 in mid-run of 200 tasks of 10 ms (results that arrived)",
        "of 200",
        "200 results, <= 0.2 s lost (four executors need 0.5 s)",
    )
    names = present([OURS, *PEERS])

    def measure(name: str) -> tuple[Answer, Answer]:
        with tempfile.TemporaryDirectory(prefix="quiesce-bench-") as folder:
            order = {"workers": 4, "tasks": 200, "mark": os.path.join(folder, "died")}
            calm = ask("bench.child", name, mode="crash", kill=False, limit=scale.limit, **order)
            return calm, ask("bench.child", name, mode="crash", kill=True, limit=scale.limit, **order)

    for name, results in in_turns(names, max(1, scale.rounds // 2), measure).items():
        got = [float(struck.last.get("got", 0)) for _, struck in results]
        complete = bool(got) and min(got) == 200
        calm = statistics.median([calm.last.get("seconds", 0.0) for calm, _ in results])
        struck = statistics.median([struck.last.get("seconds", 0.0) for _, struck in results])
        note = f"{struck - calm:+.2f} s: {calm:.2f} s calm, {struck:.2f} s struck" if complete else ""
        table.add(name, got, "; ".join(filter(None, [note, results[-1][1].problem])))
    return table


def events(scale: Scale) -> Table:
    """Events from 8 executors to a subscriber."""
    table = Table(
        "Events from 8 executors to one subscriber, each sent at once (events/s)",
        "/s",
        ">= 3 x Pipe and connection.wait",
        yardstick="Pipe and connection.wait",
        goals=[Goal("events from 8 executors, each flushed at once", ">= 3 x Pipe + wait", OURS, 3.0, at_most=False)],
    )

    def measure(kind: str) -> Answer:
        return ask("bench.flow", kind, workers=8, events=scale.tasks)

    for kind, answers in in_turns(FLOWS, scale.rounds, measure).items():
        table_row(table, kind, answers, "rate")
    return table


BUDGETS: dict[str, Callable[[Scale], Any]] = {
    "wake": wake_up,
    "gone": gone,
    "start": start,
    "tasks": tiny_tasks,
    "batches": batches,
    "trip": round_trip,
    "idle": idle,
    "events": events,
    "crash": crash,
    "million": lambda scale: long_runs(scale.longest),
}
