"""Judge what works on a host, what is degraded and how to repair it. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.core import stop_budget
from orchestrator.core.ladder import Ladder
from orchestrator.integrations.doctor.facts import HostFacts
from orchestrator.units import format_size
from runtime.capabilities import Missing, Visibility, losses

_FILES_A_WORKER: Final = 5
"""Pipes of the supervisor to one executor: tasks, control, events, standard output and error."""

_FILES: Final = 64
"""Other open files of the supervisor: journal, sockets, libraries, standard streams."""

_THREADS_A_WORKER: Final = 8
"""Threads of an executor: main, control and asyncio's helpers; libraries often start more."""

_THREADS: Final = 16

_MEMORY_A_WORKER: Final = 64 << 20
"""Bytes of an executor with a small agent that has a few libraries loaded."""

_LOW_DISK: Final = 256 << 20

_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "glusterfs", "gpfs", "afs", "beegfs", "virtiofs"}
)
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "busybox"})


class CheckStatus(StrEnum):
    """Verdict of one check."""

    WORKS = "works"
    DEGRADED = "degraded"
    BROKEN = "broken"

    @property
    def exit_code(self) -> int:
        """Exit code of `quiesce doctor` when this is the worst verdict."""
        return list(CheckStatus).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check. `remedy` is empty where there is nothing to do."""

    name: str
    verdict: CheckStatus
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run needs from the host. Sizes in bytes, times in seconds; `granted` None: ask the host."""

    workers: int
    ladder: Ladder
    memory_limit: int | None = None
    granted: float | None = None


def run_checks(facts: HostFacts, plan: Plan) -> list[Finding]:
    """Run all checks, in the order in which they are printed."""
    return [check(facts, plan) for check in _CHECKS]


def worst(findings: Sequence[Finding]) -> CheckStatus:
    """Return the worst verdict of the findings."""
    return max(
        (finding.verdict for finding in findings), key=lambda verdict: verdict.exit_code, default=CheckStatus.WORKS
    )


# -- the machine ------------------------------------------------------------------------------------------------


def _system(facts: HostFacts, _plan: Plan) -> Finding:
    if facts.system == "Linux":
        return Finding("system", CheckStatus.WORKS, "Linux")
    return Finding(
        "system",
        CheckStatus.DEGRADED,
        facts.system,
        "only Linux has what finds a detached grandchild; elsewhere sessions and the environment must do",
    )


def _python(facts: HostFacts, _plan: Plan) -> Finding:
    version = ".".join(map(str, facts.python))
    if facts.python < (3, 11, 0):
        return Finding("python", CheckStatus.BROKEN, version, "use CPython 3.11 or later")
    return Finding("python", CheckStatus.WORKS, version)


def _start(facts: HostFacts, _plan: Plan) -> Finding:
    if facts.executable is None:
        remedy = "run it with a Python that is a program of its own: executors start from a fresh interpreter"
        return Finding("start method", CheckStatus.BROKEN, "sys.executable cannot be executed", remedy)
    return Finding("start method", CheckStatus.WORKS, "a fork server in a fresh interpreter")


def _memory_file(facts: HostFacts, _plan: Plan) -> Finding:
    if facts.memfd:
        return Finding("shared memory", CheckStatus.WORKS, "anonymous (memfd)")
    return Finding(
        "shared memory", CheckStatus.DEGRADED, "no memfd: an unlinked file is used", "Linux has it since 3.17"
    )


# -- processes --------------------------------------------------------------------------------------------------


def _containment(facts: HostFacts, _plan: Plan) -> Finding:
    if facts.leaf:
        return Finding("containment", CheckStatus.WORKS, f"a cgroup of its own for each run (cgroup {facts.cgroup})")
    if facts.subreaper:
        return Finding("containment", CheckStatus.WORKS, f"subreaper; {_why_no_leaf(facts)}")
    remedy = "detached grandchildren are found by session and environment only: do not let agents detach any"
    return Finding("containment", CheckStatus.DEGRADED, f"no subreaper; {_why_no_leaf(facts)}", remedy)


def _why_no_leaf(facts: HostFacts) -> str:
    if not facts.kills_cgroups:
        return f"cgroups: {facts.cgroup}, without cgroup.kill (Linux 5.14, v2)"
    if facts.service is not None:
        return "no cgroup of its own for each run (Delegate=yes would allow it; systemd ends the service's anyway)"
    return "no cgroup of its own for each run (not permitted here)"


def _pidfd(facts: HostFacts, _plan: Plan) -> Finding:
    if facts.pidfd:
        return Finding("pidfd", CheckStatus.WORKS, "available")
    remedy = "Linux has it since 5.3, and a seccomp profile may forbid it; pid and start time are compared instead"
    return Finding("pidfd", CheckStatus.DEGRADED, "not available", remedy)


_PROC: Final = {
    Visibility.FULL: ("all processes of this PID namespace", ""),
    Visibility.RESTRICTED: (
        "other users' processes are hidden",
        "mount it without hidepid=, or with gid= for this user",
    ),
    Visibility.FOREIGN: ("it belongs to another PID namespace", "mount one of this namespace: unshare --mount-proc"),
    Visibility.NONE: ("there is none", "mount it: mount -t proc proc /proc"),
}


def _visibility(facts: HostFacts, _plan: Plan) -> Finding:
    answer, remedy = _PROC[facts.visibility]
    if facts.visibility is Visibility.FULL:
        return Finding("/proc", CheckStatus.WORKS, answer)
    lack = Missing.PROC_OF_OTHERS if facts.visibility.is_usable else Missing.PROC
    return Finding("/proc", CheckStatus.DEGRADED, answer, "; ".join([*losses([lack], has_cgroup=facts.leaf), remedy]))


def _prctl(facts: HostFacts, _plan: Plan) -> Finding:
    if facts.subreaper or facts.system != "Linux":
        return Finding("prctl", CheckStatus.WORKS, "available" if facts.subreaper else "only Linux has it")
    lost = losses([Missing.PRCTL], has_cgroup=facts.leaf)
    return Finding(
        "prctl", CheckStatus.DEGRADED, "refused by a sandbox", "; ".join([*lost, "allow it in the seccomp profile"])
    )


def _role(facts: HostFacts, _plan: Plan) -> Finding:
    if facts.pid == 1:
        return Finding(
            "pid 1", CheckStatus.WORKS, "yes: orphans are reaped, and a death by signal n is exit code 128 + n"
        )
    if facts.parent in _SHELLS and facts.pid < 50 and not facts.terminal:
        remedy = 'use the exec form (ENTRYPOINT ["quiesce", …]), or `exec quiesce …` in the script'
        answer = f"no: {facts.parent} may be, and would not pass SIGTERM on"
        return Finding("pid 1", CheckStatus.DEGRADED, answer, remedy)
    return Finding("pid 1", CheckStatus.WORKS, "no")


def _signals(facts: HostFacts, _plan: Plan) -> Finding:
    if "SIGTERM" in facts.ignored:
        remedy = "the parent process ignores SIGTERM, and its children inherit that: restore the default action there"
        return Finding("signals", CheckStatus.DEGRADED, f"ignored: {', '.join(facts.ignored)}", remedy)
    if facts.ignored:
        return Finding(
            "signals",
            CheckStatus.WORKS,
            f"ignored, because the parent process ignores them: {', '.join(facts.ignored)}",
        )
    return Finding("signals", CheckStatus.WORKS, "SIGINT, SIGTERM and SIGHUP stop a run")


# -- limits -----------------------------------------------------------------------------------------------------


def _files(facts: HostFacts, plan: Plan) -> Finding:
    needed = plan.workers * _FILES_A_WORKER + _FILES
    if facts.files is None or facts.files >= needed:
        return Finding("open files", CheckStatus.WORKS, _of(needed, facts.files))
    raisable = facts.files_hard is None or facts.files_hard >= needed
    remedy = f"ulimit -n {needed}" if raisable else "raise LimitNOFILE= or the container's ulimit"
    return Finding("open files", CheckStatus.BROKEN, _of(needed, facts.files), f"{remedy}, or use fewer --workers")


def _processes(facts: HostFacts, plan: Plan) -> Finding:
    least, needed = plan.workers + 2, plan.workers * _THREADS_A_WORKER + _THREADS
    if facts.processes is None or facts.processes >= needed:
        return Finding("processes", CheckStatus.WORKS, _of(needed, facts.processes))
    verdict = CheckStatus.BROKEN if facts.processes < least else CheckStatus.DEGRADED
    remedy = "raise ulimit -u, TasksMax= or the container's pids limit, or use fewer --workers"
    return Finding("processes", verdict, _of(needed, facts.processes), remedy)


def _of(needed: int, limit: int | None) -> str:
    return f"{needed} needed, " + ("no limit" if limit is None else f"{limit} available")


def _memory(facts: HostFacts, plan: Plan) -> Finding:
    worker_memory = plan.memory_limit or _MEMORY_A_WORKER
    needed = plan.workers * worker_memory
    demand = f"{plan.workers} * {format_size(worker_memory)}"
    if facts.memory is None:
        return Finding("memory", CheckStatus.WORKS, f"{demand} needed; the available memory is unknown")
    found = f"{demand} needed, {format_size(facts.memory)} available"
    if facts.memory >= needed:
        return Finding("memory", CheckStatus.WORKS, found)
    return Finding("memory", CheckStatus.DEGRADED, found, "use fewer --workers, or a lower --memory-limit")


# -- surroundings -----------------------------------------------------------------------------------------------


def _manager(facts: HostFacts, plan: Plan) -> Finding:
    granted = plan.granted
    name = "host's grace"
    if facts.service is not None:
        name = "systemd"
        if granted is None and facts.service.stop_timeout_applies:
            granted = facts.service.stop_seconds
    where = "no service of systemd" if facts.service is None else facts.service.unit
    if facts.service is not None and not facts.notified:
        where += ", without notifications (Type=notify would wait for the first executor)"
    fitted = stop_budget.fit(plan.ladder, granted)
    if not fitted.fits:
        return Finding(name, CheckStatus.DEGRADED, where, stop_budget.explain_shortening(fitted))
    limit = (
        "no limit to a stop is known" if granted is None else f"{granted:g} s for a stop, {fitted.needed:g} s needed"
    )
    return Finding(name, CheckStatus.WORKS, f"{where}; {limit}")


def _parent(facts: HostFacts, plan: Plan) -> Finding:
    """Compare the graces with what the parent is known to wait, unless the user has said it, or systemd has."""
    parent = facts.started_by
    name = "parent"
    if parent is None or plan.granted is not None:
        found = "none that is known to send SIGKILL" if parent is None else f"{parent.name}; --host-grace counts"
        return Finding(name, CheckStatus.WORKS, found)
    found = f"{parent.name}: {parent.stop}"
    if parent.seconds is None:
        return Finding(name, CheckStatus.WORKS, found)
    fitted = stop_budget.fit(plan.ladder, parent.seconds)
    found = f"{found}; {parent.seconds:g} s for a stop, {fitted.needed:g} s needed"
    if not fitted.fits:
        return Finding(name, CheckStatus.DEGRADED, found, _lower(plan, parent.seconds))
    if parent.short is not None and not stop_budget.fit(plan.ladder, parent.short).fits:
        return Finding(name, CheckStatus.DEGRADED, found, f"on a Spot node: {_lower(plan, parent.short)}")
    return Finding(name, CheckStatus.WORKS, found)


def _lower(plan: Plan, seconds: float) -> str:
    """Return graces that fit into so many seconds, and the option that has the run do it by itself."""
    ladder = stop_budget.fit(plan.ladder, seconds).ladder
    return (
        f"{seconds:g} s are too short for the graces: --grace {ladder.grace:.3g} --term-grace {ladder.term_grace:.3g} "
        f"fits, or --host-grace {seconds:g}"
    )


def _terminal(facts: HostFacts, _plan: Plan) -> Finding:
    found = "yes: a live display" if facts.terminal else "no: plain log lines"
    return Finding("terminal", CheckStatus.WORKS, found)


def _journal(facts: HostFacts, _plan: Plan) -> Finding:
    disk = facts.disk
    if disk is None:
        verdict = CheckStatus.BROKEN if facts.refused else CheckStatus.WORKS
        return Finding("journal", verdict, "a database, by its URL", facts.refused)
    free = "unknown space" if disk.free is None else format_size(disk.free)
    found = f"{disk.path} ({disk.kind or 'unknown file system'}, {free} free)"
    if not disk.exists:
        return Finding(
            "journal", CheckStatus.BROKEN, found, f"make its directory: the path exists only up to {disk.directory}"
        )
    if facts.refused:
        return Finding("journal", CheckStatus.BROKEN, found, f"{facts.refused}; choose another --journal")
    if not disk.writable:
        return Finding(
            "journal", CheckStatus.BROKEN, found, "make it and its directory writable, or choose another --journal"
        )
    if disk.free == 0:
        return Finding("journal", CheckStatus.BROKEN, found, "the disk is full: make room, or choose another --journal")
    return _journal_warning(disk.kind, disk.free, found)


def _journal_warning(kind: str, free: int | None, found: str) -> Finding:
    """Return the finding for a journal that can be written, but perhaps not for long."""
    if kind in _NETWORK or kind.startswith("fuse."):
        remedy = "SQLite's locks and shared memory need a local disk: use one, or a database's URL"
    elif kind == "tmpfs":
        remedy = "it is in memory and lost at the next boot: choose another --journal to be able to resume"
    elif kind == "overlay":
        remedy = "it is in the container's own layer and lost with the container: mount a volume for it"
    elif free is not None and free < _LOW_DISK:
        remedy = "the disk is almost full: make room, or choose another --journal"
    else:
        return Finding("journal", CheckStatus.WORKS, found)
    return Finding("journal", CheckStatus.DEGRADED, found, remedy)


_CHECKS: Final[tuple[Callable[[HostFacts, Plan], Finding], ...]] = (
    _system, _python, _start, _memory_file, _containment, _visibility, _prctl, _pidfd, _role, _signals, _files,
    _processes, _memory, _manager, _parent, _terminal, _journal,
)  # fmt: skip
