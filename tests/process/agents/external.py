"""Agents that make things outside of their processes, in the stub engine of the test. Loaded by path."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
from typing import Any

from runtime import ExecutionState
from tests.support.sync import announce


def once(task: dict[str, Any], state: ExecutionState) -> str:
    """Make a thing in a block and one that is deferred. Wait in the block the first time, in `task["how"]`'s way."""
    engine, name = task["engine"], state.unique_name()
    with state.external("thing", [engine, "rm", name]):
        subprocess.run([engine, "run", name], check=True)
        deferred = state.unique_name()
        state.defer_undo([engine, "rm", deferred], kind="volume")
        subprocess.run([engine, "run", deferred], check=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(task["first"])
            announce(task["post"], os.getpid())
            _end(task.get("how", "wait"), state)
    return name


async def once_async(task: dict[str, Any], state: ExecutionState) -> str:
    """The same as a coroutine."""
    engine, name = task["engine"], state.unique_name()
    async with state.external("thing", [engine, "rm", name]):
        await _make(engine, name)
        deferred = state.unique_name()
        await state.defer_undo([engine, "rm", deferred], kind="volume")
        await _make(engine, deferred)
        with contextlib.suppress(FileExistsError):
            os.mkdir(task["first"])
            announce(task["post"], os.getpid())
            if task.get("how", "wait") != "wait":
                _end(task["how"], state)
            await state.sleep(60)
    return name


async def _make(engine: str, name: str) -> None:
    process = await asyncio.create_subprocess_exec(engine, "run", name)
    assert await process.wait() == 0


def _end(how: str, state: ExecutionState) -> None:
    if how == "wait":
        state.sleep(60)
    elif how == "fail":
        raise ValueError("as the test wants it")
    elif how == "deaf":  # to the flag and to SIGTERM: only SIGKILL ends it
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        while True:
            signal.pause()
    elif how == "exit":
        os._exit(3)


def looks_into_the_journal(task: dict[str, Any], state: ExecutionState) -> list[Any]:
    """Return what the journal has of the task's own undo record while its block is open."""
    with state.external("thing", ["true"], name="it", timeout=5):
        connection = sqlite3.connect(f"file:{task['journal']}?mode=ro", uri=True)
        with contextlib.closing(connection):
            return [list(row) for row in connection.execute("SELECT key, state, kind, name, argv FROM undo_list")]


def keeps(task: dict[str, Any], state: ExecutionState) -> str:
    """Make two things, and keep one of them."""
    engine, kept, removed = task["engine"], state.unique_name(), state.unique_name()
    with (
        state.external("thing", [engine, "rm", kept], name=kept) as thing,
        state.external("t", [engine, "rm", removed]),
    ):
        for name in (kept, removed):
            subprocess.run([engine, "run", name], check=True)
        thing.keep()
    return thing.name


def makes_many(task: dict[str, Any], state: ExecutionState) -> None:
    """Make `task["count"]` things and wait."""
    for _ in range(task["count"]):
        name = state.unique_name()
        state.defer_undo([task["engine"], "rm", name])
        subprocess.run([task["engine"], "run", name], check=True)
    announce(task["post"], os.getpid())
    state.sleep(60)


def makes_nothing(task: dict[str, Any], state: ExecutionState) -> None:
    """Defer the removal of what is never made, and of what needs a program that there is not."""
    state.defer_undo([task["engine"], "rm", "nothing"])
    state.defer_undo(["/no/such/program", "rm"])
