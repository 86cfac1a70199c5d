"""A journal of an earlier schema under real processes: the command line goes on with it; kill -9 leaves it whole."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import open_journal
from orchestrator.journal.sqlite.queries import SCHEMA_VERSION
from tests.process.helpers import look
from tests.support.cli import Running, run_cli
from tests.support.journal_fixture import AGENT, SCHEMAS, known, read_all, restore


@pytest.mark.parametrize("schema", SCHEMAS)
def test_queries_and_resume_of_a_run_that_an_older_quiesce_began(schema: int, tmp_path: Path) -> None:
    """Queries work before the conversion and after it; resume hands out the snapshot that the old code kept."""
    path = tmp_path / "quiesce.db"
    restore(schema, path)
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "go").touch()
    queries = (("runs", "--json"), ("results", "stopped", "--json"), ("events", "done", "--json"))
    before = [run_cli(*query, cwd=tmp_path) for query in queries]
    assert [(each.returncode, each.stderr) for each in before] == [(0, "")] * 3
    ended = run_cli("resume", "stopped", "--deadline", "30", cwd=tmp_path)
    assert ended.returncode == 1, ended  # task 3 has failed, before
    seen = look(path, "stopped")
    assert seen.statuses() == {n: "failed" if n == "3" else "completed" for n in "123456"}
    assert seen.values["4"] == {"n": 4, "resumed_from": "{'at': 4, 'seen': {1, 2}}"}
    assert seen.values["2"] == {1, "two", (3.0, None)}
    assert run_cli("events", "done", "--json", cwd=tmp_path).stdout == before[2].stdout
    assert {row["run_id"] for row in map(json.loads, before[0].stdout.splitlines())} == {"done", "stopped", "odd"}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_killed_in_the_middle_of_a_conversion_leaves_the_old_file_or_the_new_one(schema: int, tmp_path: Path) -> None:
    """SIGKILL before each of its statements, the commit too; the file is whole, and the next writer converts it."""
    versions = []
    for statements in itertools.count(1):
        folder = tmp_path / str(statements)
        folder.mkdir()
        path = folder / "quiesce.db"
        expected = restore(schema, path)
        command = [sys.executable, "-m", "tests.process.journal_children", "convert", str(path), str(statements)]
        with Running(command) as child:
            ended = child.wait()
        assert ended.signal is signal.SIGKILL or ended.returncode == 0, ended
        versions.append(check(path, expected))
        if ended.returncode == 0:
            break
    assert len(versions) > 10
    assert versions == [schema] * (len(versions) - 1) + [SCHEMA_VERSION]


def check(path: Path, expected: list[dict[str, Any]]) -> int:
    """Check that a file has everything, for a reader and then for a writer; return its schema before that."""
    with open_journal(path, "read") as journal:
        assert known(read_all(journal), expected) == expected
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with open_journal(path, "write") as journal:
        assert known(read_all(journal), expected) == expected
    return int(version)
