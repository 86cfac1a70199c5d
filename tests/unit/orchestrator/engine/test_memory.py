"""Measuring the memory of executors: each in a thread of its own, one look at a time."""

from __future__ import annotations

import queue
import threading

from orchestrator.core import stimuli
from orchestrator.engine.memory import MemoryMeasurer
from runtime.ipc.guardian_protocol import MemoryReport

LIMIT = 1000


class Looks:
    """Stands for the kernel: what is measured, and a process whose memory maps cannot be had until `free` is set."""

    def __init__(self, sizes: dict[int, int], stuck: int = 0) -> None:
        self.sizes = sizes
        self.stuck = stuck
        self.free = threading.Event()
        self.began: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[stimuli.Stimulus] = queue.SimpleQueue()
        self.measurer = MemoryMeasurer(LIMIT, self.told.put, self.measure)

    def measure(self, pid: int, above: int) -> int:
        assert above == LIMIT
        self.began.put(pid)
        if pid == self.stuck:
            assert self.free.wait(30)
        return self.sizes[pid]

    def next(self) -> tuple[int, int, int]:
        stimulus = self.told.get(timeout=30)
        assert isinstance(stimulus, stimuli.MemoryExceeded)
        return stimulus.slot, stimulus.incarnation, stimulus.size


def test_what_is_above_the_limit_is_told_and_what_only_seemed_so_is_not() -> None:
    looks = Looks({7: 900, 8: 2000})
    looks.measurer.measure(MemoryReport(0, 1, 7, 5000))
    assert looks.began.get(timeout=30) == 7
    looks.measurer.measure(MemoryReport(1, 1, 8, 5000))
    assert looks.next() == (1, 1, 2000)
    assert looks.told.empty()


def test_an_executor_whose_memory_cannot_be_read_holds_up_no_other_and_is_looked_at_once_at_a_time() -> None:
    looks = Looks({7: 2000, 8: 3000}, stuck=7)
    for _ in range(3):
        looks.measurer.measure(MemoryReport(0, 1, 7, 5000))
    assert looks.began.get(timeout=30) == 7
    looks.measurer.measure(MemoryReport(1, 1, 8, 5000))
    assert looks.next() == (1, 1, 3000)
    looks.free.set()
    assert looks.next() == (0, 1, 2000)
    assert [looks.began.get(timeout=30)] == [8]
    assert looks.began.empty()


def test_the_next_executor_of_a_slot_does_not_wait_for_the_one_before() -> None:
    looks = Looks({7: 2000, 8: 3000}, stuck=7)
    looks.measurer.measure(MemoryReport(0, 1, 7, 5000))
    looks.measurer.measure(MemoryReport(0, 2, 8, 5000))
    assert looks.next() == (0, 2, 3000)
    looks.free.set()
    assert looks.next() == (0, 1, 2000)


def test_without_a_limit_nothing_is_measured() -> None:
    looks = Looks({})
    MemoryMeasurer(None, looks.told.put, looks.measure).measure(MemoryReport(0, 1, 7, 5000))
    assert looks.began.empty()
