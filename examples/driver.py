"""What the two demonstrations share: run a batch with `quiesce`, or go on with one that was stopped.

Everything here could be typed by hand; each command is printed before it is run.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

USAGE = 2
"""quiesce's exit code when it was asked for something that it cannot do; it has said what."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One run: its name, its agent, its inputs, its journal, and more options of `quiesce run`."""

    run_id: str
    agent: str
    inputs: Path
    journal: Path
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> int:
        """Run it, or resume it, or see that it is finished. Gives quiesce's exit code, negative for a signal."""
        where = ("--journal", str(self.journal))
        state = self.status()
        if state is None:
            return self._supervise("run", self.agent, "--input", str(self.inputs), "--run-id", self.run_id, *where)
        if state in {"completed", "failed"}:
            tell(f"The run {self.run_id} is finished already; to start over, delete {self.journal.parent}.")
            return int(state == "failed")
        return self._supervise("resume", self.run_id, *where)

    def status(self) -> str | None:
        """The status of the run, None if there is none. `failed` is finished too: some of its tasks have failed."""
        if not self.journal.exists():
            return None
        command = [quiesce(), "status", self.run_id, "--journal", str(self.journal), "--json"]
        found = subprocess.run(command, capture_output=True, check=False)
        return str(json.loads(found.stdout)["status"]) if found.returncode == 0 else None

    def results(self) -> list[dict[str, Any]]:
        """What `quiesce results --json` prints."""
        command = [quiesce(), "results", self.run_id, "--journal", str(self.journal), "--json"]
        found = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        return [json.loads(line) for line in found.stdout.splitlines()]

    def _supervise(self, *arguments: str) -> int:
        """Run quiesce. Ctrl-C reaches it by itself, being in our process group; SIGTERM is passed on."""
        tell("$ " + shlex.join(["quiesce", *arguments, *self.options]))
        with passing_signals_on() as receive:
            process = subprocess.Popen(
                [quiesce(), *arguments, *self.options], env=os.environ | self.environment, stdin=subprocess.DEVNULL
            )
            receive(process)
            return process.wait()


@contextmanager
def passing_signals_on() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """While the block runs, SIGTERM and SIGHUP are for the process that it names, and Ctrl-C is not for us.

    The handlers stand before the process is started: a signal that comes in between is passed on as it is named.
    """
    receivers: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if receivers:
            receivers[0].send_signal(number)
        else:
            early.append(number)

    def receive(process: subprocess.Popen[bytes]) -> None:
        receivers.append(process)
        for number in early:
            process.send_signal(number)

    handlers: dict[signal.Signals, Any] = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on),
        signal.SIGHUP: signal.signal(signal.SIGHUP, pass_on),
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
    }
    try:
        yield receive
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def end_as(code: int) -> int:
    """End as the child did: with its exit code, or by the signal that it died of, so that a shell sees the truth."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def quiesce() -> str:
    """The command beside this interpreter."""
    return str(Path(sys.executable).with_name("quiesce"))


def tell(text: str) -> None:
    """A line for the person who looks on."""
    print(text, file=sys.stderr, flush=True)
