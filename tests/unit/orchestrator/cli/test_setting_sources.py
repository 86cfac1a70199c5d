"""Settings of a command come from its options, the environment and the configuration file, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.setting_sources import combine, from_environment, from_file, unknown_variables
from runtime.errors import UsageError


def write(directory: Path, name: str, text: str) -> Path:
    (directory / name).write_text(text, encoding="utf-8")
    return directory


def test_zero_is_a_value_like_any_other(tmp_path: Path) -> None:
    options = {"grace": 0.0, "term_grace": 0.0, "retries": 0}
    settings = combine(options, {"grace": 7.0, "retries": 2}, {}, tmp_path)
    assert (settings.grace, settings.term_grace, settings.retries) == (0.0, 0.0, 0)


def test_a_resumed_run_keeps_what_no_option_changes(tmp_path: Path) -> None:
    settings = combine({}, {"grace": 7.0, "preempt": True}, {}, tmp_path)
    assert (settings.grace, settings.preempt) == (7.0, True)


def test_a_flag_can_be_taken_back(tmp_path: Path) -> None:
    assert combine({"preempt": False}, {"preempt": True}, {}, tmp_path).preempt is False


def test_an_option_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, "quiesce.toml", 'grace = 1\nterm_grace = "2m"\nretries = 3\n')
    environment = {"QUIESCE_GRACE": "20s", "QUIESCE_TERM_GRACE": "30"}
    settings = combine({"grace": 100.0}, None, environment, tmp_path)
    assert (settings.grace, settings.term_grace, settings.retries) == (100.0, 30.0, 3)


def test_a_resumed_run_takes_nothing_from_its_surroundings_but_what_is_the_hosts(tmp_path: Path) -> None:
    write(tmp_path, "quiesce.toml", "grace = 1\n")
    environment = {"QUIESCE_RETRIES": "9", "QUIESCE_HOST_GRACE": "40"}
    settings = combine({}, {"retries": 2}, environment, tmp_path)
    assert (settings.grace, settings.retries, settings.host_grace) == (10.0, 2, 40.0)


def test_a_project_file_has_a_table(tmp_path: Path) -> None:
    write(
        tmp_path,
        "pyproject.toml",
        '[project]\nname = "x"\n\n[tool.quiesce]\nmemory_limit = "2G"\nmax_failures = "5%"\n',
    )
    settings = combine({}, None, {}, tmp_path)
    assert settings.memory_limit == 2 << 30
    assert settings.max_failures is not None
    assert settings.max_failures.percent == 5


def test_the_file_of_its_own_wins_over_the_project_file(tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", "[tool.quiesce]\nretries = 1\n")
    write(tmp_path, "quiesce.toml", "workers = 2\n")
    assert from_file(tmp_path) == {"workers": 2}


def test_no_file_and_a_project_file_without_the_table_give_nothing(tmp_path: Path) -> None:
    assert from_file(tmp_path) == {}
    assert from_file(write(tmp_path, "pyproject.toml", "[tool.other]\nx = 1\n")) == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("quiesce.toml", "gracee = 1\n", "quiesce.toml: unknown setting 'gracee'; did you mean grace?"),
        ("quiesce.toml", "zebra = 1\n", "quiesce.toml: unknown setting 'zebra'; there are workers, "),
        ("quiesce.toml", "kill_patience = 1\n", "quiesce.toml: unknown setting 'kill_patience'"),
        ("quiesce.toml", "grace = -1\n", "quiesce.toml: grace = -1: "),
        ("quiesce.toml", "grace = true\n", "quiesce.toml: grace = True: "),
        ("quiesce.toml", 'workers = "many"\n', "quiesce.toml: workers = 'many': "),
        ("quiesce.toml", "workers = 0\n", "quiesce.toml: workers = 0: "),
        ("quiesce.toml", 'preempt = "perhaps"\n', "quiesce.toml: preempt = 'perhaps': "),
        ("quiesce.toml", 'max_failures = "x"\n', "quiesce.toml: max_failures 'x' is neither "),
        ("quiesce.toml", "grace =\n", "quiesce.toml is not TOML: "),
        ("pyproject.toml", "[tool.quiesce]\nworkers = 1.5\n", "pyproject.toml [tool.quiesce]: workers = 1.5: "),
        ("pyproject.toml", "[tool]\nquiesce = 1\n", "pyproject.toml: tool.quiesce is not a table"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_the_file_and_the_key(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        combine({}, None, {}, write(tmp_path, name, text))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(UsageError, match=r"^QUIESCE_TIMEOUT: timeout = 'soon': 'soon' is not a time: write seconds"):
        from_environment({"QUIESCE_TIMEOUT": "soon"})


def test_flags_in_the_environment_are_words() -> None:
    found = from_environment({"QUIESCE_PREEMPT": "1", "QUIESCE_KEEP_CHILDREN": "false", "QUIESCE_RETRIES": ""})
    assert found == {"preempt": True, "keep_children": False}


def test_the_marks_of_a_run_are_no_settings() -> None:
    assert from_environment({"QUIESCE_RUN_ID": "r", "QUIESCE_SLOT": "1", "QUIESCE_JOURNAL": "j.db"}) == {}


def test_a_variable_that_is_mistyped_is_told_with_the_nearest_one() -> None:
    assert unknown_variables({"QUIESCE_WORKER": "3"}) == [
        "QUIESCE_WORKER is not a setting and has no effect; did you mean QUIESCE_WORKERS?"
    ]
    assert "did you mean QUIESCE_JOURNAL?" in unknown_variables({"QUIESCE_JORNAL": "x"})[0]


def test_variables_of_settings_of_runs_and_of_others_are_not_told() -> None:
    names = ["QUIESCE_WORKERS", "QUIESCE_JOURNAL", "QUIESCE_RUN_ID", "QUIESCE_SLOT", "QUIESCE_SUPERVISOR", "WORKERS"]
    assert unknown_variables(dict.fromkeys([*names, "QUIESCE_API_KEY", "QUIESCE_TESTS_SHM"], "1")) == []
