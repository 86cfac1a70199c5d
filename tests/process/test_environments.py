"""Variables of other processes, read by a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runtime.process import environments

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="there is no /proc")


def test_values_come_as_they_are_and_who_has_none_has_none() -> None:
    value = "a b\tc\nd=é"
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"ONE": value, "TWO": ""}
    ) as child:
        found = environments.read([child.pid, os.getpid()], ["ONE", "TWO", "QUIESCE_NOWHERE"], seconds=30)
        child.communicate(b"\n")
    assert found[child.pid] == {"ONE": value, "TWO": "", "QUIESCE_NOWHERE": ""}
    assert found[os.getpid()]["QUIESCE_NOWHERE"] == ""


def test_who_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    assert environments.read([child.pid], ["PATH"], seconds=30) == {child.pid: {"PATH": ""}}


def test_nobody_is_asked_for_nothing() -> None:
    assert environments.read([], ["PATH"]) == {}


def test_more_than_fit_into_one_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_AT_ONCE", 2)
    found = environments.read([os.getpid()] * 5 + [os.getppid()], ["PATH"], seconds=60)
    assert set(found) == {os.getpid(), os.getppid()}
