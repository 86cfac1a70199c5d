"""One measurement of one contender, in an interpreter of its own: `python -m bench.child MODE CONTENDER JSON`.

Prints one JSON line when it has something to say. `stand` says nothing: its parent sees it through the proof.
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from bench.commits import OneCommit
from bench.contenders import CONTENDERS, Contender
from bench.tasks import die_once, stand, tiny


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def throughput(pool: Contender, order: dict[str, Any]) -> None:
    """Tasks a second, one by one, after the pool has warmed up."""
    for _ in pool.each(tiny, range(200)):
        pass
    began = time.perf_counter()
    got = sum(1 for _ in pool.each(tiny, range(order["tasks"])))
    seconds = time.perf_counter() - began
    say(rate=got / seconds, got=got)


def round_trip(pool: Contender, order: dict[str, Any]) -> None:
    """Microseconds for one task there and back, nothing else under way."""
    for number in range(50):
        pool.call(tiny, number)
    times = []
    for number in range(order["tasks"]):
        began = time.perf_counter()
        pool.call(tiny, number)
        times.append(time.perf_counter() - began)
    say(microseconds=statistics.median(times) * 1e6)


def batched(pool: Contender, order: dict[str, Any]) -> None:
    """Tasks a second, many in one message by the pool's own means."""
    for _ in pool.batched(tiny, range(200), order["size"]):
        pass
    began = time.perf_counter()
    got = sum(1 for _ in pool.batched(tiny, range(order["tasks"]), order["size"]))
    say(rate=got / (time.perf_counter() - began), got=got)


def memory(pool: Contender, order: dict[str, Any]) -> None:
    """MB of PSS that an idle worker has, on average, after each has worked."""
    import psutil  # noqa: PLC0415 - it would be part of every contender's start

    for _ in pool.each(tiny, range(200)):
        pass
    sizes = [psutil.Process(pid).memory_full_info().pss for pid in pool.pids()]
    say(megabytes=statistics.mean(sizes) / 1e6, workers=len(sizes))


def idle(pool: Contender, order: dict[str, Any]) -> None:
    """Measure what all processes of a pool use while there is nothing to do."""
    from bench.idle import processes_of, used_while_idle  # noqa: PLC0415 - as above

    for _ in pool.each(tiny, range(4 * pool.workers)):
        pass
    time.sleep(order["settle"])
    used = used_while_idle(processes_of(), order["seconds"])
    say(share=used.processor_share, wakeups=used.most_wakeups, processes=used.processes)


def durable_trip(pool: Contender, order: dict[str, Any]) -> None:
    """One durable task there and back and one commit of SQLite, in turns: a disk has moods that last for seconds."""
    commit = OneCommit(1)
    times: dict[str, list[float]] = {"trip": [], "commit": []}
    for number in range(50 + order["tasks"]):
        for name, contender in (("trip", pool), ("commit", commit)):
            began = time.perf_counter()
            contender.call(tiny, number)
            times[name].append(time.perf_counter() - began)
    commit.stop()
    say(**{name: statistics.median(taken[50:]) * 1e6 for name, taken in times.items()})


def first(pool: Contender, order: dict[str, Any]) -> None:
    """Print a line at the first result; the parent measures the time."""
    pool.call(tiny, 1)
    say(at=time.monotonic())


def crash(pool: Contender, order: dict[str, Any]) -> None:
    """How many of the results arrive although one worker is SIGKILLed; each is reported at once, in case it hangs."""
    middle = order["tasks"] // 2
    orders = [
        {"number": number, "dies": order["kill"] and number == middle, "mark": order["mark"]}
        for number in range(order["tasks"])
    ]
    for _ in pool.each(tiny, range(50)):  # every worker is up
        pass
    began = time.perf_counter()
    got = 0
    try:
        for _ in pool.each(die_once, orders):
            got += 1
            say(got=got, seconds=time.perf_counter() - began)
    finally:
        say(got=got, seconds=time.perf_counter() - began, ended=True)


def standing(pool: Contender, order: dict[str, Any]) -> None:
    """Every worker holds the proof, until this process is ended."""
    for _ in pool.each(stand, [order["proof"]] * pool.workers):
        pass


MODES: dict[str, Callable[[Contender, dict[str, Any]], None]] = {
    "throughput": throughput,
    "round_trip": round_trip,
    "durable_trip": durable_trip,
    "batched": batched,
    "memory": memory,
    "idle": idle,
    "first": first,
    "crash": crash,
    "stand": standing,
}


def end(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exit, so that `finally` runs, as tutorials advise."""
    raise SystemExit(128 + number)


def main() -> None:
    mode, name, order = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    pool = CONTENDERS[name](order["workers"])
    if not name.startswith("quiesce"):  # our supervisor handles its signals itself
        signal.signal(signal.SIGTERM, end)
    try:
        MODES[mode](pool, order)
    finally:
        pool.stop()


if __name__ == "__main__":
    main()
