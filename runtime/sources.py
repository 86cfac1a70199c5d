"""Ready-made interrupt sources: a file, an HTTP endpoint, a Redis key, the memory of the own process tree.

The checkers are for `state.set_interrupt_checker`; they are sync, so the state asks them in a thread. What they read
is empty or says no (`0`, `false`, `no`, `off`, `null`) to go on, an InterruptSignal as JSON, or any other text, which
becomes the signal's message. A source that cannot be read is logged by the state and never interrupts.
"""

from __future__ import annotations

import logging
import os
import threading
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from pydantic import ValidationError

from runtime import tree
from runtime.model import InterruptReason, InterruptSignal

log = logging.getLogger("quiesce.resources")

_NO = frozenset({"", "0", "false", "no", "off", "null", "none"})
_YES = frozenset({"1", "true", "yes", "on"})


def parse_signal(text: str, triggered_by: str) -> InterruptSignal | None:
    """What a source says. See the module for the words."""
    text = text.strip()
    if text.lower() in _NO:
        return None
    if text.startswith("{"):
        try:
            return InterruptSignal.model_validate_json(text)
        except ValidationError:  # not ours, but somebody wants us to stop
            pass
    message = "" if text.lower() in _YES else text[:1000]
    return InterruptSignal(reason=InterruptReason.CUSTOM, message=message, triggered_by=triggered_by)


class FileChecker:
    """Interrupts when a file exists; `touch stop` is enough. A file that says no (see the module) does not count."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self) -> InterruptSignal | None:
        """Look. Raises OSError when the file is there and cannot be read."""
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                text = file.read(10_000)
        except FileNotFoundError:
            return None
        return parse_signal(text.strip() or "1", f"file:{self._path}")


class HttpChecker:
    """Interrupts when GET `url` answers with a body that says so (204 has none). Errors are logged."""

    def __init__(self, url: str, *, timeout: float = 3.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"an HTTP checker needs an http:// or https:// URL, not {url!r}")
        self._url = url
        self._timeout = timeout

    def __call__(self) -> InterruptSignal | None:
        """Ask. Raises OSError (urllib.error.URLError, HTTPError) when there is no answer."""
        with urllib.request.urlopen(self._url, timeout=self._timeout) as response:  # noqa: S310 - checked above
            text = response.read(10_000).decode("utf-8", "replace")
        return parse_signal(text, f"http:{self._url}")


class RedisClient(Protocol):
    """The one method of `redis.Redis` that is used."""

    def get(self, name: str, /) -> Any:
        """The value of a key, or None."""
        ...


class RedisChecker:
    """Interrupts when a Redis key is set to something that says so.

    `client` is a `redis.Redis` (the extra `quiesce[redis]`); give it a `socket_timeout`.
    """

    def __init__(self, client: RedisClient, key: str) -> None:
        self._client = client
        self._key = key

    def __call__(self) -> InterruptSignal | None:
        """Ask. Raises what the client raises."""
        value = self._client.get(self._key)
        if value is None:
            return None
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        return parse_signal(text, f"redis:{self._key}")


class Interruptee(Protocol):
    """What a monitor interrupts."""

    def trip(self, signal: InterruptSignal) -> bool:
        """Interrupt it."""
        ...


def rss_of_tree() -> int:
    """Bytes of memory that this process and all its descendants hold."""
    return tree.resident(os.getpid())


class ResourceMonitor:
    """`with ResourceMonitor(state, rss_limit=2 * 1024**3):` interrupts with reason `resource_limit` above the limit.

    `rss_limit` is bytes, `interval` seconds between looks, made by a daemon thread, so sync agents are watched too.
    A look that fails is logged, and made again. Use each one once.
    """

    def __init__(
        self,
        state: Interruptee,
        *,
        rss_limit: int,
        interval: float = 1.0,
        measure: Callable[[], int] = rss_of_tree,
    ) -> None:
        self._state = state
        self._limit = rss_limit
        self._interval = interval
        self._measure = measure
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="quiesce-resources", daemon=True)

    def look(self) -> bool:
        """Look once, now. True if the limit is exceeded."""
        used = self._measure()
        if used <= self._limit:
            return False
        self._state.trip(
            InterruptSignal(
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
                if self.look():
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
