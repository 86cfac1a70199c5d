"""List every time limit that bounds a stop, for supervisor, guardian, sentinel and executor alike. Frozen: a leaf.

*Theory.* A stop is promised to take `grace + term_grace + KILL_TIMEOUT` seconds, and `SECONDS_PER_EXECUTOR` more for
each executor beyond `FEW_EXECUTORS`; README.md and docs/stopping.md say so, and tests/contract/test_stop_limits.py
compares them. The promise holds because each wait in each process fits into the wait of the process that waits for it.
With the limits in one file, the inner and the outer one are seen together.

Each docstring says who waits for what, in seconds, and the part of the promise it belongs to: *flag* and *term* are the
graces; *kill* and *look* are the two halves of KILL_TIMEOUT; *journal* and *crowd* are the documented extensions; *end*
comes after the last process is gone; *run* is no part of a stop of everything; *orphan* is a stop without a supervisor.
"""

from __future__ import annotations

from typing import Final

# -- the promise ------------------------------------------------------------------------------------

GRACE: Final = 10.0
"""Flag: what a stop waits between the interrupt flag and SIGTERM. The default of the setting `grace`."""

TERM_GRACE: Final = 5.0
"""Term: what a stop waits between SIGTERM and SIGKILL. The default of the setting `term_grace`."""

KILL_TIMEOUT: Final = 2.0
"""Kill and look: what a stop may take after the graces. The default of the setting `kill_patience`."""

KILL_SHARE: Final = 0.5
"""Kill: the part of `kill_patience` in which the supervisor waits for executors to die of SIGKILL. The rest is the
last look at whatever process is left."""

LOOK_SHARE: Final = 0.7
"""Look: the part of the last look in which it waits for processes; the rest is for recording the end."""

FEW_EXECUTORS: Final = 64
"""Kill and look: the number of executors (no seconds) that KILL_TIMEOUT is enough for."""

SECONDS_PER_EXECUTOR: Final = 0.01
"""Kill and look: what each executor beyond FEW_EXECUTORS adds to `kill_patience`: ending many costs time in proportion
to their number (scripts/bench_stop_many.py)."""

LOOK_TIMEOUT: Final = 3.0
"""Look: what the supervisor allows the last look at most, however much of the ladder is left when it begins."""

JOURNAL_TIMEOUT: Final = 10.0
"""Journal: what a stop may take longer because of the journal, all in all. A disk that hangs (NFS) must not keep the
supervisor for ever; nor one that is slow, at every commit. While the run is not stopped, the journal may give no
answer for so long."""

LEAST_KILL_TIMEOUT: Final = 0.5
"""Kill and look: what is kept of `kill_patience` where the host grants too little for the ladder: the kernel ends a
process within that, or not at all."""

HOST_MARGIN: Final = 3.0
"""End: what a host should grant beyond the ladder: the last sweep, the last commit, an interpreter's end."""

SERVICE_MARGIN: Final = 10.0
"""Journal and end: how long beyond the ladder systemd is asked for more time (EXTEND_TIMEOUT_USEC)."""

UNDO_TIMEOUT: Final = 30.0
"""Run: what one start of an undo command may take, and what the end of a run that was not stopped waits for undo
commands. The default of the setting `undo_timeout`. In a stop they have what the ladder leaves until the last look, and
without a supervisor what the grace leaves, and STRAY_GRACE."""

# -- the supervisor waits for the guardian ----------------------------------------------------------

SWEEP_TIMEOUT: Final = 5.0
"""Crowd: how long the supervisor waits for the report of the guardian's last look. For a crowd the guardian takes up to
CROWD_TIMEOUT and then CROWD_KILL_TIMEOUT, after SENTINEL_REAP_TIMEOUT. A guardian that neither answers nor works is
replaced sooner (GUARDIAN_TIMEOUT_IN_STOP)."""

GUARDIAN_TIMEOUT: Final = 5.0
"""Run: how long a guardian may neither answer nor work while the run goes on, before the supervisor replaces it."""

GUARDIAN_TIMEOUT_IN_STOP: Final = 1.0
"""Kill: likewise in a stop. From then on the supervisor signals the executors itself, and it replaces the guardian as
soon as no executor is left whose end the guardian would have to report."""

GUARDIAN_LOSS_TIMEOUT: Final = 1.0
"""Run: how long the supervisor waits for a killed guardian, and what it watched, to be gone. Its loop waits meanwhile;
in a stop it does not."""

GUARDIAN_EXIT_TIMEOUT: Final = 1.0
"""End: how long the supervisor waits for the guardian to exit after its last report, and then once more for its death
of SIGKILL."""

CGROUP_TIMEOUT: Final = 0.5
"""End: how long guardian, sentinel or supervisor waits for the kernel to release the cgroup whose last process is
gone."""

ENVIRONMENTS_TIMEOUT: Final = 4.0
"""Look: what one search through the environments of processes may take, where its reader gets no processor time."""

LEAST_ENVIRONMENTS_TIMEOUT: Final = 0.3
"""Look: what the supervisor allows such a search at least when it looks without a guardian: the reader must start."""

SEARCH_LAST_MARGIN: Final = 0.3
"""Look: how long before its end a look without a guardian kills processes although new ones still appear."""

# -- the supervisor's own end -----------------------------------------------------------------------

LAST_OUTPUT_TIMEOUT: Final = 2.0
"""End: how long the supervisor logs the executors' last output after a run that was not stopped."""

LAST_OUTPUT_TIMEOUT_IN_STOP: Final = 0.5
"""End: likewise after a stop."""

OUTPUT_TIMEOUT: Final = 1.0
"""End: how long the supervisor waits for a log, a terminal or a reader that takes nothing."""

CALLBACK_TIMEOUT: Final = 1.0
"""End: how long the end of a block that was stopped waits for the callbacks of handles."""

FAILED_JOURNAL_TIMEOUT: Final = 1.0
"""End: how long a journal that has failed gets to refuse what still waits to be written."""

PROBES_CLOSE_TIMEOUT: Final = 1.0
"""End: how long the supervisor waits for the threads that answer HTTP."""

WATCHER_CLOSE_TIMEOUT: Final = 0.2
"""End: how long the supervisor waits for the thread that watches the host, whose request it has ended."""

CONTROL_CLOSE_TIMEOUT: Final = 0.5
"""End: how long the supervisor waits for the thread of the control socket, which sends clients what they are owed."""

# -- the guardian waits for processes ---------------------------------------------------------------

STRAY_GRACE: Final = 0.5
"""Look: how long the guardian waits between SIGTERM and SIGKILL for what an executor left behind."""

SWEEP_KILL_MARGIN: Final = 0.2
"""Look: how long before the end of the last look the guardian sends SIGKILL at the latest; STRAY_GRACE is shorter
then."""

SWEEP_PROGRESS_TIMEOUT: Final = 0.1
"""Crowd: how long the guardian goes on waiting after the number of processes fell: the kernel needs a while to end
thousands."""

SWEEP_END_TIMEOUT: Final = 2.0
"""Crowd: how long the guardian waits for processes that SIGKILL was sent to, if it finds that more and more of them
end, before it reports them as unkillable (D state); and for the supervisor to take the report."""

CROWD_TIMEOUT: Final = 1.0
"""Crowd: how long the guardian may take to stop a crowd of processes before it lists them. It takes milliseconds, if
the crowd leaves any processor time."""

CROWD_KILL_TIMEOUT: Final = 3.0
"""Crowd: like SWEEP_END_TIMEOUT, while new processes are still found and a supervisor waits."""

SWEEP_LAST_MARGIN: Final = 0.7
"""Crowd: how long before that limit, or before the end of the stop, the guardian kills processes although new ones
still appear."""

STRAY_SEARCH_TIMEOUT: Final = 0.2
"""Look: how long the guardian searches for processes to stop before it reaps ended children."""

TERM_SEARCH_TIMEOUT: Final = 0.05
"""Term: how long the guardian searches for an executor's descendants before it sends SIGTERM."""

STACKS_TIMEOUT: Final = 0.25
"""Kill: how long the guardian waits for the threads of an executor that runs no Python code to write their stacks."""

DESCENDANTS_TIMEOUT: Final = 0.3
"""Kill: how long the guardian takes at most to stop an executor's descendants before it kills them."""

SENTINEL_REAP_TIMEOUT: Final = 0.25
"""Look: how long the guardian waits for the end of the sentinel, which it has killed."""

UNDO_KILL_TIMEOUT: Final = 0.2
"""Look: how long the guardian waits for the ends of undo commands that it has killed, because a stop leaves them no
more time."""

# -- one executor -----------------------------------------------------------------------------------

ABANDON_TIMEOUT: Final = 10.0
"""Run: the least `kill_patience` of one executor's own ladder: large memory takes seconds to unmap, and no end is
reported while the guardian is held. An executor that is given up costs its task the retries."""

LEAVE_TIMEOUT: Final = 2.0
"""Run: how long an executor that leaves because its work is done has for its exit hooks before SIGTERM, at least. A
grace of 0 is for work that is to end at once; this one has ended."""

TERM_TIMEOUT: Final = 5.0
"""Run: how long an executor waits between two tasks for a SIGTERM that the guardian has announced."""

REASON_TIMEOUT: Final = 2.0
"""Term: how long a task that was in C code waits for the reason of its interrupt, which the control thread reads once
it gets the GIL."""

# -- without a supervisor ---------------------------------------------------------------------------

SENTINEL_MARGIN: Final = 0.5
"""Orphan: how long beyond the grace the guardian may take to begin its sweep before the sentinel ends everything."""

SENTINEL_END_TIMEOUT: Final = 2.0
"""Orphan: how long the sentinel repeats its killing."""

ORPHANED_KILL_TIMEOUT: Final = 30.0
"""Orphan: like CROWD_KILL_TIMEOUT, when no supervisor waits for the guardian: it is gone, or has its report already."""

ORPHANED_CGROUP_TIMEOUT: Final = 5.0
"""Orphan: like CGROUP_TIMEOUT, for the guardian of a dead supervisor."""

EXECUTOR_END_TIMEOUT: Final = 1.0
"""Orphan: how long an executor without a supervisor repeats ending its own descendants, where it cannot list them."""

TAKEOVER_SLACK: Final = 60.0
"""Orphan: how long beyond the ladder `resume` waits for the guardian of a dead supervisor, whose ladder may have been
longer."""

PREVIOUS_END_TIMEOUT: Final = 2.0
"""Orphan: how long `resume` kills again and again what a dead supervisor has left."""

PREVIOUS_SEARCH_TIMEOUT: Final = 10.0
"""Orphan: like ENVIRONMENTS_TIMEOUT, for the search of `resume` for the processes of a dead supervisor."""
