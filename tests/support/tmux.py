"""A real terminal, driven: keys go in, the screen comes back, the shell tells how a command ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import pytest

from tests.support.cli import environment
from tests.support.wait import wait_until


def require_tmux() -> None:
    """Skip the test, with the reason, where there is no tmux."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: no real terminal to press Ctrl-C in")


class Terminal:
    """A tmux session with a plain `sh` in it, on a server of its own. Use it as a context manager."""

    def __init__(
        self,
        *,
        columns: int = 160,
        rows: int = 50,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        require_tmux()
        self._folder = tempfile.mkdtemp(prefix="qm-", dir="/tmp")
        self._socket = os.path.join(self._folder, "s")
        self._env = environment({"ENV": "", "TERM": "xterm", **(env or {})})
        self._env.pop("NO_COLOR")
        size = ("-x", str(columns), "-y", str(rows))
        start = ("-c", os.fspath(cwd)) if cwd is not None else ()
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, *start, "sh")
        self._tmux("set-option", "-g", "history-limit", "50000")
        try:
            self.run("PS1='ready> '; clear")
            self.expect(r"\Aready>$")
        except BaseException:
            self.close()
            raise

    def run(self, command: str) -> None:
        """Type a command and press Enter."""
        self.write(command)
        self.press("Enter")

    def write(self, text: str) -> None:
        """Type text as it stands."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: `C-c`, `Enter`, `C-z`."""
        self._tmux("send-keys", *keys)

    def screen(self, *, history: bool = False) -> str:
        """What the terminal shows, without colours; with `history`, what has scrolled away too."""
        return self._tmux("capture-pane", "-p", *(("-S", "-") if history else ()))

    def expect(self, pattern: str, *, deadline: float = 15.0, history: bool = True) -> str:
        """Wait until the screen matches; the last match. (A terminal announces nothing: it has to be looked at.)"""
        search = re.compile(pattern, re.MULTILINE)

        def look() -> str | None:
            found = [each.group() for each in search.finditer(self.screen(history=history))]
            return found[-1] if found else None

        found = wait_until(look, deadline, lambda: f"{pattern!r} on the screen:\n{self.screen(history=history)}")
        assert found is not None
        return found

    def status(self, *, deadline: float = 15.0) -> int:
        """The exit status of the last command, as the shell sees it (128+n for a death by signal n)."""
        self.run('echo "status=$?"')  # typed before the prompt is there, its output stands behind the prompt
        return int(self.expect(r"status=\d+", deadline=deadline).partition("=")[2])

    def size(self, columns: int, rows: int) -> None:
        """Resize the terminal (its programs get SIGWINCH)."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def _tmux(self, *args: str) -> str:
        command = ["tmux", "-S", self._socket, *args]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 0, f"tmux {' '.join(args)}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        """End the session and its server."""
        subprocess.run(
            ["tmux", "-S", self._socket, "kill-server"], env=self._env, capture_output=True, timeout=10, check=False
        )
        wait_until(lambda: not self._alive(), 5, "the tmux server is gone")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _alive(self) -> bool:
        command = ["tmux", "-S", self._socket, "list-sessions"]
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
