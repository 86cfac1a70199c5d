"""Agents that do what agents must not do. `misbehave` does what its input's "do" names; without one it is good."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from runtime import ExecutionState
from tests.support.eof import hold
from tests.support.sync import announce

Input = dict[str, Any]


def misbehave(task: Input, state: ExecutionState) -> Any:
    """Hold the proof and announce, where the test gave a place for it; then do what is asked."""
    if "do" not in task:
        return "good"
    if "proof" in task:
        hold(task["proof"])
    if "post" in task:
        announce(task["post"], task["do"])
    return _DEEDS[task["do"]](task, state)


# -- the ends of an executor, and of a task -----------------------------------------------------------------


def exits(task: Input, state: ExecutionState) -> Any:
    os._exit(task["code"])


def sys_exits(task: Input, state: ExecutionState) -> Any:
    sys.exit(task["code"])


def segfaults(task: Input, state: ExecutionState) -> Any:
    ctypes.string_at(0)


def raises(task: Input, state: ExecutionState) -> Any:
    raise {
        "KeyboardInterrupt": KeyboardInterrupt,
        "GeneratorExit": GeneratorExit,
        "BaseException": BaseException,
        "SystemExit": SystemExit,
        "StopIteration": StopIteration,
        "MemoryError": MemoryError,
    }[task["what"]]("on purpose")


def raises_unspeakable(task: Input, state: ExecutionState) -> Any:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    raise UnspeakableError


def recurses(task: Input, state: ExecutionState) -> Any:
    return recurses(task, state)


def eats_memory(task: Input, state: ExecutionState) -> Any:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)  # a lower hard limit could not be restored, and end the executor
    resource.setrlimit(resource.RLIMIT_AS, (400 << 20, hard))
    return len(bytearray(2 << 30))


# -- what cannot be kept ------------------------------------------------------------------------------------


def returns_socket(task: Input, state: ExecutionState) -> Any:
    return socket.socket()


def returns_coroutine(task: Input, state: ExecutionState) -> Any:
    async def forgotten() -> None:
        pass

    return forgotten()


def returns_generator(task: Input, state: ExecutionState) -> Any:
    return (each for each in (1, 2))


def returns_lambda(task: Input, state: ExecutionState) -> Any:
    return lambda: 7


def returns_much(task: Input, state: ExecutionState) -> Any:
    return "x" * task["bytes"]


def emits_much(task: Input, state: ExecutionState) -> Any:
    with contextlib.suppress(Exception):
        state.emit("much", data="x" * task["bytes"])
    return "went on"


# -- standard streams, descriptors, directories ---------------------------------------------------------------


def prints(task: Input, state: ExecutionState) -> Any:
    print('{"key": "fake", "status": "completed"}')
    sys.stdout.write("no end of line")
    os.write(1, b"\x00\xff\xfe raw bytes\n")
    sys.stderr.write("and an error\n")
    return "printed"


def floods(task: Input, state: ExecutionState) -> Any:
    line = b"e" * 4095 + b"\n"
    for _ in range(task["bytes"] // len(line)):
        os.write(2, line)
    return "flooded"


def closes(task: Input, state: ExecutionState) -> Any:
    os.closerange(task["first"], 1000)
    return "closed"


def closes_and_sleeps(task: Input, state: ExecutionState) -> Any:
    os.closerange(0, 1000)
    time.sleep(1000)


def replaces(task: Input, state: ExecutionState) -> Any:
    """Another file where our pipes were."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3, 40):
        if fd != null:
            with contextlib.suppress(OSError):
                os.fstat(fd)
                os.dup2(null, fd)
    return "replaced"


def changes_directory(task: Input, state: ExecutionState) -> Any:
    os.chdir("/")
    return os.getcwd()


# -- children ---------------------------------------------------------------------------------------------------


def forks_and_returns(task: Input, state: ExecutionState) -> Any:
    """Both return from here, the child at once."""
    if os.fork() == 0:
        return "child"
    time.sleep(0.2)
    return "parent"


def forks_and_fails(task: Input, state: ExecutionState) -> Any:
    if os.fork() == 0:
        raise RuntimeError("in the child")
    return "parent"


def has_children(task: Input, state: ExecutionState) -> Any:
    for _ in range(3):
        subprocess.Popen(["sleep", "1000"], close_fds=False)
    time.sleep(1000)


def has_daemon(task: Input, state: ExecutionState) -> Any:
    """A setsid and a double fork, no exec: the daemon ignores every signal it can."""
    _daemon(_sleep_deaf)
    time.sleep(1000)


def has_alien_daemon(task: Input, state: ExecutionState) -> Any:
    """As above, with an exec and nothing in its environment."""
    _daemon(lambda: os.execve("/bin/sleep", ["sleep", "1000"], {}))
    time.sleep(1000)


def leaves_daemon(task: Input, state: ExecutionState) -> Any:
    """The daemon stays, the task is done."""
    _daemon(_sleep_deaf)
    return "left"


def leaves_chatter(task: Input, state: ExecutionState) -> Any:
    """A child that writes to our standard output for ever stays behind when the executor dies."""
    subprocess.Popen(["sh", "-c", "trap '' TERM; exec yes"], start_new_session=True)
    os._exit(0)


def _daemon(body: Callable[[], Any]) -> None:
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, b"!")
            body()
        os._exit(0)
    os.wait()
    os.read(read, 1)  # so that the daemon stands before the test goes on
    os.close(read)
    os.close(write)


def _sleep_deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1000)


# -- deaf to the ladder ---------------------------------------------------------------------------------------


def busy(task: Input, state: ExecutionState) -> Any:
    while True:
        pass


def sleeps(task: Input, state: ExecutionState) -> Any:
    time.sleep(1000)


def stuck_in_c(task: Input, state: ExecutionState) -> Any:
    """With the interpreter's lock, and for minutes: a sleep in C would be ended by the first signal."""
    collections.deque(itertools.repeat(None, 10**11), maxlen=0)


def sleeps_in_c(task: Input, state: ExecutionState) -> Any:
    """sleep(3) with the interpreter's lock. A signal ends it early, and the agent goes on as if it had slept."""
    ctypes.PyDLL(None).sleep(1000)


def bad_regex(task: Input, state: ExecutionState) -> Any:
    re.match(r"(a+)+$", "a" * 60 + "b")


def ignores_interrupts(task: Input, state: ExecutionState) -> Any:
    while True:
        with contextlib.suppress(BaseException):
            while True:
                state.raise_if_interrupted()
                time.sleep(0.001)


def ignores_term(task: Input, state: ExecutionState) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)


def handles_term(task: Input, state: ExecutionState) -> Any:
    signal.signal(signal.SIGTERM, lambda *_: None)
    while True:
        time.sleep(1000)


def blocks_term(task: Input, state: ExecutionState) -> Any:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while True:
        time.sleep(1000)


def stops_itself(task: Input, state: ExecutionState) -> Any:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1000)


def has_threads(task: Input, state: ExecutionState) -> Any:
    for _ in range(5):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    time.sleep(1000)


def leaves_threads(task: Input, state: ExecutionState) -> Any:
    for _ in range(5):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    return "left"


_DEEDS: dict[str, Callable[[Input, ExecutionState], Any]] = {
    deed.__name__: deed
    for deed in (
        exits, sys_exits, segfaults, raises, raises_unspeakable, recurses, eats_memory, returns_socket,
        returns_coroutine, returns_generator, returns_lambda, returns_much, emits_much, prints, floods, closes,
        closes_and_sleeps, replaces, changes_directory, forks_and_returns, forks_and_fails, has_children, has_daemon,
        has_alien_daemon, leaves_daemon, leaves_chatter, busy, sleeps, stuck_in_c, sleeps_in_c, bad_regex,
        ignores_interrupts, ignores_term, handles_term, blocks_term, stops_itself, has_threads, leaves_threads,
    )
}  # fmt: skip


def describe(deed: str, **more: Any) -> str:
    """One line of input that asks for a deed, under a key of the same name."""
    return json.dumps({"key": deed, "do": deed, **more})
