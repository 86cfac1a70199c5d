"""The help of every command: all defaults, one name for times and sizes, and the options that all commands have."""

from __future__ import annotations

import re
from typing import Any

import pytest

from orchestrator.cli import build
from orchestrator.units import parse_seconds, parse_size

GROUP = build()
COMMANDS: dict[str, Any] = GROUP.commands
PARAMETERS = [
    pytest.param(parameter, id=f"{name} {parameter.opts[-1]}")
    for name, command in COMMANDS.items()
    for parameter in command.params
]


def is_switch(parameter: Any) -> bool:
    """Whether it is a flag that cannot be taken back: it is off unless it is given."""
    return getattr(parameter, "is_flag", False) and not parameter.secondary_opts


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_has_a_help_with_its_default(parameter: Any) -> None:
    assert parameter.help, "it has no help"
    if not parameter.required and not is_switch(parameter):
        assert parameter.help.count("(default: ") == 1, parameter.help
    assert "Default: " not in parameter.help


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_time_is_a_time_and_a_size_a_size(parameter: Any) -> None:
    """What is parsed by the one grammar is called by one name, and nothing else is."""
    info = getattr(getattr(parameter, "type_descriptor", None), "parameter_info", None)
    parser = getattr(getattr(info, "parser", None), "__wrapped__", None)
    assert (parameter.metavar == "TIME") or parser is not parse_seconds
    assert (parameter.metavar == "SIZE") or parser is not parse_size
    assert parameter.metavar not in ("S", "SECONDS", "DURATION", "BYTES")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_options_that_all_have(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--color", "-q", "--quiet", "-v", "--verbose", "-h", "--help"} <= options


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_page_shows_no_kinds_of_flags_and_no_brackets_in_brackets(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    GROUP.main([name, "--help"] if name else ["--help"], prog_name="quiesce", standalone_mode=False)
    page = capsys.readouterr().out
    assert "--help" in page
    assert not re.search(r"<(bool|str|int|float|list)|\bBOOLEAN\b|\[\[|\[default:", page), page
