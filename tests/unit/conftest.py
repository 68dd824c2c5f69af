"""What unit tests share: a client of the operator, connected to a stand-in for the API server."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from harness.api_server import FakeApiServer
from managedchart_operator.kube.client import KubeClient

# A deadline per example measures how busy the machine is: 283 ms were seen for one that takes 0.1 ms.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().running() as server:
        yield server


@pytest.fixture
async def client(api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubeClient]:
    # Each client would read the machine's certificates, which takes longer than most tests, for a server without TLS.
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    connected = await KubeClient.connect(kubeconfig=api.kubeconfig(tmp_path / "kubeconfig"))
    yield connected
    await connected.close()
