"""Run a command whose system calls the kernel refuses, as seccomp and AppArmor do, or whose reads fail.

python tests/refusals.py ERRNO CALL[:LEAST-MOST],… COMMAND…  (LEAST-MOST: only where the third argument is one of these)
"""

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"read": 0, "pread64": 17, "renameat2": 316, "userfaultfd": 323, "io_uring_setup": 425, "openat2": 437},
    "aarch64": {"read": 63, "pread64": 67, "renameat2": 276, "userfaultfd": 282, "io_uring_setup": 425, "openat2": 437},
}
"""Of the system calls, asm/unistd.h."""

_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x06  # linux/bpf_common.h
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # linux/seccomp.h
_NUMBER, _THIRD_ARGUMENT = 0, 32  # offsets in struct seccomp_data
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def is_possible() -> bool:
    """Whether this machine has such filters, and its numbers are known."""
    return sys.platform == "linux" and platform.machine() in NUMBERS


def refuse(code: int, *calls: str) -> None:
    """Let these calls of this process, and of those that it starts, fail with an error number from now on."""
    steps = [(_LOAD, 0, 0, _NUMBER)]
    for call in calls:
        name, _, span = call.partition(":")
        refusal = [(_RETURN, 0, 0, _ERRNO | code)]
        if span:
            least, most = map(int, span.split("-"))
            only = [(_LOAD, 0, 0, _THIRD_ARGUMENT), (_AT_LEAST, 0, 2, least), (_ABOVE, 1, 0, most)]
            refusal = [*only, *refusal, (_LOAD, 0, 0, _NUMBER)]
        steps += [(_EQUAL, 0, len(refusal), NUMBERS[platform.machine()][name]), *refusal]
    steps.append((_RETURN, 0, 0, _ALLOW))
    program = _Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    refuse(getattr(errno, sys.argv[1]), *sys.argv[2].split(","))
    os.execvp(sys.argv[3], sys.argv[3:])
