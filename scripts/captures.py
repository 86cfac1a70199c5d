#!/usr/bin/env python3
"""Make docs/captures.md: a run with failures, prints and a stop, as a terminal shows it, and as the log of a Pod.

`scripts/captures.py` prints what it sees; `--write` puts it into the page. The terminal is tmux, the Pod is one that
podman plays from the manifest that `quiesce manifest` prints (tests/hosts). `--only terminal` needs no podman.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.hosts.pods import Pod, Podman, Unavailable, printed, why_not  # noqa: E402 - this script may run from anywhere
from tests.support.cli import QUIESCE  # noqa: E402
from tests.support.tmux import Terminal  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402

PAGE: Final = ROOT / "docs" / "captures.md"
COLUMNS, ROWS = 100, 22
SECONDS: Final = 120.0

AGENTS: Final = """\
import time


def fetch(page, state):
    print(f"fetching {page['url']}")
    for step in range(8):
        state.progress(step, 8)
        state.sleep(0.1)  # ends at once when the run is stopped
    if page["number"] % 6 == 0:
        raise LookupError(f"{page['url']} is gone")
    return {"url": page["url"], "bytes": 1000 + page["number"]}
"""
INPUTS: Final = "".join(f'{{"key": "page-{n}", "number": {n}, "url": "/page/{n}"}}\n' for n in range(1, 25))

Captures = dict[str, str]


def capture_terminal() -> Captures:
    """Return the screens of a run in a terminal: at work, after Ctrl-C, and after it was resumed."""
    with tempfile.TemporaryDirectory(prefix="captures-") as name:
        folder = Path(name)
        (folder / "agents.py").write_text(AGENTS)
        (folder / "pages.jsonl").write_text(INPUTS)
        (folder / "bin").mkdir()
        (folder / "bin" / "quiesce").write_text(f'#!/bin/sh\nexec {shlex.join(map(str, QUIESCE))} "$@"\n')
        (folder / "bin" / "quiesce").chmod(0o755)
        env = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        with Terminal(columns=COLUMNS, rows=ROWS, env=env, cwd=folder) as terminal:
            return {title: _neutral(text, name) for title, text in _play(terminal)}


def _play(terminal: Terminal) -> Iterator[tuple[str, str]]:
    terminal.run("PS1='$ '; clear")
    terminal.expect(r"\A\$$")
    terminal.run("quiesce run agents.py:fetch --input pages.jsonl --workers 2 --run-id pages")
    terminal.expect(r"task\.failed .*page-6", deadline=SECONDS)
    terminal.expect(r"^  executor 0 .*page-\d+  [3-7]/8", deadline=SECONDS, history=False)
    yield "at work", terminal.screen()
    terminal.press("C-c")
    terminal.expect(r"^To see the failures: ", deadline=SECONDS, history=False)
    yield "stopped", terminal.screen()
    terminal.run("clear; quiesce resume -q")
    terminal.expect(r"^To see the failures: ", deadline=SECONDS, history=False)
    terminal.expect(r"\n\$\s*\Z", deadline=SECONDS, history=False)
    yield "resumed", terminal.screen()
    terminal.run("clear; quiesce failures; quiesce show pages page-6 | head -12")
    terminal.expect(r"LookupError: /page/6 is gone", deadline=SECONDS, history=False)
    terminal.expect(r"\n\$\s*\Z", deadline=SECONDS, history=False)
    yield "why", terminal.screen()


def capture_pod() -> Captures:
    """Return the logs of the same run in a Pod that is stopped, and in the next one. Raises Unavailable."""
    if (why := why_not()) is not None:
        raise Unavailable(why)
    engine = Podman()
    numbers = itertools.count(1)
    try:
        with tempfile.TemporaryDirectory(prefix="captures-") as name:
            first = _play_pod(engine, Path(name), next(numbers), lambda log: "page-6" in log and "task.failed" in log)
            second = _play_pod(engine, Path(name), next(numbers), None)
    finally:
        engine.close()
    return {"pod": first, "next pod": second}


def _play_pod(engine: Podman, folder: Path, number: int, until: Callable[[str], bool] | None) -> str:
    """Return the log of a Pod, which is stopped at a sign in it, or ends by itself."""
    again = ["--journal-claim", "pages-journal"] if number > 1 else []
    documents = printed(
        "/input/agents.py:fetch", "--input", "/input/pages.jsonl", "--workers", "2", "--pod", "--image", engine.image,
        "--name", "pages", "--config-map", f"pages-{number}", "--progress-interval", "5", *again,
    )  # fmt: skip
    data = {"agents.py": AGENTS, "pages.jsonl": INPUTS}
    config_map: Any = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"pages-{number}"}, "data": data}
    with Pod(engine, documents, folder, [config_map]) as pod:
        if until is None:
            code = pod.wait()
        else:
            wait_until(lambda: until(pod.logs()), SECONDS, "the sign in the log")
            code = pod.stop(30)
        return f"{pod.logs().rstrip()}\n(exit code {code})"


def _neutral(screen: str, folder: str) -> str:
    return re.sub(r"\n{2,}", "\n", "\n".join(line.rstrip() for line in screen.replace(folder, "/home/me").splitlines()))


def fill(page: str, captures: Captures) -> str:
    """Return the page with these captures in its blocks, each behind a comment `<!-- capture: NAME -->`."""
    for name, text in captures.items():
        pattern = re.compile(rf"(<!-- capture: {name} -->\n\n```text\n).*?(\n```)", re.DOTALL)
        if not pattern.search(page):
            raise SystemExit(f"{PAGE} has no place for the capture {name!r}")
        page = pattern.sub(lambda found, text=text: found[1] + text.strip("\n") + found[2], page)  # type: ignore[misc]
    return page


def main() -> None:
    """Make the captures that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put them into docs/captures.md")
    parser.add_argument("--only", choices=["terminal", "pod"], help="only these")
    options = parser.parse_args()
    captures: Captures = {}
    if options.only != "pod":
        captures |= capture_terminal()
    if options.only != "terminal":
        captures |= capture_pod()
    for name, text in captures.items():
        print(f"-- {name} --\n{text}\n")
    if options.write:
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), captures), encoding="utf-8")


if __name__ == "__main__":
    main()
