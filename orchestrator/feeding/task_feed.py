"""Hand in the tasks of a run, and deliver their outcomes to the caller, a bounded number of them at a time."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.callbacks import CallbackThread
from orchestrator.core.records import NewTask
from orchestrator.engine.hub import Hub, OutcomeCallback
from orchestrator.engine.task_store import Known
from orchestrator.feeding.agent_sources import AgentSources
from orchestrator.feeding.delivery import Delivery
from orchestrator.feeding.task_builder import GivenTask, TaskBuilder
from orchestrator.run_session import RunSession
from orchestrator.task_handle import Handle, new_handle
from runtime.errors import QuiesceError, UsageError

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

COMPARED_TOGETHER = 512
"""Tasks of a collection that are compared in one go with those that a run has."""

LEAST_AHEAD = 64
"""Tasks of a `map` that may always be on the way, however large their inputs are; more for many executors."""


class TaskFeed:
    """Feed one run. Any thread may call any method; all but `session`, `spool` and `release_after` may block."""

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._pid = os.getpid()
        self._sources = AgentSources()
        self.builder = TaskBuilder()
        self.callbacks = CallbackThread()
        self._lock = threading.Lock()
        self._first_agent_loaded = False

    @property
    def is_forked(self) -> bool:
        """Whether this is a child that was forked inside the block: the run, and its end, belong to the parent."""
        return self._pid != os.getpid()

    @property
    def session(self) -> RunSession:
        """The run. Raises QuiesceError in a child that was forked inside the block."""
        if self.is_forked:
            raise QuiesceError(f"the run belongs to process {self._pid}, which has forked this one")
        return self._session

    # -- agents -------------------------------------------------------------------------------------

    def register(self, agent: Callable[..., Any]) -> int:
        """Register an agent, and return its number. A broken first one leaves no run behind: wait until it is loaded.

        Executors may be busy when others follow; one that cannot be loaded then fails its own tasks.
        """
        name, identity, source = self._sources.encode(agent)
        session = self.session
        number, loaded = session.register_agent(by_name=False, source=source, identity=identity)
        if loaded.done() or not self._first_agent_loaded:
            session.loading = name, time.monotonic()
            try:
                loaded.result()
            finally:
                session.loading = None
        self._first_agent_loaded = True
        if not session.has_begun:
            with self._lock:
                session.begin_run({"name": name})
                session.start_tasks()
        return number

    @contextmanager
    def handing_in(self, agent: int, unwritten: deque[Future[None]]) -> Iterator[None]:
        """Enter a block that hands in tasks of an agent and appends the futures of those that are not written yet.

        The agent is released when the last of them is done, however the block is left. A Ctrl-C may come before the
        last one is noted: then it is kept.
        """
        try:
            yield
        except (Exception, GeneratorExit):
            self.release_after(unwritten, agent)
            raise
        self.release_after(unwritten, agent)

    def release_after(self, unwritten: Sequence[Future[None]], agent: int) -> None:
        """Release an agent when the last of these futures is done."""
        if self.is_forked:  # which has got the block's generators, too
            return
        if unwritten:
            unwritten[-1].add_done_callback(lambda _: self._session.release(agent))
        else:
            self._session.release(agent)

    # -- tasks --------------------------------------------------------------------------------------

    def prepare(
        self, agent: Callable[..., Any], inputs: Iterable[Any], keys: Iterable[str] | None
    ) -> tuple[int, Iterator[GivenTask]]:
        """Return an agent's number, and the tasks of its inputs. A collection is compared before any of it runs."""
        number = self.register(agent)
        try:
            numbers = self.builder.numbers(inputs)
            if self.session.is_resumed_by_program and isinstance(inputs, Collection) and _is_repeatable(keys):
                numbers, again = itertools.tee(numbers)
                tasks = (task for task, _ in self.builder.tasks(number, inputs, keys, again))
                while chunk := list(itertools.islice(tasks, COMPARED_TOGETHER)):
                    self.session.compare(chunk)
        except Exception:  # it was begun with other inputs
            self.session.release(number)
            raise
        if isinstance(inputs, Collection):
            with self._lock:
                self.session.announce(len(inputs))
        return number, self.builder.tasks(number, inputs, keys, numbers)

    def delivery(self, *, in_order: bool) -> Delivery:
        """Return what orders the outcomes of one `map`."""
        settings = self.session.settings
        return Delivery(in_order=in_order, least=max(LEAST_AHEAD, 2 * settings.workers * settings.concurrency))

    def hand_in(self, tasks: Sequence[NewTask], sinks: Iterable[OutcomeCallback]) -> Future[None]:
        """Compare tasks, wait for their outcomes, and spool them. Return the future of that."""
        session = self.session
        with self._lock:
            known = session.compare(tasks)
            self._wait_for(session.hub, tasks, sinks)
            return self._spool(session, tasks, known)

    def submit(self, agent: int, task_input: Any, key: str | None = None, priority: int = 0) -> Handle[Any]:
        """Hand in one task. Return the handle of its result."""
        unwritten: deque[Future[None]] = deque()
        with self.handing_in(agent, unwritten):
            task = self.builder.task(agent, task_input, key, priority=priority)
            handle, settle = new_handle(task.key, task_input, self)
            unwritten.append(self.hand_in([task], [settle]))
            self.wait_until_done(unwritten[-1], None)
            unwritten[-1].result()
        return handle

    def wait_until_done(self, future: Future[Any], timeout: float | None) -> None:
        """Wait until a future of this run is done, or for `timeout` seconds."""
        if self.is_forked:
            wait([future], timeout)
        else:
            self._session.wait_for(future, timeout)

    def wait_for(self, tasks: Sequence[NewTask], sinks: Iterable[OutcomeCallback]) -> None:
        """Wait for all of these tasks, each with its sink, or, when a key is refused, for none."""
        self._wait_for(self.session.hub, tasks, sinks)

    @staticmethod
    def _wait_for(hub: Hub, tasks: Sequence[NewTask], sinks: Iterable[OutcomeCallback]) -> None:
        for number, (task, sink) in enumerate(zip(tasks, sinks, strict=True)):
            try:
                hub.add_waiter(task.key, sink)
            except UsageError:
                for earlier in tasks[:number]:
                    hub.remove_waiter(earlier.key)
                raise

    def spool(self, tasks: Sequence[NewTask], known: Known) -> Future[None]:
        """Hand in tasks as RunSession.spool does. Those that cannot be written are not waited for any more."""
        return self._spool(self.session, tasks, known)

    @staticmethod
    def _spool(session: RunSession, tasks: Sequence[NewTask], known: Known) -> Future[None]:
        hub = session.hub
        spooled = session.spool(tasks, known)

        def forget(done: Future[None]) -> None:
            if done.cancelled() or done.exception() is not None:
                for task in tasks:
                    hub.remove_waiter(task.key)

        spooled.add_done_callback(forget)
        return spooled

    def interrupt_task(self, key: str, signal: InterruptSignal) -> None:
        """Interrupt one task. Returns at once."""
        self.session.interrupt(signal, key)

    def is_running(self, key: str) -> bool:
        """Return whether an executor has this task, a moment ago."""
        return self.session.is_executing(key)

    def end_error(self) -> BaseException:
        """Return what to raise in a caller that waits for what will not come."""
        return self.session.end_error()


def _is_repeatable(keys: Iterable[str] | None) -> bool:
    return keys is None or isinstance(keys, Collection)
