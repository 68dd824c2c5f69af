"""The sentence about missing permissions, and the commands that grant them."""

from managedchart_operator.kube.permissions import Permission
from managedchart_operator.reconcile.permission_hints import TO_CREATE_NAMESPACE, hint, sentence

OPERATOR = "system:serviceaccount:managedchart-system:managedchart-operator"
ALL = ("get", "list", "watch", "create", "patch", "delete")
BEGINS = "Grant what is missing"
SUBJECT = "--serviceaccount=managedchart-system:managedchart-operator"


def on(resource: str, group: str = "", namespace: str = "", *, verbs: tuple[str, ...] = ALL) -> list[Permission]:
    return [Permission(verb, resource, group, namespace) for verb in verbs]


def test_permissions_of_the_same_verbs_are_named_together() -> None:
    missing = [
        *on("services", namespace="web"),
        *on("deployments", "apps", "web"),
        *on("clusterroles", "rbac.authorization.k8s.io", verbs=("get",)),
    ]
    assert sentence(OPERATOR, missing) == (
        f"User {OPERATOR} has no permission to get, list, watch, create, patch and delete services, deployments.apps in"
        " namespace web; get clusterroles.rbac.authorization.k8s.io cluster-wide"
    )


def test_many_kinds_and_namespaces_are_counted() -> None:
    text = sentence("bob", [each for n in range(9) for m in range(12) for each in on(f"kinds{m}", namespace=f"n{n}")])
    assert "kinds7 and 4 more kinds in namespace n0" in text
    assert text.endswith("and 4 more")
    assert len(text) < 1024


def test_admin_is_suggested_where_it_is_enough() -> None:
    missing = [*on("services", namespace="web"), *on("roles", "rbac.authorization.k8s.io", "web")]
    assert hint(OPERATOR, missing, release="podinfo") == (
        f"{BEGINS}: kubectl create rolebinding managedchart-podinfo --clusterrole=admin {SUBJECT} --namespace=web"
    )


def test_other_kinds_get_a_role_of_their_own() -> None:
    missing = [*on("services", namespace="web"), *on("widgets", "example.com", "web")]
    assert hint("bob the builder", missing, release="podinfo") == (
        f"{BEGINS}: kubectl create role managedchart-podinfo --verb=get,list,watch,create,update,patch,delete"
        " --resource=services,widgets.example.com --namespace=web && kubectl create rolebinding managedchart-podinfo"
        " --role=managedchart-podinfo --user='bob the builder' --namespace=web"
    )


def test_cluster_wide_kinds_get_a_cluster_role() -> None:
    missing = [*on("clusterroles", "rbac.authorization.k8s.io"), *on("pods/log", namespace="web", verbs=("get",))]
    text = hint(OPERATOR, missing, release="podinfo")
    assert "kubectl create clusterrole managedchart-podinfo --verb=" in text
    assert "--resource=clusterroles.rbac.authorization.k8s.io && kubectl create clusterrolebinding" in text
    assert "--resource=pods/log --namespace=web" in text


def test_a_namespace_is_created_first() -> None:
    missing = [*TO_CREATE_NAMESPACE, *on("services", namespace="web")]
    assert sentence(OPERATOR, missing).startswith(
        f"User {OPERATOR} has no permission to create and patch namespaces cluster-wide; get"
    )
    assert hint(OPERATOR, missing, release="a", new_namespace="web") == (
        f"{BEGINS}: kubectl create namespace web && kubectl create rolebinding managedchart-a --clusterrole=admin"
        f" {SUBJECT} --namespace=web"
    )


def test_many_namespaces_are_not_all_written_out() -> None:
    missing = [each for n in range(5) for each in on("services", namespace=f"n{n}")]
    text = hint(OPERATOR, missing, release="a")
    assert text.count("kubectl create rolebinding") == 3
    assert "(and likewise in 2 more namespaces): kubectl" in text
