"""Google Cloud: preemption of Spot and preemptible VMs. Pure.

`instance/preempted` is FALSE, and TRUE from the notice on; with `wait_for_change` the service answers when that
changes. Each request needs the header `Metadata-Flavor: Google`, and each answer has it. The VM has 30 seconds then.
(Compute Engine documentation: Spot VMs, Query VM metadata.)
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from orchestrator.host_watch.notices import CALM, Answer, Ask, Notice

NOTICE_SECONDS: Final = 30.0
"""Seconds between the notice and the end of the VM."""

WAIT_SECONDS: Final = 30
"""Seconds after which the service answers although nothing has changed."""

ASK_SECONDS: Final = 2.0

_PREEMPTED: Final = "/computeMetadata/v1/instance/preempted"
_ID: Final = "/computeMetadata/v1/instance/id"
_HEADERS: Final = {"Metadata-Flavor": "Google"}


class GcpHost:
    """A VM of Compute Engine, or a node of GKE."""

    name = "gcp"
    pause = 1.0

    def __init__(self) -> None:
        self._etag: str | None = None

    def is_here(self, ask: Ask) -> bool:
        """Return whether the service says that it is Google's."""
        answer = ask("GET", _ID, _HEADERS, ASK_SECONDS)
        return answer.status == 200 and answer.headers.get("metadata-flavor") == "Google"

    def look(self, ask: Ask, now: float) -> Notice:
        """Ask at once the first time, and then wait for a change."""
        path, seconds = _PREEMPTED, ASK_SECONDS
        if self._etag is not None:
            path += f"?wait_for_change=true&timeout_sec={WAIT_SECONDS}&last_etag={quote(self._etag, safe='')}"
            seconds += WAIT_SECONDS
        answer = ask("GET", path, _HEADERS, seconds)
        notice = read_preempted(answer, now)
        self._etag = answer.headers.get("etag", "0")  # 0 is never one: the service answers at once
        return notice


def read_preempted(answer: Answer, now: float) -> Notice:
    """Return what TRUE or FALSE means. `now`: Unix seconds. Raises UnusableAnswerError for anything else."""
    if answer.status != 200 or answer.text.upper() not in ("TRUE", "FALSE"):
        raise answer.refuse("no answer to instance/preempted")
    if answer.text.upper() == "FALSE":
        return CALM
    return Notice("Google Cloud preempts this VM", now + NOTICE_SECONDS)
