"""Render a run as Prometheus metrics. Needs prometheus-client (the extra `metrics`); imported at the first scrape.

Theory: the registry is the run's own, so a program's metrics do not show up in it and nothing is global. Values are
computed at each scrape from the latest view; the supervision loop counts nothing for it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from orchestrator.core.status import Phase, StatusView
from orchestrator.core.transitions import SlotState
from orchestrator.integrations.probes.health import Health
from runtime.process import usage

MEMORY_SECONDS = 1.0
"""Least seconds between two measurements of memory, each of which reads every process of the machine."""


class Metrics:
    """Render the metrics of a run. Thread-safe: of two memory measurements at once, the last one is kept."""

    def __init__(self, run_id: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._collector = _RunCollector(run_id)
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)  # the supervisor itself: CPU, memory, descriptors

    def render(self, health: Health) -> tuple[str, bytes]:
        """Return the content type and the body."""
        self._collector.health = health
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)


class _RunCollector(Collector):
    def __init__(self, run_id: str) -> None:
        self.health: Health | None = None
        self._run_id = run_id
        self._memory = (-MEMORY_SECONDS, 0)

    def describe(self) -> Iterator[Metric]:
        """Describe nothing in advance: before the first view, no metric has a value."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families, in a fixed order."""
        health, now = self.health, time.monotonic()
        if health is None:
            return
        info = GaugeMetricFamily("quiesce_run_info", "The run, as a label.", labels=["run_id"])
        info.add_metric([self._run_id], 1)
        yield info
        yield GaugeMetricFamily("quiesce_uptime_seconds", "Seconds since the supervisor began.", now - health.since)
        yield GaugeMetricFamily("quiesce_ready", "Whether /readyz says yes.", int(health.ready(now).ok))
        yield GaugeMetricFamily(
            "quiesce_memory_bytes",
            "Memory of the supervisor and everything below it; shared pages count once.",
            self._measured(now),
        )
        if health.view is not None:
            yield GaugeMetricFamily(
                "quiesce_loop_age_seconds", "Since the supervision loop last turned.", now - health.view.at
            )
            yield from _tasks(health.view)
            yield from _executors(health.view)
            yield from _stop(health.view)

    def _measured(self, now: float) -> int:
        at, size = self._memory
        if now - at >= MEMORY_SECONDS:
            size = usage.memory_of_tree(os.getpid())
            self._memory = (now, size)
        return size


def _tasks(view: StatusView) -> Iterator[Metric]:
    tasks = GaugeMetricFamily("quiesce_tasks", "Tasks of the run, by status.", labels=["status"])
    counts = {
        "completed": view.completed,
        "failed": view.failed,
        "interrupted": view.interrupted,
        "running": view.running,
        "pending": max(0, view.pending - view.running),
    }
    for status, count in counts.items():
        tasks.add_metric([status], count)
    yield tasks


def _executors(view: StatusView) -> Iterator[Metric]:
    states = Counter(executor.state for executor in view.executors)
    executors = GaugeMetricFamily("quiesce_executors", "Living executors, by state.", labels=["state"])
    for state in SlotState:
        if state is not SlotState.EMPTY:
            executors.add_metric([state.value], states[state.value])
    yield executors
    yield CounterMetricFamily(
        "quiesce_executor_restarts", "Executors that took the place of an earlier one.", view.restarts
    )


def _stop(view: StatusView) -> Iterator[Metric]:
    phases = GaugeMetricFamily("quiesce_phase", "Where the run is: one of them is 1.", labels=["phase"])
    for phase in Phase:
        phases.add_metric([phase.value], int(phase is view.phase))
    yield phases
    yield GaugeMetricFamily(
        "quiesce_ladder_rung", "0 none, 1 flag, 2 SIGTERM, 3 SIGKILL, 4 abandoned.", view.rung.value
    )
    if view.next_rung is not None:
        yield GaugeMetricFamily("quiesce_next_rung_seconds", "Until the next rung comes.", view.next_rung)
