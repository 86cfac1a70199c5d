"""Run agents from Python: the Supervisor, sync and async."""

from __future__ import annotations

import itertools
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from orchestrator import lazy_imports
from orchestrator.backends import BackendFactory
from orchestrator.backends.local import LocalBackend
from orchestrator.config import SettingsOptions
from orchestrator.core.records import MAX_PRIORITY, NewTask, RunEvent, TaskOutcome
from orchestrator.core.status import StatusView
from orchestrator.engine.hub import EventStream
from orchestrator.engine.signals import reraise
from orchestrator.engine.task_store import Known
from orchestrator.identity import identify_agent
from orchestrator.journal import open_journal
from orchestrator.logging.sinks import BufferedLog, LogCallback
from orchestrator.outcome import Outcome
from orchestrator.run_session import SPOOL_AHEAD, RunResult, RunSession, check_run_id, new_run_id
from orchestrator.setting_list import settings_from_options
from orchestrator.task_handle import TaskHandle
from runtime.agents import describe
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.interrupt_signal import build_signal
from runtime.ipc import codec
from runtime.ipc.main_module import refuse_start_while_importing
from runtime.limits import LARGEST_SIZE, check_count, show_value
from runtime.model import InterruptReason, InterruptSignal, escape_surrogates

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

FIRST_CHUNK, LAST_CHUNK = 1, 512
"""Inputs are handed in a few at a time: the first result comes soon, and many cost little."""

MAX_OUTSTANDING = 4096
"""Tasks that `map` has handed in beyond what was taken from it, at most: any iterable may be endless."""


def _check_rest(journal: object, *, journal_group: object, handle_signals: object, log: object) -> None:
    """Raise UsageError for an argument beside the settings that has a wrong type."""
    if not isinstance(journal, str | os.PathLike | None):
        raise UsageError(f"journal = {show_value(journal)}: give a path, or None")
    for name, flag in [("journal_group", journal_group), ("handle_signals", handle_signals)]:
        if not isinstance(flag, bool):
            raise UsageError(f"{name} = {show_value(flag)}: give True or False")
    if log is not None and not callable(log):
        raise UsageError(f"log = {show_value(log)}: give a callable log(event, severity, fields)")


def _check(key: object, priority: object) -> None:
    """Raise UsageError for a key or a priority that would end an executor, or the run."""
    if key is not None:
        if not isinstance(key, str):
            raise UsageError(f"a key must be a string, not {key!r}")
        if escape_surrogates(key) != key:
            raise UsageError(f"the key {key!r} is not text in UTF-8")
    if not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
        raise UsageError(f"a priority must be an integer of at most 53 bits, not {priority!r}")


class _Numbers:
    """Number tasks: the number names a task that has no key. Inputs of known length get theirs at once.

    So the numbers do not depend on how far a `map` has come when something else is handed in.
    """

    def __init__(self) -> None:
        self._next = 1
        self._lock = threading.Lock()

    def take(self, count: int = 1) -> range:
        with self._lock:
            numbers = range(self._next, self._next + count)
            self._next += count
        return numbers

    def one_by_one(self) -> Iterator[int]:
        while True:
            yield self.take()[0]


class Supervisor:
    """Run agents over inputs in supervised processes, and stop properly.

        if __name__ == "__main__":  # executors import the script too
            with Supervisor(workers=4, journal="runs.db", grace=20) as supervisor:
                for outcome in supervisor.map(summarise, paths):
                    print(outcome.key, outcome.status, outcome.value)

    Use it once, as a context manager, `with` or `async with`. One supervisor is one run. Leaving the block
    normally waits for every task that was handed in; leaving it by an exception interrupts them.

    journal: path of the journal; None keeps everything in memory.
    journal_group: a new journal is for its group too; else for its owner alone.
    run_id: the run to create, or to resume if the journal has it.
    settings: workers, grace, timeout and the others of docs/settings.md, times in seconds and sizes in bytes. What is
    not given has its default: the environment and the configuration file are for the command line only.
    handle_signals: take SIGINT, SIGTERM and SIGHUP over while the block runs (main thread only). When it is left they
    are given back, and the one that stopped the run is raised again: the program ends as it would without a supervisor.
    log: where log events go.
    backend: what makes the place where executors run (default: this machine; a test: orchestrator.testing.FakeBackend).

    Raises UsageError for settings or a journal that cannot be used, TypeError for an unknown parameter.
    """

    def __init__(
        self,
        *,
        journal: str | os.PathLike[str] | None = None,
        journal_group: bool = False,
        run_id: str | None = None,
        handle_signals: bool = True,
        log: LogCallback | None = None,
        backend: BackendFactory | None = None,
        **settings: Unpack[SettingsOptions],
    ) -> None:
        self.settings = settings_from_options(settings)
        self.run_id = new_run_id() if run_id is None else run_id
        check_run_id(self.run_id)
        _check_rest(journal, journal_group=journal_group, handle_signals=handle_signals, log=log)
        self._where, self._journal_group = journal, journal_group
        self._handle_signals = handle_signals
        self._log = log
        self._backend = backend or LocalBackend
        self._session: RunSession | None = None
        self._pid = 0
        self._numbers = _Numbers()
        self._feeding = threading.Lock()
        self._first_agent_loaded = False
        self._agents: dict[int, tuple[Callable[[], object], str, str, bytes]] = {}
        self.ending: RunResult | None = None

    # -- the block ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._session is not None:
            raise QuiesceError("a Supervisor is used once; make another one")
        refuse_start_while_importing()
        journal = None if self._where is None else open_journal(self._where, group=self._journal_group)
        held = BufferedLog()
        log = self._log or held
        self._session = RunSession(
            self.settings,
            self.run_id,
            log,
            journal,
            handle_signals=self._handle_signals,
            backend=self._backend,
        )
        self._pid = os.getpid()
        self._session.start()
        if self._log is None:
            try:
                held.release(lazy_imports.default_log())
            except BaseException as error:  # a Ctrl-C of the program's own: a block that was not entered is not left
                self._on_block_exit(error)
                self._session.finish()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_forked:
            return
        self._on_block_exit(error)
        while True:
            try:
                self._require_session().join()
                break
            except BaseException as interruption:  # noqa: BLE001 - a Ctrl-C of the program's own: as if it had left the block
                error = error or interruption
                self._on_block_exit(interruption)
        self._finish(self._require_session().finish(), error, was_there=kind is not None)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_forked:
            return
        self._on_block_exit(error)
        while True:
            try:
                if await lazy_imports.asyncio().to_thread(self._require_session().join, 3600.0):
                    break
            except lazy_imports.asyncio().CancelledError as interruption:  # as if that had left the block
                error = error or interruption
                self._on_block_exit(interruption)
            except BaseException as interruption:  # noqa: BLE001 - the event loop is over: nothing runs this coroutine
                error = error or interruption
                self._on_block_exit(interruption)
                self._require_session().join()
                break
        self._finish(self._require_session().finish(), error, was_there=kind is not None)

    def _on_block_exit(self, error: BaseException | None) -> None:
        session = self._require_session()
        if error is None:
            session.seal()
        elif not isinstance(error, ExecutionInterrupted):
            session.interrupt(
                InterruptSignal(
                    reason=InterruptReason.CUSTOM,
                    message=f"the block was left by {type(error).__name__}",
                    triggered_by="supervisor",
                )
            )
        else:
            session.interrupt(error.signal)

    def _finish(self, ending: RunResult, error: BaseException | None, *, was_there: bool) -> None:
        """Raise the signal again that stopped the run, or the error: all is recorded and released.

        `was_there`: the error left the block, and goes on by itself. Else it came while the end was waited for.
        """
        self.ending = ending
        if ending.signal_name is not None:
            reraise(ending.signal_name)
        if error is not None and not was_there:
            raise error
        if ending.error is not None and error is None:
            raise QuiesceError(ending.error)

    @property
    def _is_forked(self) -> bool:
        """Whether this is a child that was forked inside the block: the run, and its end, belong to the parent."""
        return self._pid not in (0, os.getpid())

    def _require_session(self) -> RunSession:
        if self._is_forked:
            raise QuiesceError(f"the run belongs to process {self._pid}, which has forked this one")
        if self._session is None:
            raise QuiesceError("a Supervisor works inside its block: `with Supervisor(...) as supervisor:`")
        return self._session

    # -- tasks --------------------------------------------------------------------------------------

    def map(
        self, agent: Callable[[T, Any], Any], inputs: Iterable[T], *, keys: Iterable[str] | None = None
    ) -> Iterator[Outcome]:
        """Execute `agent` for every input. Yield the outcomes as they are committed.

        `keys` name the inputs, one each; otherwise an input that is a dict with a "key" is named by it, and any
        other by its number. `inputs` may be endless: it is read no further than a few thousand ahead of what was taken.

        A run that is gone on with must get the inputs that it was begun with: a list, or another collection, is
        compared as a whole before any of it is executed, an iterator input by input (docs/resume.md).

        Raises UsageError when the agent cannot be executed or a key comes twice, RunMismatchError (a UsageError and
        ValueError) when the run was begun with other agents or inputs, ExecutionInterrupted when the run was
        stopped before the last outcome (those that were interrupted are handed out first, with their status).
        """
        return self._map(agent, inputs, keys)

    def _map(
        self, agent: Callable[..., Any], inputs: Iterable[Any], keys: Iterable[str] | None
    ) -> Generator[Outcome, None, None]:
        number = self._register_agent(agent)
        try:
            tasks = self._numbered(number, inputs, keys)
        except Exception:  # it was begun with other inputs
            self._require_session().release(number)
            raise
        return self._outcomes(number, tasks)

    def _numbered(self, agent: int, inputs: Iterable[Any], keys: Iterable[str] | None) -> Iterator[NewTask]:
        """Yield the tasks of these inputs. A collection is compared as a whole with what the run has."""
        numbers: Iterable[int] = self._numbers.one_by_one()
        if isinstance(inputs, Collection):
            numbers = itertools.chain(self._numbers.take(len(inputs)), numbers)
            if self._require_session().is_resumed_by_program and (keys is None or isinstance(keys, Collection)):
                numbers, again = itertools.tee(numbers)
                tasks = self._tasks(agent, inputs, keys, again)
                while chunk := list(itertools.islice(tasks, LAST_CHUNK)):
                    self._require_session().compare(chunk)
        return self._tasks(agent, inputs, keys, numbers)

    async def amap(
        self,
        agent: Callable[[T, Any], Any],
        inputs: Iterable[T] | AsyncIterable[T],
        *,
        keys: Iterable[str] | None = None,
    ) -> AsyncIterator[Outcome]:
        """Execute as `map` does, for `async for`. Never blocks the event loop; `inputs` may be an async iterable."""
        if isinstance(inputs, AsyncIterable):
            number = await lazy_imports.asyncio().to_thread(self._register_agent, agent)
            async for outcome in self._outcomes_of_stream(number, inputs, None if keys is None else iter(keys)):
                yield outcome
            return
        outcomes = await lazy_imports.asyncio().to_thread(self._map, agent, inputs, keys)
        while (outcome := await lazy_imports.asyncio().to_thread(next, outcomes, None)) is not None:
            yield outcome

    def submit(
        self, agent: Callable[[T, Any], Any], task_input: T, *, key: str | None = None, priority: int = 0
    ) -> TaskHandle:
        """Hand in one task, from any thread, also while others run. Return the handle of its result."""
        return self._submit(self._register_agent(agent), task_input, key, priority)

    def interrupt(
        self,
        reason: InterruptReason = InterruptReason.USER_CANCELLED,
        message: str = "",
        triggered_by: str = "api",
        *,
        key: str | None = None,
    ) -> None:
        """Stop the run, or the one task with this key. Returns at once; from any thread.

        Like `ExecutionState.request_interrupt` it never fails because of its arguments.
        """
        signal = build_signal(reason, message, triggered_by)
        if key is not None and not isinstance(key, str):
            raise UsageError(f"a key must be a string, not {key!r}")
        self._require_session().interrupt(signal, None if key is None else escape_surrogates(key))

    def events(self, limit: int = 10_000, *, from_seq: int | None = None) -> EventStream:
        """Return the run's events from now on, an iterator that ends with the run. At most `limit` wait to be read.

        `from_seq`: those from this number on (the first is 1) come first, out of the journal, and none twice. So a
        reader that lost its place goes on where it was. Raises UsageError without a journal.
        """
        check_count("from_seq", from_seq, most=LARGEST_SIZE)
        hub = self._require_session().hub
        if from_seq is None:
            return hub.subscribe(limit)
        if self._where is None:
            raise UsageError("events can be read again only from a journal, and this supervisor has none")
        return hub.subscribe(limit, self._replay_events(self._where, from_seq))

    def _replay_events(self, where: str | os.PathLike[str], from_seq: int) -> Iterator[RunEvent]:
        """Read past events by a connection of their own, in the thread that iterates."""
        with open_journal(where, "read") as journal:
            run = next((run for run in journal.runs() if run.run_id == self.run_id), None)
            if run is not None:
                yield from journal.events(run.id, from_seq)

    @property
    def status(self) -> StatusView:
        """The run as it stands: renewed a few times a second, and at once when its phase, signal or error changes."""
        return self._require_session().status

    # -- internals ----------------------------------------------------------------------------------

    def _register_agent(self, agent: Callable[..., Any]) -> int:
        """Register an agent. Block until an executor has loaded the first one: a broken one leaves no run behind.

        Executors may be busy when others follow; one that cannot be loaded then fails its own tasks.
        """
        known = self._agents.get(id(agent))
        if known is None or known[0]() is not agent:
            known = (self._refer_to(agent), describe(agent).name, identify_agent(agent), codec.encode_blob(agent))
            self._agents[id(agent)] = known
        _, name, identity, source = known
        number, loaded = self._require_session().register_agent(by_name=False, source=source, identity=identity)
        if loaded.done() or not self._first_agent_loaded:
            loaded.result()
        self._first_agent_loaded = True
        with self._feeding:
            self._require_session().begin_run({"name": name})
            self._require_session().start_tasks()
        return number

    def _refer_to(self, agent: object) -> Callable[[], object]:
        """Return a reference to the agent, weak where it can be: the caller may drop a large one."""
        forget = partial(self._agents.pop, id(agent), None)
        try:
            return weakref.ref(agent, lambda _: forget())
        except TypeError:
            return lambda: agent

    def _tasks(
        self, agent: int, inputs: Iterable[Any], keys: Iterable[str] | None, numbers: Iterable[int]
    ) -> Iterator[NewTask]:
        if keys is None:
            return (
                self._task(agent, task_input, None, number) for task_input, number in zip(inputs, numbers, strict=False)
            )
        pairs = zip(zip(inputs, keys, strict=True), numbers, strict=False)
        return (self._task(agent, task_input, key, number) for (task_input, key), number in pairs)

    def _task(self, agent: int, task_input: Any, key: str | None, number: int, priority: int = 0) -> NewTask:
        if key is None and isinstance(task_input, dict) and isinstance(task_input.get("key"), str):
            key = task_input["key"]
        _check(key, priority)
        data, encoding = codec.encode(task_input)
        return NewTask(str(number) if key is None else key, data, encoding, priority, agent=agent)

    @contextmanager
    def _handing_in(self, agent: int) -> Iterator[deque[Future[None]]]:
        """Enter a block that hands in tasks of an agent and appends the futures of those that are not written yet.

        The agent is released when the last of them is done, however the block is left. A Ctrl-C may come before the
        last one is noted: then it is kept.
        """
        unwritten: deque[Future[None]] = deque()
        try:
            yield unwritten
        except (Exception, GeneratorExit):
            self._release_after(unwritten, agent)
            raise
        self._release_after(unwritten, agent)

    def _release_after(self, unwritten: Sequence[Future[None]], agent: int) -> None:
        if self._is_forked:  # which has got the block's generators, too
            return
        session = self._require_session()
        if unwritten:
            unwritten[-1].add_done_callback(lambda _: session.release(agent))
        else:
            session.release(agent)

    def _submit(self, agent: int, task_input: Any, key: str | None, priority: int = 0) -> TaskHandle:
        with self._handing_in(agent) as unwritten, self._feeding:
            task = self._task(agent, task_input, key, self._numbers.take()[0], priority)
            future: Future[Outcome | None] = Future()
            known = self._require_session().compare([task])
            self._require_session().hub.add_waiter(
                task.key, lambda record: future.set_result(None if record is None else Outcome.from_record(record))
            )
            unwritten.append(self._spool([task], known))
            unwritten[-1].result()
        return TaskHandle(task.key, future, self._end_error, lambda: self.interrupt(key=task.key))

    def _spool(self, tasks: Sequence[NewTask], known: Known) -> Future[None]:
        hub = self._require_session().hub
        spooled = self._require_session().spool(tasks, known)

        def forget(done: Future[None]) -> None:
            if done.cancelled() or done.exception() is not None:
                for task in tasks:
                    hub.remove_waiter(task.key)

        spooled.add_done_callback(forget)
        return spooled

    def _wait_for(self, tasks: Sequence[NewTask], sink: Callable[[TaskOutcome | None], None]) -> None:
        """Wait for all of these tasks, or, when a key is refused, for none."""
        hub = self._require_session().hub
        for number, task in enumerate(tasks):
            try:
                hub.add_waiter(task.key, sink)
            except UsageError:
                for earlier in tasks[:number]:
                    hub.remove_waiter(earlier.key)
                raise

    async def _outcomes_of_stream(
        self, agent: int, inputs: AsyncIterable[Any], keys: Iterator[str] | None
    ) -> AsyncIterator[Outcome]:
        """Do as `_outcomes`, for inputs that come one by one."""
        loop = lazy_imports.asyncio().get_running_loop()
        arrived: asyncio.Queue[TaskOutcome | None] = lazy_imports.asyncio().Queue()
        room = lazy_imports.asyncio().Semaphore(MAX_OUTSTANDING)
        count = 0
        unwritten: list[Future[None]] = []

        def tell(outcome: TaskOutcome | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: no coroutine waits any more
                loop.call_soon_threadsafe(arrived.put_nowait, outcome)

        async def feed() -> None:
            nonlocal count
            async for task_input in inputs:
                await room.acquire()
                task = self._task(agent, task_input, None if keys is None else next(keys), self._numbers.take()[0])
                known: Known = {}
                if self._require_session().is_resumed_by_program:
                    known = await lazy_imports.asyncio().to_thread(self._require_session().compare, [task])
                self._wait_for([task], tell)
                count += 1
                unwritten[:] = [self._spool([task], known)]
                await lazy_imports.asyncio().shield(
                    lazy_imports.asyncio().wrap_future(unwritten[0])
                )  # written, also when the caller leaves

        feeding = lazy_imports.asyncio().create_task(feed())
        feeding.add_done_callback(lambda _: arrived.put_nowait(None))
        given = 0
        try:
            while not feeding.done() or given < count:
                outcome = await arrived.get()
                if outcome is not None:
                    yield Outcome.from_record(outcome)
                    given += 1
                    room.release()
                elif not feeding.done() or self._require_session().has_ended:
                    raise self._end_error()
                else:
                    feeding.result()
        finally:
            feeding.cancel()
            self._release_after(unwritten, agent)
        if self._require_session().was_interrupted:
            raise self._end_error()

    def _outcomes(self, agent: int, tasks: Iterator[NewTask]) -> Generator[Outcome, None, None]:
        """Hand in tasks, and yield their outcomes; a bounded number of them is on the way."""
        session = self._require_session()
        arrived: queue.SimpleQueue[TaskOutcome | None] = queue.SimpleQueue()
        waiting, size = 0, FIRST_CHUNK
        with self._handing_in(agent) as unwritten:
            while chunk := list(itertools.islice(tasks, size)):
                with self._feeding:
                    known = session.compare(chunk)
                    self._wait_for(chunk, arrived.put)
                    unwritten.append(self._spool(chunk, known))
                while len(unwritten) > SPOOL_AHEAD or (unwritten and unwritten[0].done()):
                    unwritten.popleft().result()
                waiting += len(chunk)
                size = min(LAST_CHUNK, size * 2)
                while waiting and (waiting > MAX_OUTSTANDING or not arrived.empty()):
                    yield self._require_outcome(arrived.get())
                    waiting -= 1
            for spooled in unwritten:
                spooled.result()
        while waiting:
            yield self._require_outcome(arrived.get())
            waiting -= 1
        if session.was_interrupted:
            raise self._end_error()

    def _require_outcome(self, outcome: TaskOutcome | None) -> Outcome:
        if outcome is None:
            raise self._end_error()
        return Outcome.from_record(outcome)

    def _end_error(self) -> BaseException:
        return self._require_session().end_error()
