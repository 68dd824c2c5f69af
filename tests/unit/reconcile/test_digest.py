"""The digest of what decides what runs: what it covers, and that those of older operators still count."""

from typing import Any

import pytest
from pydantic import Field

from managedchart_operator.api.lifecycle import LifecycleRef
from managedchart_operator.api.spec import ChartSource, ManagedChartSpec
from managedchart_operator.helm.values import Values, read_values
from managedchart_operator.reconcile.digest import (
    FROM_INPUTS,
    IGNORED,
    Digest,
    digest_of,
    digest_without_inputs,
)
from managedchart_operator.reconcile.earlier_operators import version_1_digest_without_inputs

CHART = {"path": "/charts/web"}
FINGERPRINT = "f" * 64
# Fields of the spec that change what runs. A new field goes here, or into IGNORED if it changes nothing of what runs.
COUNTED = {
    "action",
    "conflicts",
    "dry_run",
    "wait",
    "force_upgrade",
    "skip_schema_validation",
    "crds",
    "last_breaking_version_requiring_restart",
    "lifecycle",
    "service_account_name",
}

# What operators that wrote no version have stored for these specs: the digest, and that of unread inputs.
VERSION_1: dict[str, tuple[dict[str, Any], str, str]] = {
    "defaults": (
        {"chart": CHART},
        "bab55fda488ccec817bd6c2be209409e6cbbec48",
        "8f7315ee6a0caf5f70f3f35b07ffff7a3b106e61",
    ),
    "remote": (
        {
            "chart": {"repository": "https://h/c", "name": "web", "version": "1.x"},
            "action": "Skip",
            "retry": {"limit": 2, "afterRollback": True},
            "timeout": "1h",
        },
        "0fb31f71c4ff1c4f8d47639d8ce246a3ebe2082d",
        "7e01e926a6b247df5459680d4f24b4b3fa2614ae",
    ),
    "all fields": (
        {
            "chart": {"oci": "oci://h/web", "plainHTTP": True},
            "releaseName": "a",
            "targetNamespace": "b",
            "createNamespace": False,
            "action": "Destroy",
            "deletionPolicy": "Orphan",
            "atomic": False,
            "wait": False,
            "failFast": False,
            "failFastGrace": "9s",
            "forceUpgrade": True,
            "dryRun": True,
            "lastBreakingVersionRequiringRestart": "2.0.0",
            "valuesFiles": ["/charts/v.yaml"],
            "yamlFilesContent": [
                {"filename": "f", "yamlContent": "a: 1\nb: {c: 0x10, d: on}\n"},
                {"filename": "g", "yamlContent": "b: {e: [1, 2.5]}\n"},
            ],
            "values": {"b": {"c": None, "u": "ü\u2028"}, "f": 1e22},
            "set": [
                {"key": "b.e[1]", "value": "x"},
                {"key": "n", "value": "{1,true,a}"},
                {"key": "a", "value": "null"},
            ],
            "lifecycle": {"name": "prometheus-operator"},
        },
        "8b56c36c6b1ed154bdd31e9a8261f6adaf03ba7c",
        "5aa807f28e4ff9becd41859dda304d67323ca460",
    ),
}


def values_of(spec: ManagedChartSpec) -> Values:
    files = [(path, b"z: 010\nb: {c: 5}\n") for path in spec.values_files]
    return read_values(files=files, yaml_files=spec.yaml_files_content, values=spec.values, set_values=spec.set)


def digest(spec: ManagedChartSpec, *, chart: str = FINGERPRINT) -> Digest:
    return digest_of(spec, chart=chart, values=values_of(spec))


def read(**fields: Any) -> ManagedChartSpec:
    return ManagedChartSpec.model_validate({"chart": CHART, **fields})


class NewerLifecycleRef(LifecycleRef):
    """A part with a field that this operator does not have."""

    mode: str = "usual"


class NewerSpec(ManagedChartSpec):
    """A spec with fields that this operator does not have."""

    added: str = "usual"
    parts: list[str] = Field(default_factory=list)
    lifecycle: NewerLifecycleRef = Field(default_factory=NewerLifecycleRef)


def test_every_field_counts_or_is_ignored() -> None:
    """Whoever adds a field decides; a forgotten one counts, so that it deploys again instead of never."""
    assert set(ManagedChartSpec.model_fields) == COUNTED | IGNORED | FROM_INPUTS
    assert len(ManagedChartSpec.model_fields) == len(COUNTED) + len(IGNORED) + len(FROM_INPUTS)


@pytest.mark.parametrize(
    "fields",
    [
        {"crds": "Skip"},
        {"crds": "CreateReplace"},
        {"conflicts": {"policy": "Fail"}},
        {"serviceAccountName": "deployer"},
    ],
    ids=["skip", "replace", "conflicts", "account"],
)
def test_a_field_that_is_set_is_another_input(fields: dict[str, Any]) -> None:
    """Also where an operator has stored a digest that did not have the field: else it would never have an effect."""
    default, changed = digest(read()), digest(read(**fields))
    assert changed.text != default.text
    assert default.version_1 is not None
    assert not changed.matches(default.version_1())
    assert not digest_without_inputs(read(**fields)).matches(version_1_digest_without_inputs(read()))


def test_a_digest_has_a_version_and_fits_labels() -> None:
    for found in (digest(read()), digest_without_inputs(read())):
        version, hexadecimal = found.text.split("-")
        assert version == "2"
        assert len(bytes.fromhex(hexadecimal)) == 20
        assert len(found.text) <= 63


def test_what_a_wait_leaves_out_changes_no_digest() -> None:
    """Also where the inputs are not read: a change of it alone runs nothing."""
    changed = read(waitFor={"exclude": [{"kind": "ExternalSecret"}]})
    assert digest(changed) == digest(read())
    assert digest_without_inputs(changed) == digest_without_inputs(read())


@pytest.mark.parametrize("fields", [{}, {"lifecycle": {"name": "prometheus-operator"}}], ids=["default", "changed"])
def test_a_new_field_with_its_default_is_ignored(fields: dict[str, Any]) -> None:
    """Neither in the spec nor in a part of it: a new operator deploys nothing automatically."""
    newer = NewerSpec.model_validate({"chart": CHART, **fields})
    assert digest(newer) == digest(read(**fields))
    assert digest_without_inputs(newer) == digest_without_inputs(read(**fields))


@pytest.mark.parametrize(
    "fields",
    [{"added": "other"}, {"parts": ["a"]}, {"lifecycle": {"mode": "other"}}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_new_field_that_is_set_changes_the_digest(fields: dict[str, Any]) -> None:
    newer = NewerSpec.model_validate({"chart": CHART, **fields})
    assert digest(newer) != digest(read())
    assert digest_without_inputs(newer) != digest_without_inputs(read())


def test_an_explicit_default_changes_no_digest() -> None:
    written = read(action="Deploy", wait=True, dryRun=False, lifecycle={"name": "default"}, values={}, set=[])
    assert digest(written) == digest(read())
    assert digest_without_inputs(written) == digest_without_inputs(read())


def test_unread_inputs_are_covered_by_the_spec() -> None:
    """Except whether a rollback is followed by a retry."""
    spec = ManagedChartSpec(chart=ChartSource(path="/charts/web"))
    stand_in = digest_without_inputs(spec)
    assert stand_in == digest_without_inputs(read(retry={"afterRollback": True}))
    for other in ({"timeout": "1h"}, {"values": {"a": 1}}, {"chart": {"path": "/charts/b"}}, {"retry": {"limit": 1}}):
        assert digest_without_inputs(read(**other)) != stand_in
    assert stand_in != digest(spec)


@pytest.mark.parametrize(("fields", "stored", "unread"), VERSION_1.values(), ids=VERSION_1)
def test_a_digest_without_version_still_matches(fields: dict[str, Any], stored: str, unread: str) -> None:
    """It was stored by an operator that merged all values before it computed the digest."""
    for model in (ManagedChartSpec, NewerSpec):
        spec = model.model_validate(fields)
        assert digest(spec).matches(stored)
        assert not digest(spec, chart="other").matches(stored)
        assert digest_without_inputs(spec).matches(unread)
        assert version_1_digest_without_inputs(spec) == unread
        assert not digest_without_inputs(spec).matches(stored)
    changed = read(**{**fields, "values": {"other": 1}})
    assert not digest(changed).matches(stored)
    assert not digest_without_inputs(changed).matches(unread)


def test_a_current_digest_is_compared_directly() -> None:
    """And the older rule, which merges all values, costs nothing then."""

    def unwanted() -> str:
        raise AssertionError("the older digest is not needed")

    found = Digest("2-a", unwanted)
    assert found.matches("2-a")
    assert not found.matches("2-b")
    assert not found.matches(None)


def test_the_older_digest_is_computed_once() -> None:
    asked = []

    class Counting(Values):
        def merged(self) -> dict[str, Any]:
            asked.append(1)
            return super().merged()

    found = digest_of(read(), chart=FINGERPRINT, values=Counting())
    assert [found.matches("a" * 40) for _ in range(3)] == [False] * 3
    assert asked == [1]
