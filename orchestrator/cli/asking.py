"""Ask a living supervisor through its control socket, and say what became of the request."""

from __future__ import annotations

import os

from orchestrator.cli.declare import Exit
from orchestrator.cli.journal_query import print_error, print_json, print_line
from orchestrator.control.client import ControlClient
from orchestrator.control.protocol import Request
from orchestrator.journal import Owner, RunRecord


def ask_supervisor(client: ControlClient, request: Request) -> Owner:
    """Send a request, close the connection, and return the supervisor that has taken it. Raises UsageError."""
    with client:
        client.ask(request)
        return Owner(client.welcome.pid, os.uname().nodename, alive=True)


def report_request(run: RunRecord, owner: Owner | None, wish: str, otherwise: str, *, json: bool) -> None:
    """Print that `owner` was asked for a `wish`. Without one, say so and what that means, and raise Exit(1)."""
    if json:
        print_json({"run_id": run.run_id, "requested": owner is not None, "owner": owner})
    elif owner is not None:
        print_line(f"asked process {owner.pid} to {wish}")
    if owner is None:
        print_error(f"no living supervisor has run {run.run_id}: {otherwise}")
        raise Exit(1)
