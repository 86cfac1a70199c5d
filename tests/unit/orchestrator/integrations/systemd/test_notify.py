"""What is sent to systemd about a run, and how, and what systemd is asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.status import Phase
from orchestrator.integrations.systemd import notify
from orchestrator.integrations.systemd.notify import (
    Notifier,
    NotifyState,
    SdNotifyObserver,
    next_messages,
    own_unit,
    parse_span,
    ping_seconds,
    read_files,
    read_service,
)
from runtime.stop_limits import SERVICE_MARGIN
from tests.unit.orchestrator.integrations.views import STOP, view

# -- what is said -----------------------------------------------------------------------------------------------


def test_ready_waits_for_an_executor_and_for_work() -> None:
    """Neither alone will do."""
    for waiting in (view(executors="starting starting"), view(accepted=0), view(executors="")):
        assert "READY=1" not in next_messages(NotifyState(), waiting, None)[1]
    told, words = next_messages(NotifyState(), view(executors="starting ready"), None)
    assert words == ["READY=1"]
    assert next_messages(told, view(at=0.25), None)[1] == ["STATUS=0/10 done, 2 executors"]


def test_a_run_that_is_over_at_once_was_ready_too() -> None:
    """Otherwise systemd would say that it failed; and READY=1 goes alone, because the last word of a message wins."""
    over = view(phase=Phase.ENDED, executors="", completed=10)
    told, words = next_messages(NotifyState(), over, None)
    assert words == ["READY=1"]
    assert next_messages(told, over, None)[1][0] == "STOPPING=1"


def test_a_run_that_could_not_begin_never_was_ready() -> None:
    """Bad input: exit code 2 is to fail the start."""
    assert "READY=1" not in next_messages(NotifyState(), view(phase=Phase.ENDED, accepted=0), None)[1]


def test_a_run_that_is_stopped_before_it_began_is_stopping() -> None:
    """Without ever having been ready."""
    words = next_messages(NotifyState(), view(phase=Phase.STOPPING, executors="starting", signal=STOP), None)[1]
    assert words[0] == "STOPPING=1"
    assert "STATUS=stopping (received SIGTERM): 0/10 done, 1 executor" in words


def test_more_time_is_asked_for_again_and_again_but_not_for_ever() -> None:
    """As long as the ladder and its margin last, never for longer than they do."""
    told = NotifyState(ready=True)
    asked: dict[float, int] = {}
    for tick in range(200):
        at = tick / 4
        told, words = next_messages(told, view(at, Phase.STOPPING, signal=STOP, stop_bound=max(0.0, 17 - at)), None)
        for word in words:
            name, _, value = word.partition("=")
            if name == "EXTEND_TIMEOUT_USEC":
                asked[at] = int(value)
    ends = 17 + SERVICE_MARGIN
    assert min(asked) == 0.0
    assert max(asked) == ends - 1.0
    assert all(later - sooner <= 1.0 for sooner, later in zip(list(asked), list(asked)[1:], strict=False))
    assert all(at + usec / 1e6 <= ends for at, usec in asked.items())
    assert all(usec <= notify.EXTENSION * 1e6 for usec in asked.values())


@pytest.mark.parametrize("message", ["x" * 9000, "日本" * 9000, "\x1b[31m" * 3000, "two\nlines \udcff"])
def test_a_long_reason_does_not_silence_the_rest(message: str) -> None:
    """systemd drops a datagram of more than 4 KiB whole, STOPPING=1 in it or not; and a line is an assignment."""
    why = STOP.model_copy(update={"message": message})
    words = next_messages(NotifyState(ready=True), view(phase=Phase.STOPPING, signal=why, stop_bound=17.0), 1.0)[1]
    names = [word.partition("=")[0] for word in words]
    assert names == ["STOPPING", "EXTEND_TIMEOUT_USEC", "STATUS", "WATCHDOG"]
    assert len("\n".join(words).encode()) < 4096
    assert all(word.isprintable() for word in words)


def test_stopping_is_said_once() -> None:
    """Also when all is done and no stop was requested."""
    told, words = next_messages(NotifyState(ready=True), view(phase=Phase.FINISHING), None)
    assert "STOPPING=1" in words
    assert "STOPPING=1" not in next_messages(told, view(at=5.0, phase=Phase.SWEEPING), None)[1]


def test_the_status_is_renewed_once_a_second_and_only_when_it_changed() -> None:
    """312/1600 done, 4 executors, 2 failed."""
    told, words = next_messages(NotifyState(ready=True), view(0.0), None)
    assert words == ["STATUS=0/10 done, 2 executors"]
    told, words = next_messages(told, view(0.5, completed=1), None)
    assert words == []
    told, words = next_messages(told, view(1.0, completed=5, failed=2, executors="ready"), None)
    assert words == ["STATUS=7/10 done, 1 executor, 2 failed"]
    assert next_messages(told, view(9.0, completed=5, failed=2, executors="ready"), None)[1] == []


def test_before_there_is_work_it_starts() -> None:
    assert notify.status_line(view(accepted=0, executors="starting")) == "starting, 1 executor"


def test_a_status_is_one_line() -> None:
    """A message with a line break must not become an assignment."""
    stop = STOP.model_copy(update={"message": "enough\nMAINPID=1"})
    assert notify.status_line(view(signal=stop)).startswith("stopping (enough MAINPID=1): ")


def test_the_watchdog_is_pinged_well_before_its_half() -> None:
    """From the first view on, ready or not."""
    told, pings = NotifyState(), []
    for tick in range(24):
        at = tick / 4
        told, words = next_messages(told, view(at, executors="starting"), watchdog=0.5)
        pings += [at] if "WATCHDOG=1" in words else []
    assert pings == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2000000"}, 0.5),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "42"}, 0.5),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_may_be_meant_for_somebody_else(environment: dict[str, str], seconds: float | None) -> None:
    assert ping_seconds(environment, 42) == seconds


# -- how it is said ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A NOTIFY_SOCKET and its reader."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@quiesce-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(name.replace("@", "\0", 1))
        reader.setblocking(False)
        yield name, reader


def read(reader: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages.append(reader.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_a_herald_tells_the_socket(listener: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness in a message of its own, then the rest."""
    name, reader = listener
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    herald = SdNotifyObserver.from_environment()
    assert herald is not None
    herald(view())
    assert read(reader) == ["READY=1", "STATUS=0/10 done, 2 executors\nWATCHDOG=1"]
    herald.close()


def test_what_was_not_heard_is_said_again(tmp_path: Path) -> None:
    """A service manager that re-executes itself has no socket for a moment."""
    path = str(tmp_path / "notify")
    herald = SdNotifyObserver(Notifier(path))
    herald(view())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(path)
        reader.setblocking(False)
        herald(view(0.25))
        assert read(reader)[0] == "READY=1"
    herald.close()


def test_a_full_socket_blocks_nobody(listener: tuple[str, socket.socket]) -> None:
    """The loop goes on; the word is kept for the next time."""
    name, reader = listener
    notifier = Notifier(name)
    sent = 0
    while notifier.send("STATUS=x") and sent < 100_000:
        sent += 1
    assert 0 < sent < 100_000
    assert len(read(reader)) == sent
    assert notifier.send("STATUS=y")
    notifier.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_no_socket_no_herald(address: str) -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": address}) is None
    assert Notifier.from_environment({}) is None


def test_nothing_to_do_counts_as_ready(listener: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that ends before it was ready would have failed."""
    name, reader = listener
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify.notify_already_finished("run r is over")
    assert read(reader) == ["READY=1", "STOPPING=1\nSTATUS=run r is over"]


# -- what it is asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1min 30s", 90.0), ("20s", 20.0), ("500ms", 0.5), ("1h 2min 3s 4ms", 3723.004), ("infinity", None),
        ("", None), ("2d", 172800.0), ("1.5s", 1.5), ("3 fortnights", None),
    ],
)  # fmt: skip
def test_spans_of_time(text: str, seconds: float | None) -> None:
    assert parse_span(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("cgroups", "found"),
    [
        ("0::/system.slice/batch.service\n", ("batch.service", False)),
        ("9:name=systemd:/system.slice/batch.service\n4:memory:/\n0::/\n", ("batch.service", False)),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/batch.service\n", ("batch.service", True)),
        ("0::/system.slice/batch.service/quiesce-run-12\n", ("batch.service", False)),
        ("0::/user.slice/user-0.slice/session-1.scope\n", None),
        ("4:memory:/system.slice/other.service\n0::/\n", None),
        ("nonsense\n", None),
    ],
)
def test_the_service_is_in_the_cgroup(cgroups: str, found: tuple[str, bool] | None) -> None:
    assert own_unit(cgroups) == found


def test_a_service_that_does_not_kill_us_does_not_limit_us() -> None:
    """cron's jobs carry its INVOCATION_ID and live in its cgroup, but outlive it."""
    shown = "MainPID=7\nKillMode={}\nTimeoutStopUSec=20s\nInvocationID=abc\n"
    ours = read_service("a.service", shown.format("process"), "abc", 7)
    crons = read_service("cron.service", shown.format("process"), "abc", 8)
    shells = read_service("a.service", shown.format("control-group"), "abc", 8)
    assert ours is not None
    assert crons is not None
    assert shells is not None
    assert (ours.stop_timeout_applies, crons.stop_timeout_applies, shells.stop_timeout_applies) == (True, False, True)
    assert ours.stop_seconds == 20.0
    assert read_service("a.service", shown.format("mixed"), "another", 7) is None
    assert read_service("a.service", "", "abc", 7) is None
    forever = read_service("a.service", shown.format("mixed").replace("20s", "infinity"), "abc", 7)
    assert forever is not None
    assert not forever.stop_timeout_applies


FILES = """# /etc/systemd/system/batch.service
[Service]
# TimeoutStopSec=1
ExecStart=/bin/true --x=y
TimeoutStopSec=20
KillMode=mixed

# /etc/systemd/system/batch.service.d/override.conf
[Service]
TimeoutStopSec = 1min 4s
"""


@pytest.mark.parametrize(
    ("text", "seconds", "mode"),
    [
        (FILES, 64.0, "mixed"),
        ("[Service]\nTimeoutStopSec=20\nTimeoutSec=7\n", 7.0, "control-group"),
        ("[Service]\nTimeoutStopSec=infinity\n", None, "control-group"),
        ("[Service]\nTimeoutStopSec=0\n", None, "control-group"),
        ("[Service]\n", 90.0, "control-group"),
    ],
)
def test_the_files_of_a_unit_say_it_too(text: str, seconds: float | None, mode: str) -> None:
    """For whom the bus does not answer; drop-ins come last, and win."""
    found = read_files("batch.service", text, is_main=True)
    assert (found.stop_seconds, found.kill_mode) == (seconds, mode)


def test_without_systemd_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    assert notify.current_service() is None
