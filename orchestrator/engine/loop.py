"""The loop: waits, turns what happens into stimuli, and performs what the machine says. One thread, one inbox.

It holds no policy (machine.py), knows no SQL (store.py), starts no process itself (backends/). Everything
that may block is elsewhere: the journal's thread, the user's thread, the executors.
"""

from __future__ import annotations

import math
import os
import queue
import selectors
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from orchestrator.backends import Backend
from orchestrator.core import instructions, stimuli
from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.core.records import RunEvent, TaskSnapshot
from orchestrator.core.settings import RunSettings
from orchestrator.core.status import Phase, StatusView
from orchestrator.engine.clock import Clock, PauseDetector, SystemClock
from orchestrator.engine.guardian_monitor import GuardianMonitor
from orchestrator.engine.multiplexer import RECORD_WEIGHT, PipeMultiplexer
from orchestrator.engine.signals import STOPPING, SUSPEND, SignalPipe
from orchestrator.engine.task_store import TaskStore, WriteBatch
from orchestrator.logging.output_stream import Lost
from orchestrator.logging.sinks import buffer_of, standard_error
from orchestrator.words import event_from_outcome
from runtime.ipc import codec, executor_protocol
from runtime.limits import clamp_wait
from runtime.model import Severity
from runtime.stacks import format_stacks

HALT_SECONDS = 1.0
"""How long a Ctrl-Z waits for the guardian to have stopped everything."""

HIGH_PRESSURE, LOW_PRESSURE = 8 << 20, 4 << 20
"""Bytes of events that may wait for the disk before executors have to, and from which on they need not any more."""

STOP_PRESSURE = 2 * HIGH_PRESSURE
"""Bytes of events that may wait for the disk while the run stops and nobody may be made to wait. What is emitted beyond
that is counted, not kept. Outcomes and snapshots are never dropped."""

CONGESTED_SECONDS = 0.02
"""How soon to look again whether the log keeps up."""

OUTPUT_SECONDS = 2.0
"""What executors still had to say at the end of a run is logged for so long, and for a part of it after a stop."""

Logger = Callable[[str, Severity, Mapping[str, Any]], None]
"""Takes one named log event, in the middle of a turn: it must not block for long, nor raise, nor hand in tasks."""

Observer = Callable[[StatusView], None]
"""Is shown the run at every sample and change of phase, by the supervision loop itself (so a watchdog's pings that come
from here prove that it turns). It must not block, nor raise."""


class Engine:
    """One supervisor's loop. `run` is the thread; `tell` is for everybody else.

    `on_end` is called by the thread when the loop is over, as the last thing that it does.
    """

    def __init__(
        self,
        settings: RunSettings,
        backend: Backend,
        log: Logger,
        on_agent: Callable[[instructions.ReportAgent], None],
        signals: SignalPipe | None = None,
        observers: Sequence[Observer] = (),
        on_end: Callable[[], None] = lambda: None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self.machine = SupervisorStateMachine(settings)
        self.state = self.machine.state
        self.status: StatusView = self.machine.status(self._now())
        self.error: BaseException | None = None
        self._settings = settings
        self._backend = backend
        self._log = log
        self._buffer = buffer_of(log)
        self._on_agent = on_agent
        self._signals = signals
        self._observers = observers
        self._on_end = on_end
        self._store: TaskStore | None = None
        self._inbox: queue.SimpleQueue[stimuli.Stimulus] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        self._wake_pending = False
        self._turn_lock = threading.Lock()
        self._wake_lock = threading.RLock()  # a generator that is collected inside it releases its agent
        self._closed = False
        self._turning_in: int | None = None
        self._wakeup_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._mux = PipeMultiplexer(
            self._selector, self._on_records, self._on_garbage, self._on_line, self._on_lost_output
        )
        self._guardianship = GuardianMonitor(
            backend,
            self._mux,
            self._selector,
            self._handle,
            self.post,
            self.log,
            self._stop_process,
            settings.report_above,
            self._is_stopping,
            self._now,
        )
        self._batch = WriteBatch()
        self._is_dropping_events = False
        self._lost_events: Counter[int] = Counter()
        self._dropped_weight = 0
        self._ended = False
        self._finished = threading.Event()
        self._sample_at = 0.0
        self._pauses = PauseDetector(self._clock)
        self._suspension: tuple[float, float] | None = None
        self.around_stop: Callable[[], AbstractContextManager[object]] = nullcontext
        """Entered by the loop while this process is stopped: the terminal is the shell's then."""
        self._thread = threading.Thread(target=self._run, name="quiesce-supervisor", daemon=True)
        self._effects: dict[type[Any], Callable[[Any], None]] = {
            instructions.StartExecutor: self._start,
            instructions.SendOrder: lambda it: self._mux.send(it.slot, it.order),
            instructions.SendControl: lambda it: self._mux.send_control(it.slot, it.order),
            instructions.RaiseFlag: self._raise_flag,
            instructions.PublishNextRung: self._publish_next_rung,
            instructions.UpdateGraces: lambda it: self._backend.set_graces(it.grace, it.term_grace),
            instructions.TerminateExecutor: lambda it: self._backend.terminate(it.slot, it.incarnation),
            instructions.KillExecutor: lambda it: self._backend.kill_tree(it.slot, it.incarnation),
            instructions.FetchTasks: lambda it: self._require_store().fetch(it),
            instructions.CommitOutcomes: self._record,
            instructions.CommitAttempts: lambda it: self._batch.attempts.update(it.attempts),
            instructions.SetJournalDeadline: lambda it: self._require_store().set_deadline(it.at),
            instructions.ReportAgent: self._on_agent,
            instructions.SweepProcesses: lambda it: self._sweep(it.until),
            instructions.SweepWithoutGuardian: lambda _: self._guardianship.sweep_without_guardian(),
            instructions.EmitLog: lambda it: self.log(it.name, it.severity, it.fields),
            instructions.StopLoop: lambda _: self._finish(),
        }

    # -- from other threads -------------------------------------------------------------------------

    def start(self, store: TaskStore) -> None:
        """Start the guardian and the loop."""
        self._store = store
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._drain_wakeups)
        if self._signals is not None:
            self._selector.register(self._signals.fileno(), selectors.EVENT_READ, self._on_signals)
        self._guardianship.open()
        self._thread.start()
        self.post(stimuli.RunStarted())

    def post(self, stimulus: stimuli.Stimulus, *, here: bool = False) -> None:
        """Hand in a stimulus, from any thread.

        `here`: if the loop is only waiting, take the turn in the calling thread, which saves the time that the
        loop's own needs to wake up.
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
        self._wake()

    def _may_turn_here(self) -> bool:
        """Not where a program's own signal handler may raise in the middle of it: in a main thread without ours."""
        return self._signals is not None or threading.current_thread() is not threading.main_thread()

    def _wake(self) -> None:
        with self._wake_lock:
            if not self._wake_pending and not self._closed:  # closed, the number may be somebody else's file
                self._wake_pending = True
                with suppress(BlockingIOError):  # full: it is awake
                    os.write(self._wake_write, b"!")

    @property
    def is_over(self) -> bool:
        """Whether the loop has ended. Takes no lock: a Ctrl-C that is an exception could leave one half taken."""
        return self._finished.is_set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end of the loop. Whether it has ended.

        Not by Thread.join, which takes a thread for ended if a Ctrl-C ends the join (cpython#90882).
        """
        return self._finished.wait(timeout)

    def close(self) -> None:
        """Let go of the descriptors, after the end. Whoever still tells us something is not heard."""
        with self._wake_lock:
            self._closed = True
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # -- the loop -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ended:
                self._run_once()
        except BaseException as error:  # noqa: BLE001 - a defect of ours: everything must still be taken down
            self.error = error
        finally:
            self._ended = True
            try:
                with self._turn_lock:  # a caller may be in the middle of a turn
                    self._shut_down()
            finally:
                self._finished.set()
                self._on_end()

    def _shut_down(self) -> None:
        """Every step, whatever becomes of those before it: a log that has failed once may fail again."""
        for step in (self._finish_output, self._flush, self._mux.close, self._backend.close):
            try:
                step()
            except BaseException as error:  # noqa: BLE001 - as in _run
                self.error = self.error or error

    def _run_once(self) -> None:
        with self._turn_lock:
            patience = self._select_timeout()
        ready = self._selector.select(clamp_wait(patience))
        with self._turn_lock:
            self._process(ready)

    def _process(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> None:
        """Everything that is to be done now. Only with the lock."""
        self._turning_in = threading.get_ident()
        try:
            self._notice_pause()
            registered = self._selector.get_map()
            for key, _ in ready:
                if registered.get(key.fd) is key:  # one before it may have closed it, and its number be another pipe's
                    key.data()
            self._mux.read_events()
            self._read_inbox()
            if self._mux.has_output:
                self._mux.show_output()
            now = self._now()
            if self._suspension is not None and now >= self._suspension[1]:
                self._stop_process()
            due = self.machine.due()
            if due is not None and due <= now:
                self._handle(stimuli.TimerFired())
            if now >= self._sample_at:
                self._sample(now)
            self._flush()
            while not self._ended and not self._inbox.empty():  # what this turn has told itself
                self._read_inbox()
                self._flush()
            self._apply_backpressure()
            self._guardianship.send_orders()
        finally:
            self._turning_in = None

    def _notice_pause(self) -> None:
        """First of all in a turn: before anybody is blamed for what could not happen."""
        if self._thread.ident != threading.get_ident():  # another thread's processor time says nothing of ours
            return
        seconds = self._pauses.lost(self._wakeup_at)
        if seconds > self._settings.pause_limit:
            self._handle(stimuli.SuspensionNoticed(seconds))

    def _read_inbox(self) -> None:
        with suppress(queue.Empty):
            while not self._ended:
                stimulus = self._inbox.get_nowait()
                if isinstance(stimulus, stimuli.MemoryExceeded):
                    self._sample(self._now())  # who has what in hand, now
                self._handle(stimulus)

    def _select_timeout(self) -> float:
        now = self._now()
        due = self.machine.due()
        halted_by = math.inf if self._suspension is None else self._suspension[1]
        self._wakeup_at = min(self._sample_at, halted_by, math.inf if due is None else due)
        if self._mux.has_output:
            return 0.0
        if self._mux.is_output_paused:
            self._wakeup_at = min(self._wakeup_at, now + CONGESTED_SECONDS)
        return max(0.0, self._wakeup_at - now)

    def _sample(self, now: float) -> None:
        """Look at shared memory, and renew what people see."""
        self._sample_at = now + self._settings.sample_interval
        self._guardianship.check()
        progress = [self._backend.progress(slot) for slot in range(self.machine.settings.workers)]
        if self._mux.paused:  # an executor that cannot write cannot be blamed for its silence
            progress = [slot._replace(heartbeat_at=now) for slot in progress]
        quiet = (
            (slot.number, self._backend.processor_use(slot.pid or 0))
            for slot in self.machine.slots_without_heartbeat(progress, now)
        )
        used = {slot: use for slot, use in quiet if use is not None}
        runnable = frozenset(slot for slot, use in used.items() if use.is_runnable)
        self._handle(stimuli.ProgressSampled(progress, {slot: use.seconds for slot, use in used.items()}, runnable))
        self._mux.check_stalled_frames(now, [beat for _, _, beat in progress])
        self._notify_observers(now)

    def _notify_observers(self, now: float) -> None:
        self.status = self.machine.status(now)
        for observe in self._observers:
            observe(self.status)

    def _handle(self, stimulus: stimuli.Stimulus) -> None:
        for instruction in self.machine.handle(stimulus, self._now()):
            self._effects[type(instruction)](instruction)

    def _flush(self) -> None:
        """What this turn produced goes to the store as one batch."""
        batch, self._batch = self._batch, WriteBatch()
        if batch and self._store is not None:
            batch.weight = max(0, self._mux.take_byte_count() - self._dropped_weight)
            self._dropped_weight = 0
            self._store.commit(batch)

    def _apply_backpressure(self) -> None:
        """Read no faster than the disk writes; once the run stops, read everything: who waits for us cannot end."""
        pressure = self._require_store().unwritten_bytes
        self._is_dropping_events = self._is_stopping() and pressure > STOP_PRESSURE
        if self._mux.paused:
            if pressure < LOW_PRESSURE or self.state.phase is not Phase.RUNNING:
                self._mux.resume_reading()
        elif pressure > HIGH_PRESSURE and self.state.phase is Phase.RUNNING:
            self._mux.pause()
        self._balance_output()

    def _balance_output(self) -> None:
        """Output is read no faster than the log is written, for as long as that goes on and nobody stops the run."""
        if self._buffer is None:
            return
        congested = self.state.phase is Phase.RUNNING and self._buffer.is_congested()
        if congested and not self._mux.is_output_paused:
            self._mux.pause_output()
        elif self._mux.is_output_paused and not congested:
            self._mux.resume_output()

    def _finish_output(self) -> None:
        """What is left of it at the end, with a limit."""
        patience = OUTPUT_SECONDS if self.state.signal is None else OUTPUT_SECONDS / 4
        end = time.monotonic() + patience
        while self._mux.has_output and time.monotonic() < end:
            self._mux.show_output()
        self._mux.abandon_output()

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        # Only now: a byte written between a reset and the read would be eaten, and `_awake` left on with an
        # empty pipe. Whoever finds it on has put its stimulus in the inbox already, which is read next.
        self._wake_pending = False

    def _is_stopping(self) -> bool:
        return self.state.phase is not Phase.RUNNING

    def _require_store(self) -> TaskStore:
        assert self._store is not None
        return self._store

    def log(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        """One named event: to the log, and into the journal."""
        data = codec.encode_json(dict(fields))  # first: a program's own logger may change what it is given
        self._log(name, severity, fields)
        slot, incarnation = fields.get("slot"), fields.get("incarnation")
        self._batch.events.append(RunEvent(kind=name, at=time.time(), data=data, slot=slot, incarnation=incarnation))

    def _record(self, order: instructions.CommitOutcomes) -> None:
        """Outcomes, and the events that tell of them, are committed together."""
        self._batch.outcomes.extend(order.outcomes)
        self._batch.events.extend(map(event_from_outcome, order.outcomes))

    # -- signals ------------------------------------------------------------------------------------

    def _on_signals(self) -> None:
        assert self._signals is not None
        for signum in self._signals.read():
            if signum in STOPPING:
                self._handle(stimuli.OsSignalReceived(signum.name, signum == signal.SIGINT))
                self._notify_observers(self._now())
            elif signum == SUSPEND:
                self._suspend()
            elif signum == signal.SIGUSR1:
                for slot in self._mux.slots:
                    self._backend.dump_stacks(slot)
                standard_error().write_line(format_stacks(sys._getframe()))  # noqa: SLF001

    def _suspend(self) -> None:
        """Ctrl-Z: first the processes below, then, once they are stopped or in HALT_SECONDS, this one."""
        if self._suspension is None:
            now = self._now()
            self._suspension = (now, now + HALT_SECONDS)
            self.log("run.suspended", Severity.INFO, {})
            self._backend.suspend()

    def _stop_process(self) -> None:
        """Here the process stops, and here it goes on. Signals that came meanwhile are read next."""
        if self._suspension is None or self._signals is None:
            return
        self._flush()
        with self.around_stop():
            self._signals.stop_process()
        (began, _), self._suspension = self._suspension, None
        self._backend.resume()
        self._pauses.reset()
        seconds = self._now() - began
        self._handle(stimuli.SuspensionNoticed(seconds))
        self.log("run.continued", Severity.INFO, {"seconds": round(seconds, 3)})

    # -- executors ----------------------------------------------------------------------------------

    def _start(self, order: instructions.StartExecutor) -> None:
        try:
            channels = self._backend.start(order.slot, order.incarnation)
        except OSError as error:
            how = f"it could not be started: {error.strerror or error}"
            self._tell_exit(stimuli.ExecutorExited(order.slot, order.incarnation, 0, None, 0.0, 0, 0, how))
            return
        self._mux.open(order.slot, order.incarnation, channels)

    def _tell_exit(self, stimulus: stimuli.ExecutorExited) -> None:
        """Later, not from inside the machine's own instructions."""
        self.post(stimulus)

    def _on_garbage(self, slot: int, incarnation: int, why: str) -> None:
        self._handle(stimuli.ProtocolErrorDetected(slot, incarnation, why))

    def _on_line(self, slot: int, stream: str, line: str) -> None:
        self._log("executor.output", Severity.INFO, {"slot": slot, "stream": stream, "line": line})

    def _on_lost_output(self, slot: int, stream: str, lost: Lost) -> None:
        fields = {"slot": slot, "stream": stream, "lines": lost.lines, "bytes": lost.bytes}
        self.log("executor.output_lost", Severity.WARNING, fields)

    def _publish_next_rung(self, order: instructions.PublishNextRung) -> None:
        self._backend.publish_next_rung(None if order.at is None else max(0.0, order.at - self._now()))

    def _raise_flag(self, order: instructions.RaiseFlag) -> None:
        self._backend.raise_flag(order.signal)
        self._mux.limit_output()

    def _on_records(self, slot: int, incarnation: int, records: list[executor_protocol.ExecutorRecord]) -> None:
        """Events and snapshots go straight to the store; what decides something goes to the machine."""
        batch = self._batch
        decisive = []
        for record in records:
            if isinstance(record, executor_protocol.TaskEvent):
                if self._is_dropping_events:
                    self._drop(slot, record)
                    continue
                batch.events.append(
                    RunEvent(
                        kind=record.kind, at=record.at, data=record.data, address=record.address, task=record.task,
                        slot=slot, incarnation=incarnation,
                    )
                )  # fmt: skip
                continue
            if isinstance(record, executor_protocol.Snapshot):
                batch.snapshots[record.task] = TaskSnapshot(
                    record.task, record.data, record.encoding, record.projection
                )
            decisive.append(record)
        if decisive:
            self._handle(stimuli.RecordsReceived(slot, incarnation, decisive))

    def _drop(self, slot: int, record: executor_protocol.TaskEvent) -> None:
        """Count an event that is not kept. It is no load for the disk."""
        self._lost_events[slot] += 1
        self._dropped_weight += RECORD_WEIGHT + len(record.data)

    def _sweep(self, until: float) -> None:
        """All executors have ended, or were abandoned."""
        for slot, count in sorted(self._lost_events.items()):
            self.log("executor.events_lost", Severity.WARNING, {"slot": slot, "events": count})
        self._guardianship.sweep(until)

    def _finish(self) -> None:
        self._notify_observers(self._now())
        self._ended = True
