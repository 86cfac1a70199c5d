"""Options, variables, keys, parameters and docs/settings.md have one source: the fields of Settings."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import Supervisor
from orchestrator.cli import command_settings, run
from orchestrator.cli.options import COMMAND_SETTINGS, expand
from orchestrator.cli.setting_sources import from_environment, from_file
from orchestrator.cli.typer_app import App
from orchestrator.config import Settings, SettingsOptions
from orchestrator.core.checked_record import field
from orchestrator.core.settings import OF_COMMANDS
from orchestrator.setting_list import format_table, list_settings
from runtime.errors import UsageError

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


class MoreSettings(Settings):
    """Settings with one field more."""

    nap_time: float = field(default=1.5, ge=0, description="Seconds of sleep after lunch.")


def test_the_page_has_the_table() -> None:
    assert format_table() in PAGE.read_text(encoding="utf-8"), f"expected in docs/settings.md:\n{format_table()}"


def test_the_page_has_the_settings_of_commands() -> None:
    table = command_settings.format_table(COMMAND_SETTINGS)
    assert table in PAGE.read_text(encoding="utf-8"), f"expected in docs/settings.md:\n{table}"
    assert set(inspect.signature(Supervisor).parameters) >= command_settings.PYTHON


def test_no_setting_of_a_command_is_one_of_the_run() -> None:
    assert not set(COMMAND_SETTINGS) & set(list_settings())


def test_the_parameters_of_a_supervisor_are_the_settings() -> None:
    assert set(SettingsOptions.__annotations__) == set(list_settings()) - set(OF_COMMANDS)


@pytest.mark.parametrize("name", sorted(set(list_settings()) - set(OF_COMMANDS)))
def test_the_type_of_a_parameter_is_that_of_the_field(name: str) -> None:
    """But for five: None is no number of workers, failures may be a share, exceptions classes, values any sequence."""
    hints = typing.get_type_hints(SettingsOptions)
    expected: dict[str, typing.Any] = {"workers": int | None, "max_failures": int | str | None}
    expected |= dict.fromkeys(("retry_on", "no_retry_on"), Sequence[str | type[BaseException]] | None)
    expected["slot_env"] = Mapping[str, Sequence[object] | str]
    assert hints[name] == expected.get(name, Settings.model_fields[name].annotation)


def test_an_unknown_parameter_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'worker'"):
        Supervisor(worker=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="kill_patience"):
        Supervisor(kill_patience=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", OF_COMMANDS)
def test_what_only_commands_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} is for commands \(`quiesce run … -- COMMAND`\)"):
        Supervisor(**{name: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("command", [run.run, run.resume])
def test_run_and_resume_have_an_option_for_each_setting(command: object) -> None:
    assert callable(command)
    assert set(list_settings()) <= set(inspect.signature(command).parameters)


def test_a_new_field_is_an_option_a_variable_a_key_and_a_row(tmp_path: Path) -> None:
    settings = list_settings(MoreSettings)
    seen = []
    app = App()

    def show(settings: dict[str, object]) -> None:
        seen.append(settings)

    app.command()(expand(show, settings=settings))

    assert CliRunner().invoke(app, ["--nap-time", "2m"]).exit_code == 0
    assert CliRunner().invoke(app, []).exit_code == 0
    assert seen == [{"nap_time": 120.0}, {}]
    assert from_environment({"QUIESCE_NAP_TIME": "3"}, settings) == {"nap_time": 3.0}
    (tmp_path / "quiesce.toml").write_text("nap_time = 4\n")
    assert from_file(tmp_path, settings) == {"nap_time": 4.0}
    row = "| `--nap-time` | `QUIESCE_NAP_TIME` | `nap_time` | a time: `10`, `1.5s`, `2m`, `1h30m`, `30d` | "
    assert f"{row}Seconds of sleep after lunch. (default: 1.5) |\n" in format_table(MoreSettings)


def test_no_variable_of_a_setting_is_a_mark_of_a_process() -> None:
    variables = {setting.variable for setting in list_settings().values()}
    variables |= {setting.variable for setting in COMMAND_SETTINGS.values()}
    assert not variables & {"QUIESCE_RUN_ID", "QUIESCE_SLOT", "QUIESCE_SUPERVISOR", "QUIESCE_EVENT"}
