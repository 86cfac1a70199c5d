"""Azure: scheduled events of a VM. Pure.

`scheduledevents` lists the events of all VMs of a scale set or an availability set, each with the names of those that
it is about. An event that is gone from the list is over, or has been withdrawn. Each request needs the header
`Metadata: true`. (Azure documentation: Scheduled Events for Linux VMs.)
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from orchestrator.host_watch.notices import CALM, Ask, Notice, UnusableAnswerError

ASK_SECONDS: Final = 5.0
"""Seconds that an answer may take. The first one may take two minutes: the service is turned on by it."""

_EVENTS: Final = "/metadata/scheduledevents?api-version=2020-07-01"
_NAME: Final = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
_HEADERS: Final = {"Metadata": "true"}

ENDS: Final = {"Preempt": "evicts", "Terminate": "deletes", "Reboot": "reboots", "Redeploy": "moves"}
"""Types of events after which no process of the VM is left. `Freeze` stops it for some seconds only."""


class AzureHost:
    """A VM of Azure."""

    name = "azure"
    pause = 1.0

    def __init__(self) -> None:
        self._name: str | None = None

    def is_here(self, ask: Ask) -> bool:
        """Return whether the service knows a VM by its name."""
        answer = ask("GET", _NAME, _HEADERS, ASK_SECONDS)
        return answer.status == 200 and answer.text.isprintable() and 0 < len(answer.text) < 100

    def look(self, ask: Ask, now: float) -> Notice:
        """Ask for the events of this VM."""
        answer = ask("GET", _EVENTS, _HEADERS, ASK_SECONDS)
        if answer.status != 200:
            raise answer.refuse("no answer to scheduledevents")
        events = read_events(answer.text)
        if events and self._name is None and self.is_here(ask):
            self._name = ask("GET", _NAME, _HEADERS, ASK_SECONDS).text
        return first_end(events, self._name, now)


def read_events(text: str) -> list[dict[str, Any]]:
    """Return the events in a document. Raises UnusableAnswerError."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise UnusableAnswerError(f"{text[:60]!r} is not JSON") from None
    events = found.get("Events") if isinstance(found, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise UnusableAnswerError(f"{text[:60]!r} has no list of Events")
    return events


def first_end(events: list[dict[str, Any]], name: str | None, now: float) -> Notice:
    """Return the event that ends the VM of this name first. Where the name is not known, each may be about it.

    `now`: Unix seconds. Raises UnusableAnswerError for an event that ends it at no time.
    """
    notices = [
        _notice(event, now)
        for event in events
        if event.get("EventType") in ENDS and (name is None or _is_about(event, name))
    ]
    return min(notices, key=lambda notice: notice.ends_at or 0.0, default=CALM)


def _is_about(event: dict[str, Any], name: str) -> bool:
    resources = event.get("Resources")
    return not isinstance(resources, list) or any(str(item).lower() == name.lower() for item in resources)


def _notice(event: dict[str, Any], now: float) -> Notice:
    kind = event["EventType"]
    is_started = event.get("EventStatus") == "Started"
    ends_at = now if is_started else _unix(event.get("NotBefore"))
    return Notice(f"Azure {ENDS[kind]} this VM ({kind})", ends_at, revocable=not is_started)


def _unix(time: object) -> float:
    """Return the Unix seconds of `Mon, 19 Sep 2016 18:29:47 GMT`. Raises UnusableAnswerError."""
    try:
        text = str(time)
        found = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UnusableAnswerError(f"an event has no time: {str(time)[:60]!r}") from None
