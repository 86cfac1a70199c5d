"""Notify systemd of the state of a run.

Theory: sd_notify(3) sends one datagram a message to the socket that NOTIFY_SOCKET names. messages.py decides
what to send; `SdNotifyObserver` sends it. The supervision loop itself calls this observer, so a ping
for the watchdog proves that the loop turns.

Rejected: a package for sd_notify(3), because the whole protocol is Notifier below. RELOADING=1, because there is
nothing to reload (SIGHUP ends a run). BARRIER=1, because systemd reads its notifications before it looks at dead
children.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from orchestrator.core.status import StatusView
from orchestrator.integrations.systemd.messages import NotifyState, next_messages, ping_seconds


class Notifier:
    """Datagram socket of sd_notify(3). Never blocks, never raises."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier | None:
        """Return a notifier for NOTIFY_SOCKET: a path, or @name in the abstract namespace. None if it is not set."""
        address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
        return cls(address) if address.startswith(("/", "@")) else None

    def send(self, *assignments: str) -> bool:
        """Send assignments like READY=1, all in one message. Return whether the message was sent."""
        try:
            self._socket.sendto("\n".join(assignments).encode(), self._address)
        except OSError:  # systemd does not listen, or its queue is full
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SdNotifyObserver:
    """Observer that sends the state of the run to systemd. The supervision loop calls it a few times a second."""

    def __init__(self, notifier: Notifier, watchdog: float | None = None) -> None:
        self._notifier = notifier
        self._watchdog = watchdog
        self._sent = NotifyState()

    @classmethod
    def from_environment(cls) -> SdNotifyObserver | None:
        """Return an observer for the NOTIFY_SOCKET of this process; None if it is not set."""
        notifier = Notifier.from_environment()
        return None if notifier is None else cls(notifier, ping_seconds(os.environ, os.getpid()))

    def __call__(self, view: StatusView) -> None:
        """Send the messages for this view. A message that cannot be sent is sent again with the next view."""
        sent, assignments = next_messages(self._sent, view, self._watchdog)
        while assignments and self._notifier.send(*assignments):
            self._sent = sent
            sent, assignments = next_messages(sent, view, self._watchdog)

    def close(self) -> None:
        """Close the notifier."""
        self._notifier.close()


def notify_already_finished(status: str) -> None:
    """Report a run that has nothing to do: systemd counts a service as failed if it ends before READY=1."""
    notifier = Notifier.from_environment()
    if notifier is not None:
        notifier.send("READY=1")
        notifier.send("STOPPING=1", f"STATUS={status}")
        notifier.close()
