"""A command with little room or few rights: `python -m tests.limited BYTES MODULE ARG…`.

No file may be larger than BYTES (0: any size), and a folder's mode binds root as it binds others.
"""

import ctypes
import resource
import runpy
import sys

_VERSION, _DAC_OVERRIDE, _DAC_READ_SEARCH = 0x20080522, 1, 2  # of Linux's capabilities


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Rights(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def obey_modes() -> None:
    """Takes from this process, and from what it starts, root's right to pass over modes."""
    system, header, rights = (
        ctypes.CDLL(None, use_errno=True),
        _Header(_VERSION, 0),
        (_Rights * 2)(),
    )
    assert system.capget(ctypes.byref(header), rights) == 0
    for name in ("effective", "permitted", "inheritable"):
        left = getattr(rights[0], name) & ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
        setattr(rights[0], name, left)
    assert system.capset(ctypes.byref(header), rights) == 0


if __name__ == "__main__":
    most, module, *sys.argv[1:] = sys.argv[1:]
    if int(most):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
    obey_modes()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
