"""Who owns which field: the forms of managedFields, as Kubernetes 1.37 writes them."""

from typing import Any

import pytest

from managedchart_operator.kube.field_owners import Manager, OwnedField, fields_of_others, owns, path_text, taken_over

REPLICAS = {"f:spec": {"f:replicas": {}}}
CONTAINER = 'k:{"name":"web"}'


def entry(manager: str, fields: dict[str, Any], *, operation: str = "Update", subresource: str = "") -> dict[str, Any]:
    found = {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": fields}
    return found | ({"subresource": subresource} if subresource else {})


def metadata(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"name": "web", "managedFields": list(entries)}


def image(*fields: str) -> dict[str, Any]:
    inner = {f"f:{field}": {} for field in fields}
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": {CONTAINER: {".": {}, **inner}}}}}}


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        (REPLICAS, ["spec.replicas"]),
        (image("image", "env"), [f"spec.template.spec.containers[name=web].{name}" for name in ("image", "env")]),
        ({"f:data": {".": {}, "f:a": {}, "f:b.yaml": {}}}, ["data.a", "data[b.yaml]"]),
        ({"f:metadata": {"f:labels": {"f:example.com/team": {}}}}, ["metadata.labels[example.com/team]"]),
        (
            {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:targetPort": {}}}}},
            ["spec.ports[port=80,protocol=TCP].targetPort"],
        ),
        ({"f:metadata": {"f:finalizers": {'v:"example.com/a"': {}}}}, ['metadata.finalizers["example.com/a"]']),
        ({"f:spec": {"f:list": {"i:0": {"f:a": {}}}}}, ["spec.list[0].a"]),
        ({"f:spec": {"f:list": {"k:unreadable": {"f:a": {}}}}}, ["spec.list[unreadable].a"]),
    ],
    ids=["field", "item by name", "key with a dot", "annotation", "item by two keys", "set", "index", "unknown"],
)
def test_paths_are_written_as_people_write_them(fields: dict[str, Any], written: list[str]) -> None:
    found = fields_of_others(metadata(entry("kubectl-edit", fields)))
    assert [path_text(field.path) for field in found] == written


@pytest.mark.parametrize(
    ("known", "found"),
    [
        (entry("kubectl", REPLICAS, subresource="scale"), ["spec.replicas (set by kubectl, subresource scale)"]),
        (entry("somebody", REPLICAS, operation="Apply"), ["spec.replicas (set by somebody)"]),
        (entry("helm", REPLICAS, operation="Apply"), []),
        (entry("helm", REPLICAS), []),
        (entry("kube-controller-manager", {"f:status": {"f:replicas": {}}}, subresource="status"), []),
        (entry("kube-controller-manager", {"f:metadata": {"f:annotations": {"f:a": {}}}}, subresource="status"), []),
        (entry("old-operator", {"f:status": {"f:ready": {}}, **REPLICAS}), ["spec.replicas (set by old-operator)"]),
        ({"manager": "nobody", "operation": "Update"}, []),
    ],
    ids=["scale", "apply", "helm 4", "helm 3", "status", "beside the status", "status of a kind without it", "empty"],
)
def test_fields_of_others_are_found(known: dict[str, Any], found: list[str]) -> None:
    """The status and helm's own fields are left out; writers to `scale` are recognisable."""
    assert [str(field) for field in fields_of_others(metadata(known))] == found


def test_an_object_without_managed_fields_has_none() -> None:
    assert fields_of_others({"name": "web"}) == []
    assert fields_of_others({"name": "web", "managedFields": None}) == []


def test_the_fields_of_one_manager_are_bounded() -> None:
    many = {"f:data": {f"f:{number}": {} for number in range(5000)}}
    assert len(fields_of_others(metadata(entry("a", many), entry("b", REPLICAS)))) == 1001


def test_deeply_nested_fields_are_shortened() -> None:
    """A custom resource may be nested deeper than Python's recursion limit, and be wide there."""
    fields: dict[str, Any] = {f"f:{number}": {} for number in range(5000)}
    for _ in range(5000):
        fields = {"f:a": fields}
    [found] = fields_of_others(metadata(entry("somebody", fields)))
    assert len(found.path) == 50
    assert owns(metadata(entry("somebody", fields)), found.manager, found.path)


KUBECTL = Manager("kubectl", "scale")
SCALED = [OwnedField(("f:spec", "f:replicas"), KUBECTL)]


@pytest.mark.parametrize(
    ("now", "taken"),
    [
        ([entry("helm", REPLICAS, operation="Apply")], True),
        ([entry("helm", REPLICAS)], True),
        ([entry("helm", REPLICAS, operation="Apply"), entry("kubectl", REPLICAS, subresource="scale")], False),
        ([entry("kubectl", REPLICAS, subresource="scale")], False),
        ([entry("helm", image("image"), operation="Apply"), entry("kubectl", REPLICAS, subresource="scale")], False),
        ([entry("helm", image("image"), operation="Apply")], False),
        ([entry("helm", REPLICAS, operation="Apply"), entry("kubectl", REPLICAS)], True),
    ],
    ids=["by apply", "by update", "same value", "not applied", "not in the chart", "removed", "other subresource"],
)
def test_a_field_that_only_helm_owns_was_taken_over(now: list[dict[str, Any]], *, taken: bool) -> None:
    assert taken_over(SCALED, metadata(*now)) == (SCALED if taken else [])
