"""Puts the parts together and runs them under kopf.

Purpose: kopf watches ManagedCharts; everything else starts and stops here, in one order. Boundary: wiring only. Invariants:
kopf's handler only hands over what it saw; when `run` returns, no helm process of ours is left.

kopf's change handlers (create, update, delete) are not used: they run one after another for an object and cannot be
cancelled, and they write annotations. Its event handler gives what a level-triggered operator needs.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import logging
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import kopf

from managedchart_operator import __version__
from managedchart_operator.api.resource import GROUP, PLURAL, VERSION, ManagedChart
from managedchart_operator.app.http import HttpServer
from managedchart_operator.app.kopf_session import KopfSessions
from managedchart_operator.app.loop_lag import LoopLag
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.app.no_diffs import NoDiffs
from managedchart_operator.app.settings import Settings
from managedchart_operator.app.watch_end import check_still_served
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.pull import pull
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.diagnosis.collector import Collector
from managedchart_operator.diagnosis.namespace_watch import NamespaceWatches
from managedchart_operator.errors import StartupError
from managedchart_operator.helm.binary import check_version, environment
from managedchart_operator.helm.limits import Limits
from managedchart_operator.helm.runner import HelmRunner, end_orphans
from managedchart_operator.helm.slots import RESERVED_BYTES, HelmSlots
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.definition import Definition
from managedchart_operator.kube.events import COMPONENT, Events
from managedchart_operator.kube.logs import Logs
from managedchart_operator.kube.managedcharts import PAGE, ManagedCharts
from managedchart_operator.kube.namespaces import Namespaces
from managedchart_operator.kube.objects import Objects
from managedchart_operator.kube.releases import OWNER_SELECTOR, SECRETS_PATH, ReleaseSecrets
from managedchart_operator.kube.watch import changes
from managedchart_operator.kube.whoami import own_namespace
from managedchart_operator.reconcile.inputs import InputReader
from managedchart_operator.reconcile.lifecycle_runs import LifecycleRuns
from managedchart_operator.reconcile.operator_removal import OperatorRemoval
from managedchart_operator.reconcile.planner import Planner
from managedchart_operator.reconcile.reconciler import Reconciler
from managedchart_operator.reconcile.release_watch import ReleaseWatch
from managedchart_operator.reconcile.remediation import Remediation
from managedchart_operator.reconcile.removal import Removal
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.store import Store
from managedchart_operator.waiting.until_ready import ReadyWaits, waits_for

logger = logging.getLogger(__name__)

# kopf's worker of an object has nothing to wait for, since our handler only hands over; a burst of changes still meets one.
_WORKER_IDLE_SECONDS = 0.1
# Below the cache folder: what helm takes for its home.
_HELM_HOME = "helm"


@dataclass(slots=True)
class Operator:
    """The running operator."""

    settings: Settings
    client: KubeClient
    api: ManagedCharts
    store: Store
    scheduler: Scheduler
    metrics: Metrics
    services: Services
    releases: ReleaseWatch = field(init=False)
    lag: LoopLag = field(default_factory=LoopLag)
    loaded: bool = False
    release_watch: asyncio.Task[None] | None = None
    lag_meter: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.releases = ReleaseWatch(self.store, self.scheduler)
        self.scheduler.when_idle(self.releases.run_ended)

    # ---- what kopf and the release watch report

    def seen(self, chart: ManagedChart) -> None:
        """A ManagedChart was listed or has changed: reconcile it if what it asks for has changed."""
        known = self.store.get(chart.key)
        self.store.put(chart)
        if known is None or known.uid != chart.uid or not self.loaded:
            self.scheduler.request(chart.key, interrupt=known is not None and known.uid != chart.uid)
        elif known.generation != chart.generation or known.deleting != chart.deleting:
            self.scheduler.request(chart.key, interrupt=True)
        elif known.requests != chart.requests:
            self.scheduler.request(chart.key)

    def gone(self, chart: ManagedChart) -> None:
        """A ManagedChart was deleted: whoever waited for its release may have it."""
        self.metrics.forget(chart.key)
        for key in self.store.remove(chart.key, uid=chart.uid):
            self.scheduler.request(key)

    async def watch_releases(self) -> None:
        """Follow the metadata of all release Secrets, for ever."""
        async for change in changes(self.client, SECRETS_PATH, labels=OWNER_SELECTOR, metadata_only=True):
            match change.type:
                case "Listed":
                    self.releases.listed(change.object["items"])
                case "DELETED":
                    self.releases.removed(change.object["metadata"])
                case _:
                    self.releases.changed(change.object["metadata"])

    # ---- life

    async def start(self) -> None:
        """Begin to watch releases."""
        self.release_watch = asyncio.create_task(self.watch_releases(), name="watch of releases")
        self.lag_meter = asyncio.create_task(self.lag.measure(), name="loop lag")

    async def stop(self) -> None:
        """End what runs, helm gracefully."""
        tasks = [task for task in (self.release_watch, self.lag_meter) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.scheduler.drain()
        await self.services.close()

    def unhealthy(self) -> str | None:
        """Why a restart would help, or None."""
        if self.release_watch and self.release_watch.done():
            return f"the watch of releases has ended: {self.release_watch.exception()}"
        return None

    def unready(self) -> str | None:
        """Why nothing can be done yet, or None."""
        return None if self.loaded else "the resources are not loaded yet"


async def run(settings: Settings) -> None:
    """Run the operator until a signal ends it. Raises StartupError when it cannot work here, WatchEndedError when no longer."""
    helm_version = await check_version(settings.helm_binary)
    kubeconfig = os.environ.get("KUBECONFIG")
    client = await KubeClient.connect(kubeconfig=Path(kubeconfig) if kubeconfig else None)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        api = ManagedCharts(client)
        await api.check_installed()
        await ReleaseSecrets(client).check_rights()
        identity = stack.enter_context(_own_cache(settings.cache_dir))
        await end_orphans(identity)
        removal = OperatorRemoval(
            Definition(client),
            Namespaces(client),
            own_namespace=await own_namespace(client),
            uninstall_with_crd=settings.uninstall_with_crd,
        )
        operator, helm = _assemble(settings, client, api, identity, removal)
        metrics = operator.metrics
        metrics.observe("managedchart_helm_processes", "helm processes running now.", lambda: helm.slots.running)
        metrics.observe(
            "managedchart_helm_applying", "helm processes rendering or applying now.", lambda: helm.slots.applying
        )
        metrics.observe("managedchart_helm_processes_started_total", "helm processes started.", lambda: helm.started)
        metrics.observe(
            "managedchart_helm_cpu_seconds_total", "CPU time of the helm processes that have ended.", _helm_cpu_seconds
        )
        metrics.observe(
            "managedchart_loop_lag_max_seconds",
            "How late the event loop was at worst since the start.",
            lambda: operator.lag.max_seconds,
        )
        metrics.observe("managedchart_api_requests_total", "Requests to the API server.", lambda: client.requests_total)
        metrics.observe("managedchart_resources", "ManagedCharts known.", lambda: len(operator.store))
        metrics.observe(
            "managedchart_reconciles_running", "Resources being reconciled now.", lambda: operator.scheduler.active
        )
        server = HttpServer(
            host=settings.http_host,
            port=settings.http_port,
            metrics=metrics,
            healthy=operator.unhealthy,
            ready=operator.unready,
        )
        try:
            port = await server.start()
        except OSError as error:
            address = f"{settings.http_host}:{settings.http_port}"
            raise StartupError(
                f"cannot listen on {address}: {os.strerror(error.errno or 0)}",
                hint="set MANAGEDCHART_HTTP_HOST and MANAGEDCHART_HTTP_PORT to a free address, or 0 for any free port",
            ) from error
        stack.push_async_callback(server.stop)
        async for chart in api.list_all():
            operator.store.put(chart)
        logger.info(
            "managedchart-operator %s with helm %s: %d resources, at most %d helm processes, %d of them applying, http port %d",
            __version__,
            helm_version,
            len(operator.store),
            settings.helm_processes,
            settings.apply_slots,
            port,
        )
        try:
            await kopf.operator(
                registry=_registry(operator),
                settings=_kopf_settings(),
                clusterwide=True,
                standalone=True,
                # Without one kopf asks for the user's name, and a pod's user has none.
                identity=COMPONENT,  # type: ignore[arg-type]  # a NewType of str that kopf does not export
            )
        except Exception:
            await check_still_served(api)
            raise


def _assemble(
    settings: Settings, client: KubeClient, api: ManagedCharts, identity: str, operator_removal: OperatorRemoval
) -> tuple[Operator, HelmRunner]:
    home = settings.cache_dir / _HELM_HOME
    helm = HelmRunner(
        binary=settings.helm_binary,
        environment=environment(home),
        slots=HelmSlots(
            processes=settings.helm_processes, applies=settings.apply_slots, free_memory=Limits().free_memory
        ),
        identity=identity,
    )
    roots = ChartRoots(settings.chart_roots)
    charts = ChartStore(roots=roots, cache_dir=settings.cache_dir, pull=partial(pull, helm))
    metrics, store, objects, events = Metrics(), Store(), Objects(client), Events(client)
    services = Services(
        helm=helm,
        charts=charts,
        inputs=InputReader(charts, roots),
        secrets=ReleaseSecrets(client),
        namespaces=Namespaces(client),
        collector=Collector(objects, events, Logs(client)),
        watches=NamespaceWatches(client),
        waits=ReadyWaits(client, objects, at_once=waits_for(Limits().memory() - RESERVED_BYTES)),
    )
    planner = Planner(store, services)
    runs = LifecycleRuns(events, metrics, Remediation(events), settings.probe_seconds)
    removal = Removal(planner, api, events, runs, operator_removal)
    reconciler = Reconciler(store, api, events, metrics, planner, runs, removal)
    return Operator(settings, client, api, store, Scheduler(reconciler.reconcile), metrics, services), helm


def _helm_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _own_cache(folder: Path) -> Iterator[str]:
    """Hold the cache folder for this process alone; yields the identity that marks our helm processes."""
    try:
        (folder / _HELM_HOME).mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StartupError(
            f"the cache folder {folder} cannot be written: {error.strerror or error}",
            hint="set MANAGEDCHART_CACHE_DIR to a folder that this user may write",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartupError(
                f"another operator uses the cache folder {folder}",
                hint="stop it, or set MANAGEDCHART_CACHE_DIR to a folder of this one's own",
            ) from error
        yield str(folder.resolve())


def _registry(operator: Operator) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    sessions = KopfSessions()

    @kopf.on.login(registry=registry)
    async def _login(**kwargs: Any) -> kopf.AiohttpSession | None:
        if os.environ.get("KUBECONFIG"):
            found = await asyncio.to_thread(kopf.login_with_kubeconfig, **kwargs)
        else:
            found = await asyncio.to_thread(kopf.login_with_service_account, **kwargs)
            # kopf takes a DNS name; the address in the environment, which client-go uses, is there before DNS is.
            found = found and dataclasses.replace(found, server=operator.client.host)
        return None if found is None else sessions.of(found)

    @kopf.on.startup(registry=registry)
    async def _startup(**_: Any) -> None:
        await operator.start()
        for key in operator.store:
            operator.scheduler.request(key)
        operator.loaded = True

    @kopf.on.cleanup(registry=registry)
    async def _cleanup(**_: Any) -> None:
        await operator.stop()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def _event(event: Any, **_: Any) -> None:
        chart = ManagedChart.from_body(event["object"])
        if event["type"] == "DELETED":
            operator.gone(chart)
        else:
            operator.seen(chart)

    return registry


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False  # Events are written by kube.events, also while kopf is shutting down
    settings.persistence.diffbase_storage = NoDiffs()
    settings.scanning.disabled = True  # the CRD was checked at start; no rights to list CRDs are needed
    # Else kopf lists all in one answer, and keeps each object until its worker has been idle for 5 s: with thousands of
    # resources a copy of all of them, whose holes stay in Python's memory.
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = _WORKER_IDLE_SECONDS
    # kopf's own requests are lists and watches only; the API server itself ends others after 60 s.
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    return settings
