"""The state diagrams in docs/architecture.md are those of the tables."""

from __future__ import annotations

import subprocess
import sys

from tests.support.cli import ROOT


def test_the_diagrams_in_the_docs_are_those_of_the_tables() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "state_diagrams.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
