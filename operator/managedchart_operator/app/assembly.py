"""The operator: builds its parts, connects them, and runs them between kopf's start and end.

kopf reports every change of a ManagedChart (`kopf_source`), most of which are the operator's own writes of the status and the
finalizer; `Operator.seen` decides which of them ask for a pass. `operator` checks before what must be there.
"""

import asyncio
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from managedchart_operator.lifecycle.lifecycles import Lifecycles
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.lifecycle.profiles.subject import RecentLabels
from managedchart_operator.lifecycle.profiles.watch import ProfileWatch
from managedchart_operator.reconcile.consent import Consent
from managedchart_operator.reconcile.label_watch import LabelWatch
from managedchart_operator.reconcile.lifecycle_runs import LifecycleRuns
from managedchart_operator.reconcile.lost_account import LostAccounts
from managedchart_operator.reconcile.operator_removal import OperatorRemoval
from managedchart_operator.reconcile.permission_watch import PermissionWatch
from managedchart_operator.reconcile.planning_places import PlanningPlaces
from managedchart_operator.reconcile.profile_changes import ProfileChanges
from managedchart_operator.reconcile.reconciler import Reconciler
from managedchart_operator.reconcile.release_access import ReleaseAccess
from managedchart_operator.reconcile.release_owners import ReleaseOwners
from managedchart_operator.reconcile.release_watch import ReleaseWatch
from managedchart_operator.reconcile.remediation import Remediation
from managedchart_operator.reconcile.removal import Removal
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.store import Store
from managedchart_operator.reconcile.validations import Validations
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
    asking: Sequence[PermissionWatch | LabelWatch]
    """What asks the API server again and again."""
    access: ReleaseAccess
    profiles: ProfileWatch
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Watch the releases, and reconcile every ManagedChart that was listed before."""
        self._tasks = [
            asyncio.create_task(self.releases.follow(self.client), name="watch of releases"),
            asyncio.create_task(self.profiles.follow(), name="watch of LifecycleProfiles"),
            asyncio.create_task(self.metrics.measure_loop_lag(), name="measurement of the loop lag"),
        ]
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
        elif chart.deleting and known.finalizers != chart.finalizers:
            self.access.owners.ask_next(chart)  # its removal may have ended, although others keep the object
        elif known.requests != chart.requests or self._is_relabelled(known, chart):
            self.scheduler.request(chart.key)

    def _is_relabelled(self, known: ManagedChart, chart: ManagedChart) -> bool:
        return known.labels != chart.labels and self.profiles.profiles.any_by_labels

    def deleted(self, chart: ManagedChart) -> None:
        """Remove a deleted ManagedChart, and reconcile the others that claim its release."""
        self.metrics.forget(chart.key)
        for key in self.store.remove(chart.key, uid=chart.uid):
            self.scheduler.request(key)

    async def stop(self) -> None:
        """End all runs, with SIGTERM first for helm processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.scheduler.drain()
        for each in self.asking:
            await each.close()
        await self.access.close()
        await self.services.close()

    def unhealthy(self) -> str | None:
        """Return why a restart would help, or None."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                return f"The {task.get_name()} has ended: {task.exception()}"
        return None

    def unready(self) -> str | None:
        """Return why nothing can be reconciled yet, or None."""
        return None if self._tasks else "The ManagedCharts are not loaded yet"


async def assemble(
    settings: Settings, *, client: KubeClient, egress: Egress, identity: str, plugins: Plugins
) -> Operator:
    """Build all parts. `identity` marks the helm processes of this operator. Raises StartupError."""
    metrics, store = Metrics(), Store()
    account = await own_account(client)
    objects, events = Objects(client), Events(client, account=account)
    places = plugins.processes.places
    free = Limits().free_memory
    slots = _slots(settings, store, free_memory=lambda: free() - places.growth)
    places.free_memory = lambda: free() - slots.growth
    services = _services(settings, slots, client=client, objects=objects, egress=egress, identity=identity)
    api = ManagedCharts(client, settings.scope)
    validations = Validations(events, metrics)
    profiles = Profiles(known=False)
    labels = RecentLabels(services.namespaces)
    lifecycles = Lifecycles(
        profiles,
        charts=services.charts,
        namespaces=labels,
        plugins=plugins,
        accounts=services.accounts,
        metrics=egress.metrics,
    )
    runs = LifecycleRuns(events, metrics, Remediation(events), settings.probe_seconds, lifecycles, validations)
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
    profile_watch = ProfileWatch(
        client,
        profiles,
        ProfileChanges(store, scheduler, lifecycles).changed,
        seconds=settings.probe_seconds * PERMISSION_PROBES,
        plugins=plugins,
    )
    label_watch = LabelWatch(store, scheduler, profiles, labels, seconds=settings.probe_seconds * PERMISSION_PROBES)
    asking = (grants, label_watch)
    operator = Operator(client, store, scheduler, releases, services, metrics, asking, access, profile_watch)
    _export_readings(operator)
    metrics.observe("managedchart_plugins_broken", "Plug-ins that cannot be used.", lambda: len(plugins.broken))
    metrics.observe("managedchart_plugin_phases_running", "Phases of plug-ins running now.", lambda: places.phases.held)
    return operator


def _access(settings: Settings, store: Store, services: Services, *, client: KubeClient) -> ReleaseAccess:
    consent = Consent(
        services.namespaces,
        lambda identity, permission: is_allowed(client.acting_as(identity), permission),
        identity_of=services.accounts.identity_of,
        needed=settings.cross_namespace == "Consent",
        seconds=settings.probe_seconds * PERMISSION_PROBES,
    )
    return ReleaseAccess(consent, ReleaseOwners(store, refuses=consent.is_known_to_refuse))


def _slots(settings: Settings, store: Store, *, free_memory: Callable[[], int]) -> HelmSlots:
    memory = Limits().memory()
    beside = settings.plugin_bytes(memory)
    return HelmSlots(
        processes=settings.helm_processes,
        applies=settings.apply_slots,
        free_memory=free_memory,
        share=settings.namespace_share,
        # With nobody else there, a part of the CPU would lie idle.
        lends=store.has_one_namespace,
        light=light_for(memory, applies=settings.apply_slots, each=settings.helm_memory, beside=beside),
        growth=settings.helm_memory,
    )


def _services(
    settings: Settings, slots: HelmSlots, *, client: KubeClient, objects: Objects, egress: Egress, identity: str
) -> Services:
    helm = HelmRunner(
        binary=settings.helm_binary,
        environment=environment(settings.helm_home),
        slots=slots,
        identity=identity,
        limits=settings.child_limits,
    )
    roots = ChartRoots(settings.chart_roots)
    return Services(
        helm=helm,
        charts=ChartStore(
            roots=roots,
            cache_dir=settings.cache_dir,
            pull=partial(pull, helm, egress),
            egress=egress,
            share=settings.namespace_share,
        ),
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
