"""What an operation costs, in counts that do not depend on the machine: helm processes, requests, writes.

What depends on time has a bound instead of a number: status writes that follow each other at once are gathered into one, and
the watch for signs of failure is opened only beside a run that takes its time. One more than a bound is a regression, and is
to be explained where the bound is raised.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_kind import KindCluster

from conftest import REPOSITORY
from harness.audit import Request, read_audit_log, watches_over_time
from harness.cluster import WAIT_SECONDS, Cluster, cluster_beside, install_operator_objects, managedchart, namespace
from harness.operator_process import OperatorProcess, service_account_kubeconfig

CHART = {"path": str(REPOSITORY / "bench" / "chart")}
STARTED = "managedchart_helm_processes_started_total"
RUNNING, RECONCILING = "managedchart_helm_processes", "managedchart_reconciles_running"
REQUESTS = "managedchart_api_requests_total"
OURS, KOPF, HELM = "managedchart-operator", "kopf", "Helm"
# How long nothing must have been asked any more until an operation counts as over.
QUIET_SECONDS = 0.5
POLL_SECONDS = 0.1

STATUS_WRITE = ("patch", "managedcharts/status")
EVENT = ("create", "events")
FINALIZER = ("patch", "managedcharts")
LOOK = ("list", "secrets")
# What tells whether a release is ready: what it rendered, and each object that may not be ready at once.
READ, OBJECT = ("get", "secrets"), ("get", "deployments")
# Whether it is being deleted, by its metadata: then the release is kept.
CRD = ("get", "customresourcedefinitions")
# Whether the account of a ManagedChart exists, and what marks a revision of its own as failed.
ACCOUNT, MARK = ("get", "serviceaccounts"), ("patch", "secrets")
# The objects that were not ready at the first look: a watch of each kind, shared by all runs in a namespace.
READINESS = ("watch", "deployments")
# Where the kinds of an API group are looked up; once a process.
DISCOVERY = {
    ("get", path) for path in ("/api/v1", "/apis/apps/v1", "/apis/autoscaling/v2", "/apis/networking.k8s.io/v1")
}
# A run that takes its time is watched over: at most a list and a watch of each, shared by all runs in a namespace.
EVIDENCE = {(verb, resource) for verb in ("list", "watch") for resource in ("events", "pods")}
# What makes helm wait for ever: a pod that says nothing and never starts.
NEVER = {"replicaCount": 1, "podAnnotations": {"devcluster.managedchart.dev/fail": "never"}}


@dataclass(frozen=True)
class Costs:
    """What an operation cost. `requests` are the operator's own, by verb and resource; lists that begin a watch included."""

    helm_processes: int
    requests: Counter[tuple[str, str]]
    metered: int
    """The same requests, by the operator's own account."""

    @property
    def fixed(self) -> dict[tuple[str, str], int]:
        """The requests whose number does not depend on how long something took."""
        varying = EVIDENCE | DISCOVERY | {READINESS, STATUS_WRITE}
        return {kind: count for kind, count in self.requests.items() if kind not in varying}

    @property
    def total(self) -> int:
        """All requests."""
        return self.requests.total()


@dataclass(frozen=True)
class Meter:
    """A cluster with an audit log, and an operator that nobody else uses."""

    cluster: Cluster
    operator: OperatorProcess
    log: Path

    def asked(self, *clients: str) -> list[Request]:
        """Return the requests of these programs until now."""
        return [request for request in read_audit_log(self.log) if request.client in clients]

    def costs(self, operation: Callable[[], object]) -> Costs:
        """Carry an operation out and return what it cost until the operator was quiet again."""
        self.until_quiet()
        asked, helms, metered = len(self.asked(OURS)), self.operator.metric(STARTED), self.operator.metric(REQUESTS)
        operation()
        self.until_quiet()
        return Costs(
            helm_processes=int(self.operator.metric(STARTED) - helms),
            requests=Counter((request.verb, request.resource) for request in self.asked(OURS)[asked:]),
            metered=int(self.operator.metric(REQUESTS) - metered),
        )

    def watches(self, namespace: str) -> list[Counter[str]]:
        """Return which watches of a namespace the operator itself had open, by resource, after each change; oldest first."""

        def wanted(request: Request) -> bool:
            return request.client == OURS and request.namespace == namespace

        return [Counter(r.resource for r in state) for state in watches_over_time(self.log, wanted)]

    def until_watched(self, namespace: str, wanted: Counter[str]) -> None:
        """Return when these watches of a namespace are open, and no others."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (now := self.watches(namespace)[-1]) != wanted:
            assert time.monotonic() < deadline, f"the watches of {namespace} are {now}"
            time.sleep(POLL_SECONDS)  # a file of the API server cannot be waited on

    def until_waiting(self, count: int) -> None:
        """Return when so many resources are being reconciled and no helm runs any more."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (self.operator.metric(RECONCILING), self.operator.metric(RUNNING)) != (count, 0):
            assert time.monotonic() < deadline, f"{self.operator.metric(RUNNING):.0f} helms run"
            time.sleep(POLL_SECONDS)  # only the metrics tell

    def until_quiet(self, *, running: int = 0) -> None:
        """Return when so many resources are being reconciled, and the operator asks for nothing any more.

        Events follow the status, so a resource that is Ready may still be reconciled.
        """
        deadline, known = time.monotonic() + WAIT_SECONDS, -1
        while self.operator.metric(RECONCILING) != running or known != len(self.asked(OURS)):
            assert time.monotonic() < deadline, (
                f"{self.operator.metric(RECONCILING):.0f} resources are being reconciled"
            )
            known = len(self.asked(OURS))
            time.sleep(QUIET_SECONDS)  # that nothing more comes cannot be waited for in another way

    def until_asked(self, namespace: str, *, after: int) -> None:
        """Return when the operator has asked for something of a namespace, behind so many requests."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not any(request.namespace == namespace for request in self.asked(OURS)[after:]):
            assert time.monotonic() < deadline, f"nothing of {namespace} was asked for"
            time.sleep(POLL_SECONDS)  # a file of the API server cannot be waited on


@pytest.fixture(scope="module")
def meter(kind_cluster: KindCluster, helm_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meter]:
    """A cluster of this module's own: the audit log has to be asked for when it is created."""
    folder = tmp_path_factory.mktemp("costs")
    log = folder / "audit.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEVCLUSTER_AUDIT_LOG", str(log))
        with cluster_beside(kind_cluster, "costs", folder) as own:
            if not log.exists():
                pytest.skip("this kind of cluster writes no audit log")
            cluster = Cluster(own)
            install_operator_objects(cluster, REPOSITORY)
            kubeconfig = service_account_kubeconfig(cluster, folder / "operator-kubeconfig")
            operator = OperatorProcess(
                kubeconfig=kubeconfig, folder=folder, helm=helm_binary, chart_roots=[REPOSITORY / "bench" / "chart"]
            )
            with operator:
                yield Meter(cluster, operator, log)


@pytest.fixture
def ns(meter: Meter, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).removeprefix("test-")[:40].strip("-")
    with namespace(meter.cluster, name) as made:
        yield made


def test_an_install_costs_one_helm_and_few_requests(meter: Meter, ns: str) -> None:
    """The finalizer, a look before and after, what helm has applied, two Events, the status at the beginning and the end."""
    costs = meter.costs(lambda: _ready(meter, ns))
    assert costs.helm_processes == 1
    assert costs.fixed == {FINALIZER: 1, LOOK: 2, EVENT: 2, READ: 1, OBJECT: 1}, costs
    assert costs.requests[READINESS] <= 1, costs
    assert costs.requests[STATUS_WRITE] <= 4, costs


def test_an_upgrade_costs_one_helm_and_few_requests(meter: Meter, ns: str) -> None:
    """As an install, without finalizer.

    Before it, a look at what was rendered, at who manages the fields of each object, and at the autoscalers.
    """
    _ready(meter, ns)
    costs = meter.costs(lambda: _ready(meter, ns, values={"image": {"tag": "2.0"}}))
    assert costs.helm_processes == 1
    managers = {("list", kind): 1 for kind in ("deployments", "services", "serviceaccounts", "ingresses")}
    managers["list", "horizontalpodautoscalers"] = 1
    assert costs.fixed == {LOOK: 2, EVENT: 2, READ: 2, OBJECT: 1, **managers}, costs
    assert costs.requests[READINESS] <= 1, costs
    assert costs.requests[STATUS_WRITE] <= 4, costs


def test_an_account_costs_one_more_request_and_sends_the_others(meter: Meter, ns: str) -> None:
    """The operator reads whether the account exists, before each run; impersonation itself costs none.

    The operator itself sends only what an account cannot do for it: it keeps the ManagedChart, lists the metadata of release
    Secrets, reads the account and its own CRD, and looks up the kinds that everybody may look up.
    """
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer"}}
    meter.cluster.apply(account, namespace=ns)
    meter.cluster.kubectl(
        "create",
        "rolebinding",
        "deployer",
        "--clusterrole=admin",
        f"--serviceaccount={ns}:deployer",
        f"--namespace={ns}",
    )
    asked = len(meter.asked(OURS, HELM))
    costs = meter.costs(lambda: _ready(meter, ns, serviceAccountName="deployer"))
    assert costs.helm_processes == 1
    assert costs.fixed == {FINALIZER: 1, LOOK: 2, EVENT: 2, READ: 1, OBJECT: 1, ACCOUNT: 1}, costs

    chart = managedchart("bench", CHART, serviceAccountName="deployer", values=NEVER, timeout="2s", retry={"limit": 0})
    meter.cluster.apply(chart, namespace=ns)
    meter.cluster.wait_failed(ns, "bench")
    meter.cluster.kubectl("delete", "managedchart", "bench", f"--namespace={ns}", "--timeout=60s")
    meter.until_quiet()
    user = f"system:serviceaccount:{ns}:deployer"
    sent = [request for request in meter.asked(OURS, HELM)[asked:] if request.namespace == ns]
    own = Counter((request.verb, request.resource) for request in sent if request.impersonated != user)
    assert {request.impersonated for request in sent} == {"", user}
    assert own.keys() <= {FINALIZER, LOOK, EVENT, ACCOUNT, CRD, STATUS_WRITE, MARK}, own
    assert {request.client for request in sent if request.impersonated != user} == {OURS}, "helm never"


def test_a_spec_that_changes_nothing_of_what_runs_costs_one_look_and_one_write(meter: Meter, ns: str) -> None:
    """The new generation is acknowledged; no helm, no Event."""
    _ready(meter, ns, timeout="180s")
    costs = meter.costs(lambda: _ready(meter, ns, timeout="181s"))
    assert costs.helm_processes == 0
    assert costs.requests == {LOOK: 1, STATUS_WRITE: 1}, costs


def test_a_change_that_asks_for_nothing_costs_nothing(meter: Meter, ns: str) -> None:
    """Labels, foreign annotations and an unchanged apply reach the operator and are no reason to look."""
    _ready(meter, ns)

    def unchanged() -> None:
        meter.cluster.kubectl("label", "managedchart", "bench", "team=a", f"--namespace={ns}")
        meter.cluster.kubectl("annotate", "managedchart", "bench", "example.com/note=b", f"--namespace={ns}")
        _ready(meter, ns)

    costs = meter.costs(unchanged)
    assert costs.helm_processes == 0
    assert costs.total == 0, costs


def test_a_release_in_sync_costs_one_look_at_a_restart(meter: Meter, ns: str) -> None:
    """A start lists the resources and each one's release metadata; no helm, no write."""
    _ready(meter, ns)

    meter.operator.stop()
    asked = len(meter.asked(OURS))
    meter.operator.start()
    meter.until_asked(ns, after=asked)
    meter.until_quiet()
    mine = [request for request in meter.asked(OURS)[asked:] if request.namespace == ns]
    assert [(request.verb, request.resource) for request in mine] == [LOOK], mine
    assert meter.operator.metric(STARTED) == 0


def test_a_delete_costs_one_helm_and_few_requests(meter: Meter, ns: str) -> None:
    """A look at the release, its workload and then each of its objects, its revision, the status meanwhile, the finalizer.

    And the CRD twice: before the removal begins, and when helm is about to start. An Event tells the outcome.
    """
    _ready(meter, ns)
    costs = meter.costs(
        lambda: meter.cluster.kubectl("delete", "managedchart", "bench", f"--namespace={ns}", "--timeout=60s")
    )
    assert costs.helm_processes == 1
    gone = {("get", kind): 1 for kind in ("services", "serviceaccounts", "ingresses")}
    fixed = {FINALIZER: 1, LOOK: 1, READ: 1, OBJECT: 2, EVENT: 1, ("delete", "secrets"): 1, CRD: 2, **gone}
    assert costs.fixed == fixed, costs
    assert costs.requests[STATUS_WRITE] <= 3, costs


def test_releases_that_wait_in_one_namespace_share_their_watches_hold_no_helm_and_leave_nothing(
    meter: Meter, ns: str
) -> None:
    """On the pods, the events, and the kind that is waited for; by the API server's account of who is connected."""
    shared = Counter(pods=1, events=1, deployments=1)
    for name in ("one", "two"):
        meter.cluster.apply(managedchart(name, CHART, values=NEVER), namespace=ns)
    meter.until_waiting(2)
    meter.until_watched(ns, shared)
    meter.until_quiet(running=2)
    assert meter.watches(ns)[-1] == shared

    meter.cluster.apply(managedchart("one", CHART), namespace=ns)
    meter.cluster.wait_ready(ns, "one")
    meter.until_quiet(running=1)
    assert meter.watches(ns)[-1] == shared, "the other one still waits"

    meter.cluster.apply(managedchart("two", CHART), namespace=ns)
    meter.cluster.wait_ready(ns, "two")
    meter.until_watched(ns, Counter())
    meter.until_quiet()
    states = meter.watches(ns)
    assert states[-1] == Counter()
    assert max(state.total() for state in states) == 3, states


def test_kopf_asks_for_lists_and_watches_only(meter: Meter, ns: str) -> None:
    """Everything else is ours to answer for: kopf writes nothing, neither annotations nor finalizers nor Events."""
    _ready(meter, ns)
    asked = meter.asked(KOPF)
    assert asked
    assert {request.verb for request in asked} <= {"get", "list", "watch"}


def test_the_operators_own_account_of_its_requests_is_that_of_the_api_server(meter: Meter, ns: str) -> None:
    """managedchart_api_requests_total may be relied on where there is no audit log."""
    costs = meter.costs(lambda: _ready(meter, ns))
    assert costs.metered == costs.total


def _ready(meter: Meter, ns: str, **spec: Any) -> None:
    meter.cluster.apply(managedchart("bench", CHART, **spec), namespace=ns)
    meter.cluster.wait_ready(ns, "bench")
