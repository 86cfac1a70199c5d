"""The agent that runs one command for each input: it starts it, waits for its end, and says how it ended.

*Theory.* A command needs no executor of its own: one event loop holds hundreds of them. Each is a process group and a
pidfd, which becomes readable when the command ends. No thread waits, no pipe is read. Whether the command, its group
and what it has detached are gone is known before its task is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runtime.agents import AgentOptions
from runtime.command import containers, launch, spec
from runtime.command.family import MARK, Family
from runtime.command.output_files import OutputFile, results_folder
from runtime.command.record import (
    LONGEST_COMMAND,
    TAIL,
    CommandFailed,
    CommandFailedForGood,
    CommandInterrupted,
    describe_end,
    last_line,
    text_of,
)
from runtime.command.signal_names import signal_name
from runtime.command.start_gate import StartGate
from runtime.command.stopping import CommandStop, StopFile
from runtime.command.words import CommandWords, TaskPlace, elements, field_text
from runtime.errors import UsageError
from runtime.execution.external import ExternalResource
from runtime.execution.state import ExecutionState
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.trace_ids import traceparent

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

SNAPSHOTS, STOPS, OUTPUTS = "snapshots", "stops", "output"
"""Folders below the run's own: snapshots of tasks, stop files, and output that is too long for a record."""

_SCALE: Final = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kibibytes on Linux


@dataclass(frozen=True, slots=True)
class _Ended:
    """A command that has ended: its code as subprocess has it, and what it has used."""

    code: int
    usage: resource.struct_rusage
    seconds: float


@dataclass(frozen=True, slots=True)
class _Task:
    """One attempt: the input, its place, and its names."""

    value: Any
    place: TaskPlace
    state: ExecutionState

    @property
    def key(self) -> str:
        """Return the key of the task."""
        return self.state.key or ""

    @property
    def name(self) -> str:
        """Return a name for the attempt that is different for each: its mark, and the name of its files."""
        return f"{self.place.number}.{self.state.attempt}"


class CommandAgent:
    """The built-in agent `quiesce:command`."""

    __quiesce_agent__ = AgentOptions(name="command")

    def __init__(self, what: spec.CommandSpec, setup: spec.CommandSetup) -> None:
        self._words = CommandWords(what.words, shell=what.shell)
        self._stdin = what.stdin
        self._setup = setup
        self._gate = StartGate(setup)
        self._free_slots = list(range(1, setup.workers + 1))
        self._slots = setup.workers
        self._ok_codes = frozenset(setup.ok_codes)
        self._retry_codes = None if setup.retry_codes is None else frozenset(setup.retry_codes)
        self._spool = os.path.join(setup.folder, OUTPUTS)
        for name in (SNAPSHOTS, STOPS, OUTPUTS):
            os.makedirs(os.path.join(setup.folder, name), exist_ok=True)

    async def __call__(self, task_input: Any, state: ExecutionState) -> dict[str, Any]:
        """Run the command for one input. Raises CommandFailed, ExecutionInterrupted."""
        slot = self._take_slot()
        try:
            number = getattr(state.host, "task", 0)
            return await self._run(_Task(task_input, TaskPlace(number, slot), state))
        finally:
            heapq.heappush(self._free_slots, slot)

    def _take_slot(self) -> int:
        if not self._free_slots:  # while an attempt is cleaned up
            self._slots += 1
            return self._slots
        return heapq.heappop(self._free_slots)

    async def _run(self, task: _Task) -> dict[str, Any]:
        try:
            words = self._words.for_input(task.value, task.place)
            stdin = None if self._stdin is None else field_text(task.value, self._stdin).encode()
        except UsageError as error:
            raise CommandFailedForGood(str(error)) from None
        if not self._gate.is_open:
            await self._gate.enter()
        snapshot = os.path.join(self._setup.folder, SNAPSHOTS, str(task.place.number))
        stop_file = StopFile(os.path.join(self._setup.folder, STOPS, task.name))
        with suppress(FileExistsError):
            os.mkdir(snapshot)
        folder = self._results_folder(task)
        streams: list[OutputFile] = []
        input_fd = None if stdin is None else launch.input_file(stdin)
        try:
            streams += [OutputFile(folder), OutputFile(folder)]
            environment = self._environment(task, snapshot, stop_file.path)
            container = self._plan_container(task, words)
            words = words if container is None else container.argv
            async with contextlib.nullcontext() if container is None else self._undo_of(task, container):
                value = await self._execute(task, words, environment, input_fd, streams, stop_file)
        except OSError as error:  # a full disk, a folder that is gone
            raise CommandFailed(f"its output cannot be kept: {error.strerror}: {error.filename or folder}") from None
        finally:
            if input_fd is not None:
                os.close(input_fd)
            for stream in streams:
                stream.close()
            stop_file.remove()
            with suppress(OSError):  # it has something: that is for the next attempt
                os.rmdir(snapshot)
        if os.access(snapshot, os.F_OK):
            shutil.rmtree(snapshot, ignore_errors=True)
        return value

    async def _execute(
        self,
        task: _Task,
        words: list[str],
        environment: Mapping[str, str],
        stdin: int | None,
        streams: Sequence[OutputFile],
        stop_file: StopFile,
    ) -> dict[str, Any]:
        started_at, began = time.time(), time.perf_counter()
        try:
            pid = launch.start(words, environment, stdin, streams[0].fd, streams[1].fd)
        except CommandFailed as error:
            error.value = self._record(task, None, streams) | {"started_at": started_at}
            raise
        family = Family(pid, task.name)
        interrupt = await self._await_end(task, family, stop_file)
        _, status, usage = os.wait4(pid, os.WNOHANG)  # noqa: ASYNC222 - it has ended; one that waits for a disk is left
        ended = _Ended(os.waitstatus_to_exitcode(status), usage, time.perf_counter() - began)
        is_ok = interrupt is None and ended.code in self._ok_codes
        if not self._setup.keep_children and (not is_ok or family.has_group()):
            await family.end_leftovers()
        value = self._record(task, ended, streams) | {"started_at": started_at}
        if interrupt is not None:
            raise CommandInterrupted(interrupt, value)
        if not is_ok:
            raise self._failure(ended.code, value, streams[1])
        return value

    async def _await_end(self, task: _Task, family: Family, stop_file: StopFile) -> InterruptSignal | None:
        """Wait until the command has ended. Return what has interrupted it, or None."""
        loop, setup = asyncio.get_running_loop(), self._setup
        ended: asyncio.Future[None] = loop.create_future()
        handle = os.pidfd_open(family.pid)
        timer = None
        try:
            loop.add_reader(handle, _resolve, loop, handle, ended)
            timed_out = loop.create_future() if setup.timeout is not None else None
            if timed_out is not None and setup.timeout is not None:
                timer = loop.call_later(setup.timeout, timed_out.set_result, None)
            try:
                if timed_out is None:
                    await asyncio.shield(ended)
                else:
                    await asyncio.wait({ended, timed_out}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                signal = task.state.settle_signal()
                if signal is None:
                    raise
                if ended.done():  # it had ended before: nothing was cut short
                    return None
                await CommandStop(setup, family, stop_file, ended, task.state, timed_out=False).run()
                return signal
            if ended.done():
                return None
            await CommandStop(setup, family, stop_file, ended, task.state, timed_out=True).run()
            message = f"the task took longer than {setup.timeout:g} s"
            return PlainSignal(reason=InterruptReason.TIMEOUT, message=message, triggered_by="timeout")
        finally:
            if timer is not None:
                timer.cancel()
            loop.remove_reader(handle)
            os.close(handle)

    def _plan_container(self, task: _Task, words: list[str]) -> containers.ContainerRun | None:
        if not self._setup.container_undo:  # a script of --shell begins with the shell
            return None
        return containers.plan(words, task.state.run_id or "", task.state.unique_name)

    @staticmethod
    def _undo_of(task: _Task, container: containers.ContainerRun) -> ExternalResource:
        """Return the block in which a container may exist: its removal is in the journal before the command starts."""
        return task.state.external("container", container.undo, name=container.name)

    # -- what a command is given ----------------------------------------------------------------------

    def _environment(self, task: _Task, snapshot: str, stop_file: str) -> dict[str, str]:
        of_slot, run_id, attempt = self._setup.slot_env, task.state.run_id or "", task.state.attempt
        return {
            **os.environ,
            **{name: values[(task.place.slot - 1) % len(values)] for name, values in of_slot.items()},
            "QUIESCE_RUN_ID": run_id,
            "QUIESCE_KEY": task.key.replace("\0", ""),
            "QUIESCE_ATTEMPT": str(attempt),
            "QUIESCE_SNAPSHOT_DIR": snapshot,
            "QUIESCE_STOP_FILE": stop_file,
            "TRACEPARENT": traceparent(run_id, task.key, attempt),
            MARK: task.name,
        }

    def _results_folder(self, task: _Task) -> str:
        """Return the folder of a command's output, which is made if it is one of --results."""
        if self._setup.results is None:
            return self._spool
        texts = [task.key] if isinstance(task.value, Mapping) else elements(task.value)
        folder = results_folder(self._setup.results, texts, str(task.place.number))
        os.makedirs(folder, exist_ok=True)
        return folder

    # -- what is said of it ---------------------------------------------------------------------------

    def _record(self, task: _Task, ended: _Ended | None, streams: Sequence[OutputFile]) -> dict[str, Any]:
        """Return the record of a command. `ended` is None for one that could not be started."""
        command = self._words.shown(task.value, task.place)
        value: dict[str, Any] = {"command": command[:LONGEST_COMMAND], "exit": None, "signal": None}
        if ended is not None:
            code, usage = ended.code, ended.usage
            value |= {
                "exit": code if code >= 0 else None,
                "signal": None if code >= 0 else signal_name(-code),
                "seconds": round(ended.seconds, 6),
                "user_seconds": usage.ru_utime,
                "system_seconds": usage.ru_stime,
                "max_rss": usage.ru_maxrss * _SCALE if usage.ru_maxrss > _own_peak() else None,
            }
        for name, stream, output in zip(("stdout", "stderr"), streams, (sys.stdout, sys.stderr), strict=True):
            value |= self._record_stream(task, name, stream, output)
        if self._setup.results is not None:
            folder = self._results_folder(task)
            _write_number(folder, task.place.number)
            value["results"] = folder
        return value

    def _record_stream(self, task: _Task, name: str, stream: OutputFile, output: Any) -> dict[str, Any]:
        size = stream.size
        path = None
        if not size and self._setup.results is None:
            return {name: "", f"{name}_bytes": 0}
        logged = stream.tail(self._setup.tail, size)
        tail = logged[-TAIL:] if self._setup.tail >= TAIL else stream.tail(TAIL, size)
        if self._setup.results is not None:
            path = os.path.join(self._results_folder(task), name)
        elif self._setup.printed and (size > TAIL or not _is_text(tail)):
            path = os.path.join(self._spool, f"{task.name}.{name}")
        if path is not None:
            stream.name(path)
        if logged:
            output.write(text_of(logged))
            output.flush()
        kept = {} if path is None or self._setup.results is not None else {f"{name}_file": path}
        return {name: text_of(tail), f"{name}_bytes": size, **kept}

    def _failure(self, code: int, value: dict[str, Any], stderr: OutputFile) -> CommandFailed:
        """Return the error of a command that failed."""
        line = describe_end(code, last_line(stderr.tail(TAIL, stderr.size)))
        of_shell = code if code >= 0 else 128 - code
        if self._retry_codes is not None and code not in self._retry_codes and of_shell not in self._retry_codes:
            return CommandFailedForGood(line, value)
        return CommandFailed(line, value)


def load(arguments: bytes) -> CommandAgent:
    """Return the agent for the arguments of a LoadAgent order. Raises UsageError."""
    try:
        agent = CommandAgent(*spec.decode(arguments))
    except (ValueError, OSError) as error:
        raise UsageError(f"the command cannot be prepared: {error}") from error
    launch.keep_descriptors()
    return agent


def _resolve(loop: asyncio.AbstractEventLoop, handle: int, ended: asyncio.Future[None]) -> None:
    loop.remove_reader(handle)
    if not ended.done():
        ended.set_result(None)


def _own_peak() -> int:
    """Return the executor's own peak, which the kernel counts for a command until it execs: less is not known."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _write_number(folder: str, number: int) -> None:
    file = OutputFile(folder)
    try:
        os.write(file.fd, f"{number}".encode())
        file.name(os.path.join(folder, "seq"))
    finally:
        file.close()
