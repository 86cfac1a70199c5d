"""Slow the executors down to the pace of the disk and of the log. In a stop, read on: who waits for us cannot end."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.engine.multiplexer import PipeMultiplexer
from orchestrator.engine.pending_writes import PendingWrites
from orchestrator.logging.sinks import Buffer, LogCallback, buffer_of

HIGH_PRESSURE, LOW_PRESSURE = 8 << 20, 4 << 20
"""Bytes of events that may wait for the disk before executors have to wait, and below which they go on."""

STOP_PRESSURE = 2 * HIGH_PRESSURE
"""Bytes of events that may wait for the disk while the run stops and no executor may be made to wait. What is emitted
beyond that is counted, not kept. Outcomes and snapshots are never dropped."""


class BackPressure:
    """Pause and resume the reading of pipes, and drop events. Belongs to the loop."""

    def __init__(
        self, mux: PipeMultiplexer, writes: PendingWrites, log: LogCallback, outputs: Sequence[Buffer] = ()
    ) -> None:
        self._mux = mux
        self._writes = writes
        buffer = buffer_of(log)
        self._buffers = [*outputs, *([] if buffer is None else [buffer])]

    def apply(self, unwritten_bytes: int, *, is_stopping: bool) -> None:
        """Read no faster than the disk and the log write; while the run stops, read everything."""
        self._writes.is_dropping_events = is_stopping and unwritten_bytes > STOP_PRESSURE
        if self._mux.paused:
            if unwritten_bytes < LOW_PRESSURE or is_stopping:
                self._mux.resume_reading()
        elif unwritten_bytes > HIGH_PRESSURE and not is_stopping:
            self._mux.pause()
        if self._buffers:
            is_congested = not is_stopping and any(buffer.is_congested() for buffer in self._buffers)
            self._balance_output(is_congested=is_congested)

    def _balance_output(self, *, is_congested: bool) -> None:
        if is_congested and not self._mux.is_output_paused:
            self._mux.pause_output()
        elif self._mux.is_output_paused and not is_congested:
            self._mux.resume_output()
