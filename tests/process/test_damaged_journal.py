"""A damaged journal is refused or read in one line, by every query: no traceback, and no end of output."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from orchestrator.core.records import NewTask
from orchestrator.journal import JournalError, open_journal
from tests.process.damaged_children import make
from tests.support.cli import Running, run_cli


@pytest.mark.timeout(250)
def test_no_damage_makes_a_query_print_a_traceback_or_go_on_for_ever(tmp_path: Path) -> None:
    """Flipped bits, wrong types, odd numbers, deep nesting; chosen by seeds."""
    command = [sys.executable, "-m", "tests.process.damaged_children", str(tmp_path), "0", "25"]
    with Running(command, timeout=240) as fuzz:
        ended = fuzz.wait()
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    "record", ['[1,"completed"', '[2,"completed"', '[40,"completed"', '[-3,"completed"', '[3,"failed"']
)
def test_an_outcome_with_a_flipped_digit_is_found_out(tmp_path: Path, record: str) -> None:
    """Its number says where reading goes on: one that is too small made it go on for ever."""
    make(tmp_path / "quiesce.db")
    with sqlite3.connect(tmp_path / "quiesce.db") as db:
        db.execute("DROP TRIGGER outcomes_are_final")
        change = "UPDATE outcomes SET record = replace(record, '[3,\"completed\"', ?) WHERE seq = 3"
        assert db.execute(change, (record,)).rowcount == 1
    db.close()
    done = run_cli("results", cwd=tmp_path)
    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1
    assert "the file is corrupt" in done.stderr


def test_settings_and_a_directory_that_are_damaged_are_one_line_for_resume(tmp_path: Path) -> None:
    for column, value in (("config", "[1]"), ("config", '{"workers":"x"}'), ("cwd", "a\0b"), ("agent", "[[]]")):
        path = tmp_path / f"{column}{len(value)}.db"
        make(path)
        with sqlite3.connect(path) as db:
            db.execute(f"UPDATE runs SET {column} = ?", (value,))
        db.close()
        done = run_cli("resume", "--journal", path, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done


def test_pending_tasks_that_do_not_rise_are_refused(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j.db") as journal:
        run = journal.create_run("r", agent=None).id
        journal.add_tasks(run, [NewTask(str(n), b"1") for n in range(1, 4)])
    with sqlite3.connect(tmp_path / "j.db") as db:
        db.execute("UPDATE tasks SET seq = -5 WHERE seq = 2")
    db.close()
    with open_journal(tmp_path / "j.db", "read") as journal, pytest.raises(JournalError, match="the file is corrupt"):
        journal.pending(run, -10)
