"""How long from a raised flag until a process that is blocked in a wait notices: `python -m bench.wake KIND JSON`.

The clock is CLOCK_MONOTONIC, which every process of a machine shares. Each kind leaves the latencies of all its
processes over all its rounds, in milliseconds, as one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.tasks import TIME, awaiting, blocked

_PAUSE = 0.05  # seconds between "I am about to wait" and the raise, so that every process is blocked by then

_WARM_ROUNDS = 8

Wait = Callable[[], object]
Raise = Callable[[], object]


def poll_pipe(fd: int) -> None:
    """Block in poll() until a descriptor is readable."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()


def add_reader(fd: int) -> None:
    """Block in an event loop until a descriptor is readable."""

    async def main() -> None:
        woken = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, woken.set)
        await woken.wait()

    asyncio.run(main())


def watch(memory: mmap.mmap) -> None:
    """Look at shared memory every 100 ms."""
    while not memory[0]:
        time.sleep(0.1)


def forked(workers: int, rounds: Sequence[tuple[Wait, Raise]]) -> list[list[float]]:
    """Bare forks that wait, once a round, and tell when each wait came back; milliseconds from the raise, by round."""
    ready_read, ready_write = os.pipe()
    time_read, time_write = os.pipe()
    for _ in range(workers):
        if os.fork() == 0:
            for wait, _ in rounds:
                os.write(ready_write, TIME.pack(0))
                wait()
                os.write(time_write, TIME.pack(time.monotonic()))
            os._exit(0)
    latencies = []
    for _, raise_flag in rounds:
        take(ready_read, workers)
        time.sleep(_PAUSE)
        began = time.monotonic()
        raise_flag()
        latencies.append([(at - began) * 1e3 for at in take(time_read, workers)])
    for _ in range(workers):
        os.wait()
    for fd in (ready_read, ready_write, time_read, time_write):
        os.close(fd)
    return latencies


def take(fd: int, count: int) -> list[float]:
    """Read `count` times from a pipe."""
    data = b""
    while len(data) < count * TIME.size:
        data += os.read(fd, count * TIME.size - len(data))
    return [each[0] for each in TIME.iter_unpack(data)]


def by_pipe() -> tuple[Wait, Raise]:
    """Wake processes by a byte in a pipe that every process polls and none reads."""
    read, write = os.pipe()
    return lambda: poll_pipe(read), lambda: os.write(write, b".")


def by_eventfd() -> tuple[Wait, Raise]:
    """Wake an event loop by an eventfd."""
    fd = os.eventfd(0)
    return lambda: add_reader(fd), lambda: os.eventfd_write(fd, 1)


def by_memory() -> tuple[Wait, Raise]:
    """Wake by a byte of shared memory that is polled."""
    memory = mmap.mmap(-1, 1)
    return lambda: watch(memory), lambda: memory.write(b"\1")


def first(means: Callable[[], tuple[Wait, Raise]]) -> Callable[[int], list[float]]:
    """Measure a fresh fork's first wake-up, which copies the pages that it touches, as an executor does."""
    return lambda workers: forked(workers, [means()])[0]


def again(means: Callable[[], tuple[Wait, Raise]]) -> Callable[[int], list[float]]:
    """Measure the wake-ups of a process that has been woken before."""
    return lambda workers: [each for one in forked(workers, [means() for _ in range(_WARM_ROUNDS)])[1:] for each in one]


def supervised(workers: int, agent: Callable[..., Any]) -> list[float]:
    """One round with a real supervisor: from the call that interrupts it to each agent's return from its wait."""
    from orchestrator import Supervisor  # noqa: PLC0415 - the floors must not pay for it

    path = os.path.join(os.environ["BENCH_FOLDER"], "wake")
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    try:
        with Supervisor(workers=workers, journal=None, grace=10) as supervisor:
            for _ in range(workers):
                supervisor.submit(agent, path)
            take(fd, workers)
            time.sleep(_PAUSE)
            began = time.monotonic()
            supervisor.interrupt()
            return [(at - began) * 1e3 for at in take(fd, workers)]
    finally:
        os.close(fd)
        os.unlink(path)


KINDS: dict[str, Callable[[int], list[float]]] = {
    "quiesce, blocked in state.sleep": lambda workers: supervised(workers, blocked),
    "quiesce, awaiting in asyncio": lambda workers: supervised(workers, awaiting),
    "pipe and poll(), a fresh fork": first(by_pipe),
    "pipe and poll(), woken before": again(by_pipe),
    "eventfd + add_reader in asyncio, a fresh fork": first(by_eventfd),
    "eventfd + add_reader in asyncio, woken before": again(by_eventfd),
    "shared memory, polled every 100 ms": first(by_memory),
}


def main() -> None:
    """One round of one kind."""
    order = json.loads(sys.argv[2])
    latencies = KINDS[sys.argv[1]](order["workers"])
    print(json.dumps({"latencies": latencies}), flush=True)


if __name__ == "__main__":
    main()
