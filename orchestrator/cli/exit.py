"""End the process: print the summary, write the termination message, and choose the exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from orchestrator import hints
from orchestrator.cli import verbosity
from orchestrator.cli.exit_codes import FAILED, RESUMABLE
from orchestrator.cli.options import LogFormat
from orchestrator.cli.verbosity import Verbosity
from orchestrator.engine.signals import STACKS, exit_by_signal
from orchestrator.integrations.kubernetes.termination import REASON_LENGTH, TerminationMessage
from orchestrator.integrations.slurm.requeue import requeue_job
from orchestrator.integrations.systemd.notify import notify_already_finished
from orchestrator.journal import Journal, RunRecord
from orchestrator.logging.sinks import DescriptorSink, standard_error
from orchestrator.run_result import RunResult
from runtime.errors import QuiesceError
from runtime.ipc.codec import encode_json
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus
from runtime.stop_limits import OUTPUT_TIMEOUT
from runtime.text import printable, printable_json, printable_lines, single_line

INPUT_TRUNCATED = "the input was a stream that was not read to its end: what was not read is not part of the run"


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended: its result, its id, the location of its journal, and whether its input was cut off.

    `failures`: a line for each of the most frequent causes of failed tasks.
    """

    result: RunResult
    run_id: str
    journal: str
    input_truncated: bool = False
    failures: Sequence[str] = ()

    def text(self) -> str:
        """Return the summary for people: how the run ended, and the command to type next."""
        result, view = self.result, self.result.view
        text = f"run {printable(self.run_id)}: {result.status.value} after {result.seconds:.1f} s: "
        text += f"{view.completed} completed"
        text += f", {view.failed} failed" if view.failed else ""
        text += f", {view.left} left" if view.left else ""
        if result.signal is not None:
            text += f" ({single_line(result.signal.message or result.signal.reason.value, REASON_LENGTH)})"
        return "\n".join([text, *self._notes()])

    def _notes(self) -> Iterator[str]:
        """Yield the lines of the summary below its first one."""
        result, view = self.result, self.result.view
        if result.error is not None and (result.signal is None or result.error != result.signal.message):
            yield f"quiesce: {printable(result.error)}"
        if result.remaining:
            yield f"quiesce: could not end: {printable(', '.join(result.remaining))}"
        if result.status is ExecutionStatus.INTERRUPTED and view.accepted:
            yield f"To resume: {hints.command('resume', self.run_id, self.journal)}"
        if view.failed:
            yield from map(printable, self.failures)
            yield f"To see the failures: {hints.command('failures', self.run_id, self.journal)}"
        if self.input_truncated:
            yield INPUT_TRUNCATED

    def to_dict(self) -> dict[str, Any]:
        """Return the summary for programs."""
        result, view = self.result, self.result.view
        return {
            "run_id": self.run_id,
            "status": result.status.value,
            "completed": view.completed,
            "failed": view.failed,
            "interrupted": view.interrupted,
            "pending": view.pending,
            "seconds": round(result.seconds, 3),
            "signal": None if result.signal is None else result.signal.model_dump(mode="json"),
            "error": result.error,
            "remaining": list(result.remaining),
            "journal": self.journal,
        }


@dataclass(frozen=True, slots=True)
class ExitOptions:
    """How the command ends: where it reports the result, and with which exit status.

    interrupted_exit_code: the exit status of an interrupted run; None: death by the signal, or RESUMABLE.
    requeues: how often Slurm may restart the job of this process.
    """

    message: TerminationMessage
    log_format: LogFormat
    as_json: bool
    interrupted_exit_code: int | None
    requeues: int = 0

    def report(self, text: str, summary: dict[str, Any]) -> None:
        """Report the end: `text` for people and the host, `summary` on standard output if JSON was requested."""
        self.message.write(text)
        quiet = summary["status"] == "completed" and verbosity.current() is Verbosity.QUIET
        if (
            self.log_format is not LogFormat.JSON and not quiet
        ):  # a program that reads JSON lines has run.finished as the last one
            print_error(text)
        flush_message(self.message)
        if self.as_json:
            print_json(summary)


def exit_with_result(run: EndedRun, options: ExitOptions) -> NoReturn:
    """Report how a run ended, and end the process with the exit status of its result."""
    options.report(run.text(), run.to_dict())
    result = run.result
    if result.signal is None:  # no host waits for the end: a reader that continues to read gets all of the output
        standard_error().flush()
    if result.status is ExecutionStatus.COMPLETED:
        exit_now(0)
    if result.status is ExecutionStatus.FAILED:
        exit_now(FAILED)
    by_user = result.signal is not None and result.signal.reason is InterruptReason.USER_CANCELLED
    if result.signal_name is None and not by_user and (problem := requeue_job(options.requeues)) is not None:
        print_error(f"quiesce: {problem}")
    if options.interrupted_exit_code is not None:
        exit_now(options.interrupted_exit_code)
    if result.signal_name is not None:
        flush_and_exit_by_signal(signal.Signals[result.signal_name])
    exit_now(RESUMABLE)


def exit_already_finished(run: RunRecord, journal: Journal, options: ExitOptions) -> NoReturn:
    """Report a run that was over before the command began, and end the process with the status of that run."""
    counts = journal.counts(run.id)
    text = f"run {printable(run.run_id)} is over: {counts.completed} completed, {counts.failed} failed"
    notify_already_finished(text)
    tasks = {"completed": counts.completed, "failed": counts.failed, "interrupted": 0, "pending": 0}
    options.report(text, {"run_id": run.run_id, "status": run.status.value, **tasks, "journal": journal.location})
    exit_now(0 if run.status is ExecutionStatus.COMPLETED else FAILED)


@contextmanager
def errors_in_message(message: TerminationMessage) -> Iterator[None]:
    """Write an error that ends the block into the termination message, and pass it on."""
    try:
        yield
    except QuiesceError as error:
        message.write(f"quiesce: {error}")
        flush_message(message)
        raise


def flush_message(message: TerminationMessage) -> None:
    """Wait until the termination message is written; print what went wrong with it."""
    message.flush()
    if message.problem is not None:
        print_error(f"quiesce: {message.problem}")


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on standard output, as far as it is read."""
    output = DescriptorSink(1)
    output.write_line(printable_json(encode_json(record).decode()))
    output.flush(OUTPUT_TIMEOUT)


def print_error(text: str) -> None:
    """Print lines on standard error, as far as it is read."""
    standard_error().write_line(printable_lines(text), urgent=True)
    standard_error().flush(OUTPUT_TIMEOUT)


def outlive_stack_requests(warnings: Iterable[str] = ()) -> None:
    """Have a request for stacks, or a warning of the host, change nothing that comes when the run has ended.

    The process ends then, too. A handler, not SIG_IGN: what is exec'd would inherit that.
    """
    for signum in (*STACKS, *(signal.Signals[name] for name in warnings if hasattr(signal, name))):
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, lambda *_: None)


def exit_now(code: int) -> NoReturn:
    """End the process with an exit code, without waiting for threads that read input or a disk that hangs."""
    _flush()
    os._exit(code)


def flush_and_exit_by_signal(signum: int) -> NoReturn:
    """End the process by a signal; as PID 1, whose signals have no default action, with exit code 128 + n."""
    _flush()
    exit_now(exit_by_signal(signum))


def _flush() -> None:
    """Flush standard output and error; wait for standard error at most OUTPUT_TIMEOUT seconds."""
    sys.stdout.flush()
    standard_error().flush(OUTPUT_TIMEOUT)
