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
from collections.abc import Callable
from typing import Any

from bench.tasks import TIME, awaiting, blocked

_PAUSE = 0.05  # seconds between "I am about to wait" and the raise, so that everybody is blocked by then

Wait = Callable[[int], None]


def poll_pipe(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()


def add_reader(fd: int) -> None:
    async def main() -> None:
        woken = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, woken.set)
        await woken.wait()

    asyncio.run(main())


def watch_memory(memory: mmap.mmap) -> Wait:
    def wait(_: int) -> None:
        while not memory[0]:
            time.sleep(0.1)

    return wait


def forked(workers: int, wait: Wait, fd: int, raise_flag: Callable[[], object]) -> list[float]:
    """One round over bare forks: each tells when `wait` came back."""
    read, write = os.pipe()
    for _ in range(workers):
        if os.fork() == 0:
            os.write(write, TIME.pack(0))
            wait(fd)
            os.write(write, TIME.pack(time.monotonic()))
            os._exit(0)
    take(read, workers)
    time.sleep(_PAUSE)
    began = time.monotonic()
    raise_flag()
    latencies = [(at - began) * 1e3 for at in take(read, workers)]
    for _ in range(workers):
        os.wait()
    os.close(read)
    os.close(write)
    return latencies


def take(fd: int, count: int) -> list[float]:
    """Read `count` times from a pipe."""
    data = b""
    while len(data) < count * TIME.size:
        data += os.read(fd, count * TIME.size - len(data))
    return [each[0] for each in TIME.iter_unpack(data)]


def pipe_round(workers: int) -> list[float]:
    read, write = os.pipe()
    try:
        return forked(workers, poll_pipe, read, lambda: os.write(write, b"."))
    finally:
        os.close(read)
        os.close(write)


def eventfd_round(workers: int) -> list[float]:
    fd = os.eventfd(0)
    try:
        return forked(workers, add_reader, fd, lambda: os.eventfd_write(fd, 1))
    finally:
        os.close(fd)


def polling_round(workers: int) -> list[float]:
    with mmap.mmap(-1, 1) as memory:
        return forked(workers, watch_memory(memory), -1, lambda: memory.write(b"\1"))


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
    "a byte in a shared pipe, poll()": pipe_round,
    "eventfd + add_reader in asyncio": eventfd_round,
    "shared memory, polled every 100 ms": polling_round,
}


def main() -> None:
    order = json.loads(sys.argv[2])
    latencies = KINDS[sys.argv[1]](order["workers"])
    print(json.dumps({"latencies": latencies}), flush=True)


if __name__ == "__main__":
    main()
