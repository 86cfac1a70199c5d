"""Where a round's journal lies: on a disk that can be full or turn read-only, or in a world without cgroups.

A small tmpfs is a disk that is full at once. An ext4 image with errors=remount-ro turns read-only under its writers
when the kernel learns of an error, as a failing disk does: an ordinary remount is refused while files are open.
Both need root; elsewhere those rounds are plain ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.wait import wait_until

_DISK = 16 << 20  # bytes: a few times what a round's journal needs
_FILLER = "filler"


def run(*command: str) -> bool:
    """Run a program quietly. Whether it succeeded."""
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


def _said(*command: str) -> str:
    """Return what a program prints; nothing if there is no such program."""
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=20, text=True).stdout
    except OSError:
        return ""


class Disk:
    """The file system of a journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def journal(self) -> Path:
        """The journal on it."""
        return self.folder / "journal.db"

    def spoil(self) -> None:
        """Full, or read-only."""

    def mend(self) -> None:
        """As before."""


class SmallDisk(Disk):
    """A tmpfs that can be filled on request."""

    def spoil(self) -> None:
        """Leave no page free."""
        with suppress(OSError), (self.folder / _FILLER).open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass

    def mend(self) -> None:
        """Make room."""
        with suppress(FileNotFoundError):
            (self.folder / _FILLER).unlink()


class FailingDisk(Disk):
    """An ext4 image on a loop device, which the kernel makes read-only when it learns of an error."""

    def __init__(self, folder: Path, image: Path) -> None:
        super().__init__(folder)
        self._image = image

    def spoil(self) -> None:
        """Tell the kernel of an error."""
        for line in Path("/proc/mounts").read_text().splitlines():
            device, place = line.split()[:2]
            if place == os.fspath(self.folder):
                Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("1")

    def mend(self) -> None:
        """Check it, and mount it anew, until it can be written. It is busy for a moment, and the kernel lets go of its
        device only later: what is checked before that is written over.
        """
        wait_until(self._is_mended, what="the disk is mended")

    def _is_mended(self) -> bool:
        if self.folder.is_mount() and not run("umount", os.fspath(self.folder)):
            return False
        if _said("losetup", "--associated", os.fspath(self._image)):
            return False
        run("e2fsck", "-fy", os.fspath(self._image))
        mount_image(self._image, self.folder)
        return os.access(self.folder, os.W_OK)  # says no on a read-only file system, also to root


def mount_image(image: Path, folder: Path) -> bool:
    """Mount an ext4 image. Whether that was possible."""
    return run("mount", "-o", "loop,errors=remount-ro", os.fspath(image), os.fspath(folder))


@contextmanager
def disk_for(theme: str, folder: Path) -> Iterator[Disk | None]:
    """Return the disk of a theme, below a round's folder; None where this host cannot have it."""
    place = folder / "disk"
    place.mkdir()
    mounted = False
    disk: Disk | None = Disk(place)
    if theme == "disk full":
        mounted = run("mount", "-t", "tmpfs", "-o", f"size={_DISK}", "none", os.fspath(place))
        disk = SmallDisk(place) if mounted else None
    elif theme == "read-only":
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(4 * _DISK)
        mounted = run("mkfs.ext4", "-q", "-F", os.fspath(image)) and mount_image(image, place)
        disk = FailingDisk(place, image) if mounted else None
    try:
        yield disk
    finally:
        if mounted:
            run("umount", "-l", os.fspath(place))


@contextmanager
def few_processes(name: str) -> Iterator[Path | None]:
    """Return a cgroup (v1 or v2) whose pids can be limited; None where there is none."""
    for root in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        group = root / name
        if not (root / "cgroup.procs").exists():
            continue
        with suppress(OSError):
            group.mkdir()
            if (group / "pids.max").exists():
                try:
                    yield group
                finally:
                    with suppress(OSError):
                        group.rmdir()
                return
            group.rmdir()
    yield None


def without_cgroups() -> list[str]:
    """Return a command that runs another one where no cgroup can be made; empty where that is not possible."""
    hide = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh"]
    return wrapper if run(*wrapper, "true") else []


PLAIN_USER = 12345
"""A user id that no user has."""


_OPEN_HOME = """
home=$1 python=$2
shift 2
mount --bind "$python" /mnt && mount -t tmpfs -o mode=755 none "$home" &&
    mkdir -p "$python" && mount --move /mnt "$python" && exec "$@"
"""
"""In a mount namespace of its own, makes an interpreter below root's private home readable for every user.

It makes no directory outside: a signal that comes before `exec` would leave it.
"""

_CAN_RUN = "import asyncio, subprocess, sys, orchestrator.cli; subprocess.run([sys.executable, '-c', ''], check=True)"


def as_plain_user(uid: int = PLAIN_USER) -> list[str]:
    """Return a command that runs another one as a plain user without capabilities; empty where that is impossible."""
    if os.geteuid() != 0:
        return []
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"]
    home, python = os.path.expanduser("~"), sys.base_prefix
    opened = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _OPEN_HOME, "sh", home, python]
    for wrapper in (user, [*opened, *user] if python.startswith(home + "/") else user):
        if run(*wrapper, sys.executable, "-c", _CAN_RUN):
            return wrapper
    return []


_BLOCKED = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
os.execvp(sys.argv[1], sys.argv[1:])
"""


def with_blocked_signals() -> list[str]:
    """Return a command that runs another one with the stop signals blocked in the mask that it inherits."""
    return [sys.executable, "-S", "-c", _BLOCKED]


@contextmanager
def stopped_terminal() -> Iterator[int]:
    """Return a terminal whose output is stopped (Ctrl-S): a write to it hangs once its buffer is full."""
    master, slave = os.openpty()
    try:
        termios.tcflow(slave, termios.TCOOFF)
        yield slave
    finally:
        os.close(slave)
        os.close(master)


def with_proc(kind: str, empty: Path) -> list[str]:
    """Return a command that runs another one with another /proc and without cgroups; empty where impossible.

    `kind`: "none", that of "another namespace" (the command is not its process 1), or one that hides other users'
    processes from a "plain user" and one that hides them with `hidepid=1` ("plain user, listed"). `empty`: a directory.
    """
    hide = "mount -t tmpfs none /sys/fs/cgroup && "
    scripts = {
        "none": f'mount --bind "{empty}" /proc && exec "$@"',
        "another namespace": '"$@"; echo "it ended with $?"; read _ || exit 0',
        "plain user": 'mount -t proc -o hidepid=2 proc /proc && exec "$@"',
        "plain user, listed": 'mount -t proc -o hidepid=1 proc /proc && exec "$@"',
    }
    pids = ["--pid", "--fork"] if kind == "another namespace" else []
    unshare = ["unshare", "--mount", *pids, "--propagation", "private", "sh", "-c", hide + scripts[kind], "sh"]
    user = as_plain_user() if kind.startswith("plain user") else []
    if os.geteuid() != 0 or (kind.startswith("plain user") and not user):
        return []
    return [*unshare, *user] if run(*unshare, *user, "true") else []
