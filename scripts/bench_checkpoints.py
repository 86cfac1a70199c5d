"""What a checkpoint costs, how fast an interrupt ends a group, what the bus carries. Prints three tables.

    python scripts/bench_checkpoints.py [--quick]

Everything is measured side by side in one run, the contestants in many short turns: each fits into a scheduler's slice,
so that of a busy machine's turns some are undisturbed. What is printed is the best of them. Costs of a checkpoint are
net of the loop around it. The last column says whether the budget in the last line of each table is kept; the exit code
is 1 if one is not (0 with --quick).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import multiprocess

from runtime.errors import ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.interrupts.supervisor_link import NullLink
from runtime.ipc.flag import InterruptFlag
from runtime.model import Event

HAVE_ANYIO = importlib.util.find_spec("anyio") is not None

Timed = Callable[[int], float]


class _Flagged(NullLink):
    """A host whose flag is a byte in shared memory, as in an executor."""

    def __init__(self) -> None:
        self._memory = InterruptFlag(1)
        self.flag = self._memory.byte(0)


# -- sync checkpoints ---------------------------------------------------------------------------------------


def _empty(count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        pass
    return time.perf_counter() - begin


def _looped(call: Callable[[], object]) -> Timed:
    """Time the call in a loop, looked up once, as in user code that cares about speed."""

    def timed(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - begin

    return timed


def _attribute(owner: Any, name: str) -> Timed:
    """`owner.name()` in a loop, looked up each time, as users write it."""
    space: dict[str, Any] = {"perf_counter": time.perf_counter}
    exec(  # noqa: S102 - so that every contestant has the same bytecode around it
        "def timed(count, owner):\n"
        "    begin = perf_counter()\n"
        "    for _ in range(count):\n"
        f"        owner.{name}()\n"
        "    return perf_counter() - begin\n",
        space,
    )
    return lambda count: float(space["timed"](count, owner))


def _sync_contestants() -> dict[str, Timed]:
    contestants = {
        "threading.Event.is_set()": _attribute(threading.Event(), "is_set"),
        "state.raise_if_interrupted()": _attribute(ExecutionState(), "raise_if_interrupted"),
        "  in an executor (shared byte)": _attribute(ExecutionState(host=_Flagged()), "raise_if_interrupted"),
    }
    limited = ExecutionState()
    limited.set_timeout(3600)
    contestants["  with a time limit set"] = _attribute(limited, "raise_if_interrupted")
    contestants["multiprocess.Event.is_set()"] = _attribute(multiprocess.Event(), "is_set")
    return contestants


# -- async checkpoints --------------------------------------------------------------------------------------


async def _nothing() -> None:
    pass


def _awaited(call: Callable[[], Awaitable[object]]) -> Callable[[int], Awaitable[float]]:
    async def timed(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            await call()
        return time.perf_counter() - begin

    return timed


def _async_contestants() -> dict[str, Callable[[int], Awaitable[float]]]:
    asked = ExecutionState()
    asked.set_interrupt_checker(_never, min_interval=3600)
    contestants = {
        "await empty()": _awaited(_nothing),
        "await state.check_interrupt()": _awaited(ExecutionState().check_interrupt),
        "  with a checker that is not due": _awaited(asked.check_interrupt),
        "await asyncio.sleep(0)": _awaited(lambda: asyncio.sleep(0)),
    }
    if HAVE_ANYIO:
        contestants["await anyio.lowlevel.checkpoint()"] = _awaited(
            importlib.import_module("anyio.lowlevel").checkpoint
        )
    return contestants


async def _never() -> bool:
    return False


def _best_sync(contestants: dict[str, Timed], count: int, turns: int) -> dict[str, float]:
    best = dict.fromkeys(contestants, float("inf"))
    loop = float("inf")
    for _ in range(turns):
        loop = min(loop, _empty(count))
        for name, timed in contestants.items():
            best[name] = min(best[name], timed(count))
    return {name: (value - loop) / count * 1e9 for name, value in best.items()}


async def _best_async(count: int, turns: int) -> dict[str, float]:
    contestants = _async_contestants()
    best = dict.fromkeys(contestants, float("inf"))
    loop = float("inf")
    for _ in range(turns):
        loop = min(loop, _empty(count))
        for name, timed in contestants.items():
            few = count if "sleep" not in name and "anyio" not in name else count // 10
            best[name] = min(best[name], await timed(few) / few)
    return {name: (value - loop / count) * 1e9 for name, value in best.items()}


# -- groups -------------------------------------------------------------------------------------------------


async def _end_of_group(sleepers: int) -> float:
    """Seconds from request_interrupt to the end of a group that sleeps."""
    asked = 0.0
    async with ExecutionState() as state:

        def ask() -> None:
            nonlocal asked
            asked = time.perf_counter()
            state.request_interrupt()

        group = state.parallel()
        for _ in range(sleepers):
            group.add(asyncio.sleep, 3600)
        asyncio.get_running_loop().call_later(0.05, ask)
        ended = 0.0
        try:
            await group.gather()
        except ExecutionInterrupted:
            ended = time.perf_counter()
        return ended - asked


# -- the bus ------------------------------------------------------------------------------------------------


async def _bus_rate(streams: int, count: int, *, wait: bool) -> float:
    """Events a second from one publisher to `streams` readers, all of them delivered."""
    state = ExecutionState()
    bus = state.event_bus
    event = Event(kind="tick", data={"n": 1})

    async def read(stream: Any) -> int:
        return sum([1 async for _ in stream])

    readers = [asyncio.create_task(read(bus.stream())) for _ in range(streams)]
    begin = time.perf_counter()
    for number in range(count):
        await bus.publish(event)
        if wait or number % 100 == 0:
            await asyncio.sleep(0)
    bus.close()
    got = await asyncio.gather(*readers)
    seconds = time.perf_counter() - begin
    if got != [count] * streams:
        raise AssertionError(f"{got} of {count} events arrived")
    await state.aclose()
    return count / seconds


# -- printing -----------------------------------------------------------------------------------------------


def _table(title: str, rows: dict[str, float], base: str) -> None:
    print(f"\n{title:<38} {'ns':>8} {'ratio':>8}")
    for name, value in rows.items():
        print(f"{name:<38} {value:>8.0f} {value / rows[base]:>8.2f}")


def _verdict(text: str, kept: bool) -> bool:
    print(f"budget: {text}: {'kept' if kept else 'MISSED'}")
    return kept


def _sync_table(count: int, turns: int) -> bool:
    rows = _best_sync(_sync_contestants(), count, turns)
    base, mine = rows["threading.Event.is_set()"], rows["state.raise_if_interrupted()"]
    _table("sync checkpoint, net of the loop", rows, "threading.Event.is_set()")
    kept = _verdict(f"{mine / base:.2f} <= 1.3 x threading.Event", mine <= 1.3 * base)
    other = rows["multiprocess.Event.is_set()"]
    return _verdict(f"{other / mine:.1f} x faster than multiprocess.Event, >= 8", other >= 8 * mine) and kept


def _async_table(count: int, turns: int) -> bool:
    rows = asyncio.run(_best_async(count, turns))
    _table("async checkpoint, net of the loop", rows, "await empty()")
    if not HAVE_ANYIO:
        print("(anyio is not installed: skipped)")
    ratio = rows["await state.check_interrupt()"] / rows["await empty()"]
    return _verdict(f"{ratio:.2f} <= 2 x an empty coroutine", ratio <= 2)


def _group_table(turns: int) -> bool:
    print(f"\n{'interrupt to end of group, sleepers':<38} {'best ms':>8} {'median':>8}")
    best = {}
    for sleepers in (1, 100, 10_000):
        times = [asyncio.run(_end_of_group(sleepers)) * 1000 for _ in range(min(turns, 5))]
        best[sleepers] = statistics.median(times)
        print(f"{sleepers:<38} {min(times):>8.2f} {statistics.median(times):>8.2f}")
    return _verdict(f"100 sleepers end in {best[100]:.2f} <= 10 ms", best[100] <= 10)


def _bus_table(count: int) -> None:
    print(f"\n{'events a second through the bus':<38} {'in runs':>8} {'one by one':>11}")
    for streams in (1, 10):
        fast = asyncio.run(_bus_rate(streams, count, wait=False))
        slow = asyncio.run(_bus_rate(streams, count, wait=True))
        print(f"{streams:>2} streams{'':<28} {fast:>8.0f} {slow:>11.0f}")


def main() -> int:
    """Print the tables. 1 if a budget was missed in earnest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds: for a look, not for a number")
    quick = parser.parse_args().quick
    count, turns = (10_000, 25) if quick else (10_000, 500)
    print(f"Python {sys.version.split()[0]}")
    kept = [_sync_table(count, turns), _async_table(count, turns), _group_table(turns)]
    _bus_table(5_000 if quick else 50_000)
    return 0 if quick or all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
