"""Agents with lifespans and initializers, which write down what they do. Their environment has the paths."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from runtime import ExecutionState, agent
from tests.support.sync import announce


def note(what: str) -> None:
    """Append a line to the ledger."""
    with open(os.environ["QM_LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{os.getpid()} {what}\n")


@contextmanager
def sync_model() -> Iterator[list[str]]:
    """Yield a model."""
    note("enter")
    try:
        yield ["model"]
    finally:
        note("leave")


@asynccontextmanager
async def async_model() -> AsyncIterator[list[str]]:
    """Yield a model; a task group must be left by the task that has entered it."""
    note("enter")
    async with asyncio.TaskGroup() as group:
        background = group.create_task(asyncio.sleep(3600))
        try:
            yield ["model"]
        finally:
            await asyncio.sleep(0)
            background.cancel()
            note("leave")


def first() -> None:
    """Prepare."""
    note("first")


async def second() -> None:
    """Prepare, on the loop."""
    await asyncio.sleep(0)
    note("second")


def _work(task_input: Any, state: ExecutionState) -> Any:
    note(f"task {state.key}")
    return state.resource


@agent(lifespan=sync_model, initializer=[first, second])
def sync_in_sync(task_input: Any, state: ExecutionState) -> Any:
    """Return the resource."""
    return _work(task_input, state)


@agent(lifespan=async_model, initializer=first)
def async_in_sync(task_input: Any, state: ExecutionState) -> Any:
    """Return the resource."""
    return _work(task_input, state)


@agent(lifespan=sync_model, initializer=(first, second))
async def sync_in_async(task_input: Any, state: ExecutionState) -> Any:
    """Return the resource."""
    await asyncio.sleep(0)
    return _work(task_input, state)


@agent(lifespan=async_model, initializer=[second])
async def async_in_async(task_input: Any, state: ExecutionState) -> Any:
    """Return the resource."""
    await asyncio.sleep(0)
    return _work(task_input, state)


@agent(lifespan=sync_model)
def waits(task_input: Any, state: ExecutionState) -> None:
    """Announce the key, and wait for an interrupt."""
    announce(os.environ["QM_POST"], state.key)
    state.sleep(3600)


@agent(lifespan=async_model)
async def awaits(task_input: Any, state: ExecutionState) -> None:
    """Announce the key, and wait for an interrupt."""
    announce(os.environ["QM_POST"], state.key)
    await asyncio.sleep(3600)


# -- set-ups that fail ------------------------------------------------------------------------------------


def _load(name: str) -> None:
    raise FileNotFoundError(f"no weights in {name}")


@contextmanager
def broken_model() -> Iterator[None]:
    """Fail."""
    _load("/models/large")
    yield


@asynccontextmanager
async def broken_async_model() -> AsyncIterator[None]:
    """Fail."""
    await asyncio.sleep(0)
    _load("/models/large")
    yield


def no_model() -> str:
    """Return what is no context manager."""
    return "model"


def bad_initializer() -> None:
    """Fail."""
    raise SystemExit("no licence")


@agent(lifespan=broken_model)
def broken(task_input: Any, state: ExecutionState) -> None:
    """Never called."""


@agent(lifespan=broken_async_model)
async def async_broken(task_input: Any, state: ExecutionState) -> None:
    """Never called."""


@agent(lifespan=no_model)  # type: ignore[arg-type]
def no_manager(task_input: Any, state: ExecutionState) -> None:
    """Never called."""


@agent(initializer=[first, bad_initializer])
def badly_initialized(task_input: Any, state: ExecutionState) -> None:
    """Never called."""


@contextmanager
def fails_the_second_time() -> Iterator[None]:
    """Fail in the second executor, and in no other."""
    note("enter")
    if Path(os.environ["QM_LEDGER"]).read_text().count("enter") == 2:
        raise OSError("the device is busy")
    yield


@agent(lifespan=fails_the_second_time)
def unlucky(task_input: Any, state: ExecutionState) -> int:
    """Return the pid."""
    return os.getpid()


# -- set-ups and ends that take long ----------------------------------------------------------------------


@contextmanager
def slow_model() -> Iterator[None]:
    """Announce, and wait at a place without a checkpoint."""
    try:
        announce(os.environ["QM_POST"], "entering")
        time.sleep(3600)
        yield
    finally:
        note("undone")


@asynccontextmanager
async def slow_async_model() -> AsyncIterator[None]:
    """Announce, and wait at an await."""
    try:
        announce(os.environ["QM_POST"], "entering")
        await asyncio.sleep(3600)
        yield
    finally:
        note("undone")


@asynccontextmanager
async def deaf_async_model() -> AsyncIterator[None]:
    """Announce, and block the loop."""
    try:
        announce(os.environ["QM_POST"], "entering")
        time.sleep(3600)  # noqa: ASYNC251 - what is to be interrupted
        yield
    finally:
        note("undone")


@agent(lifespan=slow_model)
def slow(task_input: Any, state: ExecutionState) -> None:
    """Never called."""


@agent(lifespan=slow_async_model)
async def async_slow(task_input: Any, state: ExecutionState) -> None:
    """Never called."""


@agent(lifespan=deaf_async_model)
async def async_deaf(task_input: Any, state: ExecutionState) -> None:
    """Never called."""


@contextmanager
def endless_end() -> Iterator[None]:
    """Wait at the end, for longer than anything lasts."""
    yield
    try:
        note("leaving")
        time.sleep(3600)
    finally:
        note("interrupted")


@asynccontextmanager
async def endless_async_end() -> AsyncIterator[None]:
    """Wait at the end, for longer than anything lasts."""
    yield
    try:
        note("leaving")
        await asyncio.sleep(3600)
    finally:
        note("interrupted")


@contextmanager
def failing_end() -> Iterator[None]:
    """Fail at the end."""
    yield
    raise OSError("cannot close the device")


@agent(lifespan=endless_end)
def ends_never(task_input: Any, state: ExecutionState) -> int:
    """Return the input."""
    return int(task_input["n"])


@agent(lifespan=endless_async_end)
async def async_ends_never(task_input: Any, state: ExecutionState) -> int:
    """Return the input."""
    return int(task_input["n"])


@agent(lifespan=failing_end)
def ends_badly(task_input: Any, state: ExecutionState) -> int:
    """Return the input."""
    return int(task_input["n"])
