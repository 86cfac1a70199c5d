"""A real systemd, booted in a container of systemd-nspawn from the folder that scripts/host_rootfs makes.

The container sees this checkout and its Python read-only at their own paths, and writes to memory only. It is not a
child of the tests: it starts and ends processes whenever it likes, and that is no test's leak.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import procs
from tests.support.cli import QUIESCE, ROOT
from tests.support.wait import wait_until

_TOOLS = ("systemd-nspawn", "nsenter", "setsid", "mount")
_BOOT = 90.0  # seconds; two are usual
_BUILD = 900.0


def why_not() -> str | None:
    """Why no machine can be booted here, or None."""
    if not sys.platform.startswith("linux"):
        return "systemd needs Linux"
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: systemd-container util-linux)"
    return None


def rootfs() -> Path | str:
    """The root file system, built if it has to be; or why there is none."""
    script = ROOT / "scripts" / "host_rootfs"
    try:
        done = subprocess.run([script], capture_output=True, text=True, timeout=_BUILD, check=False)
    except subprocess.TimeoutExpired:
        return f"{script.name} did not end within {_BUILD:g} s"
    if done.returncode != 0:
        return f"{script.name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"
    return Path(done.stdout.strip())


def _is_pid1(pid: int) -> bool:
    """Whether a process is the first of its pid namespace."""
    return b"\t1\n" in procs.read_bytes(f"/proc/{pid}/status").partition(b"NSpid:")[2].partition(b"NSpgid:")[0]


class Machine:
    """The booted container. Raises RuntimeError when it does not boot."""

    def __init__(self, base: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="quiesce-host-", dir="/tmp"))
        self.root = self._folder / "root"
        self._log = self._folder / "boot.log"
        self._init = 0
        self._outer = 0
        self._mounts: list[Path] = []
        try:
            self._mount(base)
            self._boot()
        except BaseException:
            self.close()
            raise

    # -- its life -----------------------------------------------------------------------------------------

    def _mount(self, base: Path) -> None:
        """An overlay in memory: the base stays as it is, and every boot is the first."""
        self._do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self._folder)
        self._mounts.append(self._folder)
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir(mode=0o755)
        layers = f"lowerdir={base},upperdir={self._folder / 'upper'},workdir={self._folder / 'work'}"
        self._do("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        self._mounts.append(self.root)
        for path in self._shared():  # the service's user must be able to get there
            for parent in reversed(path.parents):
                inside = self.root / parent.relative_to("/")
                inside.mkdir(mode=0o755, exist_ok=True)
                inside.chmod(inside.stat().st_mode | 0o011)

    @staticmethod
    def _shared() -> list[Path]:
        """This checkout, the environment and the Python below it, each once."""
        found = dict.fromkeys(Path(path).resolve() for path in (ROOT, sys.prefix, sys.base_prefix))
        outer = [path for path in found if not any(other in path.parents for other in found)]
        return [path for path in outer if path != Path("/usr")]

    def _boot(self) -> None:
        pidfile = self._folder / "pid"
        binds = " ".join(f"--bind-ro={path}" for path in self._shared())
        command = (
            f"echo $$ >{pidfile}; exec systemd-nspawn -q -D {self.root} --register=no --keep-unit --boot {binds} "
            f"</dev/null >{self._log} 2>&1"
        )
        self._do("setsid", "--fork", "sh", "-c", command)
        try:
            wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), 10)
            self._outer = int(pidfile.read_text())
            self._init = wait_until(self._find_init, _BOOT, "an init process below systemd-nspawn")
            wait_until(self._is_up, _BOOT, lambda: f"systemd is up: {self._state()}")
        except AssertionError as error:
            told = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
            last = next((line.strip() for line in reversed(told) if line.strip()), "nothing")
            raise RuntimeError(f"systemd did not boot: {error}; the last it said: {last}") from None
        self._refuse_broken_python()

    def _find_init(self) -> int:
        if not os.path.exists(f"/proc/{self._outer}"):
            raise AssertionError("systemd-nspawn has ended")
        return next((each.pid for each in procs.descendants(self._outer) if _is_pid1(each.pid)), 0)

    def _is_up(self) -> bool:
        return self._state() in ("running", "degraded")

    def _state(self) -> str:
        done = self.run("systemctl", "is-system-running", check=False)
        return (done.stdout or done.stderr).strip()

    def _refuse_broken_python(self) -> None:
        done = self.run(*QUIESCE, "--version", check=False)
        if done.returncode != 0:
            raise RuntimeError(f"this Python does not run in the container: {done.stderr.strip()[-300:]}")

    def close(self) -> None:
        """Pull the plug: its init is killed, so all of it is gone; then nothing is mounted any more."""
        for pid in filter(None, (self._init, self._outer)):
            if os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGKILL)
        if self._outer:
            wait_until(lambda: not os.path.exists(f"/proc/{self._outer}"), 10, "systemd-nspawn is gone")
        for path in reversed(self._mounts):
            wait_until(lambda path=path: self._unmounted(path), 10, f"{path} is unmounted")  # type: ignore[misc]
        self._mounts.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    @staticmethod
    def _unmounted(path: Path) -> bool:
        return subprocess.run(["umount", path], capture_output=True, check=False).returncode == 0

    @staticmethod
    def _do(*command: str | os.PathLike[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")

    def power_off(self) -> float:
        """Shut it down as it should be; what it wrote can still be read below `root`. How many seconds it took."""
        began = time.monotonic()
        self.run("systemctl", "poweroff", "--no-block")
        wait_until(lambda: not os.path.exists(f"/proc/{self._outer}"), _BOOT, "the machine is off")
        return time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- in it --------------------------------------------------------------------------------------------

    def run(
        self, *command: str, check: bool = True, timeout: float = 60.0, cwd: str = "/"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        enter = ("nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "-n", "env", "-C", cwd)
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": ""}
        done = subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=timeout, check=False, env=clean
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside."""
        inside = self.root / path.lstrip("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)
        inside.chmod(mode)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        lines = self.run("systemctl", "show", unit, "-p", ",".join(names)).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, *matches: str) -> list[Mapping[str, Any]]:
        """Entries of its journal, oldest first."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "-o", "json", "--all", "--no-pager", *matches).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def in_cgroup(self, unit: str) -> list[int]:
        """Processes that are left in a service's cgroups, in whatever hierarchy, as the container numbers them."""
        script = f'cat $(find /sys/fs/cgroup -path "*/{unit}/*" -name cgroup.procs) /dev/null'
        return [int(line) for line in self.run("sh", "-c", script, check=False).stdout.split()]

    def timed(self, *command: str, timeout: float = 60.0) -> float:
        """Run it; how many seconds it took."""
        began = time.monotonic()
        self.run(*command, timeout=timeout)
        return time.monotonic() - began

    def versions(self) -> dict[str, str]:
        """What was tested on what."""
        os_release = dict(
            line.split("=", 1) for line in (self.root / "etc/os-release").read_text().splitlines() if "=" in line
        )
        mounts = self.run("stat", "-f", "-c", "%T", "/sys/fs/cgroup").stdout.strip()
        return {
            "systemd": self.run("systemctl", "--version").stdout.split("(")[1].split(")")[0],
            "system": os_release["PRETTY_NAME"].strip('"') + ", in systemd-nspawn",
            "kernel": os.uname().release.split("-")[0],
            "cgroups": "v2" if mounts == "cgroup2fs" else "v1 and v2 (hybrid)",
            "python": ".".join(map(str, sys.version_info[:3])),
        }
