"""Patches the code of other packages at run time; nothing else in the operator does.

A patch writes an attribute that its owner does not document as a setting. Each one names the versions that it was written
for, and tests/unit/app/test_foreign_patches.py fails when that code no longer has what is patched. Each is called once,
before the first connection; nothing patches at import.
"""

from asyncio.sslproto import SSLProtocol

TLS_BUFFER_BYTES = 32 * 1024
"""What asyncio allocates to read into, for each TLS connection: two TLS records (RFC 8446)."""


def shrink_tls_buffers() -> None:
    """Let each TLS connection take 32 KiB to read into.

    asyncio's 256 KiB were two thirds of the memory of a release that the operator waits for, whose three watches receive a
    few KiB now and then (measured). Written for CPython 3.11 to 3.13, where `SSLProtocol.__init__` allocates `max_size` bytes.
    A version without this attribute ignores it, and only needs more memory.
    """
    SSLProtocol.max_size = TLS_BUFFER_BYTES
