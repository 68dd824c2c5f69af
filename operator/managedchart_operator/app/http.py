"""Serves /metrics, /healthz and /readyz, with what `assembly` and `metrics` know.

/healthz fails only for what a restart of the pod repairs. /readyz fails until the ManagedCharts are loaded. Nobody has to log
in, so `connections` bounds what a client can take, and helm gets nothing: the author of a chart can make it ask any address,
also this one, and read in an error what was answered.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from aiohttp import web

from managedchart_operator.app.connections import Connections
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.errors import StartupError

# A probe and a scrape have some hundred bytes.
_LINE_BYTES = 1024
_FIELD_BYTES = 2048
_FIELDS = 32
# How helm 4.3.1 calls itself towards chart repositories and registries, and Go's client where a program sets no name, as where
# helm fetches what a schema refers to (measured). The kubelet is kube-probe/…, Prometheus is Prometheus/….
HELM_AGENTS = ("Helm/", "Go-http-client/")


@asynccontextmanager
async def serving(
    *,
    host: str,
    port: int,
    metrics: Metrics,
    healthy: Callable[[], str | None],
    ready: Callable[[], str | None],
) -> AsyncIterator[int]:
    """Serve the three paths while the block runs; yields the port. Raises StartupError when the address cannot be used."""
    app = web.Application(middlewares=[_nothing_for_helm])
    app.router.add_get("/metrics", partial(_metrics, metrics))
    app.router.add_get("/healthz", partial(_answer, healthy))
    app.router.add_get("/readyz", partial(_answer, ready))
    runner = web.AppRunner(
        app,
        access_log=None,
        max_line_size=_LINE_BYTES,
        max_field_size=_FIELD_BYTES,
        max_headers=_FIELDS,
        lingering_time=0,
    )
    await runner.setup()
    server: asyncio.Server | None = None
    try:
        try:
            server = await asyncio.get_running_loop().create_server(
                Connections(cast("Callable[[], asyncio.Protocol]", runner.server)), host, port
            )
        except OSError as error:
            raise StartupError(
                f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}",
                hint="Set MANAGEDCHART_HTTP_HOST and MANAGEDCHART_HTTP_PORT to a free address; port 0 picks a free port.",
            ) from error
        yield server.sockets[0].getsockname()[1]
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()


@web.middleware
async def _nothing_for_helm(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer with an empty refusal what helm asks for, on any path."""
    if request.headers.get("User-Agent", "").startswith(HELM_AGENTS):
        return web.Response(status=403)
    return await handler(request)


async def _metrics(metrics: Metrics, _: web.Request) -> web.Response:
    return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _answer(look: Callable[[], str | None], _: web.Request) -> web.Response:
    problem = look()
    return web.Response(text=problem or "ok\n", status=500 if problem else 200)
