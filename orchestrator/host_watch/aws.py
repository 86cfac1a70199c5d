"""AWS: interruption notices and rebalance recommendations of Spot instances. Pure.

The service (IMDSv2) gives a token on a PUT, without which it answers 401. `spot/instance-action` is 404 until two
minutes before the instance is stopped, terminated or hibernated; `events/recommendations/rebalance` is 404 until the
instance is at a higher risk of that. (Amazon EC2 User Guide: Spot Instance interruption notices, EC2 instance
rebalance recommendations, Use IMDS.)
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.host_watch.notices import CALM, Answer, Ask, Notice, UnusableAnswerError

LONGEST_NOTICE: Final = 120.0
"""Seconds between a notice and its action, by the documentation. A time that is later is not believed."""

TOKEN_SECONDS: Final = 21600
ASK_SECONDS: Final = 2.0

_TOKEN = "/latest/api/token"  # noqa: S105 - a path
_ACTION: Final = "/latest/meta-data/spot/instance-action"
_REBALANCE: Final = "/latest/meta-data/events/recommendations/rebalance"
_INSTANCE: Final = "/latest/meta-data/instance-id"
_WORDS: Final = {"terminate": "terminates", "stop": "stops", "hibernate": "hibernates"}


class AwsHost:
    """An instance of EC2."""

    name = "aws"
    pause = 2.0

    def __init__(self) -> None:
        self._token: str | None = None
        """Nothing where the service knows no tokens (IMDSv1); None: not asked for."""

    def is_here(self, ask: Ask) -> bool:
        """Return whether the service gives a token and knows an instance by its id."""
        answer = self._get(ask, _INSTANCE)
        return bool(self._token) and answer.status == 200 and bool(re.fullmatch(r"i-[0-9a-f]+", answer.text))

    def look(self, ask: Ask, now: float) -> Notice:
        """Ask for a notice, and without one for a recommendation."""
        action = self._get(ask, _ACTION)
        if action.status == 200:
            return read_action(action.text, now)
        if action.status != 404:
            raise action.refuse("no answer to spot/instance-action")
        rebalance = self._get(ask, _REBALANCE)
        if rebalance.status == 200:
            return read_rebalance(rebalance.text)
        if rebalance.status != 404:
            raise rebalance.refuse("no answer to events/recommendations/rebalance")
        return CALM

    def _get(self, ask: Ask, path: str) -> Answer:
        """Ask with a token; once more with a new one, if the service does not take it any more."""
        answer = ask("GET", path, self._headers(ask), ASK_SECONDS)
        if answer.status == 401:
            self._token = None
            answer = ask("GET", path, self._headers(ask), ASK_SECONDS)
        return answer

    def _headers(self, ask: Ask) -> dict[str, str]:
        if self._token is None:
            seconds = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            answer = ask("PUT", _TOKEN, seconds, ASK_SECONDS)
            if answer.status == 200 and re.fullmatch(r"[!-~]{1,1024}", answer.text):
                self._token = answer.text
            elif answer.status in (403, 404, 405):
                self._token = ""
            else:
                raise answer.refuse("no token")
        return {"X-aws-ec2-metadata-token": self._token} if self._token else {}


def read_action(text: str, now: float) -> Notice:
    """Return the notice in `{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`. Raises UnusableAnswerError."""
    action, time = _fields(text, "action", "time")
    if action not in _WORDS:
        raise UnusableAnswerError(f"{action!r} is no action")
    left = min(LONGEST_NOTICE, max(0.0, _unix(time) - now))
    return Notice(f"AWS {_WORDS[action]} this instance at {time}", now + left)


def read_rebalance(text: str) -> Notice:
    """Return the notice in `{"noticeTime": "2020-10-27T08:22:00Z"}`. Raises UnusableAnswerError."""
    (time,) = _fields(text, "noticeTime")
    _unix(time)
    return Notice("AWS recommends to leave this instance (rebalance)", is_expected=True)


def _fields(text: str, *names: str) -> list[str]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise UnusableAnswerError(f"{text[:60]!r} is not JSON") from None
    values = [found.get(name) for name in names] if isinstance(found, dict) else []
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(names):
        raise UnusableAnswerError(f"{text[:60]!r} has no {' and '.join(names)}")
    return texts


def _unix(time: str) -> float:
    try:
        found = datetime.fromisoformat(time)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UnusableAnswerError(f"{time[:60]!r} is no time") from None
