"""Number the agents of a run, and know what the executors report of them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from orchestrator.core import stimuli
from orchestrator.core.agent_needs import may_be_dropped
from orchestrator.core.instructions import ReportAgent
from orchestrator.engine.task_store import Post
from orchestrator.identity import AgentNumbers
from orchestrator.remote_exceptions import RemoteTraceback
from runtime.errors import UsageError


class AgentRegistry:
    """Register the agents of a run. Any thread may call.

    `load_stored` returns the identities that an earlier start has given, by number; it is called once, when the first
    agent comes. `keep` stores a new one.
    """

    def __init__(
        self, post: Post, load_stored: Callable[[], Mapping[int, str]], keep: Callable[[int, str], None]
    ) -> None:
        self._post = post
        self._load_stored = load_stored
        self._keep = keep
        self._lock = threading.Lock()
        self._by_source: dict[tuple[bool, bytes], int] = {}
        self._reports: dict[int, Future[ReportAgent]] = {}
        self._counted: set[int] = set()
        self._numbers: AgentNumbers | None = None
        self.stored: Mapping[int, str] = {}
        """The identities that an earlier start of the run has given, by number."""
        self.identities: dict[int, str] = {}
        """All identities, by number."""

    def register(self, *, by_name: bool, source: bytes, identity: str) -> tuple[int, Future[ReportAgent]]:
        """Register an agent, as RunSession.register_agent says."""
        with self._lock:
            is_counted = may_be_dropped(by_name=by_name, source=source)
            key = (by_name, hashlib.sha256(source).digest() if is_counted else source)
            is_new = key not in self._by_source
            if is_new:
                number = self._number_of(identity)
                self._reports[number] = Future()
                self._by_source[key] = number
            number = self._by_source[key]
            if is_counted:
                self._counted.add(number)
            if is_new or is_counted:
                self._post(stimuli.AgentAdded(number, by_name, source))
        return number, self._reports[number]

    def _number_of(self, identity: str) -> int:
        """Return the number that an earlier start of the run gave to this agent, or a new one."""
        if self._numbers is None:
            self.stored = self._load_stored()
            self._numbers = AgentNumbers(self.stored)
            self.identities.update(self.stored)
        number = self._numbers.take(identity)
        self.identities[number] = identity
        if identity and number not in self.stored:
            self._keep(number, identity)
        return number

    def release(self, agent: int) -> None:
        """Note that no more tasks of an agent are on the way from one of those who registered it."""
        if agent in self._counted:
            self._post(stimuli.AgentReleased(agent))

    def on_report(self, report: ReportAgent) -> None:
        """Resolve the future of an agent."""
        future = self._reports[report.agent]
        if future.done():  # one executor could not load it, another one can: the first report counts
            return
        with suppress(InvalidStateError):  # failed just now: the run is over
            if report.error is None:
                future.set_result(report)
            else:
                error = UsageError(report.error)
                error.__cause__ = RemoteTraceback(report.detail) if report.detail else None
                future.set_exception(error)

    def fail_pending(self, error: BaseException) -> None:
        """Fail every future that is not done: the run is over."""
        for future in list(self._reports.values()):
            with suppress(InvalidStateError):  # it has a result
                future.set_exception(error)
