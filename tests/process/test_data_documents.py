"""The documents about data: what they show is what happens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.cli import ROOT
from tests.support.console import run_document


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "commands"), [("input.md", 7), ("results.md", 9), ("etl.md", 11), ("logging.md", 5)])
def test_the_sessions_of_a_document(tmp_path: Path, name: str, commands: int) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    assert run_document(ROOT / "docs" / name, tmp_path) == commands
