"""LifecycleProfiles on a real API server: an administrator's actions around charts that others own."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.fields.steps import SOON, WEB, deploy
from harness.cluster import MANAGEDCHARTS, Cluster, KubectlError, condition_of, is_ready, managedchart

pytestmark = pytest.mark.usefixtures("operator")

PROFILES = f"{MANAGEDCHARTS}/lifecycleprofiles"
RBAC = "rbac.authorization.k8s.io"
Apply = Callable[..., str]

_numbers = itertools.count(1)


def body(name: str, **spec: Any) -> dict[str, Any]:
    """A LifecycleProfile."""
    api = {"apiVersion": "managedchart.dev/v1alpha1", "kind": "LifecycleProfile"}
    return {**api, "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def profile(cluster: Cluster, ns: str) -> Iterator[Apply]:
    """Applies a profile that is attached to what is in the test's namespace, and returns its name."""
    name = f"e2e-{next(_numbers)}"

    def apply(**spec: Any) -> str:
        cluster.apply(body(name, **{"match": {"namespaces": {"names": [ns]}}, **spec}))
        return name

    yield apply
    cluster.delete(f"{PROFILES}/{name}")


def present(name: str, phase: str = "PostExec") -> dict[str, Any]:
    """A check that a ConfigMap exists."""
    return {"name": "present", "phase": phase, "exists": {"kind": "ConfigMap", "name": name}}


def accepted(cluster: Cluster, name: str, status: str) -> dict[str, Any]:
    """Wait until the operator has said whether a profile can be carried out, and return the condition."""

    def said(found: dict[str, Any] | None) -> bool:
        condition = condition_of(found or {}, "Accepted")
        generation = (found or {"metadata": {}})["metadata"].get("generation")
        return (condition.get("status"), condition.get("observedGeneration")) == (status, generation)

    found = cluster.wait(PROFILES, name, said, what=f"Accepted {status}")
    return condition_of(found or {}, "Accepted")


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {}}


def test_a_tenant_cannot_leave_out_an_attached_check(cluster: Cluster, ns: str, profile: Apply) -> None:
    """Not by an action of the same name. A change of the profile is shown, and deploys nothing."""
    name = profile(actions=[present("platform", "Validate")])
    accepted(cluster, name, "True")
    mine = {"actions": [present("kube-root-ca.crt", "Validate")], "validation": {"every": "0s"}}
    cluster.apply(managedchart("a", WEB, lifecycle=mine, retry=SOON, atomic=False), namespace=ns)

    failure = cluster.wait_failed(ns, "a")["status"]["lastFailure"]
    assert (
        failure["message"]
        == f"Action present (exists) of profile/{name} failed: ConfigMap {ns}/platform does not exist"
    )

    cluster.apply(config_map("platform"), namespace=ns)
    ready = cluster.wait_ready(ns, "a")
    assert [each["origin"] for each in ready["status"]["lifecycle"]["actions"]] == [f"profile/{name}", "spec"]
    revisions = cluster.revisions(ns, "a")

    profile(actions=[])
    cluster.wait_chart(ns, "a", lambda found: len(found["status"]["lifecycle"]["actions"]) == 1, what="of one action")
    assert cluster.revisions(ns, "a") == revisions


def test_actions_run_as_the_account_of_the_profile(cluster: Cluster, ns: str, profile: Apply) -> None:
    """Although the ManagedChart itself has all permissions here. What the tenant writes may not enter them."""
    account = {"name": "checker", "namespace": ns}
    crds = {"name": "crds", "phase": "PostDelete", "deleteCRDs": {"group": "example.com", "confirmDataLoss": True}}
    message = accepted(cluster, profile(actions=[crds], serviceAccount=account), "False")["message"]
    assert message.startswith("spec.actions[0] (crds): deleteCRDs.onlyOf: the tenant writes what the release brings")
    name = profile(actions=[present("kube-root-ca.crt", "PreExec")], serviceAccount=account)
    assert accepted(cluster, name, "True")["message"] == f"1 action, as ServiceAccount {ns}/checker"
    cluster.apply(managedchart("a", WEB, retry=SOON), namespace=ns)

    def said(text: str) -> None:
        cluster.wait_chart(ns, "a", lambda found: text in condition_of(found, "Ready").get("message", ""), what=text)

    said(f"Action present (exists) of profile/{name} failed: ServiceAccount checker does not exist in namespace {ns}")
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "checker"}}, namespace=ns)
    said(f"User system:serviceaccount:{ns}:checker has no permission to get configmaps in namespace {ns}")
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "checker"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "checker", "namespace": ns}],
    }
    cluster.apply(binding, namespace=ns)
    cluster.wait_ready(ns, "a")


def test_an_invalid_profile_blocks_runs_until_it_is_corrected(cluster: Cluster, ns: str, profile: Apply) -> None:
    """What runs already is not disturbed; a misspelt field is kept and reported, although the API server accepts it."""
    deploy(cluster, ns, "before", WEB)
    misspelt = {"name": "x", "phase": "PreExec", "exists": {"kind": "Pod", "selektor": {}}}
    name = profile(actions=[misspelt], serviceAcount={"name": "a"})

    message = accepted(cluster, name, "False")["message"]
    assert message == "spec.serviceAcount: there is no such field: correct its name to serviceAccount"
    columns = cluster.kubectl("get", "lcp", name).splitlines()
    assert columns[0].split() == ["NAME", "ACCEPTED", "REASON", "PRIORITY", "AGE"]
    assert columns[1].split()[:4] == [name, "False", "LifecycleInvalid", "0"]

    cluster.apply(managedchart("after", WEB), namespace=ns)
    failure = cluster.wait_failed(ns, "after", "LifecycleInvalid")["status"]["lastFailure"]
    assert failure["message"] == f"LifecycleProfile {name} {message}"
    assert cluster.revisions(ns, "after") == []
    assert is_ready(cluster.managedchart(ns, "before"))

    profile(actions=[])
    cluster.wait_ready(ns, "after")
    accepted(cluster, name, "True")


def test_a_named_profile_that_changes_and_is_deleted(cluster: Cluster, ns: str, profile: Apply) -> None:
    """A change retries what it made fail, long before the back-off; a deletion disturbs nothing that is deployed."""
    nobody = {"chartNames": ["no-such-chart"]}
    name = profile(match=nobody, actions=[present("platform", "PreExec")])
    accepted(cluster, name, "True")
    spec = {"lifecycle": {"name": name}, "retry": {"limit": 3, "backoff": "1h", "maxBackoff": "1h"}}
    cluster.apply(managedchart("a", WEB, **spec), namespace=ns)
    failed = cluster.wait_failed(ns, "a")
    assert failed["status"]["attempt"]["failedProfile"]["name"] == name
    assert condition_of(failed, "Reconciling")["message"].endswith(f", or when LifecycleProfile {name} changes")

    profile(match=nobody, actions=[])
    cluster.wait_ready(ns, "a")
    revisions = cluster.revisions(ns, "a")

    cluster.delete(f"{PROFILES}/{name}")
    missing = cluster.wait_chart(
        ns, "a", lambda found: condition_of(found, "LifecycleMissing"), what="LifecycleMissing"
    )
    assert is_ready(missing)
    assert f'unknown lifecycle "{name}"' in condition_of(missing, "LifecycleMissing")["message"]
    cluster.apply(managedchart("a", WEB, **spec, values={"changed": True}), namespace=ns)
    cluster.wait_failed(ns, "a", "LifecycleUnknown")
    assert cluster.revisions(ns, "a") == revisions

    profile(match=nobody, actions=[])
    ready = cluster.wait_ready(ns, "a")
    assert condition_of(ready, "LifecycleMissing") == {}
    assert len(cluster.revisions(ns, "a")) == len(revisions) + 1


def test_a_label_of_the_namespace_attaches_a_profile(cluster: Cluster, ns: str, profile: Apply) -> None:
    """It is noticed while nothing else happens, and starts no run."""
    place = {"names": [ns], "selector": {"matchLabels": {"tier": "prod"}}}
    strict = {"every": "1h", "failureThreshold": 1}
    name = profile(match={"namespaces": place}, actions=[present("platform", "Validate")], validation=strict)
    accepted(cluster, name, "True")
    deploy(cluster, ns, "a", WEB)
    revisions = cluster.revisions(ns, "a")

    cluster.kubectl("label", "namespace", ns, "tier=prod")
    failed = cluster.wait_chart(
        ns, "a", lambda found: condition_of(found, "Ready").get("reason") == "ValidationFailed", what="the new check"
    )
    assert [each["origin"] for each in failed["status"]["lifecycle"]["actions"]] == [f"profile/{name}"]
    cluster.kubectl("label", "namespace", ns, "tier-")
    cluster.wait_ready(ns, "a")
    assert cluster.revisions(ns, "a") == revisions


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"match": {}}, "match needs at least one condition"),
        ({"match": {"namespaces": {"selector": {"matchLabels": {}}}}}, "the selector matches everything"),
        ({"match": {"chartNames": ["a"], "versions": "^1.2"}}, "write a range of versions like"),
        ({"match": {"labels": {"matchLabels": {"a": "b"}}, "versions": "1"}}, "versions goes with chartNames"),
        ({"serviceAccount": {"name": "a"}}, "serviceAccount.namespace"),
        ({"actions": [{"name": "x", "phase": "PreExec"}]}, "set exactly one of"),
    ],
    ids=["match", "selector", "versions", "versions-of-what", "account", "verb"],
)
def test_the_api_server_refuses(cluster: Cluster, spec: dict[str, Any], expected: str) -> None:
    with pytest.raises(KubectlError, match=expected):
        cluster.kubectl_apply(body("refused", **spec))
