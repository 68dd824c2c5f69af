"""Builds the parts of the operator and connects them; nothing here runs.

Each part that takes more than its constructor has a function. `operator` starts and stops what is in `Parts`.
"""

import resource
from dataclasses import dataclass
from functools import partial

from managedchart_operator.app.cache_folder import helm_home
from managedchart_operator.app.chart_events import ChartEvents
from managedchart_operator.app.loop_lag import LoopLag
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.app.settings import Settings
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.pull import pull
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.diagnosis.collector import Collector
from managedchart_operator.diagnosis.namespace_watch import NamespaceWatches
from managedchart_operator.helm.binary import environment
from managedchart_operator.helm.limits import Limits
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import RESERVED_BYTES, HelmSlots
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.definition import Definition
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.logs import Logs
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.namespaces import Namespaces
from managedchart_operator.kube.objects import Objects
from managedchart_operator.kube.releases import ReleaseSecrets
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


@dataclass(frozen=True, slots=True)
class Parts:
    """What `operator` starts, stops or reads."""

    client: KubeClient
    store: Store
    scheduler: Scheduler
    events: ChartEvents
    releases: ReleaseWatch
    services: Services
    metrics: Metrics
    lag: LoopLag


async def assemble(settings: Settings, *, client: KubeClient, identity: str) -> Parts:
    """Build all parts. `identity` marks the helm processes of this operator. Raises StartupError."""
    metrics, store = Metrics(), Store()
    objects, events = Objects(client), Events(client)
    services = _services(settings, client=client, objects=objects, identity=identity)
    api, planner = ManagedCharts(client), Planner(store, services)
    runs = LifecycleRuns(events, metrics, Remediation(events), settings.probe_seconds)
    operator_removal = OperatorRemoval(
        Definition(client),
        Namespaces(client),
        own_namespace=await own_namespace(client),
        uninstall_with_crd=settings.uninstall_with_crd,
    )
    removal = Removal(planner, api, events, runs, operator_removal)
    reconciler = Reconciler(store, api, events, metrics, planner, runs, removal)
    scheduler = Scheduler(reconciler.reconcile)
    releases = ReleaseWatch(store, scheduler)
    scheduler.when_idle(releases.run_ended)
    parts = Parts(
        client=client,
        store=store,
        scheduler=scheduler,
        events=ChartEvents(store, scheduler, forget=metrics.forget),
        releases=releases,
        services=services,
        metrics=metrics,
        lag=LoopLag(),
    )
    _export_readings(parts)
    return parts


def _services(settings: Settings, *, client: KubeClient, objects: Objects, identity: str) -> Services:
    helm = _helm(settings, identity=identity)
    roots = ChartRoots(settings.chart_roots)
    charts = ChartStore(roots=roots, cache_dir=settings.cache_dir, pull=partial(pull, helm))
    return Services(
        helm=helm,
        charts=charts,
        inputs=InputReader(charts, roots),
        secrets=ReleaseSecrets(client),
        namespaces=Namespaces(client),
        collector=Collector(objects, Logs(client)),
        watches=NamespaceWatches(client),
        waits=ReadyWaits(client, objects, at_once=waits_for(Limits().memory() - RESERVED_BYTES)),
    )


def _helm(settings: Settings, *, identity: str) -> HelmRunner:
    slots = HelmSlots(processes=settings.helm_processes, applies=settings.apply_slots, free_memory=Limits().free_memory)
    return HelmRunner(
        binary=settings.helm_binary,
        environment=environment(helm_home(settings.cache_dir)),
        slots=slots,
        identity=identity,
    )


def _export_readings(parts: Parts) -> None:
    """Export the metrics that are read from the parts at each scrape."""
    observe, helm = parts.metrics.observe, parts.services.helm
    observe("managedchart_helm_processes", "helm processes running now.", lambda: helm.slots.running)
    observe("managedchart_helm_applying", "helm processes rendering or applying now.", lambda: helm.slots.applying)
    observe("managedchart_helm_processes_started_total", "helm processes started.", lambda: helm.started)
    observe("managedchart_helm_cpu_seconds_total", "CPU time of the helm processes that have ended.", _helm_cpu_seconds)
    observe(
        "managedchart_loop_lag_max_seconds",
        "Longest delay of the event loop since the start.",
        lambda: parts.lag.max_seconds,
    )
    observe("managedchart_api_requests_total", "Requests to the API server.", lambda: parts.client.requests_total)
    observe("managedchart_resources", "ManagedCharts known.", lambda: len(parts.store))
    observe("managedchart_reconciles_running", "Resources being reconciled now.", lambda: parts.scheduler.active)


def _helm_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
