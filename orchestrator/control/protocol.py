"""Define the records of the control socket, and their frames. Pure.

A connection begins with `Welcome`. Then the client sends requests, and each is answered in order by one reply: its own,
`Done` or `Refused`. After `Subscribe` come `Events` and `Gap`, between replies, until `Ended`. Frames are those of the
executors' pipes (runtime/ipc/frames.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from orchestrator.core.records import RunEvent

VERSION: Final = 1
"""Both sides must agree; Welcome carries it."""

MAX_REQUEST: Final = 64 * 1024
"""Bytes of a request at most: a longer one ends the connection."""

MAX_REPLY: Final = 64 * 1024 * 1024
"""Bytes of a reply or of a batch of events at most."""


class StatusRequest(msgspec.Struct, frozen=True, tag="status"):
    """Ask for the status. The reply is StatusReply."""


class InterruptRequest(msgspec.Struct, frozen=True, tag="interrupt"):
    """Stop the run; or one task, by its `key`; or what one executor executes, by its `slot`.

    `reason` is the value of an InterruptReason.
    """

    reason: str = "user_cancelled"
    message: str = ""
    triggered_by: str = ""
    key: str | None = None
    slot: int | None = None


class EscalateRequest(msgspec.Struct, frozen=True, tag="escalate"):
    """Take the next rung of a stop now."""

    triggered_by: str = ""


class SubscribeRequest(msgspec.Struct, frozen=True, tag="subscribe"):
    """Send the events from `from_seq` on (the first is 1), as they are committed; None: from the next one on.

    The socket has no past: when `from_seq` was committed before, a Gap says up to which number to read the journal.
    """

    from_seq: int | None = None


class LimitsRequest(msgspec.Struct, frozen=True, tag="limits"):
    """Ask for the limits of the run. The reply is LimitsReply."""


class StacksRequest(msgspec.Struct, frozen=True, tag="stacks"):
    """Write the stacks of all processes to the log of the run."""

    triggered_by: str = ""


RunRequest = StatusRequest | InterruptRequest | EscalateRequest | LimitsRequest | StacksRequest
"""Requests that the run answers."""

Request = RunRequest | SubscribeRequest


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """Greet a client: the version of the protocol, and the run with its supervisor."""

    version: int
    run_id: str
    pid: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Confirm that a request was handed to the supervisor's loop."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Refuse a request, and say why in one line."""

    problem: str


class StatusReply(msgspec.Struct, frozen=True, tag="status"):
    """Hold the status: `progress` is what progress_report.encode returns, `stop` None while the run is not stopped."""

    progress: bytes
    stop: StopReport | None = None


class StopReport(msgspec.Struct, frozen=True):
    """Hold a stop while it goes on. Times are in seconds from the moment of the reply; None if there is none.

    `rung` is FLAG, TERM, KILL or ABANDONED; `next_rung` when the next one is due, `ends` when the last one ends.
    `executors` are those that have not ended.
    """

    reason: str
    message: str
    triggered_by: str
    phase: str
    rung: str
    next_rung: float | None
    ends: float | None
    executors: Sequence[RemainingExecutor] = ()


class RemainingExecutor(msgspec.Struct, frozen=True):
    """Hold an executor that has not ended, with the keys of what it executes."""

    slot: int
    pid: int
    keys: Sequence[str]


class LimitsReply(msgspec.Struct, frozen=True, tag="limits"):
    """Hold the settings that limit the run, as JSON: seconds and bytes."""

    limits: bytes


class Events(msgspec.Struct, frozen=True, tag="events"):
    """Hold events that have just been committed, in order and without a gap between them."""

    events: Sequence[RunEvent]


class Gap(msgspec.Struct, frozen=True, tag="gap"):
    """Say that events are left out, up to the one before `next_seq`: read the journal from where you are.

    They were committed before the subscription, or the client was too slow for them.
    """

    next_seq: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """Say that the run's stream of events has ended."""


Reply = Welcome | Done | Refused | StatusReply | LimitsReply | Events | Gap | Ended
