"""What `run` and `resume` offer to the host they live on: probes on a port, a last word, and a PID 1 that reaps."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.exit import MESSAGE
from orchestrator.engine.loop import Observer
from orchestrator.integrations.pid1 import Reaper, is_pid1
from orchestrator.logging.sinks import LogCallback
from runtime.errors import UsageError
from runtime.model import Severity

if TYPE_CHECKING:
    from orchestrator.integrations.probes.server import Probes

PROBE_ADDRESS = "127.0.0.1"


ProbePortOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, metavar="PORT", help="Serve /livez, /readyz, /startupz and /metrics on this port (0: any)."
    ),
]
ProbeAddressOption = Annotated[
    str, typer.Option(metavar="ADDRESS", help="The address of the probes; * is every interface, for a kubelet.")
]
TerminationOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Write how it ended into this file, in at most 4 KiB. (default: /dev/termination-log, if there is one)",
    ),
]


class ProbeHosting:
    """Takes the port at once, so that one in use is known before anything begins. Raises UsageError."""

    def __init__(self, port: int | None, address: str) -> None:
        self._address = address
        self._probes: Probes | None = None
        if port is not None:  # loaded only now: a web server is a tenth of a second that others need not pay
            self._probes = importlib.import_module("orchestrator.integrations.probes.server").Probes(port, address)
        elif address != PROBE_ADDRESS:
            raise UsageError("--probe-address needs --probe-port")

    def observers(self, guardian: Callable[[], int | None]) -> list[Observer]:
        """Who is to be shown the run. `guardian`: its pid, once it has one."""
        found: list[Observer] = [MESSAGE]
        if self._probes is not None:
            found.append(self._probes)
        if is_pid1():
            found.append(Reaper(guardian))
        return found

    @contextmanager
    def serving(self, run_id: str, log: LogCallback) -> Iterator[None]:
        """Answer probes for as long as the block runs."""
        if self._probes is None:
            yield
            return
        self._probes.start(run_id)
        log("probes.listening", Severity.INFO, {"address": self._address, "port": self._probes.port})
        try:
            yield
        finally:
            self._probes.close()
