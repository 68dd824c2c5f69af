"""The operator from its start to its end.

`run` checks what the operator cannot work without, in the order in which a person would fix it, then starts the parts that
`assembly` has built and hands over to kopf (`kopf_source`). What was opened is closed in reverse order; when `run` returns,
no helm process of this operator is left.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from managedchart_operator import __version__
from managedchart_operator.app import cache_folder, foreign_patches, kopf_source
from managedchart_operator.app.assembly import Parts, assemble
from managedchart_operator.app.http import HttpServer
from managedchart_operator.app.settings import Settings
from managedchart_operator.app.watch_end import check_still_served
from managedchart_operator.helm.binary import check_version
from managedchart_operator.helm.runner import end_orphans
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.definition import Definition
from managedchart_operator.kube.events import COMPONENT
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.releases import OWNER_SELECTOR, SECRETS_PATH, ReleaseSecrets
from managedchart_operator.kube.watch import changes

logger = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Run the operator until a signal ends it. Raises StartupError if it cannot start, WatchEndedError if the watch ends."""
    helm_version = await check_version(settings.helm_binary)
    foreign_patches.apply()
    kubeconfig = os.environ.get("KUBECONFIG")
    client = await KubeClient.connect(kubeconfig=Path(kubeconfig) if kubeconfig else None)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        api = ManagedCharts(client)
        await api.check_installed()
        await ReleaseSecrets(client).check_permissions()
        await Definition(client).check_schema()
        identity = stack.enter_context(cache_folder.locked(settings.cache_dir))
        await end_orphans(identity)
        operator = Operator(await assemble(settings, client=client, identity=identity))
        server = HttpServer(
            host=settings.http_host,
            port=settings.http_port,
            metrics=operator.parts.metrics,
            healthy=operator.unhealthy,
            ready=operator.unready,
        )
        port = await server.start()
        stack.push_async_callback(server.stop)
        async for chart in api.list_all():
            operator.parts.store.put(chart)
        logger.info(
            "managedchart-operator %s with helm %s: %d resources, at most %d helm processes, %d of them applying, http port %d",
            __version__,
            helm_version,
            len(operator.parts.store),
            settings.helm_processes,
            settings.apply_slots,
            port,
        )
        try:
            await kopf_source.watch(operator.handlers(), host=client.host, identity=COMPONENT)
        except Exception:
            await check_still_served(api)
            raise


class Operator:
    """The running parts: what starts with kopf's watch and ends after it, and the answers to the health checks."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._loaded = False
        self._release_watch: asyncio.Task[None] | None = None
        self._lag_meter: asyncio.Task[None] | None = None

    def handlers(self) -> kopf_source.Handlers:
        """Return what kopf's watch calls."""
        events = self.parts.events
        return kopf_source.Handlers(started=self.start, seen=events.seen, deleted=events.deleted, stopping=self.stop)

    async def start(self) -> None:
        """Watch the releases, and reconcile every ManagedChart that was listed before."""
        self._release_watch = asyncio.create_task(self._watch_releases(), name="watch of releases")
        self._lag_meter = asyncio.create_task(self.parts.lag.measure(), name="loop lag")
        for key in self.parts.store:
            self.parts.scheduler.request(key)
        self._loaded = True

    async def stop(self) -> None:
        """End all runs, with SIGTERM first for helm processes."""
        tasks = [task for task in (self._release_watch, self._lag_meter) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.parts.scheduler.drain()
        await self.parts.services.close()

    def unhealthy(self) -> str | None:
        """Return why a restart would help, or None."""
        watch = self._release_watch
        if watch and watch.done() and not watch.cancelled():
            return f"The watch of releases has ended: {watch.exception()}"
        return None

    def unready(self) -> str | None:
        """Return why nothing can be reconciled yet, or None."""
        return None if self._loaded else "The ManagedCharts are not loaded yet"

    async def _watch_releases(self) -> None:
        """Follow the metadata of all release Secrets until cancelled."""
        releases = self.parts.releases
        async for change in changes(self.parts.client, SECRETS_PATH, labels=OWNER_SELECTOR, metadata_only=True):
            match change.type:
                case "Listed":
                    releases.listed(change.object["items"])
                case "DELETED":
                    releases.removed(change.object["metadata"])
                case _:
                    releases.changed(change.object["metadata"])
