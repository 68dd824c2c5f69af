"""A stored spec is read, a wrong field is named, and a removal needs none of it."""

from typing import Any

import pytest

from managedchart_operator.api.spec import Action, DeletionPolicy
from managedchart_operator.errors import SpecError
from managedchart_operator.helm.values import read_values
from managedchart_operator.nesting import MAX_LEVELS, READ_LEVELS
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.digest import digest_of, digest_without_inputs
from managedchart_operator.reconcile.parse import parse_spec, spec_for_removal
from managedchart_operator.reconcile.store import Store
from managedchart_operator.redaction import secrets_in_values
from unit.reconcile.fakes import chart

GOOD: dict[str, Any] = {"chart": {"path": "/charts/web"}, "timeout": "7m", "lifecycle": {"name": "prometheus-operator"}}
UNREADABLE: list[dict[str, Any]] = [
    {},
    {"chart": None},
    {"chart": {"path": "/charts/web"}, "timeout": "soon"},
    {"chart": {"path": "/charts/web", "oci": "oci://registry.example/web"}},
    {"chart": {"path": "/charts/web"}, "action": "Explode", "values": []},
]


def test_a_spec_is_read_with_its_defaults() -> None:
    spec = parse_spec(chart(spec=GOOD))
    assert (spec.timeout, spec.action, spec.atomic) == ("7m", Action.DEPLOY, True)


def test_each_wrong_field_is_named() -> None:
    wrong = {"chart": {"path": "/charts/web"}, "timeout": "soon", "set": [{"key": "a"}]}
    with pytest.raises(SpecError) as caught:
        parse_spec(chart(spec=wrong))
    for field in ("spec.timeout", "spec.set.0.value"):
        assert f"{field}: " in caught.value.message
    assert caught.value.hint
    assert not caught.value.transient


def test_fields_of_a_newer_crd_are_left_out() -> None:
    """Between a new CRD and the restart of the operator nothing may stall; misspelt fields the API server refuses itself."""
    newer = {"chart": {"path": "/charts/web", "signature": "x"}, "timeout": "7m", "fieldOfANewerOperator": True}
    assert parse_spec(chart(spec=newer)).timeout == "7m"


def test_an_error_does_not_repeat_values() -> None:
    """They may be passwords, and the status is read by more people than the spec's author."""
    wrong = {"chart": {"path": "/charts/web"}, "values": "password", "set": [{"key": "a", "value": ["password"]}]}
    with pytest.raises(SpecError) as caught:
        parse_spec(chart(spec=wrong))
    assert "password" not in caught.value.message


@pytest.mark.parametrize("spec", UNREADABLE)
def test_an_unreadable_spec_can_be_removed(spec: dict[str, Any]) -> None:
    """Nothing may hold up a deletion."""
    with pytest.raises(SpecError):
        parse_spec(chart(spec=spec))
    found = spec_for_removal(chart(spec=spec))
    assert (found.action, found.deletion_policy) == (Action.DESTROY, DeletionPolicy.UNINSTALL)


@pytest.mark.parametrize("spec", UNREADABLE)
def test_an_unreadable_spec_keeps_orphan(spec: dict[str, Any]) -> None:
    found = spec_for_removal(chart(spec={**spec, "deletionPolicy": "Orphan"}))
    assert found.deletion_policy is DeletionPolicy.ORPHAN


def test_a_readable_spec_is_removed_as_written() -> None:
    found = spec_for_removal(chart(spec=GOOD))
    assert (found.timeout, found.lifecycle.name) == ("7m", "prometheus-operator")


def nested(levels: int, where: str = "values") -> dict[str, Any]:
    inner: Any = 1
    for _ in range(levels):
        inner = {"a": inner}
    return {**GOOD, where: inner, "releaseName": "blue", "targetNamespace": "green"}


@pytest.mark.parametrize("levels", [MAX_LEVELS + 1, 190])
@pytest.mark.parametrize("where", ["values", "fieldOfANewerOperator"])
def test_values_nested_too_deep_are_named(levels: int, where: str) -> None:
    """Whatever works on them level by level would break in its own way, at some hundred levels."""
    with pytest.raises(SpecError) as caught:
        parse_spec(chart(spec=nested(levels, where)))
    assert caught.value.message.startswith(f"spec.{where}.a.a.a… is nested deeper than {MAX_LEVELS} levels")
    assert caught.value.reason is Reason.INVALID_SPEC
    assert "Flatten" in (caught.value.hint or "")


def test_values_of_the_maximum_depth_are_accepted() -> None:
    """Everything that is done with a spec and its values."""
    spec = parse_spec(chart(spec=nested(MAX_LEVELS)))
    values = read_values(files=[], yaml_files=[], values=spec.values, set_values=spec.set)
    for digest in (digest_without_inputs(spec), digest_of(spec, chart="", values=values)):
        assert not digest.matches("of an older operator")
    assert values.arguments
    assert values.merged() == spec.values
    assert secrets_in_values(*values.layers) == set()
    store = Store()
    store.put(chart(spec=nested(MAX_LEVELS)))
    known = store.get(chart().key)
    assert known is not None
    assert parse_spec(known) == spec


def test_a_truncated_spec_is_kept() -> None:
    """As deep as anything is read from the API server."""
    deep = chart(spec=nested(READ_LEVELS - 10))
    store = Store()
    store.put(deep)
    assert store.get(deep.key) == deep


def test_deep_values_do_not_affect_a_removal() -> None:
    """The lifecycle, the timeout and the policy are those that its author wrote."""
    deep = chart(spec={**nested(190), "deletionPolicy": "Orphan"})
    found = spec_for_removal(deep)
    assert (found.timeout, found.lifecycle.name, found.deletion_policy) == (
        "7m",
        "prometheus-operator",
        DeletionPolicy.ORPHAN,
    )
    assert (deep.release_name, deep.release_namespace) == ("blue", "green")


def test_a_misspelt_field_of_the_lifecycle_is_an_error() -> None:
    """Others are left out: the API server drops them anyway."""
    spec = {"chart": {"path": "/charts/web"}, "deletionPolicy": "Orphan", "newer": 1}
    action = {"name": "x", "phase": "PreDelete", "exists": {"kind": "Node"}}
    misspelt = chart(spec={**spec, "lifecycle": {"action": [], "actions": [action]}})
    with pytest.raises(SpecError) as caught:
        parse_spec(misspelt)
    assert caught.value.message == "spec.lifecycle.action: there is no such field: correct its name"
    assert caught.value.reason is Reason.LIFECYCLE_INVALID
    assert caught.value.hint == "Correct spec.lifecycle.action to actions; the fields are name, actions, validation."
    assert spec_for_removal(misspelt).lifecycle.actions == [action]
    assert spec_for_removal(misspelt).deletion_policy is DeletionPolicy.ORPHAN
    assert parse_spec(chart(spec=spec)).lifecycle.name == "default"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("evry", "Correct spec.lifecycle.validation.evry to every"),
        ("failureTreshold", "Correct spec.lifecycle.validation.failureTreshold to failureThreshold"),
        ("zzz", "Correct the name of the field"),
    ],
)
def test_a_misspelt_field_of_the_validation_has_the_nearest_one(name: str, advice: str) -> None:
    """Without it the default would count, and nobody would know."""
    misspelt = chart(spec={**GOOD, "lifecycle": {"name": "aws-vpc-cni", "validation": {name: "1m"}}})
    with pytest.raises(SpecError) as caught:
        parse_spec(misspelt)
    assert caught.value.message == f"spec.lifecycle.validation.{name}: there is no such field: correct its name"
    assert caught.value.hint == f"{advice}; the fields are every, failureThreshold."
    assert spec_for_removal(misspelt).lifecycle.name == "aws-vpc-cni"


def test_unknown_fields_of_the_lifecycle_make_no_long_message() -> None:
    """The API server keeps as many as a megabyte has room for; to remove secrets from their names took seconds."""
    for fields in ({f"k{number}": 1 for number in range(1000)}, {"k" * 100_000: 1}):
        with pytest.raises(SpecError) as caught:
            parse_spec(chart(spec={**GOOD, "lifecycle": fields}))
        assert len(caught.value.message) < 1000
