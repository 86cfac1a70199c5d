"""Start the guardian process, and wait for its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from orchestrator.backends import interpreter
from runtime.ipc.flag import anonymous_file
from runtime.ipc.guardian_protocol import PLUGINS_VARIABLE, GuardianSettings
from runtime.ipc.signals import signals_of
from runtime.process import marks, tree
from runtime.stop_limits import GUARDIAN_EXIT_TIMEOUT

_BLOCKED_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID")

_PACKAGE_ROOT = str(Path(tree.__file__).parents[2])
_PROGRAM = """\
import gc, sys
gc.disable()
home, *more = sys.argv[1:]
own = sys.path[not sys.flags.safe_path:]
sys.path[:] = [home, *own, *(path for path in more if path not in own)]
from {module} import main
main()
"""
"""Not `-m`: that would look into the working directory first, where a user may have a `runtime` of their own.

What this interpreter has found only by a longer `sys.path` is found there, too, but after everything else.
"""

LOOK_SECONDS = 0.01
"""Seconds between two looks at whether the guardian has ended."""


def start(settings: GuardianSettings, inherited: Sequence[int], token: str) -> subprocess.Popen[bytes]:
    """Start a guardian, with the stop signals blocked from its first instruction on. Raises OSError.

    `inherited`: the descriptors of its settings. `token`: what marks the processes of this supervisor.
    """
    with _anonymous_file(msgspec.msgpack.encode(settings)) as file, _signals_blocked(settings.warning_signals):
        return subprocess.Popen(
            _command("runtime.guardian.main"),
            stdin=file,
            stdout=subprocess.DEVNULL,
            pass_fds=inherited,
            start_new_session=True,
            env=_environment(settings.run_id, token),
        )


def undo_recorder() -> list[bytes]:
    """Return the command that writes into a journal what the heir of this supervisor has undone."""
    return [os.fsencode(word) for word in _command("orchestrator.undo_recorder")]


def _command(module: str) -> list[str]:
    program = _PROGRAM.format(module=module)
    return [*interpreter.command(), "-c", program, _PACKAGE_ROOT, *interpreter.search_path()]


def check_descriptor_passing(sender: socket.socket, receiver: socket.socket) -> None:
    """Raise OSError where a sandbox refuses to pass descriptors: executors would never get their pipes."""
    try:
        socket.send_fds(sender, [b"!"], [sender.fileno()])
        for fd in socket.recv_fds(receiver, 1, 1)[1]:
            os.close(fd)
    except OSError as error:
        sender.close()
        receiver.close()
        message = "a sandbox refuses to pass descriptors over a socket (sendmsg, recvmsg with SCM_RIGHTS): allow that"
        raise OSError(error.errno, message) from error


def wait_until_dead(process: subprocess.Popen[bytes], until: float) -> None:
    """Wait until a process is a zombie at least: a traced one can be reaped only after its tracer has."""
    while process.poll() is None and tree.pid_exists(process.pid) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)


def wait_for_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait for the guardian's exit. It may be in D state: kill it then. One that is stopped at its end is continued."""
    end = time.monotonic() + GUARDIAN_EXIT_TIMEOUT
    while time.monotonic() < end:
        process.send_signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
            return
    process.kill()
    wait_until_dead(process, time.monotonic() + GUARDIAN_EXIT_TIMEOUT)


def _environment(run_id: str, token: str) -> dict[str, str]:
    """Return the environment of every process of the run. A service manager's sockets are the supervisor's alone."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}
    environment[marks.RUN_VARIABLE] = run_id
    environment[marks.SUPERVISOR_VARIABLE] = token
    environment[marks.SLOT_VARIABLE] = marks.SLOT_PLACEHOLDER
    environment[PLUGINS_VARIABLE] = "__all__"
    return environment


@contextmanager
def _anonymous_file(data: bytes) -> Iterator[int]:
    """Open a descriptor to read this data from."""
    fd = anonymous_file("quiesce-settings")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _signals_blocked(warnings: Iterable[str]) -> Iterator[None]:
    """Block the stop signals, and those of these names.

    The child inherits the mask: none arrives before it has installed its handlers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_SIGNALS.union(signals_of(warnings)))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
