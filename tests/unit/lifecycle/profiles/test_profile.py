"""What is wrong with a LifecycleProfile is said with its field, and it counts as far as it can be read."""

from typing import Any

import pytest

from managedchart_operator.kube.identities import Identity
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.plugins.plugin_lifecycle import Plugin
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses
from managedchart_operator.lifecycle.profiles.profile import read_profile
from managedchart_operator.reasons import Reason
from unit.lifecycle.profiles.samples import CHECK, body, check, profile


async def test_a_profile_is_read() -> None:
    read = await profile(
        "p",
        priority=7,
        lifecycle="aws-vpc-cni",
        match={"chartNames": ["a"]},
        actions=[CHECK],
        serviceAccount={"name": "checker", "namespace": "platform"},
        validation={"every": "1m"},
    )

    assert read.error is None
    assert read.blocks() is None
    assert (read.priority, read.lifecycle, read.validation.every) == (7, "aws-vpc-cni", "1m")
    assert [each.name for each in read.actions] == ["check"]
    assert read.identity == Identity("platform", "checker")
    assert read.origin == "profile/p"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"serviceAcount": {}}, "spec.serviceAcount: there is no such field: correct its name to serviceAccount"),
        ({"match": {"chartNames": ["a"], "namespace": "x"}}, "spec.match.namespace: there is no such field"),
        (
            {"validation": {"failureTreshold": 1}},
            "spec.validation.failureTreshold: there is no such field: correct its name to failureThreshold",
        ),
        ({"serviceAccount": {"name": "a"}}, "spec.serviceAccount.namespace: this field is required"),
        ({"match": {"chartNames": ["a"], "versions": "^1"}}, "spec.match.versions: "),
        (
            {"actions": [{**CHECK, "exists": {"kind": "Node", "nam": "a"}}]},
            "spec.actions[0] (check).exists.nam: there is no",
        ),
        ({"actions": [CHECK, CHECK]}, "spec.actions: two actions have the name check"),
        ({"lifecycle": "nothing"}, 'spec.lifecycle: unknown lifecycle "nothing"'),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_invalid_profile_names_the_field(spec: dict[str, Any], expected: str) -> None:
    read = await profile("p", **spec)

    assert read.error is not None
    assert read.error.message.startswith(expected)
    assert read.error.reason in (Reason.LIFECYCLE_INVALID, Reason.LIFECYCLE_UNKNOWN)
    blocks = read.blocks()
    assert blocks is not None
    assert blocks.message.startswith(f"LifecycleProfile p {expected}")
    assert blocks.hint == "Ask an administrator to correct the profile: kubectl get lifecycleprofile p -o yaml"


async def test_a_misspelt_condition_counts_for_all_that_the_others_match() -> None:
    """Else a check would be left out because of a misspelt word; so nothing runs, and the message says why."""
    read = await profile("p", match={"chartNames": ["a"], "namespace": "x"}, priority=3, actions=[check("x")])

    assert read.match is not None
    assert read.match.chart_names == ["a"]
    assert (read.priority, read.actions) == (3, ())


@pytest.mark.parametrize("match", [{}, 7, {"chartNames": "a"}, None])
async def test_an_unreadable_match_attaches_nothing(match: Any) -> None:
    assert (await profile("p", match=match, actions=7)).match is None


async def test_a_profile_can_name_a_plugin() -> None:
    plugin = Plugin("coredns", "plug-in coredns.py", {"module": "/plugins/coredns.py"}, "CoreDns", frozenset())
    plugins = Plugins(PluginProcesses(), found={"coredns": plugin})

    assert (await read_profile(body("p", lifecycle="coredns"), plugins)).error is None
