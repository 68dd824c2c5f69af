"""Patches of the code of others still take effect: each test fails when that code no longer has what is patched."""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol

import pytest

from managedchart_operator.app import foreign_patches


async def test_a_tls_connection_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio's own 256 KiB count three times for each release that is waited for."""
    monkeypatch.setattr(SSLProtocol, "max_size", 256 * 1024)  # fails where there is no such attribute
    before = allocated()
    foreign_patches.shrink_tls_buffers()
    assert allocated() <= before - 200 * 1024
    assert allocated() < foreign_patches.TLS_BUFFER_BYTES + 8 * 1024


def allocated() -> int:
    """How many bytes of buffers asyncio allocates for a TLS connection."""
    loop = asyncio.get_running_loop()
    protocol = SSLProtocol(
        loop, asyncio.Protocol(), ssl.create_default_context(), loop.create_future(), server_hostname="example.test"
    )
    protocol._get_app_transport().close()  # type: ignore[attr-defined]
    return sum(len(value) for value in vars(protocol).values() if isinstance(value, bytearray))
