"""A host that lists no processes (Linux without /proc): nothing is found, and nothing fails."""

from __future__ import annotations

import pytest

from runtime.process import marked_processes, psutil_later


def _list_nothing() -> list[int]:
    raise IndexError("list index out of range")  # psutil 6 and 7, where /proc is empty


def test_nobody_is_found_where_no_process_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil_later.psutil, "pids", _list_nothing)
    assert marked_processes.of_supervisor("1-0") == []
    assert marked_processes.of_predecessor("1-0", 0) == []
