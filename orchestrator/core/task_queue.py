"""Tasks on their way from the store to the executors: a bounded window on the store's pending ones. Pure."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from orchestrator.core.instructions import FetchTasks
from orchestrator.core.records import NewTask, PendingTask, to_pending
from orchestrator.core.stimuli import TasksAdded

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

CancelledTasks: TypeAlias = "list[tuple[PendingTask, InterruptSignal]]"
"""Tasks that were cancelled before they were fetched, each with its signal."""

Rank = TypeVar("Rank", int, float)

WINDOW_TASKS = 4096
"""At most this many tasks are fetched at a time…"""

WINDOW_BYTES = 16 << 20
"""…and about this many bytes of input."""


class TaskQueue:
    """Queue tasks: first in, first out; returned ones go to the front; retries wait for their time."""

    def __init__(self) -> None:
        self._ready: deque[PendingTask] = deque()
        self._suspects: deque[PendingTask] = deque()
        self._urgent: list[tuple[int, int, PendingTask]] = []
        self._prefetched_urgent: set[int] = set()
        self._urgent_after = 0
        self._urgent_to = 0
        self._awaiting_agent: dict[int, list[PendingTask]] = {}
        self._retry_heap: list[tuple[float, int, PendingTask]] = []
        self._crashes: Counter[int] = Counter()
        self._isolated: set[int] = set()
        self._average_bytes = 256.0
        self._last_seq = 0
        self._read_to = 0
        self._fetching = False
        self._cancelled: dict[str, tuple[int, InterruptSignal]] = {}
        self._foreign_sigterms: Counter[int] = Counter()
        self._postponed: Counter[int] = Counter()
        self._out_of_memory: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._ready) + len(self._suspects) + len(self._urgent)

    @property
    def is_exhausted(self) -> bool:
        """Whether no task is queued, being fetched, or in the store and not fetched."""
        return not (len(self) or self._retry_heap or self._fetching) and self._read_to >= self._last_seq

    @property
    def due(self) -> float | None:
        """Return when the next waiting task may run again, None if none waits."""
        return self._retry_heap[0][0] if self._retry_heap else None

    # -- from the store -----------------------------------------------------------------------------

    def on_run_resumed(self, last_seq: int, *, by_program: bool = False) -> None:
        """Note that the store has tasks up to `last_seq`. `by_program`: they come as recalled, and are not fetched."""
        self._last_seq = last_seq
        if by_program:
            self._read_to = last_seq

    def on_tasks_recalled(self, tasks: Sequence[PendingTask], agents: Container[int]) -> CancelledTasks:
        """Queue tasks of an earlier start that were handed in again. Returns those that were cancelled."""
        return self._take_in(tasks, agents)

    def on_tasks_added(self, news: TasksAdded, agents: Container[int]) -> CancelledTasks:
        """Queue new tasks of the store, or note that they are to be fetched later. Returns those that were cancelled.

        They are queued at once if nothing older is still to be fetched and there is room, which spares the store the
        reading, or if the store does not keep them.
        """
        is_next = not self._fetching and self._read_to >= self._last_seq
        self._last_seq = max(self._last_seq, news.last_seq)
        if not news.stored or (is_next and self._has_room_for(news.tasks)):
            self._read_to = self._last_seq
            return self._take_in(to_pending(news.tasks, news.after), agents)
        if any(task.priority > 0 for task in news.tasks):
            self._urgent_to = news.last_seq
        return []

    def _has_room_for(self, tasks: Sequence[NewTask]) -> bool:
        size = len(self) * self._average_bytes + sum(len(task.input) for task in tasks)
        return len(self) + len(tasks) <= WINDOW_TASKS and size <= WINDOW_BYTES

    def next_fetch(self) -> FetchTasks | None:
        """Return what to fetch now, or None. The answer must come back through `on_tasks_fetched`."""
        if self._urgent_to > self._urgent_after:  # they do not wait for their turn in the queue
            request = FetchTasks(max(self._urgent_after, self._read_to), self._urgent_to, WINDOW_TASKS, urgent=True)
            self._urgent_after = self._urgent_to
            return request
        limit = max(1, min(WINDOW_TASKS, int(WINDOW_BYTES / self._average_bytes)))
        if self._fetching or self._read_to >= self._last_seq or len(self._ready) > limit // 2:
            return None
        self._fetching = True
        return FetchTasks(self._read_to, self._last_seq, limit)

    def on_tasks_fetched(self, tasks: Sequence[PendingTask], read_to: int, agents: Container[int]) -> CancelledTasks:
        """Queue the answer to a fetch, which has read the store up to `read_to`. Returns those that were cancelled.

        Tasks of an agent that is not there (an earlier start had it, this one has not yet) are put aside.
        """
        self._fetching = False
        self._read_to = max(self._read_to, read_to)
        return self._take_in(tasks, agents)

    def _take_in(self, tasks: Sequence[PendingTask], agents: Container[int]) -> CancelledTasks:
        unwanted: CancelledTasks = []
        for task in tasks:
            if task.seq in self._prefetched_urgent:  # the urgent ones came before
                self._prefetched_urgent.discard(task.seq)
            elif task.key in self._cancelled and task.seq <= self._cancelled[task.key][0]:
                unwanted.append((task, self._cancelled.pop(task.key)[1]))
            elif task.agent in agents:
                self._add(task)
            else:
                self._awaiting_agent.setdefault(task.agent, []).append(task)
        if tasks:
            size = sum(len(task.input) + len(task.snapshot or b"") for task in tasks) / len(tasks)
            self._average_bytes = max(64.0, (self._average_bytes + size) / 2)
        return unwanted

    def on_urgent_tasks_fetched(self, tasks: Sequence[PendingTask], agents: Container[int]) -> CancelledTasks:
        """Queue the answer to a fetch of the urgent ones. As `on_tasks_fetched`."""
        fresh = [task for task in tasks if task.seq > self._read_to and task.seq not in self._prefetched_urgent]
        unwanted = self._take_in(fresh, agents)
        self._prefetched_urgent.update(task.seq for task in fresh)
        return unwanted

    def _add(self, task: PendingTask) -> None:
        if task.priority > 0:
            heapq.heappush(self._urgent, (-task.priority, task.seq, task))
        else:
            self._ready.append(task)

    @property
    def most_urgent(self) -> int:
        """Return the highest priority that waits, 0 when nothing urgent does."""
        return -self._urgent[0][0] if self._urgent else 0

    def on_agent_loaded(self, agent: int) -> None:
        """Queue the tasks that were put aside for an agent, which is registered now."""
        for task in self._awaiting_agent.pop(agent, ()):
            self._add(task)

    # -- back again ---------------------------------------------------------------------------------

    def put_back(self, tasks: Sequence[PendingTask]) -> None:
        """Put tasks in front, in their order: they had not begun, or are to begin again at once."""
        for task in reversed(tasks):
            if task.priority > 0:
                self._add(task)
            else:
                self._ready.appendleft(task)

    def add_suspects(self, tasks: Sequence[PendingTask]) -> None:
        """Queue tasks one of which killed its executor. Each runs alone from now on, so that the culprit is known."""
        self._suspects.extend(tasks)

    def isolate(self, task: PendingTask) -> None:
        """Queue a task that may end every executor: it runs when nothing else does."""
        self._isolated.add(task.seq)
        self._suspects.append(task)

    @property
    def has_isolated(self) -> bool:
        """Whether a task was ever isolated."""
        return bool(self._isolated)

    @property
    def is_isolating(self) -> bool:
        """Whether the next suspect must be the only task that runs."""
        return bool(self._suspects) and self._suspects[0].seq in self._isolated

    def retry_at(self, task: PendingTask, at: float) -> None:
        """Run a task again, not before `at`."""
        heapq.heappush(self._retry_heap, (at, task.seq, task))

    def count_crash(self, seq: int) -> int:
        """Count a crash of this task. Returns how many it has now."""
        self._crashes[seq] += 1
        return self._crashes[seq]

    def count_foreign_sigterm(self, seq: int) -> int:
        """Count an end of this task by a SIGTERM that is none of ours. Returns how many it has now."""
        self._foreign_sigterms[seq] += 1
        return self._foreign_sigterms[seq]

    def count_postponed(self, seq: int) -> int:
        """Count that this task asks to be tried later. Returns how often it has done so."""
        self._postponed[seq] += 1
        return self._postponed[seq]

    def count_out_of_memory(self, seq: int) -> int:
        """Count that this task ran out of memory. Returns how often it has."""
        self._out_of_memory[seq] += 1
        return self._out_of_memory[seq]

    # -- not wanted any more ------------------------------------------------------------------------

    def cancel_when_fetched(self, key: str, signal: InterruptSignal) -> bool:
        """Cancel a task by its key when it comes from the store. False: nothing more is there to come."""
        if self._read_to >= self._last_seq and not self._fetching:
            return False
        self._cancelled[key] = (self._last_seq, signal)
        return True

    def cancel(self, key: str) -> PendingTask | None:
        """Remove one task by its key. None when it is not queued (it may not have been fetched yet)."""
        for tasks in (self._ready, self._suspects, *self._awaiting_agent.values()):
            queued = next((task for task in tasks if task.key == key), None)
            if queued is not None:
                tasks.remove(queued)
                return queued
        return _withdraw(self._urgent, key) or _withdraw(self._retry_heap, key)

    # -- out ----------------------------------------------------------------------------------------

    def release_due_retries(self, now: float) -> None:
        """Queue the retries whose time has come."""
        while self._retry_heap and self._retry_heap[0][0] <= now:
            self.put_back([heapq.heappop(self._retry_heap)[2]])

    def take(self, count: int) -> list[PendingTask]:
        """Remove and return up to `count` tasks: the urgent ones first, then in order."""
        ready = self._ready
        if self._urgent:
            urgent = [heapq.heappop(self._urgent)[2] for _ in range(min(count, len(self._urgent)))]
            return urgent + self.take(count - len(urgent)) if len(urgent) < count else urgent
        return [ready.popleft() for _ in range(min(count, len(ready)))]

    def take_suspect(self) -> PendingTask | None:
        """Remove and return a task that must run alone, or None."""
        return self._suspects.popleft() if self._suspects else None


def _withdraw(heap: list[tuple[Rank, int, PendingTask]], key: str) -> PendingTask | None:
    for entry in heap:
        if entry[2].key == key:
            heap.remove(entry)
            heapq.heapify(heap)
            return entry[2]
    return None
