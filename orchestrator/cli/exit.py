"""How the process ends: the last words, and the exit status."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator import hints
from orchestrator.cli.options import LogFormat
from orchestrator.engine.signals import exit_by_signal
from orchestrator.integrations.kubernetes.termination import WHY, TerminationMessage
from orchestrator.integrations.systemd.notify import notify_already_finished
from orchestrator.journal import Journal, RunRecord
from orchestrator.logging.sinks import PATIENCE, DescriptorSink, standard_error
from orchestrator.run_session import RunResult
from runtime.ipc.codec import encode_json
from runtime.model import ExecutionStatus
from runtime.text import printable, printable_json, printable_lines, single_line

if TYPE_CHECKING:
    from orchestrator.cli.runner import OutputOptions, Runner

FAILED = 1
USAGE = 2
RESUMABLE = 75
"""EX_TEMPFAIL (sysexits.h): try again later, here with `quiesce resume`."""

INPUT_TRUNCATED = "its input was a stream that was not read to its end: what was not read is not part of the run"

MESSAGE = TerminationMessage()
"""Of this process, which ends once; `run` and `resume` choose where it goes."""


def exit_with_result(ran: tuple[RunResult, Runner], look: OutputOptions) -> NoReturn:
    """Say the last words, and end the process as the run ended."""
    ending, runner = ran
    journal = runner.journal.location
    words = summary_text(ending, runner.session.run_id, journal)
    if runner.input_truncated:
        words += f"\n{INPUT_TRUNCATED}"
    print_summary(words, aloud=look.log_format is not LogFormat.JSON)  # for machines, run.finished was the last word
    if look.as_json:
        print_json(summary_dict(ending, runner.session.run_id, journal))
    if ending.signal is None:  # nobody waits for the end: a reader that goes on reading gets all of it
        standard_error().flush()
    if ending.status is ExecutionStatus.COMPLETED:
        exit_now(0)
    if ending.status is ExecutionStatus.FAILED:
        exit_now(FAILED)
    if look.interrupted_exit_code is not None:
        exit_now(look.interrupted_exit_code)
    if ending.signal_name is not None:
        exit_by_signal(signal.Signals[ending.signal_name])
    exit_now(RESUMABLE)


def exit_already_finished(run: RunRecord, journal: Journal, look: OutputOptions) -> NoReturn:
    """There is nothing to do: the run is over already."""
    counts = journal.counts(run.id)
    words = f"run {printable(run.run_id)} is over: {counts.completed} completed, {counts.failed} failed"
    notify_already_finished(words)
    print_summary(words, aloud=look.log_format is not LogFormat.JSON)
    if look.as_json:
        done = {"completed": counts.completed, "failed": counts.failed, "interrupted": 0, "pending": 0}
        print_json({"run_id": run.run_id, "status": run.status.value, **done, "journal": journal.location})
    exit_now(0 if run.status is ExecutionStatus.COMPLETED else FAILED)


def summary_text(ending: RunResult, run_id: str, journal: str) -> str:
    """What a person wants to know now: how it ended, and the command to type next."""
    view = ending.view
    left = view.accepted - view.completed - view.failed
    words = f"run {printable(run_id)}: {ending.status.value} after {ending.seconds:.1f} s: {view.completed} completed"
    words += f", {view.failed} failed" if view.failed else ""
    words += f", {left} left" if left else ""
    if ending.signal is not None:
        words += f" ({single_line(ending.signal.message or ending.signal.reason.value, WHY)})"
    if ending.error is not None and (ending.signal is None or ending.error != ending.signal.message):
        words += f"\nquiesce: {printable(ending.error)}"
    if ending.remaining:
        words += f"\nquiesce: could not end: {printable(', '.join(ending.remaining))}"
    if ending.status is ExecutionStatus.INTERRUPTED and view.accepted:
        words += f"\ngo on with: {hints.command('resume', run_id, journal)}"
    if view.failed:
        words += f"\nwhat failed: {hints.command('results', run_id, journal, '--status', 'failed')}"
    return words


def summary_dict(ending: RunResult, run_id: str, journal: str) -> dict[str, Any]:
    """The same for a program."""
    view = ending.view
    return {
        "run_id": run_id,
        "status": ending.status.value,
        "completed": view.completed,
        "failed": view.failed,
        "interrupted": view.interrupted,
        "pending": view.accepted - view.completed - view.failed - view.interrupted,
        "seconds": round(ending.seconds, 3),
        "signal": None if ending.signal is None else ending.signal.model_dump(mode="json"),
        "error": ending.error,
        "remaining": list(ending.remaining),
        "journal": journal,
    }


def print_json(record: dict[str, Any]) -> None:
    """One JSON object on standard output, if anybody reads it."""
    output = DescriptorSink(1)
    output.write_line(printable_json(encode_json(record).decode()))
    output.flush(PATIENCE)


def print_summary(text: str, *, aloud: bool = True) -> None:
    """The last words, for the host and, `aloud`, for people."""
    MESSAGE.write(text)
    if aloud:
        print_error(text)
    MESSAGE.flush()
    if MESSAGE.problem is not None:
        print_error(f"quiesce: {MESSAGE.problem}")


def print_error(text: str) -> None:
    """A line on standard error, if anybody reads it."""
    standard_error().write_line(printable_lines(text), urgent=True)
    standard_error().flush(PATIENCE)


def outlive_stack_requests() -> None:
    """Have a SIGUSR1 that comes when the run has ended, and before the process does, change nothing.

    A handler, not SIG_IGN: what is exec'd would inherit that.
    """
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, lambda *_: None)


def exit_now(code: int) -> NoReturn:
    """End with an exit code. Threads that wait for input, or for a disk that hangs, are not waited for."""
    _flush()
    os._exit(code)


def flush_and_exit_by_signal(signum: int) -> NoReturn:
    """End by a signal; as PID 1, with 128 + n."""
    _flush()
    exit_now(exit_by_signal(signum))


def _flush() -> None:
    """What is still on its way out, with a limit."""
    sys.stdout.flush()
    standard_error().flush(PATIENCE)
