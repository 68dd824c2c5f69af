"""Starts helm so that it can open TCP connections to one port only, where the kernel can hold it to that.

Go calls addresses of this machine without any proxy, also when a server redirects there (golang.org/x/net/http/httpproxy), so a
proxy alone does not keep a pull from the listeners of the operator's pod. Landlock does, without any permission, from Linux 6.7
on (ABI 4); an older kernel, or one that lacks it, starts helm without. The rules hold for the process that calls for them and
those that it starts, hence this program between: it restricts itself and then becomes helm. It costs some 20 ms a pull.

Source: Linux, Documentation/userspace-api/landlock.rst.
"""

import ctypes
import os
import struct
import sys

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_NETWORK_ABI = 4
_RULE_NET_PORT = 2
_BIND_TCP, _CONNECT_TCP = 1, 2
_SET_NO_NEW_PRIVS = 38


def only_to(port: int) -> list[str]:
    """Return the words before helm's own that let it connect to this port only."""
    # Without site-packages and the environment's own settings, Python starts twice as fast.
    return [sys.executable, "-I", "-S", __file__, str(port)]


def supported() -> bool:
    """Whether the kernel can hold a process to it."""
    version: int = _libc().syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return version >= _NETWORK_ABI


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _restrict(port: int) -> bool:
    """Allow this process connections to one port only; False if the kernel cannot."""
    if not supported():
        return False
    libc = _libc()
    attributes = ctypes.create_string_buffer(struct.pack("QQ", 0, _BIND_TCP | _CONNECT_TCP), 16)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, 16, 0)
    if ruleset < 0:
        return False
    # The kernel's structure is packed: no padding after the second field.
    rule = ctypes.create_string_buffer(struct.pack("=QQ", _CONNECT_TCP, port), 16)
    done = (
        libc.syscall(_ADD_RULE, ruleset, _RULE_NET_PORT, rule, 0) == 0
        and libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    )
    os.close(ruleset)
    return bool(done)


def _main() -> None:
    port, *command = sys.argv[1:]
    _restrict(int(port))
    os.execvp(command[0], command)  # noqa: S606 -- it becomes helm


if __name__ == "__main__":
    _main()
