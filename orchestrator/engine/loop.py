"""The supervisor's loop: wait, turn what happens into stimuli, perform the machine's instructions. One inbox.

It holds no policy (core/machine.py), performs nothing itself (effects.py), knows no SQL (journal_writer.py). Everything
that may block is elsewhere: the journal's thread, the caller's thread, the executors.
"""

from __future__ import annotations

import math
import queue
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress

from orchestrator.backends import Backend
from orchestrator.core import instructions, stimuli
from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.core.progress import Progress
from orchestrator.core.settings import RunSettings
from orchestrator.core.status import Phase, StatusView
from orchestrator.engine.back_pressure import BackPressure
from orchestrator.engine.clock import Clock, PauseDetector, SystemClock
from orchestrator.engine.effects import Effects
from orchestrator.engine.guardian_monitor import GuardianMonitor
from orchestrator.engine.history_file import HistoryFile
from orchestrator.engine.multiplexer import PipeMultiplexer
from orchestrator.engine.output_tails import OutputTails
from orchestrator.engine.pending_writes import PendingWrites
from orchestrator.engine.sampler import Sampler
from orchestrator.engine.seat import Seat
from orchestrator.engine.signals import STACKS, SUSPEND, SignalPipe, has_foreign_handler
from orchestrator.engine.status_board import Observer, StatusBoard
from orchestrator.engine.suspension import SupervisorSuspension
from orchestrator.engine.task_output import TaskOutput
from orchestrator.engine.task_store import TaskStore
from orchestrator.engine.wakeup import Wakeup
from orchestrator.logging.output_sinks import LogOutput, OutputSink
from orchestrator.logging.sinks import LogCallback, standard_error
from runtime.ipc import executor_protocol
from runtime.limits import clamp_wait
from runtime.stacks import format_stacks
from runtime.statuses import Severity
from runtime.stop_limits import LAST_OUTPUT_TIMEOUT, LAST_OUTPUT_TIMEOUT_IN_STOP, OUTPUT_TIMEOUT

CONGESTED_SECONDS = 0.02
"""Seconds until the next look at whether the log keeps up."""


class Engine:
    """Run one supervisor's loop in a thread of its own. Other threads call `post`, `join` and `close`.

    `log` and `observers` are called in the middle of a turn: they must neither block for long, nor raise, nor hand in
    tasks. `on_agent` takes what the first executor reports of an agent. `on_end` is the last thing that the
    thread calls.
    """

    def __init__(
        self,
        settings: RunSettings,
        backend: Backend,
        log: LogCallback,
        on_agent: Callable[[instructions.ReportAgent], None],
        signals: SignalPipe | None = None,
        observers: Sequence[Observer] = (),
        on_end: Callable[[], None] = lambda: None,
        *,
        clock: Clock | None = None,
        outputs: Sequence[OutputSink] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self.machine = SupervisorStateMachine(settings)
        self._state = self.machine.state
        self._board = StatusBoard(self.machine, observers, self._now)
        self.error: BaseException | None = None
        self._settings = settings
        self._history_file = HistoryFile(settings, self.machine.history)
        self._backend = backend
        self._signals = signals
        self._on_end = on_end
        self._inbox: queue.SimpleQueue[stimuli.Stimulus] = queue.SimpleQueue()
        self._wakeup = Wakeup()
        self._seat = Seat(self._wakeup.wake)
        self._driver: int | None = None
        self._turn_lock = threading.Lock()
        self._turning_in: int | None = None
        self._wakeup_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._writes = writes = PendingWrites(log, OutputTails(settings.output_tail))
        outputs = [LogOutput(log)] if outputs is None else outputs
        self._output = TaskOutput(backend, self._state, outputs, writes.log, writes.tails)
        writes.on_task_log = self._output.take_log
        self._mux = mux = PipeMultiplexer(self._selector, self._on_records, self._on_invalid_frame, self._output)
        self._sampler = Sampler(backend, mux, self.machine)
        self._pressure = BackPressure(mux, writes, log, outputs)
        self.suspension = SupervisorSuspension(backend, signals, self._now)
        self._guardian = guardian = GuardianMonitor(
            backend,
            mux,
            self._selector,
            self._handle,
            self.post,
            writes.log,
            self._stop_process,
            settings.report_above,
            self._is_stopping,
            self._now,
        )
        self._effects = Effects(
            backend,
            mux,
            guardian,
            writes,
            post=self.post,
            on_agent=on_agent,
            end=self._finish,
            write_stacks=self._dump_stacks,
            now=self._now,
        )
        self._ended = False
        self._finished = threading.Event()
        self._pauses = PauseDetector(self._clock)
        self._thread = threading.Thread(target=self._run, name="quiesce-supervisor", daemon=True)

    # -- from other threads -------------------------------------------------------------------------

    def start(self, store: TaskStore) -> None:
        """Start the guardian and the loop. Raises OSError, or RuntimeError when there is no thread to be had."""
        self._effects.store = store
        self._selector.register(self._wakeup.fileno(), selectors.EVENT_READ, self._wakeup.reset)
        if self._signals is not None:
            self._selector.register(self._signals.fileno(), selectors.EVENT_READ, self._on_signals)
        self._guardian.open()
        self._thread.start()
        self.post(stimuli.RunStarted())

    def post(self, stimulus: stimuli.Stimulus, *, here: bool = False) -> None:
        """Hand in a stimulus, from any thread.

        `here`: if the loop is only waiting, take the turn in the calling thread, which saves the time that the loop's
        own needs to wake up: a fifth of a small task's way there and back (docs/measurements.md).
        """
        self._inbox.put(stimulus)
        if self._turning_in == threading.get_ident():
            return  # the turn that we are in reads it before it ends
        if here and self._may_turn_here() and self._turn_lock.acquire(blocking=False):
            try:
                if self._ended:
                    return
                self._process(())
            except BaseException as error:  # noqa: BLE001 - as in _run
                self.error, self._ended = error, True
            finally:
                self._turn_lock.release()
            due = self.machine.due()
            if not self._ended and (due is None or due >= self._wakeup_at):
                return
        self._wakeup.wake()
        self._seat.ring()

    def drive_until(self, is_done: Callable[[], bool], until: float = math.inf) -> None:
        """Drive the loop in the calling thread until `is_done`, the end, or `until` (monotonic seconds).

        For a caller that would wait for what the loop brings (seat.py). Returns at once where it cannot drive. What
        makes `is_done` true outside of a turn calls `nudge`.
        """
        if not self._may_turn_here() or self._driver == threading.get_ident():
            return
        with self._seat.visit() as is_driver:
            if is_driver and not self._ended:
                self._drive(lambda: is_done() or time.monotonic() >= until, until)

    def follow(self) -> AbstractContextManager[None]:
        """Return a block for a caller that waits without driving."""
        return self._seat.follow()

    def nudge(self) -> None:
        """Have a caller that drives the loop look whether it has what it waits for. From any thread."""
        if self._driver is not None and self._driver != threading.get_ident():
            self._wakeup.wake()

    def _drive(self, is_left: Callable[[], bool], until: float = math.inf) -> None:
        """Take turns in the calling thread, which has the seat, until it is to leave that, or the end."""
        self._driver = threading.get_ident()
        self._pauses.move()
        try:
            while not self._ended and not is_left():
                self._run_once(until)
        except BaseException as error:  # noqa: BLE001 - a defect of ours: everything must still be taken down
            self.error, self._ended = error, True
        finally:
            self._driver = None

    @staticmethod
    def _may_turn_here() -> bool:
        """Return whether no signal handler of the program's own can raise in the middle of a turn of the caller.

        One can in the main thread: that of Ctrl-C, unless the handlers are ours, or one that ends a wait by SIGALRM.
        """
        return threading.current_thread() is not threading.main_thread() or not has_foreign_handler()

    def note_resumed(self) -> None:
        """Note that the run has output of an earlier start."""
        self._writes.tails.is_resumed = True

    @property
    def status(self) -> StatusView:
        """The run as it stands: renewed at every sample, and when its phase, signal or error changes."""
        return self._board.status

    @property
    def progress(self) -> Progress:
        """How far the run is now, from the status that was renewed last."""
        reported = self._backend.reported_progress
        return self._board.progress(lambda slot, task: reported(slot, task.seq, task.attempt))

    def announce(self, tasks: int) -> None:
        """Count tasks that a caller will hand in. Any thread, one at a time."""
        self._board.announced += tasks

    def is_executing(self, key: str) -> bool:
        """Return whether an executor executes the task of this key, a moment ago."""
        return self._state.is_executing(key)

    @property
    def is_over(self) -> bool:
        """Whether the loop has ended. Takes no lock: a Ctrl-C that is an exception could leave it half taken."""
        return self._finished.is_set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end of the loop. Return whether it has ended.

        Not by Thread.join, which takes a thread for ended if a Ctrl-C ends the join (cpython#90882).
        """
        return self._finished.wait(timeout)

    def close(self) -> None:
        """Close the descriptors, after the end. What is posted from now on is ignored."""
        self._wakeup.close()
        self._selector.close()

    # -- the loop -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ended:
                self._seat.take()
                try:
                    self._drive(lambda: self._seat.is_wanted)
                finally:
                    self._seat.leave()
        finally:
            self._ended = True
            try:
                with self._turn_lock:  # a caller may be in the middle of a turn
                    self._shut_down()
            finally:
                self._finished.set()
                self._on_end()

    def _shut_down(self) -> None:
        """Take every step, whatever those before it raise: a log that has failed once may fail again."""
        steps = (self._finish_output, self._flush, self._mux.close, self._backend.close, self._board.renew)
        for step in (*steps, self._write_history_of_crash):  # last: the disk may hang
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - as in _run
                self.error = self.error or error

    def _run_once(self, until: float) -> None:
        with self._turn_lock:
            patience = self._select_timeout()
        if until < math.inf:
            patience = min(patience, max(0.0, until - time.monotonic()))
        ready = self._selector.select(clamp_wait(patience))
        with self._turn_lock:
            self._process(ready)

    def _process(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> None:
        """Take one turn: do everything that is to be done now. Call it only with the lock."""
        self._turning_in = threading.get_ident()
        try:
            self._notice_pause()
            registered = self._selector.get_map()
            for number, (key, _) in enumerate(ready):
                if not number or registered.get(key.fd) is key:  # one before it may have closed it, and the number be
                    key.data()  # another pipe's
            self._mux.read_events()
            self._read_inbox()
            if self._mux.has_output:
                self._mux.show_output()
            now = self._now()
            if now >= self.suspension.stops_at:
                self._stop_process()
            due = self.machine.due()
            if due is not None and due <= now:
                self._handle(stimuli.TimerFired())
            if now >= self._sampler.due_at:
                self._sample(now)
            self._flush()
            while not self._ended and not self._inbox.empty():  # what this turn has posted
                self._read_inbox()
                self._flush()
            unwritten = self._effects.require_store().unwritten_bytes
            self._pressure.apply(unwritten, is_stopping=self._is_stopping())
            self._guardian.send_orders()
        finally:
            self._turning_in = None

    def _notice_pause(self) -> None:
        """Notice what this process has lost, first in a turn, so that no executor is blamed for it."""
        if self._driver != threading.get_ident():  # another thread's processor time says nothing of the driver's
            return
        seconds = self._pauses.lost(self._wakeup_at)
        if seconds > self._settings.pause_limit:
            self._handle(stimuli.SuspensionNoticed(seconds))

    def _read_inbox(self) -> None:
        inbox = self._inbox
        while not self._ended and not inbox.empty():  # nothing else takes from it
            stimulus = inbox.get_nowait()
            if isinstance(stimulus, stimuli.MemoryExceeded):
                self._sample(self._now())  # which tasks are executed now
            self._handle(stimulus)

    def _select_timeout(self) -> float:
        now = self._now()
        due = self.machine.due()
        self._sampler.hasten(now)
        self._wakeup_at = min(self._sampler.due_at, self.suspension.stops_at, math.inf if due is None else due)
        if self._mux.has_output:
            return 0.0
        if self._mux.is_output_paused:
            self._wakeup_at = min(self._wakeup_at, now + CONGESTED_SECONDS)
        return max(0.0, self._wakeup_at - now)

    def _sample(self, now: float) -> None:
        """Look at the guardian and at shared memory, and renew the status."""
        self._guardian.check()
        sampled = self._sampler.take(now)
        self._handle(sampled)
        self._mux.check_stalled_frames(now, [beat for _, _, beat in sampled.slots])
        self._board.notify()

    def _handle(self, stimulus: stimuli.Stimulus) -> None:
        orders = self.machine.handle(stimulus, self._now())
        self._board.notify_if_changed()  # other threads read the status: before they see what follows from this
        for order in orders:
            self._effects.perform(order)

    def _flush(self) -> None:
        self._writes.flush(self._effects.store, self._mux)

    def _finish_output(self) -> None:
        """Log what is left of the output at the end, for a limited time."""
        seconds = LAST_OUTPUT_TIMEOUT if self._state.signal is None else LAST_OUTPUT_TIMEOUT_IN_STOP
        end = time.monotonic() + seconds
        while self._mux.has_output and time.monotonic() < end:
            self._mux.show_output()
        self._mux.abandon_output()
        self._writes.end_output()

    def _is_stopping(self) -> bool:
        return self._state.phase is not Phase.RUNNING

    # -- signals ------------------------------------------------------------------------------------

    def _on_signals(self) -> None:
        assert self._signals is not None
        for signum in self._signals.read():
            if signum in self._signals.stopping:
                self._handle(stimuli.OsSignalReceived(signum.name, signum == signal.SIGINT))
                self._board.notify()
            elif signum == SUSPEND:
                self._suspend()
            elif signum in STACKS:
                self._dump_stacks()

    def _dump_stacks(self) -> None:
        """Have every executor write its stacks, and write those of this process and the last stimuli."""
        for slot in self._mux.slots:
            self._backend.dump_stacks(slot)
        standard_error().write_line(format_stacks(sys._getframe()))  # noqa: SLF001
        self._history_file.write(lambda *event: self.post(stimuli.LogRequested(*event)))

    def _write_history_of_crash(self) -> None:
        """After a defect, write the last stimuli into a file and log where it is. Wait OUTPUT_TIMEOUT at most."""
        if self.error is None:
            return
        reports: queue.SimpleQueue[stimuli.LogRequested] = queue.SimpleQueue()
        self._history_file.write(lambda *event: reports.put(stimuli.LogRequested(*event)))
        with suppress(queue.Empty):
            report = reports.get(timeout=OUTPUT_TIMEOUT)
            try:
                self._writes.log(report.name, report.severity, report.fields)
            except BaseException:  # it may be what has ended the loop
                standard_error().write_line(f"{report.name} {report.fields}")
                raise
            self._flush()

    def _suspend(self) -> None:
        """Stop the processes below (Ctrl-Z) and then, once they are stopped or in HALT_SECONDS, this one."""
        if self.suspension.begin():
            self._writes.log("run.suspended", Severity.INFO, {})

    def _stop_process(self) -> None:
        """Stop this process, and return when it goes on. Signals that came meanwhile are read next."""
        if self.suspension.stops_at == math.inf:
            return
        self._flush()
        seconds = self.suspension.stop_process()
        self._pauses.reset()
        self._handle(stimuli.SuspensionNoticed(seconds))
        self._writes.log("run.continued", Severity.INFO, {"seconds": round(seconds, 3)})

    # -- executors ----------------------------------------------------------------------------------

    def _on_invalid_frame(self, slot: int, incarnation: int, reason: str) -> None:
        self._handle(stimuli.ProtocolErrorDetected(slot, incarnation, reason))

    def _on_records(self, slot: int, incarnation: int, records: list[executor_protocol.ExecutorRecord]) -> None:
        """Hand events and snapshots to the store, and what decides something to the machine."""
        decisive = self._writes.add_records(slot, incarnation, records)
        if decisive:
            self._output.note_ends(slot, decisive)
            self._handle(stimuli.RecordsReceived(slot, incarnation, decisive))

    def _finish(self) -> None:
        self._board.notify()
        self._ended = True
