"""Ready-made interrupt sources: a file, an HTTP endpoint, a Redis key, the memory of the own process tree.

The checkers are for `state.set_interrupt_checker`; they are sync, so the state asks them in a thread. What they read:

    stop       `true`, `1`, `yes`, `on`, `stop`; `{"interrupt_requested": true}`, to which `reason`, `message`,
               `triggered_by` and `save_checkpoint` may be added; an InterruptSignal as JSON (an object whose `reason`
               is an InterruptReason)
    continue   `false`, `0`, `no`, `off`, `null`, `none`, `continue`; `{"interrupt_requested": false}`

    source     stop, too                    continue, too
    file       an empty file                no file
    HTTP                                    404, 410, 204, an empty body
    Redis                                   no key, an empty value

Anything else (`{}`, a login page, another status) is nonsense: the checker raises, the state logs an error, and the
work goes on. So it does when a source cannot be read.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from runtime.interrupt_signal import build_signal
from runtime.limits import LARGEST_SIZE, check_count, check_seconds
from runtime.plain_signal import PlainSignal
from runtime.process import usage
from runtime.reasons import InterruptReason

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

log = logging.getLogger("quiesce.resources")

_NO = frozenset({"", "0", "false", "no", "off", "null", "none", "continue"})
_YES = frozenset({"1", "true", "yes", "on", "stop"})

_LONGEST = 10_000
"""Bytes of an answer that are read. A longer one is cut, and so is nonsense."""

_NOTHING_THERE = frozenset({404, 410})
"""HTTP statuses that say that no one asks for a stop."""


class NonsenseError(ValueError):
    """What a source says means neither stop nor continue. Its text is one line."""


def parse_signal(text: str, triggered_by: str) -> InterruptSignal | None:
    """Return what a source says: the signal to stop by, or None to continue. See the module for the words.

    `triggered_by` names the source. Raises NonsenseError for anything else.
    """
    text = text.removeprefix("\ufeff").strip()  # editors write byte order marks
    if text.lower() in _NO:
        return None
    if text.lower() in _YES:
        return build_signal(InterruptReason.CUSTOM, "", triggered_by)
    said = _decoded(text)
    requested = said.get("interrupt_requested")
    if requested is False:
        return None
    if requested is True:
        return _signal_of({"reason": InterruptReason.CUSTOM, **said}, triggered_by)
    if requested is None and said.get("reason") in tuple(InterruptReason):
        return _signal_of(said, triggered_by)
    raise NonsenseError(
        f"{triggered_by} says {text[:80]!r}, which means neither stop nor continue; "
        'write true, false, or {"interrupt_requested": true, "message": "why"}'
    )


def _decoded(text: str) -> dict[str, Any]:
    """Return the JSON object in a text, else an empty one."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _signal_of(said: dict[str, Any], triggered_by: str) -> InterruptSignal:
    by = said.get("triggered_by") or triggered_by
    return build_signal(
        said.get("reason"), said.get("message"), by, said.get("save_checkpoint"), _moment(said.get("triggered_at"))
    )


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


class FileChecker:
    """Interrupts when a file exists and is empty or says stop: `touch stop` is enough. See the module for the words."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self) -> InterruptSignal | None:
        """Look. Raises OSError when the file is there and cannot be read, NonsenseError for what says neither."""
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                text = file.read(_LONGEST)
        except FileNotFoundError:
            return None
        return parse_signal(text.strip() or "1", f"file:{self._path}")


class HttpChecker:
    """Interrupts when GET `url` answers with a body that says stop. See the module for the words.

    404, 410 and 204 say continue; other statuses than 2xx are errors, which are logged.
    """

    def __init__(self, url: str, *, timeout: float = 3.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"an HTTP checker needs an http:// or https:// URL, not {url!r}")
        check_seconds("timeout", timeout, above_zero=True)
        self._url = url
        self._timeout = timeout

    def __call__(self) -> InterruptSignal | None:
        """Ask. Raises OSError (urllib.error.URLError, HTTPError) without an answer, NonsenseError for a wrong one."""
        try:
            with urllib.request.urlopen(self._url, timeout=self._timeout) as response:  # noqa: S310 - checked above
                text = response.read(_LONGEST).decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            error.close()  # it is a response too, and holds a connection
            if error.code in _NOTHING_THERE:
                return None
            raise
        return parse_signal(text, f"http:{self._url}")


class RedisClient(Protocol):
    """The one method of `redis.Redis` that is used."""

    def get(self, name: str, /) -> Any:
        """Return the value of a key, or None."""
        ...


class RedisChecker:
    """Interrupts when a Redis key is set to something that says stop. See the module for the words.

    `client` is a `redis.Redis` (the extra `quiesce[redis]`); give it a `socket_timeout`.
    """

    def __init__(self, client: RedisClient, key: str) -> None:
        self._client = client
        self._key = key

    def __call__(self) -> InterruptSignal | None:
        """Ask. Raises what the client raises, NonsenseError for what says neither stop nor continue."""
        value = self._client.get(self._key)
        if value is None:
            return None
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        return parse_signal(text, f"redis:{self._key}")


class SupportsInterrupt(Protocol):
    """What a monitor interrupts."""

    def set_signal(self, signal: InterruptSignal) -> bool:
        """Interrupt it."""
        ...


class ResourceMonitor:
    """`with ResourceMonitor(state, rss_limit=2 * 1024**3):` interrupts with reason `resource_limit` above the limit.

    `rss_limit` is bytes of this process and its descendants; above it, what they share counts once (PSS) where the host
    says. `interval` is seconds between looks, made by a daemon thread, so sync agents are watched too.
    A look that fails is logged, and made again. Use each one once.
    """

    def __init__(
        self,
        state: SupportsInterrupt,
        *,
        rss_limit: int,
        interval: float = 1.0,
        measure: Callable[[], int] | None = None,
    ) -> None:
        check_count("rss_limit", rss_limit, most=LARGEST_SIZE)
        check_seconds("interval", interval)
        self._state = state
        self._limit = rss_limit
        self._interval = interval
        self._measure = measure or partial(usage.memory_of_tree, os.getpid(), above=rss_limit)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="quiesce-resources", daemon=True)

    def check(self) -> bool:
        """Look once, now. True if the limit is exceeded."""
        used = self._measure()
        if used <= self._limit:
            return False
        self._state.set_signal(
            PlainSignal(
                reason=InterruptReason.RESOURCE_LIMIT,
                message=f"{used / 2**20:.0f} MiB in use, {self._limit / 2**20:.0f} MiB allowed",
                triggered_by="resource-monitor",
            )
        )
        return True

    def _watch(self) -> None:
        complained = False
        while not self._over.is_set():
            try:
                if self.check():
                    return
            except Exception as error:  # noqa: BLE001 - whatever the host says: the next look may succeed
                if not complained:
                    log.warning("the memory in use cannot be measured: %r", error)
                complained = True
            self._over.wait(self._interval)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
