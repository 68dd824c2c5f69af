"""A small world for the reconciler: a helm that keeps its revisions in memory, and the API server's side of one resource.

Helm does what it is told and nothing else: it makes revisions with the labels that it is given, and fails with the text that a
test has put down for a command. No pods, no waiting: `spec.wait` is false in all of it.
"""

import asyncio
import base64
import copy
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

from managedchart_operator.api.resource import FINALIZER, Key, ManagedChart
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.metadata import ChartMetadata
from managedchart_operator.charts.store import Chart
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.diagnosis.evidence import Cause
from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.helm.child_limits import ChildLimits
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.namespaces import NamespaceState
from managedchart_operator.kube.objects import Objects
from managedchart_operator.kube.permissions import IMPERSONATE, MissingPermission, Permission
from managedchart_operator.kube.scope import Scope
from managedchart_operator.kube.service_accounts import ServiceAccounts
from managedchart_operator.lifecycle.lifecycles import Lifecycles
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.lifecycle.profiles.subject import RecentLabels
from managedchart_operator.reconcile.consent import Consent
from managedchart_operator.reconcile.lifecycle_runs import LifecycleRuns
from managedchart_operator.reconcile.lost_account import LostAccounts
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.operator_removal import OperatorRemoval
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.permission_watch import PermissionWatch
from managedchart_operator.reconcile.reconciler import Reconciler
from managedchart_operator.reconcile.release_access import ReleaseAccess
from managedchart_operator.reconcile.release_owners import ReleaseOwners
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.remediation import Remediation
from managedchart_operator.reconcile.removal import Removal
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.sources import Sources
from managedchart_operator.reconcile.store import Store
from managedchart_operator.reconcile.validations import Validations
from unit.reconcile.fakes import FakeApi, FakeEvents, FakeTelemetry, chart

MADE = "2026-01-01T00:00:00Z"
MANIFEST = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"


class FakeSecrets:
    """The release Secrets of one release; the names of those that were rewritten."""

    def __init__(self) -> None:
        self.secrets: dict[int, dict[str, Any]] = {}
        self.failure: Exception | None = None
        self.on_create: Callable[[], None] | None = None
        self.manifest = MANIFEST
        """What the next revision renders."""

    @property
    def statuses(self) -> list[str]:
        """Helm's statuses, oldest first."""
        return [secret["metadata"]["labels"]["status"] for _, secret in sorted(self.secrets.items())]

    def add(
        self, status: str, labels: Mapping[str, str] | None = None, *, description: str = "Upgrade complete"
    ) -> None:
        """Make the next revision."""
        number = max(self.secrets, default=0) + 1
        document = {
            "name": "web",
            "version": number,
            "manifest": self.manifest,
            "hooks": [],
            "info": {"status": status, "description": description if status == "deployed" else ""},
            "chart": {"metadata": {"name": "web", "version": "1.0.0"}},
            "apply_method": "ssa",
        }
        packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(document).encode()))).decode()
        self.secrets[number] = {
            "metadata": {
                "name": f"sh.helm.release.v1.web.v{number}",
                "namespace": "apps",
                "resourceVersion": "1",
                "creationTimestamp": MADE,
                "labels": {"owner": "helm", "name": "web", "version": str(number), "status": status, **(labels or {})},
            },
            "data": {"release": packed},
        }

    def mark(self, status: str, *, of: str) -> None:
        """Give the revisions of a status another one."""
        for secret in self.secrets.values():
            labels = secret["metadata"]["labels"]
            labels["status"] = status if labels["status"] == of else labels["status"]

    async def list_metadata(self, **_: str) -> list[dict[str, Any]]:
        """As helm's label selector does."""
        if self.failure is not None:
            raise self.failure
        return [secret["metadata"] for secret in self.secrets.values()]

    async def read(self, *, namespace: str, name: str) -> dict[str, Any] | None:
        """One of them."""
        assert namespace == "apps"
        return next((found for found in self.secrets.values() if found["metadata"]["name"] == name), None)

    def acting_as(self, _: Identity | None) -> Self:
        """Who reads makes no difference here."""
        return self

    async def rewrite(self, secret: dict[str, Any], *, release: str, labels: dict[str, str], own: bool = False) -> None:
        """Replace data and labels."""
        secret["metadata"]["labels"], secret["data"] = labels, {"release": release}

    async def create(self, *, namespace: str, name: str, release: str, labels: dict[str, str]) -> None:
        """Of a revision that is made for a rollback; `on_create` is called then."""
        meta = {
            "name": name,
            "namespace": namespace,
            "resourceVersion": "1",
            "creationTimestamp": MADE,
            "labels": labels,
        }
        self.secrets[int(labels["version"])] = {"metadata": meta, "data": {"release": release}}
        if self.on_create is not None:
            self.on_create()

    async def delete(self, *, namespace: str, name: str) -> None:
        """Of purged revisions."""
        assert namespace == "apps"
        self.secrets = {n: found for n, found in self.secrets.items() if found["metadata"]["name"] != name}


class FakeHelm:
    """A helm without objects. `refusals` are the texts with which a command fails, each once, oldest first."""

    def __init__(self, secrets: FakeSecrets) -> None:
        self.ran: list[list[str]] = []
        self.refusals: dict[str, list[str]] = {}
        self.manifest = MANIFEST
        """What the chart renders in a dry run."""
        self.killed_in: str | None = None
        """The command that is killed: it leaves a pending revision, and the run is cancelled."""
        self.stopped_after: str | None = None
        """The command after which the run is cancelled."""
        self.on_behalf: tuple[str, str | None] = ("", None)
        """The namespace of the ManagedChart, and whom helm impersonates."""
        self.limits = ChildLimits()
        self._secrets = secrets

    @property
    def commands(self) -> list[str]:
        """The commands that ran."""
        return [arguments[0] for arguments in self.ran]

    def on_behalf_of(self, namespace: str, *, user: str | None) -> Self:
        """Remember on whose behalf."""
        self.on_behalf = (namespace, user)
        return self

    def clear_discovery_cache(self) -> None:
        """It remembers nothing."""

    async def run(self, arguments: list[str], *, before: Any = None, **_: Any) -> HelmOutput:
        """Do it, or fail."""
        if before is not None:
            await before()
        command = arguments[0]
        self.ran.append(arguments)
        refusals = self.refusals.get(command) or []
        refusal = refusals.pop(0) if refusals else ""
        if command == "template":
            return HelmOutput(self.manifest.encode(), "", 0)
        if any(str(argument).startswith("--dry-run=") for argument in arguments):
            document = json.dumps({"manifest": self.manifest}).encode()
            return HelmOutput(document, refusal, 1 if refusal else 0)
        if command == self.killed_in:
            self._secrets.add("pending-upgrade", _labels(arguments))
            raise asyncio.CancelledError
        getattr(self, f"_{command}")(arguments, failed=bool(refusal))
        if command == self.stopped_after:
            raise asyncio.CancelledError
        return HelmOutput(b"", refusal, 1 if refusal else 0)

    def _upgrade(self, arguments: list[str], *, failed: bool) -> None:
        if not failed:
            self._secrets.mark("superseded", of="deployed")
        self._secrets.add("failed" if failed else "deployed", _labels(arguments))

    def _rollback(self, arguments: list[str], *, failed: bool) -> None:
        target = self._secrets.secrets[int(arguments[2])]["metadata"]["labels"]
        if not failed:
            self._secrets.mark("superseded", of="deployed")
            self._secrets.mark("superseded", of="failed")
        kept = {name: value for name, value in target.items() if name not in ("version", "status")}
        description = next(text for text in arguments if text.startswith("--description=")).partition("=")[2]
        self._secrets.add("failed" if failed else "deployed", kept, description=description)

    def _uninstall(self, _: list[str], *, failed: bool) -> None:
        if not failed:
            self._secrets.secrets.clear()


def _labels(arguments: list[str]) -> dict[str, str]:
    given = next((text for text in arguments if str(text).startswith("--labels=")), "--labels=").partition("=")[2]
    return dict(pair.split("=", 1) for pair in given.split(",") if pair)


class FakeManagedCharts(FakeApi):
    """The API server's side of the resource."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.scope = Scope()
        self._store = store

    async def patch_status(self, key: Key, uid: str, patch: Mapping[str, Any]) -> ManagedChart | None:
        """The answer has the object's metadata."""
        answer, known = await super().patch_status(key, uid, patch), self._store.get(key)
        return replace(answer, finalizers=known.finalizers) if answer and known else answer

    async def add_finalizer(self, resource: ManagedChart) -> bool:
        """It is there before anything is deployed."""
        self._store.put(replace(resource, finalizers=(FINALIZER,), resource_version=resource.resource_version + 1))
        return True

    async def remove_finalizer(self, resource: ManagedChart) -> None:
        """The object is gone then."""
        self._store.remove(resource.key, uid=resource.uid)


class FakeCharts:
    """One chart, that is in the cache; `failure` is raised when it is identified."""

    egress = None
    remote = False
    """Whether it is in a repository."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def check_source(self, _: Any) -> None:
        """Every one is allowed."""

    def of(self, _: str) -> "FakeCharts":
        """For every namespace."""
        return self

    async def fingerprint(self, _: Any) -> str:
        """Always the same chart."""
        if self.failure is not None:
            raise self.failure
        return "fingerprint"

    async def metadata(self, _: Any) -> ChartMetadata | None:
        """That of the one chart, unless it has to be fetched."""
        return None if self.remote else ChartMetadata("web", "1.0.0", None)

    async def fetch(self, *_: Any, **__: Any) -> Chart:
        """It needs no network."""
        return Chart(
            Path("/charts/web"), ChartMetadata("web", "1.0.0", None), "digest", late_hooks=False, ttl_jobs=False
        )


class FakePermissions:
    """The operator may do everything but what a test forbids."""

    def __init__(self) -> None:
        self.denied: set[Permission] = set()
        self.for_a_moment = False
        """Whether the refusals are those of an API server that has just started."""

    async def allowed(self, permission: Permission) -> bool:
        """Whether it was not forbidden."""
        return permission not in self.denied

    async def refused_for_a_moment(self, _: str) -> bool:
        """As a test has put it down."""
        return self.for_a_moment

    async def on(self, verb: str, *, api_version: str, kind: str, namespace: str) -> Permission:
        """All kinds are in a namespace, and have a regular plural."""
        return Permission(verb, f"{kind.lower()}s", api_version.rpartition("/")[0], namespace)


class FakeAccounts:
    """The ServiceAccounts, which all exist unless they are `missing`."""

    identity_of, check = ServiceAccounts.identity_of, ServiceAccounts.check

    def __init__(self, permissions: FakePermissions) -> None:
        self.default: str | None = None
        self.missing = False
        self.can_impersonate = True
        self._permissions = permissions

    async def granted(self, missing: MissingPermission, _: Identity | None) -> bool:
        """Whether the account is there, or the permission was not forbidden."""
        if missing.permission.verb == IMPERSONATE:
            return self.can_impersonate and not self.missing
        return await self._permissions.allowed(missing.permission)

    async def _metadata(self, _: Identity) -> dict[str, Any] | None:
        return None if self.missing else {"uid": "s1"}


class FakeCrds:
    """What the cluster serves."""

    async def kube_version(self) -> str:
        """A recent one."""
        return "1.37.0"

    async def api_versions(self) -> frozenset[str]:
        """The core."""
        return frozenset({"v1"})


class FakeCluster:
    """No objects but those that a test puts there, and namespaces that exist."""

    def __init__(self) -> None:
        self.namespace = NamespaceState.ACTIVE
        self.objects: dict[str, dict[str, Any]] = {}
        self.not_replaced: Cause | None = None
        """The pod of an earlier revision for which a StatefulSet waits."""
        self.permissions = FakePermissions()
        self.namespace_labels: dict[str, str] = {}
        self.account_permissions: set[Permission] = set()
        """What the account of the resource may do."""
        self.identity: Identity | None = None
        self.crds = FakeCrds()

    def acting_as(self, identity: Identity | None) -> Self:
        """The same cluster, for somebody else."""
        other = copy.copy(self)
        other.identity = identity
        return other

    locate, locate_all, resolve = Objects.locate, Objects.locate_all, Objects.resolve

    async def state(self, _: str) -> NamespaceState:
        """How every namespace stands."""
        return self.namespace

    async def labels(self, _: str) -> dict[str, str] | None:
        """Of every namespace, if it exists."""
        return None if self.namespace is NamespaceState.MISSING else self.namespace_labels

    async def account_may(self, _: Identity, permission: Permission) -> bool:
        """Whether a test has allowed it."""
        return permission in self.account_permissions

    async def namespaced(self, *_: Any) -> bool:
        """All kinds are."""
        return True

    async def served_version(self, api_version: str, _: str) -> str:
        """All kinds are served."""
        return api_version

    async def get(self, ref: Any) -> dict[str, Any] | None:
        """By name."""
        return self.objects.get(ref.name)

    async def list(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        """For the fields of other managers."""
        return list(self.objects.values())

    async def collect(self, *_: Any, **__: Any) -> Findings:
        """No evidence."""
        return Findings()

    async def find_not_replaced(self, *_: Any) -> Cause | None:
        """As a test has put it down."""
        return self.not_replaced


@dataclass
class World:
    """Everything around one ManagedChart `apps/web`."""

    store: Store = field(default_factory=Store)
    secrets: FakeSecrets = field(default_factory=FakeSecrets)
    events: FakeEvents = field(default_factory=FakeEvents)
    telemetry: FakeTelemetry = field(default_factory=FakeTelemetry)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    charts: FakeCharts = field(default_factory=FakeCharts)
    keeps: str = ""
    """Why the removal of the operator keeps the release."""
    delete_as_operator: bool = False
    home: str = "apps"
    """The namespace of the ManagedChart; its release is always in `apps`."""
    plugins: Plugins | None = None
    """The plug-ins of the operator."""
    profiles: Profiles = field(default_factory=Profiles)
    """The LifecycleProfiles of the cluster."""
    asks_consent: bool = False
    """Whether a release in another namespace needs the consent of that namespace."""
    validations: Validations | None = None
    """The validations of an operator that goes on running; else each pass is one of an operator that has just started."""

    def __post_init__(self) -> None:
        self.helm, self.api = FakeHelm(self.secrets), FakeManagedCharts(self.store)
        self.accounts = FakeAccounts(self.cluster.permissions)

    def put(self, spec: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Apply the resource: with its spec changed it has the next generation."""
        known = self.resource
        before = known.spec if known else {"chart": {"path": "/charts/web"}, "wait": False, "failFast": False}
        generation = (known.generation if known else 0) + (0 if known and spec is None else 1)
        version = (known.resource_version if known else 0) + 100
        self.store.put(
            chart(
                namespace=self.home,
                spec={**before, "targetNamespace": "apps", **(spec or {})},
                status=dict(self.api.status),
                **{
                    "finalizers": known.finalizers if known else (),
                    "generation": generation,
                    "resource_version": version,
                    **fields,
                },
            )
        )
        self.api.version = version

    def retry_now(self) -> None:
        """Let the time of the next attempt be over."""
        self.api.status["attempt"]["nextRetryAt"] = MADE
        self.put()

    @property
    def resource(self) -> ManagedChart | None:
        """The resource as the operator knows it."""
        return self.store.get(self._key)

    @property
    def status(self) -> dict[str, Any]:
        """The status as the API server has it."""
        return self.api.status

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition, or {}."""
        return next((item for item in self.status.get("conditions") or [] if item["type"] == kind), {})

    def event_messages(self, reason: str) -> list[str]:
        """The messages of the Events of a reason."""
        return [message for _, known, message in self.events.posted if known == reason]

    async def reconcile(self) -> float | None:
        """One pass of an operator that has just started: nothing is remembered from the one before."""
        return await self.reconciler().reconcile(self._key)

    def reconciler(self) -> Reconciler:
        """Put the real parts together over the fakes."""
        services = cast("Any", self._services())
        events, api, telemetry = cast("Any", self.events), cast("Any", self.api), self.telemetry
        validations = self.validations or Validations(events, telemetry)
        runs = LifecycleRuns(
            events, telemetry, Remediation(events), 600.0, self._lifecycles(services.accounts), validations
        )
        operator_removal = cast("Any", SimpleNamespace(why_kept=self._why_kept, check=self._check))
        consent = Consent(
            cast("Any", self.cluster),
            self.cluster.account_may,
            identity_of=lambda _: None,
            needed=self.asks_consent,
            seconds=3600.0,
        )
        access = ReleaseAccess(consent, ReleaseOwners(self.store))
        secrets, namespaces = cast("Any", self.secrets), cast("Any", self.cluster)
        lost = LostAccounts(namespaces, secrets, events, as_operator=self.delete_as_operator)
        removal = Removal(services, api, events, runs, operator_removal, access, lost)
        grants = PermissionWatch(services.accounts.granted, seconds=3600.0)
        return Reconciler(self.store, services, api, events, telemetry, runs, removal, grants)

    @property
    def _key(self) -> Key:
        return Key(self.home, "web")

    async def release_run(self, spec: Mapping[str, Any] | None = None) -> ReleaseRun:
        """A run over the release, of which the revisions are observed."""
        model = ManagedChartSpec.model_validate({"chart": {"path": "/charts/web"}, "wait": False, **(spec or {})})
        services = self._services()
        storage = ReleaseStorage(services.secrets, "apps", "web", Ownership("uid-web"))
        await storage.observe()
        return ReleaseRun.begin(
            services, model, storage, Sources(services, model, "web"), Journal(), in_own_namespace=True
        )

    async def _why_kept(self, _: ManagedChart, **__: Any) -> str | None:
        return self.keeps or None

    async def _check(self, resource: ManagedChart) -> None:
        await OperatorRemoval.check(cast("Any", SimpleNamespace(why_kept=self._why_kept)), resource)

    def _lifecycles(self, accounts: ServiceAccounts) -> Lifecycles:
        namespaces = RecentLabels(self.cluster)
        return Lifecycles(
            self.profiles, charts=self.charts, namespaces=namespaces, accounts=accounts, plugins=self.plugins
        )

    def _services(self) -> Services:
        cluster = cast("Any", self.cluster)
        return Services(
            helm=cast("Any", self.helm),
            charts=cast("Any", self.charts),
            roots=ChartRoots([]),
            secrets=cast("Any", self.secrets),
            namespaces=cluster,
            collector=cast("Any", FakeCollector(self.cluster)),
            watches=cast("Any", FakeWaits()),
            waits=cast("Any", FakeWaits()),
            accounts=cast("Any", self.accounts),
        )


class FakeCollector:
    """Collects what the cluster has."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.objects = cluster
        self.collect, self.find_not_replaced = cluster.collect, cluster.find_not_replaced

    def acting_as(self, identity: Identity | None) -> "FakeCollector":
        """For somebody else."""
        return FakeCollector(self.objects.acting_as(identity))


class FakeWaits:
    """Nobody waits."""

    def __init__(self) -> None:
        self.places = FairSlots(8, share=1.0)

    def acting_as(self, _: Identity | None) -> Self:
        """For somebody else."""
        return self
