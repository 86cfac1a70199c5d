"""What a cloud says of its machine's end, and what of it is news. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.core import stimuli

SAME_TIME = 1.0
"""Seconds by which two times may differ that mean the same."""


class UnusableAnswerError(ValueError):
    """An answer of the service that is no answer to what was asked. It changes nothing of what is known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer by HTTP. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body without white space around it. Raises UnusableAnswerError if it is not UTF-8."""
        try:
            return self.body.decode().strip()
        except ValueError:
            raise UnusableAnswerError("the answer is not text in UTF-8") from None

    def refuse(self, what: str) -> UnusableAnswerError:
        """Return the error for an answer with this status, or that has not what it should."""
        shown = self.body[:60].decode(errors="replace")
        return UnusableAnswerError(f"{what}: HTTP {self.status}, {shown!r}")


Ask = Callable[[str, str, Mapping[str, str], float], Answer]
"""Sends a request: method, path, headers, seconds that it may take. Raises OSError, UnusableAnswerError."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What is known. `ends_at`: when the machine is taken away (Unix seconds), None: it is not known to be.

    `is_expected`: it may be soon. `revocable`: the notice may be withdrawn. `message` says it for people.
    """

    message: str = ""
    ends_at: float | None = None
    is_expected: bool = False
    revocable: bool = False


CALM = Notice()


class CloudHost(Protocol):
    """One cloud: how its service is asked, and what its answers mean."""

    name: str
    pause: float
    """Seconds between two looks."""

    def is_here(self, ask: Ask) -> bool:
        """Return whether the service is that of this cloud."""
        ...

    def look(self, ask: Ask, now: float) -> Notice:
        """Ask. `now`: Unix seconds. Raises OSError, UnusableAnswerError."""
        ...


def news(before: Notice, after: Notice, host: str, now: float) -> list[stimuli.Stimulus]:
    """Return what the run has to know of the change from one notice to the next one. `now`: Unix seconds."""
    by = f"host:{host}"
    found: list[stimuli.Stimulus] = []
    was_in_danger = before.is_expected or before.ends_at is not None
    if after.ends_at is not None:
        same = before.ends_at is not None and abs(before.ends_at - after.ends_at) <= SAME_TIME
        if not same or before.revocable != after.revocable:
            seconds = max(0.0, after.ends_at - now)
            found.append(stimuli.HostEndAnnounced(seconds, after.message, by, after.revocable))
        return found
    if before.ends_at is not None or (was_in_danger and not after.is_expected):
        found.append(stimuli.HostEndWithdrawn(f"{host} has withdrawn its notice", by))
    if after.is_expected and (before.ends_at is not None or not was_in_danger):
        found.append(stimuli.HostEndExpected(after.message, by))
    return found
