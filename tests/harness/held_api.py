"""A relay in front of a real API server that withholds one answer, so that a client can be killed exactly then.

Purpose: what a client does after a request that was carried out, and before it knows. Boundary: nothing is changed on the way,
and everything but the one request passes.
"""

import asyncio
import base64
import contextlib
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

from harness.cluster import WAIT_SECONDS

# They are about one connection of the two.
_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive"})


class HeldApi:
    """Relays requests, with the token of a kubeconfig; `hold` names the one whose answer is withheld."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config = yaml.safe_load(kubeconfig.read_text())
        cluster = self._config["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        # helm sends no token where the connection is not encrypted.
        self._identity = {"Authorization": f"Bearer {self._config['users'][0]['user']['token']}"}
        self._trust = ssl.create_default_context(cadata=authority)
        self._wanted: tuple[str, re.Pattern[str]] | None = None
        self._held = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._port = 0

    @contextmanager
    def running(self) -> Iterator["HeldApi"]:
        """Relay on a free port."""
        started = threading.Event()
        thread = threading.Thread(target=asyncio.run, args=(self._serve(started),))
        thread.start()
        try:
            assert started.wait(WAIT_SECONDS)
            yield self
        finally:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._end.set)
            thread.join()

    def kubeconfig(self, path: Path) -> Path:
        """Write the kubeconfig of a client that comes through here."""
        server = {"server": f"http://127.0.0.1:{self._port}"}
        config = {**self._config, "clusters": [{**self._config["clusters"][0], "cluster": server}]}
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path

    def hold(self, method: str, target: str) -> None:
        """Withhold the next answer to a request whose path and query fit the regular expression `target`."""
        self._held.clear()
        self._wanted = (method, re.compile(target))

    def wait_held(self) -> None:
        """Return when the request was carried out; its client waits for the answer."""
        assert self._held.wait(WAIT_SECONDS), f"there was no request {self._wanted}"

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._relay)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        connector = TCPConnector(ssl=self._trust, limit=0)
        async with ClientSession(connector=connector, auto_decompress=False, timeout=None) as self._session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._port = runner.addresses[0][1]
            started.set()
            await self._end.wait()
            await runner.cleanup()

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP} | self._identity
        target = URL(self._server + request.raw_path, encoded=True)
        body = await request.read()
        async with self._session.request(request.method, target, headers=headers, data=body or None) as found:
            if found.ok and self._fits(request):
                await found.read()
                self._held.set()
                await self._end.wait()
            kept = [(key, value) for key, value in found.headers.items() if key.lower() not in _HOP]
            answer = web.StreamResponse(status=found.status, headers=kept)
            with contextlib.suppress(ConnectionResetError):  # its client was killed
                await answer.prepare(request)
                async for part in found.content.iter_any():
                    await answer.write(part)
                await answer.write_eof()
            return answer

    def _fits(self, request: web.Request) -> bool:
        if self._wanted is None or request.method != self._wanted[0] or not self._wanted[1].search(request.raw_path):
            return False
        self._wanted = None
        return True
