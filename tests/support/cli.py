"""The command line as users get it: a real process, in a process group of its own, under a hard time limit.

Its output is drained by threads into memory, so it never blocks on a full pipe, and a test can wait for a line
(`expect`) without looking twice. At its time limit the whole tree writes its Python stacks and the test fails
with them.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from tests.support import procs
from tests.support.stacks import dump_and_kill

ROOT = Path(__file__).resolve().parents[2]
QUIESCE = (str(Path(sys.executable).with_name("quiesce")),)
_DRAIN = 30.0  # seconds that output may take to end once the process has

Command = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Completed:
    """How a command ended. `returncode` is negative for a death by signal, as with subprocess."""

    args: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def signal(self) -> signal.Signals | None:
        """The signal it died by, or None."""
        return signal.Signals(-self.returncode) if self.returncode < 0 else None

    def __str__(self) -> str:
        return (
            f"{' '.join(self.args)}\nended with {self.returncode} after {self.seconds:.2f} s\n"
            f"--- stdout\n{self.stdout[-4000:]}\n--- stderr\n{self.stderr[-8000:]}"
        )


class Running:
    """A command that runs. Use it as a context manager: whatever is left of it at the end is killed."""

    def __init__(
        self,
        args: Command,
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        pass_fds: Sequence[int] = (),
        timeout: float = 90.0,
    ) -> None:
        self.args = tuple(os.fspath(each) for each in args)
        self._marker = f"QUIESCE_TEST_{uuid.uuid4().hex[:12]}"
        self._began = time.monotonic()
        self._deadline = self._began + timeout
        self._heard = threading.Condition()
        self._output: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._ended: float | None = None
        self.popen = subprocess.Popen(
            self.args,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment({**(env or {}), self._marker: "1"}),
            cwd=cwd,
            pass_fds=pass_fds,
            process_group=0,
        )
        self._threads = [self._drain(name) for name in self._output]

    # -- what it says -------------------------------------------------------------------------------------

    @property
    def stdout(self) -> str:
        """Standard output so far."""
        return self._output["stdout"].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """Standard error so far."""
        return self._output["stderr"].decode(errors="replace")

    def expect(self, pattern: str, *, stream: str = "stderr", count: int = 1, deadline: float = 30.0) -> str:
        """Block until a pattern was written `count` times; the last match. AssertionError when it cannot come."""
        end = min(time.monotonic() + deadline, self._deadline)
        with self._heard:
            while True:
                found = list(re.finditer(pattern, self._output[stream].decode(errors="replace"), re.MULTILINE))
                if len(found) >= count:
                    return found[count - 1].group()
                over = not any(each.is_alive() for each in self._threads)
                if over or not self._heard.wait(end - time.monotonic()):
                    break
        raise AssertionError(f"{pattern!r} was not written {count} times to {stream}: {self}")

    # -- what is done to it -------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process itself: the supervisor, when the command is `quiesce run`."""
        return self.popen.pid

    def send(self, number: signal.Signals) -> None:
        """Signal the process alone."""
        self.popen.send_signal(number)

    def send_group(self, number: signal.Signals) -> None:
        """Signal its process group, as a terminal's Ctrl-C does."""
        os.killpg(self.pid, number)

    def tree(self) -> list[psutil.Process]:
        """Every living process of this command, however detached."""
        below = {each.pid: each for each in procs.descendants(self.pid)}
        return list({**below, **{each.pid: each for each in procs.processes_with(self._marker)}}.values())

    def write(self, data: bytes | str) -> None:
        """Write to its standard input (started with stdin=subprocess.PIPE)."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(data.encode() if isinstance(data, str) else data)
        self.popen.stdin.flush()

    def close_stdin(self) -> None:
        """End its standard input."""
        if self.popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.popen.stdin.close()

    def wait(self, timeout: float | None = None) -> Completed:
        """Wait for its end, and for the end of its output. Past its limit: stacks, kill, AssertionError."""
        end = self._deadline if timeout is None else min(self._deadline, time.monotonic() + timeout)
        try:
            self.popen.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(self._stuck("did not end in time")) from None
        self._ended = self._ended or time.monotonic()
        for thread in self._threads:
            thread.join(_DRAIN)
            if thread.is_alive():
                raise AssertionError(self._stuck("ended, but something it started still holds its output"))
        return self._completed()

    def kill(self) -> None:
        """End whatever is left of it, and let go of its output."""
        procs.kill_all(self.tree())
        self.popen.kill()
        self.popen.wait()
        self.close_stdin()
        for thread in self._threads:
            thread.join(_DRAIN)

    def _stuck(self, why: str) -> str:
        told = dump_and_kill([psutil.Process(self.pid), *self.tree()] if psutil.pid_exists(self.pid) else self.tree())
        self.kill()
        return f"{why}:\n{told}\n{self._completed()}"

    def _completed(self) -> Completed:
        code = self.popen.returncode
        seconds = (self._ended or time.monotonic()) - self._began
        return Completed(self.args, -99 if code is None else code, self.stdout, self.stderr, seconds)

    def _drain(self, name: str) -> threading.Thread:
        pipe: IO[bytes] = getattr(self.popen, name)

        def read() -> None:
            with pipe:
                while data := os.read(pipe.fileno(), 65536):
                    with self._heard:
                        self._output[name] += data
                        self._heard.notify_all()
            with self._heard:
                self._heard.notify_all()

        thread = threading.Thread(target=read, name=f"drain {name} of {self.popen.pid}", daemon=True)
        thread.start()
        return thread

    def __str__(self) -> str:
        return str(self._completed())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment, so that agents can import `tests.support` and a stuck child can tell its stacks."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    base = {"PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", "TERM": "dumb", "NO_COLOR": "1"}
    return {**os.environ, **base, **(extra or {})}


def start_cli(*args: str | os.PathLike[str], timeout: float = 90.0, **options: object) -> Running:
    """Start `quiesce ARGS`; see Running for the options."""
    return Running([*QUIESCE, *args], timeout=timeout, **options)  # type: ignore[arg-type]


def run_cli(
    *args: str | os.PathLike[str], stdin: str | bytes | None = None, timeout: float = 90.0, **options: object
) -> Completed:
    """Run `quiesce ARGS` to its end, with `stdin` as its standard input."""
    if stdin is None:
        with start_cli(*args, timeout=timeout, **options) as running:
            return running.wait()
    with start_cli(*args, timeout=timeout, **{**options, "stdin": subprocess.PIPE}) as running:
        with contextlib.suppress(BrokenPipeError):
            running.write(stdin)
        running.close_stdin()
        return running.wait()
