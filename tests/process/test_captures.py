"""docs/captures.md shows what scripts/captures.py sees, and that is what a terminal shows of the run today."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest

from tests.support.cli import ROOT
from tests.support.tmux import require_tmux

PAGE = (ROOT / "docs" / "captures.md").read_text(encoding="utf-8")
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "captures.py"))
KEPT = dict(re.findall(r"<!-- capture: (.*?) -->\n\n```text\n(.*?)\n```", PAGE, re.DOTALL))

SHOWN = {
    "at work": [
        r"^page-\d+ \| fetching /page/\d+$",
        r"task\.failed +key=page-6 error='LookupError",
        r"pages ━+.* \d+/24$",
    ],
    "stopped": [
        r"interrupt\.requested .*SIGINT",
        r"^run pages: interrupted after",
        r"^To resume: quiesce resume pages",
    ],
    "resumed": [
        r"^run pages: failed after .* s: 20 completed, 4 failed$",
        r"^  4 tasks: LookupError at agents\.py:10 in",
    ],
    "why": [
        r"^    to retry: quiesce retry pages",
        r"^cause      LookupError at agents\.py:10 in fetch$",
        r"^Traceback",
    ],
}
"""What each screen shows."""

IN_A_POD = {
    "pod": ['"line": "fetching /page/1"', '"event": "run.progress"', "received SIGTERM", "(exit code 143)"],
    "next pod": ['"before": "interrupted: received SIGTERM"', '"completed": 20, "failed": 4', "(exit code 1)"],
}


@pytest.mark.parametrize(("name", "patterns"), SHOWN.items())
def test_a_kept_screen_shows_what_it_is_for(name: str, patterns: list[str]) -> None:
    for pattern in patterns:
        assert re.search(pattern, KEPT[name], re.MULTILINE), (name, pattern)


@pytest.mark.parametrize(("name", "texts"), IN_A_POD.items())
def test_a_kept_log_of_a_pod_shows_what_it_is_for(name: str, texts: list[str]) -> None:
    assert [text for text in texts if text not in KEPT[name]] == []


def test_the_page_has_the_agent_that_ran() -> None:
    assert f'```python title="agents.py"\n{SCRIPT["AGENTS"]}```' in PAGE


def test_a_terminal_shows_that_today() -> None:
    """(The Pod's log is that of tests/hosts.)"""
    require_tmux()
    captures = SCRIPT["capture_terminal"]()
    for name, patterns in SHOWN.items():
        for pattern in patterns:
            assert re.search(pattern, captures[name], re.MULTILINE), (name, pattern, captures[name])
