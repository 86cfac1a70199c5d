"""A /dev/shm of the test session's own, so that what is left in it was left by a test.

A file in /dev/shm does not tell who made it. On a machine where other programs run (a joblib loop, another test
session) a new file there is as likely theirs. As root, the session therefore gets a mount namespace with an empty
/dev/shm (unshare(2), mount_namespaces(7)); every process that a test starts inherits it.

Rejected: a user namespace for plain users. It changes the user ids that the tests look at.
"""

from __future__ import annotations

import ctypes
import os

SHM = "/dev/shm"
_DEVICE_VARIABLE = "QUIESCE_TESTS_SHM"
_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18


def make_private_shm() -> bool:
    """Give this process an empty /dev/shm of its own. Return whether it has one; False leaves all as it was."""
    if os.geteuid() != 0 or not os.path.isdir(SHM):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        return False
    is_private = libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) == 0
    if not is_private or libc.mount(b"tmpfs", SHM.encode(), b"tmpfs", 0, b"mode=1777") != 0:
        return False
    os.environ[_DEVICE_VARIABLE] = str(os.stat(SHM).st_dev)
    return True


def has_private_shm() -> bool:
    """Return whether /dev/shm is this session's own. A test session inside of a test shares its parent's."""
    return os.environ.get(_DEVICE_VARIABLE) == str(os.stat(SHM).st_dev) if os.path.isdir(SHM) else False
