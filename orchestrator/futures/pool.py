"""The run behind an executor: it starts with the first call, and outlives the executor object until all is done.

Threads: the caller's hand in calls, the store's settles futures, `quiesce-callbacks` calls done-callbacks, and
`quiesce-futures` waits for the end of the run and releases everything, so that no caller has to wait for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from orchestrator.callbacks import CallbackThread
from orchestrator.core.ladder import Rung
from orchestrator.core.records import NewTask
from orchestrator.core.settings import RunSettings
from orchestrator.engine.signals import reraise
from orchestrator.engine.task_store import Known
from orchestrator.futures.call_future import CallFuture, new_call_future
from orchestrator.futures.call_keys import CallNamer
from orchestrator.futures.program_output import forward_output, log_to_logging
from orchestrator.futures.resumption import find_stored
from orchestrator.futures.spooler import Spooler
from orchestrator.journal import open_journal
from orchestrator.logging.output_sinks import CallbackOutput
from orchestrator.run_session import RunSession
from runtime.errors import ExecutionInterrupted, QuiesceError, ResultError
from runtime.ipc import codec
from runtime.ipc.calls import AGENT_NAME, Call, CallAgent
from runtime.ipc.main_module import refuse_start_while_importing
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.statuses import Severity
from runtime.stop_limits import CALLBACK_TIMEOUT

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

WAIT_SLICE = 3600.0
"""Seconds of one wait for the end."""

AGENT_IDENTITY = "quiesce.futures:call"
"""By what later starts of a run know the agent that executes calls."""


class CallPool:
    """Execute calls in one run. Any thread may call any method but `start`, which the first `submit` calls."""

    def __init__(
        self,
        settings: RunSettings,
        agent: CallAgent,
        namer: CallNamer,
        *,
        run_id: str,
        journal: str | os.PathLike[str] | None,
        handle_signals: bool,
        breaks_on_crash: bool,
    ) -> None:
        self.settings = settings
        self.run_id = run_id
        self.callbacks = CallbackThread()
        self._agent = agent
        self._namer = namer
        self._where = journal
        self._handle_signals = handle_signals
        self._breaks_on_crash = breaks_on_crash
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._session: RunSession | None = None
        self._spooler: Spooler
        self._number = 0
        self._futures: dict[str, CallFuture[Any]] = {}
        self._broken: str | None = None
        self._is_closed = False
        self._is_interrupted = False
        self._over = threading.Event()
        self._finishing = threading.Lock()
        self._signal_name: str | None = None

    # -- start ------------------------------------------------------------------------------------

    def _start(self) -> RunSession:
        """Start the run. Call it once, with the lock."""
        refuse_start_while_importing()
        source = codec.encode_blob(self._agent)
        journal = None if self._where is None else open_journal(self._where)
        output = CallbackOutput(forward_output, log_to_logging)
        session = RunSession(
            self.settings, self.run_id, self._log, journal,
            handle_signals=self._handle_signals, outputs=[output],
        )  # fmt: skip
        session.start()
        try:
            self._number, loaded = session.register_agent(by_name=False, source=source, identity=AGENT_IDENTITY)
            loaded.add_done_callback(self._on_loaded)
            session.begin_run({"name": AGENT_NAME})
            session.start_tasks()
            self._spooler = Spooler(session, self._on_refused)
            threading.Thread(target=self._wait_for_end, name="quiesce-futures", daemon=True).start()
        except BaseException as error:
            session.interrupt(_signal(f"the executor could not start: {type(error).__name__}"))
            session.finish()
            if type(error) is RuntimeError:  # no thread can be started
                self._broken = f"the executor could not start: {error}"
                raise BrokenProcessPool(self._broken) from error
            raise
        return session

    def _log(self, event: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        """Log an event; a process that ended by itself breaks the pool if it is to be as the standard library's."""
        log_to_logging(event, severity, fields)
        if self._breaks_on_crash and event == "executor.exited" and severity is Severity.WARNING:
            self.break_down("a process in the process pool was terminated abruptly")

    def _on_loaded(self, loaded: Future[Any]) -> None:
        """Break the pool if its executors cannot be set up: the initializer has failed."""
        error = loaded.exception()
        if error is not None and not self._is_closed:
            self.break_down(f"a process could not be set up: {error}")

    # -- calls ------------------------------------------------------------------------------------

    def submit(self, calls: Sequence[Call]) -> list[CallFuture[Any]]:
        """Hand in calls. Return their futures. What cannot be pickled fails its own future only.

        Raises RuntimeError after the end, BrokenProcessPool, UsageError, JournalError.
        """
        session = self._require_session()
        given = [self._encode(call) for call in calls]
        tasks = [task for task in given if isinstance(task, NewTask)]
        known: Known = {}
        if tasks and session.is_resumed_by_program:
            known, keys = find_stored(session, tasks, compares=self._namer.compares)
            given = [replace(task, key=keys[task.key]) if isinstance(task, NewTask) else task for task in given]
            tasks = [task for task in given if isinstance(task, NewTask)]
        futures = [self._expect(session, task) for task in given]
        if tasks:
            self._spooler.put(tasks, known)
        return futures

    def _expect(self, session: RunSession, task: NewTask | BaseException) -> CallFuture[Any]:
        """Return the future of a call, and have it settled; or one that has failed already."""
        if not isinstance(task, NewTask):
            future, _ = new_call_future("", self)
            future.fail(task)
            return future
        future, settle = new_call_future(task.key, self)
        self._futures[task.key] = future
        session.hub.add_waiter(task.key, settle)
        return future

    def _encode(self, call: Call) -> NewTask | BaseException:
        """Return the task of a call, or what went wrong instead, as concurrent.futures reports it."""
        try:
            data = codec.encode_blob(call)
            if len(data) > codec.MAX_VALUE:
                raise ResultError(codec.too_large(len(data)))
            return NewTask(self._namer.name(call), data, codec.BLOB, agent=self._number)
        except ResultError as error:
            return error.__cause__ or error

    def _on_refused(self, tasks: Sequence[NewTask], error: BaseException) -> None:
        """Fail the futures of calls that could not be written."""
        for task in tasks:
            future = self._futures.pop(task.key, None)
            if self._session is not None:
                self._session.hub.remove_waiter(task.key)
            if future is not None:
                future.fail(error)

    def _require_session(self) -> RunSession:
        if self._pid != os.getpid():
            raise RuntimeError(
                f"the executor belongs to process {self._pid}, which has forked this one: make a new one"
            )
        session = self._session
        if session is None or self._is_closed or self._broken is not None or self._is_interrupted:
            with self._lock:
                self._refuse_after_end()
                if self._session is None:
                    self._session = self._start()
                session = self._session
        if session.has_ended:
            self._refuse_after_end()
            raise BrokenProcessPool(f"the executor has ended: {session.end_error()}")
        return session

    def _refuse_after_end(self) -> None:
        if self._broken is not None:
            raise BrokenProcessPool(self._broken)
        if self._is_closed or self._is_interrupted:
            raise RuntimeError("cannot schedule new futures after shutdown")

    # -- what futures ask for -----------------------------------------------------------------------

    def on_settled(self, future: CallFuture[Any], *, crashed: bool) -> None:
        """Forget a future that is settled. For the store's thread."""
        self._futures.pop(future.key, None)
        if crashed and self._breaks_on_crash:
            self.break_down("a process in the process pool was terminated abruptly while its future was running")

    def interrupt_task(self, key: str, signal: InterruptSignal) -> None:
        """Interrupt one call. Returns at once."""
        if self._session is not None and self._pid == os.getpid():
            self._session.interrupt(signal, key)

    def is_running(self, key: str) -> bool:
        """Return whether an executor has this call, a moment ago."""
        return self._session is not None and self._session.is_executing(key)

    def broken_error(self) -> BaseException | None:
        """Return why the pool is broken, if it is."""
        return None if self._broken is None else BrokenProcessPool(self._broken)

    def end_error(self) -> BaseException:
        """Return what to raise for a call that got no result."""
        error = self.broken_error()
        if error is None and self._session is not None:
            error = self._session.end_error()
        return error or QuiesceError("the executor has ended")

    # -- the end ------------------------------------------------------------------------------------

    @property
    def session(self) -> RunSession | None:
        """The run, once a call was submitted."""
        return self._session

    def close(self) -> None:
        """Take no more calls. Those that were submitted go on. Takes no part in a forked child."""
        if self._pid != os.getpid():
            return
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            session = self._session
        if session is not None and not was_closed:
            self._spooler.seal()

    def cancel_waiting(self) -> None:
        """Cancel every call that has not begun."""
        for future in tuple(self._futures.values()):
            if not future.running():
                future.cancel()

    def interrupt(self, signal: InterruptSignal) -> None:
        """Stop every call. Returns at once."""
        self._is_interrupted = True
        if self._session is not None and self._pid == os.getpid():
            self._session.interrupt(signal)

    def leave_by(self, error: BaseException) -> None:
        """Interrupt every call because an exception leaves the executor's block."""
        if isinstance(error, ExecutionInterrupted):
            self.interrupt(error.plain_signal)
        else:
            self.interrupt(_signal(f"the block was left by {type(error).__name__}"))

    def end_processes(self, rung: Rung) -> None:
        """End all processes by this rung of the ladder, at once; calls that run raise BrokenProcessPool."""
        text = "a process in the process pool was terminated abruptly: by the program itself"
        self.close()
        self.cancel_waiting()
        self._broken = self._broken or text
        if self._session is not None and self._pid == os.getpid():
            self._session.interrupt(_signal(text), rung=rung)

    def break_down(self, text: str) -> None:
        """Stop every call, and let all futures raise BrokenProcessPool with this text."""
        self._broken = self._broken or text
        self.interrupt(_signal(text))

    def wait_until_done(self, future: Future[Any], timeout: float | None) -> None:
        """Wait until a future of this pool is done, or for `timeout` seconds."""
        session = self._session
        if session is None or self._pid != os.getpid():
            wait([future], timeout)
        else:
            session.wait_for(future, timeout)

    def wait(self) -> None:
        """Wait for the end of the run. A Ctrl-C of the program's own interrupts the calls, and is raised at the end."""
        session, raised = self._session, None
        if session is None or self._pid != os.getpid():
            return
        while not self._over.is_set():
            try:
                if self._handle_signals and session.join(WAIT_SLICE):
                    self._finish()
                self._over.wait(0.0 if self._handle_signals else None)
            except BaseException as error:  # noqa: BLE001 - a Ctrl-C: as if it had left the block
                raised = raised or error
                self.interrupt(_signal(f"{type(error).__name__} while the executor was waited for"))
        self.callbacks.flush(None if session.status.signal is None else CALLBACK_TIMEOUT)
        name, self._signal_name = self._signal_name, None
        if name is not None:
            reraise(name)
        if raised is not None:
            raise raised

    def _wait_for_end(self) -> None:
        """Release everything after the end: here, or in the main thread if that has signal handlers to give back."""
        if self._session is None:  # `_start` has not returned yet
            with self._lock:
                pass
        assert self._session is not None
        self._session.join()
        if not self._handle_signals:
            self._finish()

    def _finish(self) -> None:
        with self._finishing:
            if not self._over.is_set():
                assert self._session is not None
                try:
                    self._signal_name = self._session.finish().signal_name
                finally:
                    self._over.set()


def _signal(message: str) -> PlainSignal:
    return PlainSignal(reason=InterruptReason.CUSTOM, message=message, triggered_by="executor")


def settle_all(pools: Iterable[CallPool]) -> None:
    """Finish the work of executors at the interpreter's end."""
    with ExitStack() as waits:  # each is waited for, whatever the others raise
        for pool in pools:
            pool.close()
            waits.callback(pool.wait)
