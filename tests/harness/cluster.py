"""A cluster as tests use it: kubectl, and waiting by watch.

Boundary: works the same on the devcluster and on real kind, since pytest-kind gives both the same form.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml
from pytest_kind import KindCluster

MANAGEDCHARTS = "/apis/managedchart.dev/v1alpha1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# As often as client-go.
_TRIES = 10
# A wait that takes longer than this has failed; what is waited for takes a few seconds on two cores.
WAIT_SECONDS = 60.0


@contextmanager
def cluster_beside(kind: KindCluster, name: str, folder: Path) -> Iterator[KindCluster]:
    """Create another cluster of the same kind, for a test that needs one of its own, and delete it afterwards."""
    own = KindCluster(
        f"{kind.name}-{name}", folder / f"kubeconfig-{name}", kind_path=kind.kind_path, kubectl_path=kind.kubectl_path
    )
    own.create()
    try:
        yield own
    finally:
        own.delete()


class Cluster:
    """One cluster, with the CRD and the operator's identity installed."""

    def __init__(self, kind: KindCluster) -> None:
        self._kind = kind
        self.kubeconfig = Path(kind.kubeconfig_path).resolve()
        self.kubectl_path = Path(kind.kubectl_path).resolve()
        self._session = kind.api.session
        self._url = kind.api.url
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 -- as subprocess calls it
        """Run kubectl and return its output; fails with its error text."""
        done = subprocess.run(
            [str(self._kind.kubectl_path), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(done.returncode, ["kubectl", *arguments], done.stdout, done.stderr)
        return done.stdout

    def kubectl_apply(self, *objects: dict[str, Any], namespace: str | None = None) -> None:
        """`kubectl apply` the objects, for tests of what a user of kubectl sees."""
        where = [f"--namespace={namespace}"] if namespace else []
        self.kubectl("apply", *where, "-f", "-", input=yaml.safe_dump_all(objects))

    def apply(self, *objects: dict[str, Any], namespace: str = "default") -> None:
        """Apply the objects as `kubectl apply --server-side` does, which costs ten times the CPU."""
        for body in objects:
            path, namespaced = self._collection(body["apiVersion"], body["kind"])
            metadata = body["metadata"]
            where = f"/namespaces/{metadata.get('namespace') or namespace}" if namespaced else ""
            answer = self._session.patch(
                f"{self._url}{path.replace('/*', where)}/{metadata['name']}",
                params={"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict"},
                headers={"Content-Type": "application/apply-patch+yaml"},
                data=yaml.dump(body, Dumper=yaml.CSafeDumper),
                timeout=30,
            )
            assert answer.ok, answer.text

    def _collection(self, version: str, kind: str) -> tuple[str, bool]:
        """The path of the kind's collection with `/*` where the namespace goes, and whether it has namespaces."""
        if (version, kind) not in self._resources:
            base = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for found in (self.get(base) or {}).get("resources", []):
                if "/" not in found["name"]:
                    self._resources[version, found["kind"]] = (f"{base}/*/{found['name']}", found["namespaced"])
        assert (version, kind) in self._resources, f"the API server serves no {kind} of {version}"
        return self._resources[version, kind]

    def get(self, path: str, *, accept: str = "application/json", **query: str) -> dict[str, Any] | None:
        """GET a path of the API; None where there is nothing."""
        # An API server that has just started may ask to come again, as it does until it serves a CRD's resources.
        for _ in range(_TRIES):
            answer = self._session.get(self._url + path, params=query, headers={"Accept": accept}, timeout=10)
            if answer.status_code != requests.codes.too_many_requests:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        # Of a CRD that was deleted a moment ago the OpenAPI document is answered 200 and empty (1.37).
        if answer.status_code == requests.codes.not_found or (answer.ok and not answer.content):
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def create(self, path: str, body: dict[str, Any], *, as_user: str | None = None) -> dict[str, Any]:
        """POST an object to a collection, and return it as the API server answered; kubectl costs ten times the CPU."""
        answer = self._session.post(self._url + path, json=body, headers=_impersonating(as_user), timeout=10)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made

    def create_text(self, path: str, text: str, *, as_user: str) -> None:
        """POST a JSON text that Python cannot read."""
        headers = {"Content-Type": "application/json", **_impersonating(as_user)}
        self._session.post(self._url + path, data=text, headers=headers, timeout=10).raise_for_status()

    def token(self, namespace: str, account: str) -> str:
        """A token of a ServiceAccount that outlives every test."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 14400}}
        return str(self.create(path, body)["status"]["token"])

    def delete(self, path: str, *, as_user: str | None = None) -> None:
        """DELETE an object, or all of a collection, without waiting for its end."""
        self._session.delete(self._url + path, headers=_impersonating(as_user), timeout=10).raise_for_status()

    def items(self, path: str, *, accept: str = "application/json", **query: str) -> list[dict[str, Any]]:
        """GET a collection and return its items."""
        return (self.get(path, accept=accept, **query) or {}).get("items") or []

    def managedchart(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a ManagedChart as it is now."""
        found = self.get(f"{MANAGEDCHARTS}/namespaces/{namespace}/managedcharts/{name}")
        assert found is not None, f"there is no ManagedChart {namespace}/{name}"
        return found

    def wait(
        self,
        path: str,
        name: str,
        condition: Callable[[dict[str, Any] | None], object],
        *,
        what: str,
        timeout: float = WAIT_SECONDS,
    ) -> dict[str, Any] | None:
        """Watch the object of this name in a collection until the condition holds of it (None: it is gone)."""
        deadline = time.monotonic() + timeout
        last: dict[str, Any] | None = None
        while (left := deadline - time.monotonic()) > 0:
            listing = self.get(path, fieldSelector=f"metadata.name={name}")
            assert listing is not None, f"there is no collection {path}"
            items = listing.get("items") or []
            last = items[0] if items else None
            if condition(last):
                return last
            version = listing["metadata"]["resourceVersion"]
            for event in self._watch(path, f"metadata.name={name}", version, left):
                last = None if event["type"] == "DELETED" else event["object"]
                if condition(last):
                    return last
        shown = yaml.safe_dump(last and {"metadata": {"name": name}, "status": last.get("status")})
        raise AssertionError(f"waited {timeout:.0f} s for {name} to be {what}; it is:\n{shown}")

    def wait_chart(
        self,
        namespace: str,
        name: str,
        condition: Callable[[dict[str, Any]], object],
        *,
        what: str,
        timeout: float = WAIT_SECONDS,
    ) -> dict[str, Any]:
        """Watch a ManagedChart until the condition holds of it at its present generation."""

        def holds(chart: dict[str, Any] | None) -> object:
            return chart is not None and condition(chart)

        path = f"{MANAGEDCHARTS}/namespaces/{namespace}/managedcharts"
        found = self.wait(path, name, holds, what=what, timeout=timeout)
        assert found is not None
        return found

    def wait_ready(self, namespace: str, name: str, *, timeout: float = WAIT_SECONDS) -> dict[str, Any]:
        """Wait until a ManagedChart is Ready at its present generation."""
        return self.wait_chart(namespace, name, is_ready, what="Ready", timeout=timeout)

    def wait_failed(
        self, namespace: str, name: str, reason: str | None = None, *, timeout: float = WAIT_SECONDS
    ) -> dict[str, Any]:
        """Wait until a ManagedChart is not Ready at its present generation, for a reason if one is given."""

        def failed(chart: dict[str, Any]) -> bool:
            ready = condition_of(chart, "Ready")
            return current(chart, ready) and ready["status"] == "False" and reason in (None, ready["reason"])

        return self.wait_chart(
            namespace, name, failed, what=f"not Ready, {reason or 'for any reason'}", timeout=timeout
        )

    def wait_gone(self, path: str, name: str, *, timeout: float = WAIT_SECONDS) -> None:
        """Wait until an object of a collection is gone."""
        self.wait(path, name, lambda found: found is None, what="gone", timeout=timeout)

    def wait_deleted(self, path: str, name: str, *, since: str) -> None:
        """Wait until an object is deleted that was made after this version of the collection, however short its life was."""
        events = self._watch(path, f"metadata.name={name}", since, WAIT_SECONDS)
        assert any(event["type"] == "DELETED" for event in events), f"{name} was not deleted"

    def wait_failure(self, namespace: str, name: str, *, timeout: float = WAIT_SECONDS) -> dict[str, Any]:
        """Wait until a ManagedChart is not Ready, and why is in its last failure; return its status."""

        def failed(chart: dict[str, Any]) -> bool:
            ready = condition_of(chart, "Ready")
            known = (chart.get("status") or {}).get("lastFailure") or {}
            return current(chart, ready) and ready["status"] == "False" and known.get("reason") == ready["reason"]

        found: dict[str, Any] = self.wait_chart(namespace, name, failed, what="failed", timeout=timeout)["status"]
        return found

    def wait_empty(self, path: str, *, timeout: float = WAIT_SECONDS) -> None:
        """Wait until a collection has no objects."""
        deadline = time.monotonic() + timeout
        while items := self.items(path):
            metadata = items[0]["metadata"]
            left = deadline - time.monotonic()
            collection = path
            if (within := metadata.get("namespace")) and "/namespaces/" not in path:
                base, _, plural = path.rpartition("/")
                collection = f"{base}/namespaces/{within}/{plural}"
            self.wait_gone(collection, metadata["name"], timeout=left)

    def wait_event(
        self, namespace: str, about: str, reason: str, *, count: int = 1, timeout: float = WAIT_SECONDS
    ) -> list[dict[str, Any]]:
        """Watch until there are so many Events of this reason about the object of this name; return them, oldest first."""
        path = f"/api/v1/namespaces/{namespace}/events"
        fields = f"involvedObject.name={about},reason={reason}"
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            listing = self.get(path, fieldSelector=fields)
            assert listing is not None, f"there is no namespace {namespace}"
            if len(found := listing["items"]) >= count:
                return sorted(found, key=lambda event: int(event["metadata"]["resourceVersion"]))
            next(self._watch(path, fields, listing["metadata"]["resourceVersion"], left), None)
        others = [event["reason"] for event in self.items(path, fieldSelector=f"involvedObject.name={about}")]
        raise AssertionError(f"waited {timeout:.0f} s for {count} Events {reason} about {about}; there are {others}")

    def revisions(self, namespace: str, release: str) -> list[tuple[int, str]]:
        """Return number and status of a release's revisions, oldest first."""
        secrets = self.items(f"/api/v1/namespaces/{namespace}/secrets", labelSelector=f"owner=helm,name={release}")
        labels = [secret["metadata"]["labels"] for secret in secrets]
        return sorted((int(label["version"]), label["status"]) for label in labels)

    def version(self, path: str) -> str:
        """Return the present resourceVersion of a collection."""
        listing = self.get(path)
        assert listing is not None, f"there is no collection {path}"
        return str(listing["metadata"]["resourceVersion"])

    def states_since(self, path: str, name: str, version: str) -> Iterator[dict[str, Any]]:
        """Yield every state that an object has had since a resourceVersion, which must not be older than some minutes."""
        newest = int(self.items(path, fieldSelector=f"metadata.name={name}")[0]["metadata"]["resourceVersion"])
        if newest <= int(version):
            return
        for event in self._watch(path, f"metadata.name={name}", version, WAIT_SECONDS):
            yield event["object"]
            if int(event["object"]["metadata"]["resourceVersion"]) >= newest:
                return

    def _watch(self, path: str, fields: str, version: str, seconds: float) -> Iterator[dict[str, Any]]:
        query = {
            "watch": "true",
            "fieldSelector": fields,
            "resourceVersion": version,
            "timeoutSeconds": str(max(int(seconds), 1)),
        }
        with self._session.get(self._url + path, params=query, stream=True, timeout=seconds + 5) as answer:
            for line in answer.iter_lines():
                if line:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    yield event


class KubectlError(subprocess.CalledProcessError):
    """kubectl ended with an error; its text is part of the message."""

    def __str__(self) -> str:
        return f"{super().__str__()} {self.stderr.strip()}"


def condition_of(chart: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition of a ManagedChart, or {}."""
    for condition in (chart.get("status") or {}).get("conditions") or []:
        if condition["type"] == kind:
            found: dict[str, Any] = condition
            return found
    return {}


def current(chart: dict[str, Any], condition: dict[str, Any]) -> bool:
    """Whether a condition speaks of the chart's present generation."""
    return condition.get("observedGeneration") == chart["metadata"]["generation"]


def is_ready(chart: dict[str, Any]) -> bool:
    """Whether a ManagedChart is Ready at its present generation and nothing is under way."""
    ready = condition_of(chart, "Ready")
    return current(chart, ready) and ready["status"] == "True" and not condition_of(chart, "Reconciling")


def managedchart(name: str, chart: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Build a ManagedChart object."""
    return {
        "apiVersion": "managedchart.dev/v1alpha1",
        "kind": "ManagedChart",
        "metadata": {"name": name},
        "spec": {"chart": chart, **spec},
    }


def wait_established(cluster: Cluster, crd: str) -> None:
    """Return when the API server serves a CRD, and says so where a client looks a kind up.

    A CRD that was just created has `conditions: null`, on which `kubectl wait --for=condition` and a filter of its JSONPath end
    with an error. Names and conditions are written at once: so the names first.
    """
    spec = cluster.get(f"{CRDS}/{crd}")["spec"]
    for state in (f"jsonpath={{.status.acceptedNames.kind}}={spec['names']['kind']}", "condition=Established"):
        cluster.kubectl("wait", f"--for={state}", f"crd/{crd}", f"--timeout={WAIT_SECONDS}s")
    paths = [f"/apis/{spec['group']}/{each['name']}" for each in spec["versions"] if each["served"]]
    _wait_named(cluster, *paths, name=spec["names"]["plural"])


def _wait_named(cluster: Cluster, *paths: str, name: str) -> None:
    """Return when the documents at these paths of discovery and OpenAPI have a name in them.

    A condition Established comes before discovery and OpenAPI know the kind, and nothing tells when they do.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while missing := [path for path in paths if name not in json.dumps(cluster.get(path))]:
        assert time.monotonic() < deadline, f"the API server has no {name} at {missing}"
        time.sleep(0.1)


def install_operator_objects(cluster: Cluster, repository: Path) -> None:
    """Apply the CRDs and the operator's identity of deploy/, and return when the API server serves ManagedCharts."""
    # Client-side, as many people do: its annotation must have room for the schemas. By one kubectl, because each
    # asks for all that the API server serves.
    crds = [repository / "crds" / f"{name}.yaml" for name in ("managedchart", "lifecycleprofile")]
    identity = [repository / "deploy" / f"{name}.yaml" for name in ("namespace", "serviceaccount", "rbac")]
    cluster.kubectl("apply", *(f"--filename={file}" for file in (*crds, *identity)))
    _wait_named(cluster, "/openapi/v3" + MANAGEDCHARTS, MANAGEDCHARTS, name="managedcharts")


def _impersonating(user: str | None) -> dict[str, str]:
    return {"Impersonate-User": user} if user else {}


@contextmanager
def namespace(cluster: Cluster, name: str) -> Iterator[str]:
    """A namespace of a test's own; its ManagedCharts and itself are deleted at the end, without waiting."""
    cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        yield name
    finally:
        cluster.delete(f"{MANAGEDCHARTS}/namespaces/{name}/managedcharts")
        cluster.delete(f"/api/v1/namespaces/{name}")
