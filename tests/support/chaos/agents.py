"""The agents of a chaos run: each task says how it behaves, and what its result will be is known beforehand.

A hostile task is hostile once: it leaves a mark in the round's folder, and behaves when it is executed again. So
every round can be completed, and its results compared with `truth`, which needs no quiesce to compute.

Loaded by path in executors, so it imports nothing of its own package but `forgery` (through the path of ROOT).
"""

from __future__ import annotations

import asyncio
import collections
import fcntl
import hashlib
import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.support.chaos.forgery import FORGERIES

STEPS = 12
"""Steps of a long task that saves snapshots."""

OVERLAP = ".overlap"
"""What the mark of a task that two executed at the same time ends with."""

_LARGE = 300_000  # characters: several pipes full


def truth(task: dict[str, Any]) -> Any:
    """Return the result of a task, None for one that always fails."""
    n, kind = task["n"], task["kind"]
    if kind in ("fails", "poison"):
        return None
    digest = hashlib.sha256(f"{task['seed']}:{n}".encode()).hexdigest()[:12]
    answer: dict[str, Any] = {"n": n, "digest": digest}
    if kind == "snapshot":
        answer["sum"] = sum((n + step) ** 2 for step in range(STEPS))
    if kind == "large":
        answer["text"] = digest * (_LARGE // len(digest))
    return answer


def mixed(task: dict[str, Any], state: Any) -> Any:
    """Run a task as the sync agent."""
    _hold(task["proof"])
    with _alone(task):
        return _mixed(task, state)


def _mixed(task: dict[str, Any], state: Any) -> Any:
    kind = task["kind"]
    if kind == "fails":
        raise ValueError(f"task {task['n']} always fails")
    if kind == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "snapshot":
        for _ in _steps(task, state):
            state.sleep(task["hold"] / STEPS)
    elif kind in HOSTILE and _first(task):
        HOSTILE[kind](task, state)
    return truth(task)


async def amixed(task: dict[str, Any], state: Any) -> Any:
    """Run a task as the async agent: many of these share an executor."""
    _hold(task["proof"])
    with _alone(task):
        return await _amixed(task, state)


async def _amixed(task: dict[str, Any], state: Any) -> Any:
    kind = task["kind"]
    if kind == "fails":
        raise ValueError(f"task {task['n']} always fails")
    if kind == "snapshot":
        for _ in _steps(task, state):
            await asyncio.sleep(task["hold"] / STEPS)
    elif kind == "shielded" and _first(task):
        with state.shield():
            await asyncio.sleep(task["hold"] / 2)
    elif kind == "asleep" and _first(task):
        await asyncio.sleep(task["hold"])
    elif kind == "parallel" and _first(task):
        async with state.parallel(max_workers=4) as group:
            for _ in range(8):
                group.add(asyncio.sleep, task["hold"] / 4)
            await group.gather()
    elif kind in THREADED and _first(task):
        await THREADED[kind](task)
    elif kind in HOSTILE and _first(task):
        HOSTILE[kind](task, state)
    else:
        await asyncio.sleep(0.002)
    return truth(task)


# -- shared -----------------------------------------------------------------------------------------------

_held: list[int] = []


def _hold(path: str) -> None:
    """Every process of the run that ever ran an agent, and all its forks, keep the proof's write end open."""
    if not _held:
        fd = os.open(path, os.O_WRONLY)
        os.set_inheritable(fd, True)
        os.write(fd, b".")
        _held.append(fd)


@dataclass
class _Hold:
    """What a process holds of a task: the lock between processes, and how many of its threads work on it."""

    fd: int | None
    workers: int = 0


_HOLDS: dict[str, _Hold] = {}
_HOLDS_LOCK = threading.Lock()


@contextmanager
def _alone(task: dict[str, Any], *, is_attempt: bool = True) -> Iterator[None]:
    """Leave a mark if an earlier attempt of this very task still works, in another process or in a thread of this one.

    `is_attempt`: False for a thread that belongs to the attempt in hand. The lock is a POSIX lock, because what the
    agent forks does not have it; it knows no threads, so those of this process are counted.
    """
    key = os.path.join(task["marks"], task["key"])
    with _HOLDS_LOCK:
        hold = _HOLDS.get(key)
        if hold is None:
            hold = _HOLDS[key] = _Hold(_lock(key))
        elif is_attempt:
            _mark_overlap(key)
        hold.workers += 1
    try:
        yield
    finally:
        with _HOLDS_LOCK:
            hold.workers -= 1
            if not hold.workers:
                del _HOLDS[key]
                if hold.fd is not None:
                    with suppress(OSError):  # one that closes all descriptors
                        os.close(hold.fd)


def _lock(key: str) -> int | None:
    try:
        fd = os.open(f"{key}.lock", os.O_CREAT | os.O_RDWR)
    except OSError:  # a round without descriptors
        return None
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        _mark_overlap(key)
    return fd


def _mark_overlap(key: str) -> None:
    os.close(os.open(key + OVERLAP, os.O_CREAT | os.O_WRONLY))


def stick_in_c(seconds: float) -> None:
    """About so long in C code that keeps the interpreter's lock: no handler, no thread runs, and no signal ends it.

    (A sleep in C, which would be simpler, is ended by the first signal that comes.)
    """
    sample = 1_000_000
    began = time.perf_counter()
    collections.deque(itertools.repeat(None, sample), maxlen=0)
    each = (time.perf_counter() - began) / sample
    collections.deque(itertools.repeat(None, int(seconds / each)), maxlen=0)


def _first(task: dict[str, Any]) -> bool:
    try:
        os.close(os.open(os.path.join(task["marks"], task["key"]), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def _steps(task: dict[str, Any], state: Any) -> Iterator[int]:
    """Run a long task whose snapshot is its progress, and whose result depends on every step."""
    step, total = state.snapshot or (0, 0)
    while step < STEPS:
        total += (task["n"] + step) ** 2
        step += 1
        state.save_snapshot([step, total])
        yield step
    assert total == truth(task)["sum"], f"a snapshot was wrong: {total} after {step} steps"


# -- behaviours, each once a task -----------------------------------------------------------------------------


def _cooperative(task: dict[str, Any], state: Any) -> None:
    state.sleep(task["hold"])


def _busy(task: dict[str, Any], state: Any) -> None:
    end = time.monotonic() + task["hold"]
    while time.monotonic() < end:
        pass


def _stuck(task: dict[str, Any], state: Any) -> None:
    stick_in_c(task["hold"])


def _deaf(task: dict[str, Any], state: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = time.monotonic() + task["hold"]
    while time.monotonic() < end:
        time.sleep(0.01)


def _swallowing(task: dict[str, Any], state: Any) -> None:
    """Catches everything, as bad retry code does."""
    end = time.monotonic() + task["hold"]
    while time.monotonic() < end:
        try:
            state.raise_if_interrupted()
            time.sleep(0.01)
        except BaseException:
            continue


def _child(task: dict[str, Any], state: Any) -> None:
    """Start a child and wait for it."""
    child = subprocess.Popen(["sleep", "60"], pass_fds=_held)
    try:
        state.sleep(task["hold"])
    finally:
        child.kill()
        child.wait()


def _orphan(task: dict[str, Any], state: Any) -> None:
    """Start a child and leave it behind."""
    subprocess.Popen(["sleep", "60"], pass_fds=_held)
    state.sleep(task["hold"] / 2)


def _daemon(task: dict[str, Any], state: Any) -> None:
    """setsid and a double fork, deaf to SIGTERM, without exec."""
    _detach(lambda: time.sleep(60))
    time.sleep(task["hold"] / 4)


def _hidden(task: dict[str, Any], state: Any) -> None:
    """Start a daemon with an empty environment: nothing in /proc tells where it comes from."""
    _detach(lambda: os.execve("/bin/sleep", ["sleep", "60"], {}))
    state.sleep(task["hold"] / 2)


def _detach(become: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            become()
        os._exit(0)
    os.waitpid(child, 0)


def _crash(task: dict[str, Any], state: Any) -> None:
    os.kill(os.getpid(), (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL)[task["n"] % 3])


def _exit(task: dict[str, Any], state: Any) -> None:
    os._exit(task["n"] % 2)


def _allocate(task: dict[str, Any], state: Any) -> None:
    block = bytearray(60 << 20)
    state.sleep(task["hold"] / 2)
    del block


def _talk(task: dict[str, Any], state: Any) -> None:
    """More output and events than a pipe holds."""
    for number in range(400):
        print(f"line {number} of task {task['n']} " + "." * 200, flush=True)
        state.progress(number, 400)


def _chatter(task: dict[str, Any], state: Any) -> None:
    """Lines as fast as they can be printed."""
    end = time.monotonic() + task["hold"]
    number = 0
    while time.monotonic() < end:
        print(number)
        number += 1


def _work_in_thread(task: dict[str, Any], begun: threading.Event) -> None:
    """Work that no cancellation reaches: many small steps in Python code."""
    with _alone(task, is_attempt=False):
        begun.set()
        end = time.monotonic() + task["hold"]
        while time.monotonic() < end:
            time.sleep(0.01)


def _thread(task: dict[str, Any], state: Any) -> None:
    """Start a daemon thread that works on when the agent is interrupted."""
    begun = threading.Event()
    threading.Thread(target=_work_in_thread, args=(task, begun), daemon=True).start()
    begun.wait()
    state.sleep(task["hold"])


async def _to_thread(task: dict[str, Any]) -> None:
    await asyncio.to_thread(_work_in_thread, task, threading.Event())


_POOL: list[ThreadPoolExecutor] = []


async def _pool(task: dict[str, Any]) -> None:
    """Use a pool of the agent's own that outlives the task."""
    if not _POOL:
        _POOL.append(ThreadPoolExecutor(2))
    await asyncio.get_running_loop().run_in_executor(_POOL[0], _work_in_thread, task, threading.Event())


def _runner(task: dict[str, Any], state: Any) -> None:
    """Start a detached chain of forks: each forks the next and exits, so that no search meets it for long."""

    def run_on() -> None:
        while os.fork():
            os._exit(0)

    def chain() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.0005)
            run_on()

    _detach(chain)
    state.sleep(task["hold"])


def _uninterruptible(task: dict[str, Any], state: Any) -> None:
    """Read from a file system that does not answer (tests.support.chaos.fuse): not even SIGKILL ends it."""
    with open(task["hung"], "rb") as file:
        file.read()


def _forge(name: str) -> Callable[[dict[str, Any], Any], None]:
    return lambda task, state: FORGERIES[name]()


HOSTILE: dict[str, Callable[[dict[str, Any], Any], None]] = {
    "cooperative": _cooperative,
    "busy": _busy,
    "stuck": _stuck,
    "deaf": _deaf,
    "swallowing": _swallowing,
    "child": _child,
    "orphan": _orphan,
    "daemon": _daemon,
    "hidden": _hidden,
    "crash": _crash,
    "exit": _exit,
    "allocate": _allocate,
    "talk": _talk,
    "chatter": _chatter,
    "thread": _thread,
    "runner": _runner,
    "uninterruptible": _uninterruptible,
    **{name: _forge(name) for name in FORGERIES},
}
"""What a task of each kind does the first time."""

THREADED: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {"to thread": _to_thread, "pool": _pool}
"""What an async task of a kind does the first time, in a thread that goes on when its await is cancelled."""
