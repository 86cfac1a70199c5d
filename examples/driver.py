"""Run a batch with `quiesce`, or continue one that was stopped: what the demonstrations of both examples share.

Everything here could be typed by hand. The command is printed before it is run.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

QUIESCE = Path(sys.executable).with_name("quiesce")
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@dataclass(frozen=True, slots=True)
class Batch:
    """A run: its id, its agent, the folder of its inputs and its journal, more options, more environment variables."""

    run_id: str
    agent: str
    folder: Path
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, inputs: Iterable[dict[str, str]]) -> int:
        """Run the batch, or resume it. Returns the exit code of quiesce, or -n if signal n ended it."""
        if self._query("status").returncode == 0:
            return self._supervise("resume", self.run_id)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "inputs.jsonl"
        path.write_text("".join(f"{json.dumps(task_input)}\n" for task_input in inputs), "utf-8")
        return self._supervise("run", self.agent, "--input", str(path), "--run-id", self.run_id)

    def results(self) -> list[dict[str, Any]]:
        """Return the rows that `quiesce results --json` prints."""
        return [json.loads(line) for line in self._query("results").stdout.splitlines()]

    def _query(self, command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [QUIESCE, command, self.run_id, *self._journal(), "--json"], capture_output=True, check=False
        )

    def _supervise(self, *arguments: str) -> int:
        command = [*arguments, *self._journal(), *self.options]
        print("$ " + shlex.join(["quiesce", *command]), file=sys.stderr, flush=True)
        return run_with_signals([str(QUIESCE), *command], os.environ | self.environment)

    def _journal(self) -> tuple[str, str]:
        return "--journal", str(self.folder / f"{self.run_id}.db")


def run_with_signals(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a command that gets our signals, and return its exit code.

    SIGINT is not passed on: Ctrl-C reaches the whole process group, and so the command. Signals are blocked until
    the handlers know the process, so that none is lost in between. quiesce unblocks them for itself.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)

    def pass_on(number: int, _: FrameType | None) -> None:
        if number != signal.SIGINT:
            process.send_signal(number)

    for number in SIGNALS:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    code = process.wait()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    return code


def end_as(code: int) -> NoReturn:
    """End as the command did: with its exit code, or by the signal that ended it, so that a shell sees the truth."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
