"""The operator: builds its parts, connects them, and runs them between kopf's start and end.

kopf reports every change of a ManagedChart (`kopf_source`), most of which are the operator's own writes of the status and the
finalizer; `Operator.seen` decides which of them ask for a pass. `operator` checks before what must be there.
"""

import asyncio
import resource
from dataclasses import dataclass
from functools import partial

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.app.settings import Settings
from managedchart_operator.charts.by_helm import pull
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.diagnosis.collector import Collector
from managedchart_operator.diagnosis.namespace_watch import NamespaceWatches
from managedchart_operator.egress.calls import Egress
from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.helm.binary import environment
from managedchart_operator.helm.limits import Limits
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import RESERVED_BYTES, HelmSlots, light_for
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.definition import Definition
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.logs import Logs
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.namespaces import Namespaces
from managedchart_operator.kube.objects import Objects
from managedchart_operator.kube.permissions import is_allowed
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.kube.service_accounts import ServiceAccounts
from managedchart_operator.kube.whoami import own_account
from managedchart_operator.reconcile.consent import Consent
from managedchart_operator.reconcile.lifecycle_runs import LifecycleRuns
from managedchart_operator.reconcile.lost_account import LostAccounts
from managedchart_operator.reconcile.operator_removal import OperatorRemoval
from managedchart_operator.reconcile.permission_watch import PermissionWatch
from managedchart_operator.reconcile.planning_places import PlanningPlaces
from managedchart_operator.reconcile.reconciler import Reconciler
from managedchart_operator.reconcile.release_access import ReleaseAccess
from managedchart_operator.reconcile.release_owners import ReleaseOwners
from managedchart_operator.reconcile.release_watch import ReleaseWatch
from managedchart_operator.reconcile.remediation import Remediation
from managedchart_operator.reconcile.removal import Removal
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.store import Store
from managedchart_operator.waiting.until_ready import ReadyWaits, waits_for

# Asking for a permission is cheaper than an attempt: with the default, every 30 s instead of every 10 min.
PERMISSION_PROBES = 1 / 20


@dataclass(slots=True)
class Operator:
    """The parts of a running operator. kopf calls `start`, `seen`, `deleted` and `stop`."""

    client: KubeClient
    store: Store
    scheduler: Scheduler
    releases: ReleaseWatch
    services: Services
    metrics: Metrics
    grants: PermissionWatch
    access: ReleaseAccess
    _release_watch: asyncio.Task[None] | None = None
    _lag_meter: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Watch the releases, and reconcile every ManagedChart that was listed before."""
        self._release_watch = asyncio.create_task(self.releases.follow(self.client), name="watch of releases")
        self._lag_meter = asyncio.create_task(self.metrics.measure_loop_lag(), name="loop lag")
        for key in self.store:
            self.scheduler.request(key)

    def seen(self, chart: ManagedChart) -> None:
        """Handle a ManagedChart that was listed, created or changed; a run whose input is out of date is interrupted."""
        known = self.store.get(chart.key)
        self.store.put(chart)
        if known is None:
            self.scheduler.request(chart.key)
        elif (known.uid, known.generation, known.deleting) != (chart.uid, chart.generation, chart.deleting):
            self.scheduler.request(chart.key, interrupt=True)
        elif known.requests != chart.requests:
            self.scheduler.request(chart.key)

    def deleted(self, chart: ManagedChart) -> None:
        """Remove a deleted ManagedChart, and reconcile the others that claim its release."""
        self.metrics.forget(chart.key)
        for key in self.store.remove(chart.key, uid=chart.uid):
            self.scheduler.request(key)

    async def stop(self) -> None:
        """End all runs, with SIGTERM first for helm processes."""
        tasks = [task for task in (self._release_watch, self._lag_meter) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.scheduler.drain()
        await self.grants.close()
        await self.access.close()
        await self.services.close()

    def unhealthy(self) -> str | None:
        """Return why a restart would help, or None."""
        watch = self._release_watch
        if watch and watch.done() and not watch.cancelled():
            return f"The watch of releases has ended: {watch.exception()}"
        return None

    def unready(self) -> str | None:
        """Return why nothing can be reconciled yet, or None."""
        return None if self._release_watch else "The ManagedCharts are not loaded yet"


async def assemble(settings: Settings, *, client: KubeClient, egress: Egress, identity: str) -> Operator:
    """Build all parts. `identity` marks the helm processes of this operator. Raises StartupError."""
    metrics, store = Metrics(), Store()
    account = await own_account(client)
    objects, events = Objects(client), Events(client, account=account)
    services = _services(settings, store, client=client, objects=objects, egress=egress, identity=identity)
    api = ManagedCharts(client, settings.scope)
    runs = LifecycleRuns(events, metrics, Remediation(events), settings.probe_seconds)
    operator_removal = OperatorRemoval(
        Definition(client, settings.scope),
        services.namespaces,
        own_namespace=account.namespace if account else None,
        uninstall_with_crd=settings.uninstall_with_crd,
    )
    access = _access(settings, store, services, client=client)
    lost = LostAccounts(services.namespaces, services.secrets, events, as_operator=settings.delete_as_operator)
    removal = Removal(services, api, events, runs, operator_removal, access, lost)
    grants = PermissionWatch(services.accounts.granted, seconds=settings.probe_seconds * PERMISSION_PROBES)
    planning = PlanningPlaces(share=settings.namespace_share)
    reconciler = Reconciler(store, services, api, events, metrics, runs, removal, grants, planning)
    scheduler = Scheduler(reconciler.reconcile)
    grants.when_granted(scheduler.request)
    access.when_changed(scheduler.request)
    releases = ReleaseWatch(store, scheduler, settings.scope)
    scheduler.when_idle(releases.run_ended)
    operator = Operator(client, store, scheduler, releases, services, metrics, grants, access)
    _export_readings(operator)
    return operator


def _access(settings: Settings, store: Store, services: Services, *, client: KubeClient) -> ReleaseAccess:
    consent = Consent(
        services.namespaces,
        lambda identity, permission: is_allowed(client.acting_as(identity), permission),
        identity_of=services.accounts.identity_of,
        needed=settings.cross_namespace == "Consent",
        seconds=settings.probe_seconds * PERMISSION_PROBES,
    )
    return ReleaseAccess(consent, ReleaseOwners(store))


def _services(
    settings: Settings, store: Store, *, client: KubeClient, objects: Objects, egress: Egress, identity: str
) -> Services:
    helm = HelmRunner(
        binary=settings.helm_binary,
        environment=environment(settings.helm_home),
        slots=HelmSlots(
            processes=settings.helm_processes,
            applies=settings.apply_slots,
            free_memory=Limits().free_memory,
            share=settings.namespace_share,
            # With nobody else there, a part of the CPU would lie idle.
            lends=store.has_one_namespace,
            light=light_for(Limits().memory(), applies=settings.apply_slots, each=settings.helm_memory),
            growth=settings.helm_memory,
        ),
        identity=identity,
        limits=settings.child_limits,
    )
    roots = ChartRoots(settings.chart_roots)
    return Services(
        helm=helm,
        charts=ChartStore(roots=roots, cache_dir=settings.cache_dir, pull=partial(pull, helm, egress), egress=egress),
        roots=roots,
        secrets=ReleaseSecrets(client),
        namespaces=Namespaces(client),
        collector=Collector(objects, Logs(client)),
        watches=NamespaceWatches(client),
        waits=ReadyWaits(
            client,
            objects,
            places=FairSlots(waits_for(Limits().memory() - RESERVED_BYTES), share=settings.namespace_share),
        ),
        accounts=ServiceAccounts(client, default=settings.default_service_account),
    )


def _export_readings(operator: Operator) -> None:
    """Export the metrics that are read from the parts at each scrape."""
    observe, helm = operator.metrics.observe, operator.services.helm
    observe("managedchart_helm_processes", "helm processes running now.", lambda: helm.slots.running)
    observe("managedchart_helm_applying", "helm processes rendering or applying now.", lambda: helm.slots.applying)
    observe("managedchart_helm_processes_started_total", "helm processes started.", lambda: helm.started)
    observe("managedchart_helm_cpu_seconds_total", "CPU time of the helm processes that have ended.", _helm_cpu_seconds)
    observe("managedchart_api_requests_total", "Requests to the API server.", lambda: operator.client.requests_total)
    observe("managedchart_resources", "ManagedCharts known.", lambda: len(operator.store))
    observe("managedchart_reconciles_running", "Resources being reconciled now.", lambda: operator.scheduler.active)


def _helm_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
