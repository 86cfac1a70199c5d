"""Run the shell sessions of a document in an empty folder, in their order, and compare what they print.

A fenced block with a title (```csv title="people.csv") is a file. In a ```console block, a line `$ COMMAND` is run by
bash, and the lines up to the next one are what it prints on standard output.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.support.cli import QUIESCE, environment

_BLOCK = re.compile(r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def run_document(document: Path, folder: Path) -> int:
    """Write the files of a document and run its sessions. Return the number of commands."""
    count = 0
    for language, title, text in _BLOCK.findall(document.read_text(encoding="utf-8")):
        if title:
            path = folder / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif language == "console":
            for session in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, expected = session.partition("\n")
                assert _run(command, folder) == expected, command
                count += 1
    return count


def _run(command: str, folder: Path) -> str:
    home = os.path.dirname(QUIESCE[0])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env=environment({"PATH": f"{home}{os.pathsep}{os.environ['PATH']}", "TZ": "UTC"}),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
