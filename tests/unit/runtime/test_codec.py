"""Values that travel, and those that cannot."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from multiprocess import Pipe

from runtime import codec
from runtime.errors import ResultError
from tests.support.cli import ROOT


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None]}, (1, 2), {1: "one"}, {1, 2}, b"bytes", float("inf"), 1 << 70])
def test_an_input_comes_back_as_exactly_what_it_was(value: Any) -> None:
    back = codec.decode(*codec.encode(value))
    assert back == value
    assert type(back) is type(value)


def test_a_lambda_travels_with_what_it_closes_over() -> None:
    factor = 3
    assert codec.decode(codec.encode_blob(lambda x: x * factor), codec.BLOB)(2) == 6


@pytest.mark.parametrize("deep", [False, True])
def test_a_socket_is_refused_and_nobody_begins_to_serve_it(deep: bool) -> None:
    before = threading.active_count()
    with socket.socket() as ours, pytest.raises(ResultError, match=r"neither JSON nor pickled: .*'socket'") as refused:
        codec.encode_result({"deep": [ours]} if deep else ours)
    assert "\n" not in str(refused.value)
    assert threading.active_count() == before


def test_a_connection_is_refused() -> None:
    here, there = Pipe()
    with here, there, pytest.raises(ResultError, match="'Connection'"):
        codec.encode(here)


def test_loading_the_picklers_leaves_the_disk_alone(tmp_path: Path) -> None:
    """A process that is killed as it imports dill leaves no file behind, because none was made."""
    program = """
import sys, tempfile
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import runtime.codec
assert "dill" in sys.modules and tempfile.tempdir is None
assert not [name for name in opened if name.startswith(sys.argv[1])], opened
"""
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environ, check=True)
