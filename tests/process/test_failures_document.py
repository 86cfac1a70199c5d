"""docs/failures.md: its files and commands, in an empty folder, one after the other, print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.process.helpers import jsonl, look
from tests.support.cli import QUIESCE, environment, run_cli

PAGE = (Path(__file__).parents[2] / "docs" / "failures.md").read_text(encoding="utf-8")
FILE = re.compile(r"^```(?:py|text)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_files(folder: Path) -> None:
    """Write the files of the page; the first line of a Python one, its name, is a comment in it."""
    for match in FILE.finditer(PAGE):
        head = f"# {match[1]}\n" if match[1].endswith(".py") else ""
        (folder / match[1]).write_text(head + match[2])


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command of the page with the output below it."""
    for block in CONSOLE.findall(PAGE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def pattern(output: str) -> str:
    """Return a pattern for an output: `…` stands for any text, and in a line of its own for any lines."""
    lines = [
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in output.splitlines()
    ]
    return "".join(lines) + "$"


def test_the_commands_print_what_the_page_says(tmp_path: Path) -> None:
    write_files(tmp_path)
    found = list(commands())
    assert len(found) == 8
    path = f"{Path(sys.executable).parent}:{Path(QUIESCE[0]).parent}:/usr/bin:/bin"
    for command, output in found:
        with_log = " 2>&1" if command.startswith("quiesce") else ""
        done = subprocess.run(
            ["bash", "-c", command + with_log],
            stdout=subprocess.PIPE,
            text=True,
            timeout=90,
            cwd=tmp_path,
            env={**environment(), "PATH": path},
            check=False,
        )
        message = f"{command}\n{done.stdout}\n--- does not say\n{output}"
        assert re.search(f"^{pattern(output)}", done.stdout, re.MULTILINE), message


class BusyThenReady(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        BusyThenReady.asked += 1
        busy = BusyThenReady.asked <= 2
        self.send_response(429 if busy else 200)
        self.send_header("Retry-After", "0")
        self.end_headers()
        if not busy:
            self.wfile.write(b"here it is")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), BusyThenReady) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}/"
        finally:
            made.shutdown()
            thread.join()


def test_the_agent_that_asks_to_be_tried_later(tmp_path: Path, server: str) -> None:
    write_files(tmp_path)
    source = jsonl(tmp_path / "in.jsonl", [server])
    done = run_cli("run", "fetch.py:fetch", "-i", source, "-w", "1", "-j", tmp_path / "j.db", cwd=tmp_path)
    assert done.returncode == 0, done
    seen = look(tmp_path / "j.db")
    assert seen.values == {"1": "here it is"}
    assert [data["times"] for data in seen.named("task.postponed")] == [1, 2]
