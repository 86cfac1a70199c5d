"""`quiesce config`: each value with its origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.config import build_rows
from orchestrator.config_file import Origin
from orchestrator.integrations.detect import HostValue
from orchestrator.setting_list import list_settings
from runtime.errors import UsageError

GRANTED = {"host_grace": HostValue(30.0, "the unit"), "stop_on": HostValue(("USR1",), "a job")}


def test_each_setting_has_a_row_with_its_value_and_origin(tmp_path: Path) -> None:
    (tmp_path / "quiesce.toml").write_text('grace = "1m30s"\nretries = 1\ntimeout = 5\n', encoding="utf-8")
    environment = {"QUIESCE_RETRIES": "2", "QUIESCE_TIMEOUT": "6"}
    rows = {row.name: row for row in build_rows({"timeout": 7.0}, environment, {}, str(tmp_path))}
    assert list(rows) == list(list_settings())
    assert (rows["grace"].value, rows["grace"].origin) == (90, Origin("file", str(tmp_path / "quiesce.toml")))
    assert (rows["retries"].value, rows["retries"].origin) == (2, Origin("environment", "QUIESCE_RETRIES"))
    assert (rows["timeout"].value, rows["timeout"].origin) == (7, Origin("option", "--timeout"))
    assert (rows["term_grace"].text, rows["term_grace"].origin) == ("5", Origin("default", "default"))


def test_a_project_file_is_named_with_its_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.quiesce]\nmax_failures = "5%"\n', encoding="utf-8")
    (row,) = [row for row in build_rows({}, {}, {}, str(tmp_path)) if row.name == "max_failures"]
    assert (row.value, row.origin.place) == ("5%", f"{tmp_path}/pyproject.toml [tool.quiesce]")


def test_the_grace_of_the_host_comes_from_it_unless_it_is_given(tmp_path: Path) -> None:
    (told,) = [row for row in build_rows({}, {}, GRANTED, str(tmp_path)) if row.name == "host_grace"]
    assert (told.value, told.origin.kind) == (30, "host")
    (given,) = [row for row in build_rows({"host_grace": 9.0}, {}, GRANTED, str(tmp_path)) if row.name == "host_grace"]
    assert (given.value, given.origin.kind) == (9, "option")
    (signals,) = [row for row in build_rows({}, {}, GRANTED, str(tmp_path)) if row.name == "stop_on"]
    assert (signals.text, signals.origin.place) == ("USR1", "a job")


def test_what_is_not_given_is_shown_as_the_help_texts_have_it(tmp_path: Path) -> None:
    texts = {row.name: row.text for row in build_rows({}, {}, {}, str(tmp_path))}
    assert (texts["timeout"], texts["preempt"], texts["progress_interval"]) == ("no limit", "off", "10")
    assert texts["host_grace"] == "systemd and Slurm are asked"


def test_an_unknown_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "quiesce.toml").write_text("term-grace = 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="unknown setting 'term-grace'; did you mean term_grace"):
        build_rows({}, {}, {}, str(tmp_path))
