"""Serves /metrics, /healthz and /readyz, with what `assembly` and `metrics` know.

/healthz fails only for what a restart of the pod repairs. /readyz fails until the ManagedCharts are loaded.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web

from managedchart_operator.app.metrics import Metrics
from managedchart_operator.errors import StartupError


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
    app = web.Application()
    app.router.add_get("/metrics", partial(_metrics, metrics))
    app.router.add_get("/healthz", partial(_answer, healthy))
    app.router.add_get("/readyz", partial(_answer, ready))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise StartupError(
                f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}",
                hint="Set MANAGEDCHART_HTTP_HOST and MANAGEDCHART_HTTP_PORT to a free address; port 0 picks a free port.",
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _metrics(metrics: Metrics, _: web.Request) -> web.Response:
    return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _answer(look: Callable[[], str | None], _: web.Request) -> web.Response:
    problem = look()
    return web.Response(text=problem or "ok\n", status=500 if problem else 200)
