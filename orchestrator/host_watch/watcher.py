"""Watch the host in a daemon thread of its own: nothing waits for it, and it can delay no stop.

A service that does not answer, or answers nonsense, changes nothing: what was known stays known. It is logged once, and
asked again at growing intervals.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from orchestrator.core import stimuli
from orchestrator.host_watch.aws import AwsHost
from orchestrator.host_watch.azure import AzureHost
from orchestrator.host_watch.gcp import GcpHost
from orchestrator.host_watch.metadata_client import Endpoint, MetadataClient, parse_endpoint
from orchestrator.host_watch.notices import CALM, CloudHost, Notice, UnusableAnswerError, news
from runtime.errors import UsageError
from runtime.statuses import Severity
from runtime.stop_limits import WATCHER_CLOSE_TIMEOUT

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a service that has not answered is asked again: doubled each time."""

_ADDRESS: Final = "169.254.169.254"
_HOSTS: Final[Mapping[str, tuple[Callable[[], CloudHost], str, str]]] = {
    "aws": (AwsHost, "AWS_EC2_METADATA_SERVICE_ENDPOINT", _ADDRESS),
    "gcp": (GcpHost, "GCE_METADATA_HOST", _ADDRESS),
    "azure": (AzureHost, "AZURE_POD_IDENTITY_AUTHORITY_HOST", _ADDRESS),
}
"""Clouds by name, with the variables by which their own libraries find the service elsewhere."""


def endpoint_of(host: str, environment: Mapping[str, str]) -> Endpoint:
    """Return where the service of a cloud is. Raises UsageError for a variable that names no address."""
    _, variable, default = _HOSTS[host]
    if host == "aws" and environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6":
        default = "[fd00:ec2::254]"
    return parse_endpoint(environment.get(variable) or default, variable)


class HostWatcher:
    """Post stimuli when a cloud says that it takes this machine away. `name`: as in the setting `watch_host`."""

    def __init__(self, name: str, post: Callable[[stimuli.Stimulus], None]) -> None:
        """Find the services. Raises UsageError, see `endpoint_of`, and where the user has turned the service off."""
        names = list(_HOSTS) if name == "auto" else [name]
        if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true" and "aws" in names:
            names.remove("aws")
            if not names:
                raise UsageError("AWS_EC2_METADATA_DISABLED is true: unset it, or leave out --watch-host")
        self._is_known = name != "auto"
        self._candidates = [(_HOSTS[each][0](), endpoint_of(each, os.environ)) for each in names]
        self._post = post
        self._closed = threading.Event()
        self._client: MetadataClient | None = None
        self._notice: Notice = CALM
        self._failed = False
        self._thread = threading.Thread(target=self._run, args=(name,), name="quiesce-host-watch", daemon=True)

    def start(self) -> None:
        """Start the thread. Without one the run goes on, and the host is not watched."""
        try:
            self._thread.start()
        except RuntimeError as error:  # a limit, or a sandbox
            self._on_failure("no thread", error)

    def close(self) -> None:
        """Stop watching. Waits for the thread WATCHER_CLOSE_TIMEOUT seconds at most."""
        self._closed.set()
        if self._client is not None:
            self._client.close()
        if self._thread.is_alive():
            self._thread.join(WATCHER_CLOSE_TIMEOUT)

    def _run(self, name: str) -> None:
        found: tuple[CloudHost, Endpoint] | None = self._candidates[0] if self._is_known else None
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            try:
                found = found or self._find()
                self._look(*found)
            except (OSError, UnusableAnswerError) as error:
                self._on_failure(name if found is None else found[0].name, error)
                self._closed.wait(pause)
                pause = min(LONGEST_PAUSE, 2 * pause)
            else:
                pause = FIRST_PAUSE
                self._closed.wait(found[0].pause)

    def _find(self) -> tuple[CloudHost, Endpoint]:
        """Return the cloud whose service answers. Raises UnusableAnswerError if there is none."""
        for host, endpoint in self._candidates:
            try:
                if host.is_here(self._open(endpoint).ask):
                    return host, endpoint
            except (OSError, UnusableAnswerError):
                continue
        raise UnusableAnswerError("no cloud's metadata service answers here")

    def _open(self, endpoint: Endpoint) -> MetadataClient:
        self._client = client = MetadataClient(endpoint)
        if self._closed.is_set():
            client.close()
        return client

    def _look(self, host: CloudHost, endpoint: Endpoint) -> None:
        is_first = self._client is None or not self._is_known
        self._is_known = True
        notice = host.look(self._open(endpoint).ask, time.time())
        if is_first or self._failed:
            self._log("host.watched", Severity.INFO, host=host.name, endpoint=endpoint.url)
        self._failed = False
        for stimulus in news(self._notice, notice, host.name, time.time()):
            self._post(stimulus)
        self._notice = notice

    def _on_failure(self, host: str, error: Exception) -> None:
        """Log the first failure of several."""
        if not self._failed and not self._closed.is_set():
            self._failed = True
            self._log("host.watch_failed", Severity.WARNING, host=host, error=str(error) or type(error).__name__)

    def _log(self, name: str, severity: Severity, **fields: Any) -> None:
        self._post(stimuli.LogRequested(name, severity, fields))
