"""asyncio and SupervisedExecutor: a call that is not awaited any more ends."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

import pytest

from orchestrator.futures import SupervisedExecutor
from tests.support.wait import wait_until

WAIT = 60.0


def tick(path: str, until: str) -> None:
    """Append to a file for as long as another one is not there."""
    while not Path(until).exists():
        with open(path, "a") as file:
            file.write("x")
        time.sleep(0.002)


async def time_out(executor: Executor, path: Path) -> None:
    """Await a call until it has begun, and no longer."""
    call = asyncio.get_running_loop().run_in_executor(executor, tick, str(path), f"{path}.stop")
    await asyncio.to_thread(wait_until, path.exists, WAIT)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.01)


def grows(path: Path, seconds: float) -> bool:
    """Return whether the file grows within so many seconds."""
    size, end = path.stat().st_size, time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)
        if path.stat().st_size > size:
            return True
    return False


def test_wait_for_ends_the_function_and_the_standard_librarys_goes_on(tmp_path: Path) -> None:
    """The only difference between the two is the executor."""

    async def main() -> None:
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        loop = asyncio.get_running_loop()
        with SupervisedExecutor(1, term_grace=5) as executor:
            await time_out(executor, ours)
            # One process: it takes another call when nothing of the last one runs any more.
            assert await asyncio.wait_for(loop.run_in_executor(executor, pow, 2, 5), WAIT) == 32
            assert not await asyncio.to_thread(grows, ours, 0.1)
        pool = ProcessPoolExecutor(1)
        try:
            await time_out(pool, theirs)
            assert await asyncio.to_thread(grows, theirs, WAIT)
        finally:
            await asyncio.to_thread(Path(f"{theirs}.stop").write_text, "")
            await asyncio.to_thread(pool.shutdown)

    asyncio.run(main())


def test_exceptions_and_values_come_through_the_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with SupervisedExecutor(2) as executor:
            with pytest.raises(FileNotFoundError):
                await loop.run_in_executor(executor, os.stat, "/no/such/file")
            calls = [loop.run_in_executor(executor, pow, 2, number) for number in range(20)]
            assert await asyncio.gather(*calls) == [2**number for number in range(20)]

    asyncio.run(main())
