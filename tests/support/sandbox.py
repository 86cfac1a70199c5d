"""A sandbox that refuses system calls, as a container's seccomp profile does: a filter in front of a command.

The filter is classic BPF (seccomp(2), linux/filter.h), installed by a small program that then execs the command, so
that the test itself keeps all its system calls. As a script: `sandbox.py ERRNO CALL,CALL… COMMAND ARG…`. A call is a
name, or `fcntl:F_ADD_SEALS` for one command of fcntl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_NUMBERS = {
    "x86_64": {
        "sendmsg": 46, "recvmsg": 47, "socketpair": 53, "fcntl": 72, "setsid": 112, "getpriority": 140,
        "setpriority": 141, "statfs": 137, "fstatfs": 138, "prctl": 157, "ptrace": 101, "getxattr": 191,
        "sched_getaffinity": 204, "tgkill": 234, "waitid": 247, "unshare": 272, "epoll_create1": 291,
        "eventfd2": 290, "timerfd_create": 283, "signalfd4": 289, "pipe2": 293, "prlimit64": 302,
        "process_vm_readv": 310, "memfd_create": 319, "pidfd_send_signal": 424, "pidfd_open": 434,
        "close_range": 436, "clone3": 435, "statx": 332, "faccessat2": 439, "getrusage": 98, "setrlimit": 160,
        "getrlimit": 97, "setitimer": 38, "getitimer": 36, "sysinfo": 99, "getsid": 124, "getpgid": 121,
        "membarrier": 324, "madvise": 28, "sched_yield": 24, "ioctl": 16, "epoll_ctl": 233, "flock": 73,
        "fadvise64": 221, "fallocate": 285, "sendfile": 40, "copy_file_range": 326, "getrandom": 318, "umask": 95,
    },
    "aarch64": {
        "sendmsg": 211, "recvmsg": 212, "socketpair": 199, "fcntl": 25, "setsid": 157, "getpriority": 141,
        "setpriority": 140, "statfs": 43, "fstatfs": 44, "prctl": 167, "ptrace": 117, "getxattr": 8,
        "sched_getaffinity": 123, "tgkill": 131, "waitid": 95, "unshare": 97, "epoll_create1": 20,
        "eventfd2": 19, "timerfd_create": 85, "signalfd4": 74, "pipe2": 59, "prlimit64": 261,
        "process_vm_readv": 270, "memfd_create": 279, "pidfd_send_signal": 424, "pidfd_open": 434,
        "close_range": 436, "clone3": 435, "statx": 291, "faccessat2": 439, "getrusage": 165, "setrlimit": 164,
        "getrlimit": 163, "setitimer": 103, "getitimer": 102, "sysinfo": 179, "getsid": 156, "getpgid": 155,
        "membarrier": 283, "madvise": 233, "sched_yield": 124, "ioctl": 29, "epoll_ctl": 21, "flock": 32,
        "fadvise64": 223, "fallocate": 47, "sendfile": 71, "copy_file_range": 285, "getrandom": 278, "umask": 166,
    },
}  # fmt: skip
"""By the kernel's architecture, asm/unistd.h."""

_FCNTL = {"F_ADD_SEALS": 1033, "F_OFD_SETLK": 37, "F_OFD_GETLK": 36}

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_NUMBER_AT, _SECOND_ARGUMENT_AT = 0, 24  # struct seccomp_data
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def command_without(*calls: str, answer: int = errno.EPERM) -> list[str]:
    """Return a command that runs another one with these system calls refused. Empty where this host cannot."""
    if not sys.platform.startswith("linux") or platform.machine() not in _NUMBERS:
        return []
    return [sys.executable, "-S", "-E", __file__, str(answer), ",".join(calls)]


def refuse(calls: list[str], answer: int) -> None:
    """Refuse these system calls to this process, and to all that it starts, for good."""
    code = b"".join(_refuse(call, answer) for call in calls) + _step(_RETURN, _ALLOW)
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if os.geteuid() != 0:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.addressof(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no seccomp filter can be installed")


def _refuse(call: str, answer: int) -> bytes:
    name, _, command = call.partition(":")
    number = _NUMBERS[platform.machine()][name]
    refused = _step(_RETURN, _ERRNO | answer)
    if command:
        of_command = _step(_LOAD, _SECOND_ARGUMENT_AT) + _step(_JUMP_IF_EQUAL, _FCNTL[command], no=1)
        refused = of_command + refused
    steps = len(refused) // 8
    return _step(_LOAD, _NUMBER_AT) + _step(_JUMP_IF_EQUAL, number, no=steps) + refused


def _step(code: int, value: int, *, no: int = 0) -> bytes:
    """Return one instruction, struct sock_filter; `no` is how many to skip if a comparison fails."""
    return struct.pack("=HBBI", code, 0, no, value)


if __name__ == "__main__":
    refuse(sys.argv[2].split(","), int(sys.argv[1]))
    os.execvp(sys.argv[3], sys.argv[3:])
