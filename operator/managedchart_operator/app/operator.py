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
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.app import cache_folder, foreign_patches, kopf_source
from managedchart_operator.app.assembly import Parts, assemble
from managedchart_operator.app.http import serving
from managedchart_operator.app.settings import Settings
from managedchart_operator.errors import StartupError, WatchEndedError
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
    foreign_patches.shrink_tls_buffers()
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
        port = await stack.enter_async_context(
            serving(
                host=settings.http_host,
                port=settings.http_port,
                metrics=operator.parts.metrics,
                healthy=operator.unhealthy,
                ready=operator.unready,
            )
        )
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
            await kopf_source.watch(
                started=operator.start,
                seen=operator.seen,
                deleted=operator.deleted,
                stopping=operator.stop,
                host=client.host,
                identity=COMPONENT,
            )
        except Exception:
            await check_still_served(api)
            raise


async def check_still_served(api: ManagedCharts) -> None:
    """Raise WatchEndedError when the API server no longer lets the operator list ManagedCharts.

    That happens when the CRD is deleted, and when the operator loses its permissions or its ServiceAccount, for example while
    it is removed. Neither is a defect, so the process ends with one sentence. Kubernetes restarts the container, which works
    again once everything is installed again.
    """
    try:
        await api.check_installed()
    except StartupError as error:
        raise WatchEndedError(f"ManagedCharts can no longer be watched: {error.message}", hint=error.hint) from error


class Operator:
    """The running parts: what starts with kopf's watch and ends after it, what a change of a ManagedChart leads to, and the
    answers to the health checks.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._loaded = False
        self._release_watch: asyncio.Task[None] | None = None
        self._lag_meter: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Watch the releases, and reconcile every ManagedChart that was listed before."""
        self._release_watch = asyncio.create_task(self._watch_releases(), name="watch of releases")
        self._lag_meter = asyncio.create_task(self.parts.metrics.measure_loop_lag(), name="loop lag")
        for key in self.parts.store:
            self.parts.scheduler.request(key)
        self._loaded = True

    def seen(self, chart: ManagedChart) -> None:
        """Handle a ManagedChart that was listed, created or changed. Most changes are the operator's own writes.

        A running run ends if its input is out of date.
        """
        known = self.parts.store.get(chart.key)
        self.parts.store.put(chart)
        if known is None:
            self.parts.scheduler.request(chart.key)
        elif (known.uid, known.generation, known.deleting) != (chart.uid, chart.generation, chart.deleting):
            self.parts.scheduler.request(chart.key, interrupt=True)
        elif known.requests != chart.requests:
            self.parts.scheduler.request(chart.key)

    def deleted(self, chart: ManagedChart) -> None:
        """Remove a deleted ManagedChart, and reconcile the others that claim its release."""
        self.parts.metrics.forget(chart.key)
        for key in self.parts.store.remove(chart.key, uid=chart.uid):
            self.parts.scheduler.request(key)

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
