"""ExecutionState: what an agent holds in its hand. A façade; each thing it offers lives in a file of its own."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import math
import os
import time
import uuid
from _thread import start_new_thread
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from runtime.concurrency.circuit_breaker import CircuitBreaker
from runtime.concurrency.parallel import ParallelExecutionManager
from runtime.concurrency.retry import RetryPolicy
from runtime.events.bus import EventBus
from runtime.execution.external import ExternalResource, UndoOptions, make_resource, resource_name
from runtime.execution.generators import GeneratorRegistry, KillReport, ManagedGenerator
from runtime.frozen import freeze_dict
from runtime.interrupt_signal import build_signal
from runtime.interrupts.checker import Checker, CheckerPoller, ExternalChecker
from runtime.interrupts.deadline import Deadline
from runtime.interrupts.handler_context import is_in_signal_handler
from runtime.interrupts.interruptible import CancelOnInterrupt, Interruptible
from runtime.interrupts.loop_waker import call_soon_threadsafe_or_false, running_loop
from runtime.interrupts.sleep import CompletedAwaitable, WakeupFd, sleep_blocking, sleep_in_loop
from runtime.interrupts.supervisor_link import NullLink, SupervisorLink
from runtime.limits import check_seconds
from runtime.model import Event, ExecutionRecord, InterruptEvent
from runtime.reasons import InterruptReason
from runtime.scope import current_address
from runtime.statuses import ErrorStrategy, Severity

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

logger = logging.getLogger("quiesce.agent")

GENERATOR_LIMIT = 5.0
"""Seconds that generators get to end, if there is no grace that ends earlier."""

_LEVELS = {severity: logging.getLevelNamesMapping()[severity.name] for severity in Severity}


class ExecutionState(Interruptible):
    """One execution: its task, its interrupt, its events, its generators, its snapshot.

    `snapshot` is what an earlier attempt saved; `host` is the executor it runs in, if any; `clock` counts
    monotonic seconds. An `event_bus` that is handed in stays open when this execution ends: share one among
    states that stop together, for its streams end with the first InterruptEvent.

    An executor sets what an agent may want to know of its task: `key`, `attempt` (from 1), `run_id`, `slot` (of the
    executor, from 0), `input` (the object that the agent gets) and `resource` (what the agent's lifespan gives).
    Without an executor they are what the caller gives: None by default, and attempt 1.
    """

    def __init__(
        self,
        *,
        state_id: str | None = None,
        host: SupervisorLink | None = None,
        snapshot: Any = None,
        event_bus: EventBus | None = None,
        clock: Callable[[], float] = time.monotonic,
        key: str | None = None,
        attempt: int = 1,
        run_id: str | None = None,
        slot: int | None = None,
        input: Any = None,  # noqa: A002 - as the attribute is called
        resource: Any = None,
    ) -> None:
        super().__init__(host)
        self._clock = clock
        self.key, self.attempt, self.run_id, self.slot = key, attempt, run_id, slot
        self.input, self.resource = input, resource
        self._deadline: Deadline | None = None
        self.state_id = state_id or uuid.uuid4().hex
        self.snapshot = snapshot
        self._bus = event_bus
        self._checker: ExternalChecker | None = None
        self._registry: GeneratorRegistry | None = None
        self._groups: WeakSet[ParallelExecutionManager] | None = None
        self._history: list[ExecutionRecord] = []
        self._patrols: dict[asyncio.AbstractEventLoop, CheckerPoller] = {}
        self._snapshot_saved = False
        self._doorbell: WakeupFd | None = None
        self._owns_bus = event_bus is None
        self._leave_bus = event_bus.on_bind(self._listen) if event_bus is not None else None

    @property
    def history(self) -> tuple[ExecutionRecord, ...]:
        """Every status that every execution on this state has entered, in order."""
        return tuple(self._history)

    def record(self, record: ExecutionRecord) -> None:
        """Add a line to the history, and publish it as an event of kind `execution`."""
        self._history.append(record)
        if self._bus is None and isinstance(self.host, NullLink):  # no subscriber can exist
            return
        data = {
            "name": record.name,
            "status": str(record.status),
            "execution_time": record.execution_time,
            "attempt": record.attempt,
            "message": record.message,
        }
        self._send(Event(kind="execution", data=data, address=record.address, state_id=self.state_id, at=record.at))

    # -- interrupting -------------------------------------------------------------------------------

    def request_interrupt(
        self,
        reason: InterruptReason = InterruptReason.USER_CANCELLED,
        message: str = "",
        triggered_by: str = "",
        save_checkpoint: bool = True,
    ) -> bool:
        """Interrupt this execution. True if this signal won, False if it had been interrupted before.

        From any thread and from a signal handler. It never fails because of its arguments: see
        `runtime.interrupt_signal.build_signal` for what becomes of None, bytes, unknown reasons and the like.
        """
        return self.set_signal(build_signal(reason, message, triggered_by, save_checkpoint))

    async def check_interrupt(self) -> None:
        """Checkpoint: the flag, then the external checker if it is due. Raises ExecutionInterrupted."""
        if self._flag:
            self._interrupted()
        if self._checker is not None and self._checker.due:
            async with CancelOnInterrupt(self):  # a request need not wait for a checker that hangs
                await self._checker.poll(self)
            self.raise_if_interrupted()

    def set_interrupt_checker(
        self, checker: Checker | None, min_interval: float = 0.1, time_limit: float = 5.0
    ) -> None:
        """Have `checker` asked at every `check_interrupt`, and while this execution waits in an event loop.

        It is a callable without arguments, sync or async, that answers with a bool, an InterruptSignal or None. A
        sync one is called in a thread of its own. It is asked at most once every `min_interval` seconds and has
        `time_limit` seconds to answer. Without an event loop it is not called. None removes it.
        """
        for loop in tuple(self._patrols):
            self._patrols.pop(loop).stop()
        self._checker = (
            None
            if checker is None
            else ExternalChecker(checker, min_interval=min_interval, limit=time_limit, clock=self._clock)
        )
        current = running_loop()
        if current is not None and current in self._bells:
            self._start_poller(current)

    def _start_poller(self, loop: asyncio.AbstractEventLoop) -> None:
        """Poll the checker while code waits in this loop, because waiting code comes to no checkpoint."""
        if self._checker is not None and loop not in self._patrols and not self._signal_slot:
            self._patrols[loop] = CheckerPoller(self._checker, self, loop)

    def _interrupted(self) -> None:
        self._publish_interrupt()
        super()._interrupted()

    def _on_settled(self, *, apart: bool) -> None:
        """Publish the InterruptEvent if there are only sync subscribers.

        By the calling thread, unless it must not run a program's subscribers: in a signal handler, and with `apart`.
        Then by a thread of its own.
        """
        if self._bus is None or not self._bus.is_served_by_publishers:
            return
        if apart or is_in_signal_handler():
            context = contextvars.copy_context()
            with suppress(RuntimeError):  # no thread to be had: the next checkpoint publishes it
                start_new_thread(context.run, (self._publish_interrupt,))
        else:
            self._publish_interrupt()

    def _publish_interrupt(self) -> None:
        """Publish the InterruptEvent, once, however many checkpoints and threads see the flag at the same time.

        Who makes the event sends it up. All put it on the bus, which takes it once: a checkpoint or `close` need not
        wait for a thread that is about to.
        """
        signal = self.settle_signal()
        if signal is None:
            return
        event = self._once.get("interrupt")
        if event is None:
            new_event = self._make_interrupt_event(signal)
            event = self._once.setdefault("interrupt", new_event)
            if event is new_event:
                self.host.emit(event)
        self._post_interrupt()

    def _make_interrupt_event(self, signal: InterruptSignal) -> InterruptEvent:
        groups = [f"{len(group.running)} of {group.name}" for group in self._open_groups() if group.running]
        cancels = [*(self._registry.names if self._registry is not None else ()), *groups]
        data = {
            "signal": signal.model_dump(mode="json"),  # for those who see only data: the supervisor, the journal
            "snapshot_saved": self._snapshot_saved and signal.save_checkpoint,
            "cancels": cancels,
        }
        return InterruptEvent(signal=signal, data=data, address=current_address(), state_id=self.state_id)

    def _open_groups(self) -> tuple[ParallelExecutionManager, ...]:
        for _ in range(10):
            try:
                return tuple(self._groups or ())
            except RuntimeError:  # another thread has opened one meanwhile
                continue
        return ()

    def _post_interrupt(self) -> None:
        """Put the InterruptEvent on the bus once both exist, whichever comes first and in whatever thread."""
        event, bus = self._once.get("interrupt"), self._bus
        if event is not None and bus is not None and "posted" not in self._once:
            bus.post_once(event)
            self._once["posted"] = True

    def _on_loop_notified(self) -> None:
        super()._on_loop_notified()
        self._publish_interrupt()

    def _listen(self) -> None:
        """Attach a waker to the loop that the bus serves now, so that its streams notice an interrupt by themselves."""
        self.when_interrupted(self._publish_interrupt)

    def when_interrupted(self, callback: Callable[[], object]) -> Callable[[], None]:
        """As Interruptible.when_interrupted; time limit and external checker serve this loop too from now on."""
        remove = super().when_interrupted(callback)
        loop = asyncio.get_running_loop()
        self._arm(loop)
        self._start_poller(loop)
        return remove

    def _detach_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        super()._detach_loop(loop)
        patrol = self._patrols.pop(loop, None)
        if patrol is not None:
            patrol.stop()

    # -- time ---------------------------------------------------------------------------------------

    def set_timeout(self, seconds: float, message: str | None = None) -> None:
        """Interrupt this execution, with reason `timeout`, in `seconds`. Set again, it is armed anew.

        Works with and without an event loop: a running one interrupts when the time is up, else the next checkpoint
        does. A limit that is over already stays so: late is late, whether a checkpoint has seen it or not. Raises
        ValueError for what is no duration: text, NaN, less than 0 or more than ten years.
        """
        deadline = Deadline(seconds, message, link=self.host, clock=self._clock)
        self.cancel_timeout()
        self._deadline = deadline
        self._watch(deadline)
        for loop in tuple(self._bells):
            call_soon_threadsafe_or_false(loop, self._arm, loop)
        current = running_loop()
        if current is not None:  # else the next checkpoint sees that it is late
            self._arm(current)

    def cancel_timeout(self) -> None:
        """Drop the time limit. Nothing happens without one, or when it is too late."""
        deadline = self._deadline  # another thread may drop it too
        if deadline is not None:
            self.settle_signal()  # late is late: a raised flag must not be seen down again
            deadline.disarm()
            self._deadline = None
            self._watch(self.host.flag)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the deadline wake this loop, in which this is called."""
        deadline = self._deadline
        if deadline is not None:
            deadline.arm(loop, lambda: self._deadline is deadline and self.set_signal(deadline.signal()))

    @property
    def time_left(self) -> float:
        """Seconds until the time limit, infinite without one."""
        deadline = self._deadline
        return math.inf if deadline is None else deadline.left

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Sleep until the time is over or, at once, the interrupt: then it raises ExecutionInterrupted.

        `await state.sleep(1)` in an event loop; plain `state.sleep(1)` where there is none, which blocks. A sync
        function that runs in a loop's thread can do neither: give it a thread of its own (`asyncio.to_thread`).
        """
        check_seconds("a sleep", seconds, may_be_endless=True)
        if running_loop() is None:
            self._sleep_blocking(seconds)
            return CompletedAwaitable()
        return sleep_in_loop(self, seconds)

    def _sleep_blocking(self, seconds: float) -> None:
        if self.is_shielded:
            time.sleep(seconds)
            return
        self.raise_if_interrupted()
        doorbell = self._doorbell or self._hang_doorbell()
        wake = self.host.wake_fd()
        fds = [doorbell.fileno(), *(() if wake is None else (wake,))]
        sleep_blocking(self, seconds, fds, self.time_left)

    def _hang_doorbell(self) -> WakeupFd:
        """One for all threads that sleep; several may come here at once."""
        doorbell = WakeupFd()
        self._doorbell = self._once.setdefault("doorbell", doorbell)
        if self._doorbell is doorbell:
            self.add_waker(doorbell.wake)
        return self._doorbell

    @property
    def remaining_grace(self) -> float | None:
        """Seconds until the ladder's next rung, 0.0 when it is due; None when no rung is coming."""
        at = self.host.next_rung_at()
        return None if at is None else max(0.0, at - self._clock())

    # -- events -------------------------------------------------------------------------------------

    @property
    def event_bus(self) -> EventBus:
        """Where this execution's events are published."""
        if self._bus is None:
            bus = EventBus()
            self._bus = self._once.setdefault("bus", bus)
            if self._bus is bus:
                self._leave_bus = bus.on_bind(self._listen)
            self._post_interrupt()
        return self._bus

    def emit(self, kind: str, /, **data: Any) -> None:
        """Publish an event, from any thread, with a frozen copy of `data` (see `runtime.frozen`)."""
        if self._bus is None and self.host.emit_plain(kind, data, current_address()):
            return
        self._send(Event(kind=kind, data=data, address=current_address(), state_id=self.state_id))

    def _send(self, event: Event) -> None:
        self.host.emit(event)
        if self._bus is not None:
            self._bus.publish_nowait(event)

    def log(
        self, message: str, severity: Severity = Severity.INFO, metadata: dict[str, Any] | None = None
    ) -> Awaitable[None]:
        """Log a line: an event of kind `log` and, without a supervisor, a record of the `quiesce.agent` logger.

        `await state.log(...)` in an event loop, where it waits for a full bus; plain `state.log(...)` in sync code,
        which cannot wait. Raises ValueError for a severity that is none.
        """
        severity = Severity(severity)
        fixed = freeze_dict(metadata or {}) if metadata is None or type(metadata) is dict else metadata
        data = {"message": message, "severity": str(severity), "metadata": fixed}
        event = Event(kind="log", data=data, address=current_address(), state_id=self.state_id)
        if isinstance(self.host, NullLink):
            logger.log(_LEVELS[severity], message, extra={"metadata": event.data["metadata"]})
        self.host.emit(event)
        return CompletedAwaitable() if self._bus is None else self._bus.publish_soon(event)

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far this execution is, as often as you like: it costs a microsecond and never waits.

        Displays and `quiesce status` show it. In an executor, an event of kind `progress` says so at most once a
        second, and when `done` has reached `total`; elsewhere each time.
        """
        if self.host.report_progress(done, total):
            self.emit("progress", done=done, total=total)

    def save_snapshot(self, snapshot: Any) -> bool:
        """Keep this execution's own progress, to be handed back when it runs again.

        True if it will outlive this process. Refused, with False, once an interrupt asked for no checkpoint.
        """
        signal = self._current_signal()
        if signal is not None and not signal.save_checkpoint:
            return False
        self.snapshot = snapshot
        self._snapshot_saved = True
        return self.host.save_snapshot(snapshot)

    # -- outside of the process ---------------------------------------------------------------------

    def unique_name(self, prefix: str = "q") -> str:
        """Return a name for an external resource that no other attempt of any task has: `q-RUN-TASK-ATTEMPT-N`.

        It has letters, digits, `.`, `_` and `-` only, as containers, volumes and hosts allow them.
        """
        number = next(self._once.setdefault("names", itertools.count(1)))
        return resource_name(prefix, self.run_id or self.state_id, self.host.task_number, self.attempt, number)

    def external(
        self,
        kind: str,
        undo: Sequence[str],
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        absent_codes: Sequence[int] = (),
        anywhere: bool = False,
    ) -> ExternalResource:
        """Return a context manager, sync or async, of a resource that `undo`, a command and its arguments, removes.

        Entering it returns when the undo is in the journal and the guardian has it, and makes nothing itself: make the
        resource in the block. Leaving it has the undo run, unless `keep` was called on what `as` gives. If the block is
        not left (a kill, a crash, a power cut), the undo runs all the same: docs/undo.md.

        `env`: variables for the command, besides those that say where programs and their servers are (PATH, HOME,
        DOCKER_HOST and the like). `cwd`: its folder (default: this process's). `timeout`: seconds that each start of it
        may take (default: the setting `undo_timeout`). `absent_codes`: exit codes that mean that there is nothing to
        remove. `anywhere`: it reaches the resource from every host; else it runs on this one alone. Raises TypeError or
        ValueError for a command that no process could be started with.
        """
        options = UndoOptions(name, env, cwd, timeout, absent_codes, anywhere)
        return make_resource(self, kind, undo, options)

    def defer_undo(
        self,
        undo: Sequence[str],
        *,
        kind: str = "resource",
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        absent_codes: Sequence[int] = (),
        anywhere: bool = False,
    ) -> ExternalResource:
        """Keep a command that runs when this task has ended, however it does. Returns when it is kept.

        `await state.defer_undo(...)` in an event loop; plain `state.defer_undo(...)` in sync code, which blocks. The
        rest is as in `external`. `keep()` of what it returns strikes it out, `undo()` runs it before the task ends.
        """
        options = UndoOptions(name, env, cwd, timeout, absent_codes, anywhere)
        resource = make_resource(self, kind, undo, options)
        self._once.setdefault("deferred", []).append(resource)
        return resource.hold() if running_loop() is None else resource

    def _undo_here(self) -> None:
        """Undo what was deferred, if no supervisor does that."""
        for resource in self._once.pop("deferred", []):
            if resource.is_local:
                resource.undo()

    # -- children -----------------------------------------------------------------------------------

    def parallel(
        self,
        max_workers: int | None = None,
        error_strategy: ErrorStrategy = ErrorStrategy.FAIL_FAST,
        timeout: float | None = None,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        circuit_breaker: CircuitBreaker | None = None,
    ) -> ParallelExecutionManager:
        """Return a group of children that ends as one: `async with state.parallel(max_workers=8) as group:`."""
        group = ParallelExecutionManager(
            self,
            max_workers=max_workers,
            error_strategy=error_strategy,
            timeout=timeout,
            name=name,
            retry=retry,
            circuit_breaker=circuit_breaker,
            emit=self.emit,
        )
        if self._groups is None:
            self._groups = self._once.setdefault("groups", WeakSet())
        self._groups.add(group)
        return group

    def register_generator(self, generator: ManagedGenerator, name: str | None = None) -> None:
        """Have a task or async generator cancelled and awaited on interrupt and at the end.

        The end is that of the outermost ExecutionEvent it was registered in, or of the state. Raises TypeError
        for anything else.
        """
        self._generators().register(generator, name)

    def unregister_generator(self, generator: ManagedGenerator) -> None:
        """Let go of a registered generator. Nothing happens if it is not registered."""
        self._generators().unregister(generator)

    @property
    def active_generators(self) -> tuple[ManagedGenerator, ...]:
        """The registered generators that have not finished."""
        return self._registry.active if self._registry is not None else ()

    async def kill_generators(self, limit: float | None = None) -> KillReport:
        """Cancel and await every registered generator, for `limit` seconds at most (5, or what is left of the grace).

        A generator that does not end is named in the report and in the log, and delays no other.
        """
        check_seconds("limit", limit)
        return await self._generators().kill(self._generator_timeout() if limit is None else limit)

    def executing(self) -> AbstractAsyncContextManager[None]:
        """Run the body as an execution on this state; generators registered in an outermost one end with it."""
        return self._generators().scope(self._generator_timeout)

    def _generators(self) -> GeneratorRegistry:
        if self._registry is None:
            self._registry = self._once.setdefault("generators", GeneratorRegistry(self))
        return self._registry

    def _generator_timeout(self) -> float:
        grace = self.remaining_grace
        return GENERATOR_LIMIT if grace is None else min(GENERATOR_LIMIT, grace)

    # -- the end ------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End this execution: its generators, its bus, its timers, its descriptors. Idempotent.

        `async with ExecutionState() as state:` does it for you.
        """
        if self._registry is not None:
            await self.kill_generators()
        patrols = tuple(self._patrols.values())
        self.close()
        for patrol in patrols:
            await patrol.stopped()
        if self._bus is not None and self._owns_bus:
            await self._bus.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def close(self) -> None:
        """End this execution without waiting. Idempotent."""
        closer = object()
        if self._once.setdefault("closer", closer) is not closer:
            return
        self.cancel_timeout()
        if "deferred" in self._once:
            self._undo_here()
        if self._flag:
            self._publish_interrupt()
        if self._registry is not None and self._registry.names and running_loop() is not None:
            self._registry.cancel()
        if self._leave_bus is not None:
            self._leave_bus()
        if self._bus is not None and self._owns_bus:
            self._bus.close()
        if self._doorbell is not None:
            self._doorbell.close()
        for loop in tuple(self._bells):
            self._detach_loop(loop)
