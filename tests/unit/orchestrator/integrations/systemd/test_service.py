"""What systemd is asked, and how its answers are read."""

from __future__ import annotations

import pytest

from orchestrator.integrations.systemd.service import own_unit, parse_span, read_files, read_service
from orchestrator.integrations.systemd.service_query import current_service


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
    assert current_service() is None
