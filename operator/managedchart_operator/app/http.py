"""Serves /metrics, /healthz and /readyz, with what `operator` and `metrics` know.

/healthz fails only for what a restart of the pod repairs. /readyz fails until the ManagedCharts are loaded.
"""

import os
from collections.abc import Callable
from functools import partial

from aiohttp import web

from managedchart_operator.app.metrics import Metrics
from managedchart_operator.errors import StartupError


class HttpServer:
    """Serves the three paths until `stop`."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        metrics: Metrics,
        healthy: Callable[[], str | None],
        ready: Callable[[], str | None],
    ) -> None:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", partial(_answer, healthy))
        app.router.add_get("/readyz", partial(_answer, ready))
        self._render = metrics.render
        self._runner = web.AppRunner(app, access_log=None)
        self._host, self._port = host, port

    async def start(self) -> int:
        """Listen, and return the port. Raises StartupError when the address cannot be used."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.stop()
            raise StartupError(
                f"Cannot listen on {self._host}:{self._port}: {os.strerror(error.errno or 0)}",
                hint="Set MANAGEDCHART_HTTP_HOST and MANAGEDCHART_HTTP_PORT to a free address; port 0 picks a free port.",
            ) from error
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _answer(look: Callable[[], str | None], _: web.Request) -> web.Response:
    problem = look()
    return web.Response(text=problem or "ok\n", status=500 if problem else 200)
