"""Samples are seldom while no task is executed, and come soon again when one is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.config import Settings
from orchestrator.engine.sampler import Sampler


@dataclass
class State:
    """Of the machine's state that what the sampler asks for."""

    running: int = 0
    signal: object = None


@dataclass
class Machine:
    """A machine without executors that wait."""

    settings: Settings
    state: State = field(default_factory=State)

    def slots_without_heartbeat(self, progress: object, now: float) -> list[Any]:
        return []


class Nothing:
    """A backend and a multiplexer that see nothing."""

    paused = False

    def progress(self, slot: int) -> tuple[int, float, float]:
        return 0, 0.0, 0.0


def make(**settings: Any) -> tuple[Sampler, Machine]:
    machine = Machine(Settings(workers=2, **settings))
    return Sampler(Nothing(), Nothing(), machine), machine  # type: ignore[arg-type]


def test_an_idle_run_is_sampled_twice_a_second() -> None:
    sampler, _ = make()
    sampler.take(100.0)
    assert sampler.due_at == 100.5
    sampler.hasten(100.1)
    assert sampler.due_at == 100.5


def test_a_busy_one_four_times() -> None:
    sampler, machine = make()
    machine.state.running = 1
    sampler.take(100.0)
    assert sampler.due_at == 100.25


def test_work_that_comes_brings_the_next_sample_forward_once() -> None:
    sampler, machine = make()
    sampler.take(100.0)
    machine.state.running = 1
    sampler.hasten(100.1)
    assert sampler.due_at == 100.35
    sampler.hasten(100.2)
    assert sampler.due_at == 100.35


def test_the_next_sample_is_never_put_off() -> None:
    sampler, machine = make()
    sampler.take(100.0)
    machine.state.running = 1
    sampler.hasten(100.4)
    assert sampler.due_at == 100.5


def test_a_stop_counts_as_work() -> None:
    sampler, machine = make()
    machine.state.signal = object()
    sampler.take(100.0)
    assert sampler.due_at == 100.25


def test_a_short_heartbeat_timeout_is_sampled_as_often_as_ever() -> None:
    sampler, machine = make(heartbeat_timeout=1.0)
    sampler.take(100.0)
    assert sampler.due_at == 100.0 + machine.settings.sample_interval == 100.125
