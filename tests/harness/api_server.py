"""A stand-in for the API server, for what a real one does only on a bad day.

Purpose: unit tests of requests, refusals and broken connections. Boundary: it knows nothing of Kubernetes; a test says what
is answered, by method and path. What a real API server answers is tested in tests/e2e.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeApiServer:
    """Answers `(status, body)` by method and path, or lets a function answer; remembers what it was asked."""

    answers: dict[tuple[str, str], tuple[int, Any] | Answer] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    """Method, path, query and body (decoded) of each request."""
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeApiServer"]:
        """Serve on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        return write_kubeconfig(path, self.url)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.asked.append((request.method, request.path, dict(request.query), json.loads(raw) if raw else None))
        self.headers.append(dict(request.headers))
        answer = self.answers.get((request.method, request.path), (404, refusal("not found", 404)))
        if callable(answer):
            return await answer(request)
        status, body = answer
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status)


def refusal(message: str, code: int) -> dict[str, Any]:
    """A `Status` object as the API server answers it."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def write_kubeconfig(path: Path, server: str) -> Path:
    """Write a kubeconfig with a token for a server."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "the-token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(config))
    return path
