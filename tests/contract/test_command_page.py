"""The page of the commands has every command, argument, option and exit code."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from orchestrator.cli import build
from orchestrator.cli.exit_codes import RESUMABLE, USAGE
from tests.support.cli import ROOT

PAGE = str(runpy.run_path(str(ROOT / "scripts" / "command_page.py"))["render"]())
COMMANDS: dict[str, Any] = build().commands


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_a_command_with_all_it_takes(name: str) -> None:
    part = PAGE.partition(f"\n## quiesce {name}\n")[2].partition("\n## ")[0]
    head = PAGE.partition("\n## ")[0]
    assert part, f"the page lacks {name}"
    for parameter in COMMANDS[name].params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            is_argument = parameter.param_type_name == "argument"
            assert f"`{parameter.metavar if is_argument else option}`" in part + head, option
    assert part.count("(default: ") >= sum("(default: " in (each.help or "") for each in COMMANDS[name].params) - 4


def test_the_page_has_the_exit_codes() -> None:
    codes = PAGE.partition("\n## Exit codes\n")[2]
    for code in (0, 1, USAGE, RESUMABLE):
        assert f"| {code}" in codes
