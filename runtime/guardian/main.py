"""Start the guardian: read its settings, set its signals, and find out by what it can hold on to processes."""

from __future__ import annotations

import gc
import os
import signal

import msgspec

from runtime.capabilities import Missing, Visibility
from runtime.guardian import sentinel
from runtime.guardian.guardian import Guardian
from runtime.guardian.sentinel import Sentinel
from runtime.guardian.stdio import redirect_to_null
from runtime.ipc.guardian_protocol import PLUGINS_VARIABLE, GuardianSettings
from runtime.ipc.signals import STACK_DUMP_SIGNALS, signals_of
from runtime.process import libc, marks, parent_process, procfs
from runtime.process.cgroup import RunCgroup
from runtime.process.run_mark import set_mark
from runtime.stop_limits import CGROUP_TIMEOUT, ORPHANED_CGROUP_TIMEOUT


def _read_settings() -> GuardianSettings:
    """Read the settings from standard input, and replace it by /dev/null, so that executors do not inherit them."""
    with open(0, "rb", closefd=False) as file:
        settings = msgspec.msgpack.decode(file.read(), type=GuardianSettings)
    redirect_to_null((0,), os.O_RDONLY)
    return settings


def main() -> None:
    """Run the guardian: standard input is GuardianSettings as msgpack."""
    settings = _read_settings()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    if settings.pydantic_plugins is None:  # agents' own models may need plugins
        os.environ.pop(PLUGINS_VARIABLE, None)
    else:
        os.environ[PLUGINS_VARIABLE] = settings.pydantic_plugins
    signal.pthread_sigmask(signal.SIG_BLOCK, STACK_DUMP_SIGNALS.union(signals_of(settings.warning_signals)))
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, (signal.SIGCHLD,)
    )  # the program may have blocked it: no exit would be seen
    has_death_signal = parent_process.sigcont_on_parent_death()
    parent = parent_process.open_parent_pidfd()
    leaf = RunCgroup(settings.leaf) if settings.leaf is not None else None
    leaf = leaf if leaf is not None and leaf.create() else None
    gc.enable()  # not while modules are imported: they make much, and drop little
    gc.collect()
    gc.freeze()  # what is warm stays shared with every executor
    is_marked = set_mark(settings.mark)
    sentinel_handle = _start_sentinel(settings, parent, leaf)
    containment = ["cgroup"] if leaf is not None and leaf.join() else []
    is_subreaper = libc.become_subreaper()
    containment += ["subreaper"] if is_subreaper else []
    containment += ["limits"] if is_marked else []
    containment += ["sessions"] if not procfs.VISIBILITY.is_usable else ["sessions", "environment"]
    missing = _find_missing(has_prctl=has_death_signal and is_subreaper, has_pidfds=sentinel_handle is not None)
    entered = leaf if "cgroup" in containment else None
    guardian = Guardian(settings, containment, entered, parent, sentinel_handle, missing)
    guardian.run()
    if leaf is not None:
        leaf.leave()
        timeout = CGROUP_TIMEOUT if guardian.is_supervised else ORPHANED_CGROUP_TIMEOUT
        leaf.remove(timeout if guardian.is_clean else 0.0)
    guardian.record_undone()
    os._exit(0)


def _find_missing(*, has_prctl: bool, has_pidfds: bool) -> list[Missing]:
    """Return the capabilities that the host lacks."""
    missing: list[Missing] = []
    if not procfs.VISIBILITY.is_usable:
        missing.append(Missing.PROC)
    elif procfs.VISIBILITY is Visibility.RESTRICTED:
        missing.append(Missing.PROC_OF_OTHERS)
    missing += [] if has_prctl else [Missing.PRCTL]
    missing += [] if has_pidfds else [Missing.PIDFD]
    return missing


def _start_sentinel(settings: GuardianSettings, parent: int | None, leaf: RunCgroup | None) -> Sentinel | None:
    """Start the sentinel. Called before the guardian enters the cgroup, so that the sentinel is not frozen with it."""
    token = None if settings.keep_children else os.environ.get(marks.SUPERVISOR_VARIABLE)
    ours = (settings.socket_fd, settings.flag_fd, settings.wake_read_fd, settings.wake_write_fd)
    return sentinel.start(parent, settings.grace, token, settings.mark, leaf, ours)
