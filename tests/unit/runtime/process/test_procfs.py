"""Which processes a /proc shows: those of this namespace, of another one, or none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from runtime.capabilities import Visibility
from runtime.process.procfs import inspect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil needs no /proc")


def make_proc(root: Path, *, link: int, namespaces: str, first: bool = True) -> str:
    """A /proc in which this process has the pid `link`, and NSpid is `namespaces`."""
    own = root / str(link)
    own.mkdir()
    (own / "stat").write_text(f"{link} (python) R")
    (own / "status").write_text(f"Name:\tpython\nNSpid:\t{namespaces}\n")
    (root / "self").symlink_to(str(link))
    if first:
        (root / "1").mkdir()
        (root / "1" / "stat").write_text("1 (init) S")
    return str(root)


def test_this_host_shows_this_process_or_the_tests_of_the_rest_are_of_no_use() -> None:
    assert inspect() in (Visibility.FULL, Visibility.RESTRICTED)


def test_one_that_knows_us_by_our_pid(tmp_path: Path) -> None:
    assert inspect(make_proc(tmp_path, link=os.getpid(), namespaces=str(os.getpid()))) is Visibility.FULL


def test_one_that_hides_process_1(tmp_path: Path) -> None:
    root = make_proc(tmp_path, link=os.getpid(), namespaces=str(os.getpid()), first=False)
    assert inspect(root) is Visibility.RESTRICTED


def test_one_that_knows_us_by_another_pid(tmp_path: Path) -> None:
    assert inspect(make_proc(tmp_path, link=4194999, namespaces="4194999\t7")) is Visibility.FOREIGN


def test_the_same_pid_in_both_namespaces_is_a_coincidence(tmp_path: Path) -> None:
    own = os.getpid()
    assert inspect(make_proc(tmp_path, link=own, namespaces=f"{own}\t{own}")) is Visibility.FOREIGN


def test_one_that_does_not_know_us_at_all(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    assert inspect(str(tmp_path)) is Visibility.FOREIGN


def test_none(tmp_path: Path) -> None:
    assert inspect(str(tmp_path)) is Visibility.NONE
    assert inspect(str(tmp_path / "nowhere")) is Visibility.NONE
