"""Find the place of a run's control socket: the same in every terminal, without configuration.

A service and a terminal of the same user do not have the same environment: `XDG_RUNTIME_DIR` is set in one of them
only. So the first of a fixed list of folders is used that can be, and a client looks in all of them. The name of the
socket is made of checksums of the journal's place and of the run's id, because a path has room for 107 bytes there
(unix(7)). Where two runs have the same, the later one has the socket: `Welcome` says whose it is.

Rejected: names in the abstract namespace, which every user of the host can connect to; a path beside the journal, which
may be on a file system that has no sockets, or too long.
"""

from __future__ import annotations

import binascii
import os
import stat
from collections.abc import Iterator
from typing import Final

from runtime.errors import QuiesceError

FOLDER_VARIABLE: Final = "QUIESCE_RUNTIME_DIR"
"""The environment variable that names another folder for the sockets, for supervisors and clients alike."""


def folders() -> Iterator[str]:
    """Yield the folders in which a socket may be, the one to be preferred first."""
    user = os.geteuid()
    if given := os.environ.get(FOLDER_VARIABLE):
        yield given
        return
    if os.path.isdir(f"/run/user/{user}"):
        yield f"/run/user/{user}/quiesce"
    yield f"/tmp/quiesce-{user}"  # noqa: S108 - `make_folder` checks that it is the user's own


def socket_name(location: str | None, run_id: str) -> str:
    """Return the file name of a run's socket. `location`: the journal's place, None without a journal."""
    place = "" if location is None else os.path.realpath(location)
    checksums = (binascii.crc32(text.encode(errors="surrogateescape")) for text in (place, run_id))
    return f"{'-'.join(f'{checksum:08x}' for checksum in checksums)}.sock"


def make_folder() -> str:
    """Make the first folder that can be had, for its owner alone, and return it. Raises QuiesceError without one."""
    problems = []
    for folder in folders():
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
            continue
        problem = find_problem(folder)
        if problem is None:
            return folder
        problems.append(f"{folder}: {problem}")
    raise QuiesceError(f"no folder for the control socket: {'; '.join(problems)}")


def find_problem(folder: str) -> str | None:
    """Return why a folder cannot be trusted with a socket; None if it can."""
    try:
        found = os.lstat(folder)
    except OSError as error:
        return error.strerror
    if not stat.S_ISDIR(found.st_mode):
        return "not a folder"
    if found.st_uid != os.geteuid():
        return "another user owns it"
    if found.st_mode & 0o077:
        return "other users may enter it (chmod 700)"
    return None


def find_sockets(location: str | None, run_id: str) -> list[str]:
    """Return the sockets that a run of this journal and id may have, those in folders of this user only."""
    name = socket_name(location, run_id)
    paths = [os.path.join(folder, name) for folder in folders() if find_problem(folder) is None]
    return [path for path in paths if os.path.exists(path)]
