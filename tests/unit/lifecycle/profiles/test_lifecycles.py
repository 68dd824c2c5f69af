"""Which lifecycle a ManagedChart has: precedence of names, order of actions, and what a tenant cannot change."""

from typing import Any

import pytest

from managedchart_operator.egress.metrics import MetricSources
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.lifecycle.aws_vpc_cni import AwsVpcCni
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.deadline import WithDeadlines
from managedchart_operator.lifecycle.lifecycles import Lifecycles
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses
from managedchart_operator.lifecycle.profiles.profile import Profile
from managedchart_operator.lifecycle.prometheus_operator import PrometheusOperator
from managedchart_operator.lifecycle.with_actions import WithActions, why_blocked, why_missing
from managedchart_operator.reasons import Reason
from unit.lifecycle.profiles.samples import CHECK, FakeNamespaces, check, lifecycles, profile, spec_of, web

ALL = {"chartNames": ["*"]}
IN_PROD = {"namespaces": {"selector": {"matchLabels": {"env": "prod"}}}}


async def found(of: Lifecycles, **spec: Any) -> WithActions:
    chart = web(**spec)
    lifecycle = await of.find(chart, spec_of(chart))
    assert isinstance(lifecycle, WithActions)
    return lifecycle


def within(lifecycle: WithActions) -> Lifecycle:
    """The built-in lifecycle, without its deadlines."""
    assert isinstance(lifecycle.inner, WithDeadlines)
    return lifecycle.inner.inner


def origins(lifecycle: WithActions) -> list[str]:
    return [f"{each.origin}:{each.action.name}" for each in lifecycle.actions]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("default", Lifecycle), ("prometheus-operator", PrometheusOperator), ("aws-vpc-cni", AwsVpcCni)],
)
async def test_built_in_names_need_no_profile(name: str, expected: type[Lifecycle]) -> None:
    lifecycle = await found(lifecycles(), lifecycle={"name": name})

    assert type(within(lifecycle)) is expected
    assert (lifecycle.name, lifecycle.profiles, lifecycle.actions) == (name, (), ())


async def test_a_profile_wins_over_a_built_in_of_its_name() -> None:
    """Only an administrator can apply one, and a later operator with a new built-in name changes nothing."""
    mine = await profile("aws-vpc-cni", actions=[check("mine")])

    lifecycle = await found(lifecycles(mine), lifecycle={"name": "aws-vpc-cni"})

    assert type(within(lifecycle)) is Lifecycle
    assert origins(lifecycle) == ["profile/aws-vpc-cni:mine"]


async def test_a_profile_can_keep_the_built_in_of_its_name() -> None:
    mine = await profile("aws-vpc-cni", lifecycle="aws-vpc-cni", actions=[check("mine")])

    lifecycle = await found(lifecycles(mine), lifecycle={"name": "aws-vpc-cni"})

    assert type(within(lifecycle)) is AwsVpcCni


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "aws-vpc-cni"),  # of the attached profile
        ({"name": "default"}, "aws-vpc-cni"),
        ({"name": "prometheus-operator"}, "prometheus-operator"),  # of the spec
        ({"name": "named"}, "prometheus-operator"),  # of the named profile
        ({"name": "bare"}, "aws-vpc-cni"),  # which names none
    ],
)
async def test_whose_lifecycle_is_within(asked: dict[str, str], expected: str) -> None:
    attached = await profile("attached", match=ALL, lifecycle="aws-vpc-cni")
    named = await profile("named", lifecycle="prometheus-operator")
    bare = await profile("bare")

    assert (await found(lifecycles(attached, named, bare), lifecycle=asked)).name == expected


async def test_profiles_by_priority_then_name_and_the_spec_last() -> None:
    profiles = [
        await profile("b", match=ALL, actions=[check("x"), check("y")]),
        await profile("a", match=ALL, actions=[check("x")]),
        await profile("z", match=ALL, priority=10, actions=[check("x")]),
        await profile("low", match=ALL, priority=-1, actions=[check("x")]),
        await profile("named", actions=[check("x")]),
        await profile("elsewhere", match={"chartNames": ["api"]}, actions=[check("x")]),
    ]

    lifecycle = await found(lifecycles(*profiles), lifecycle={"name": "named", "actions": [check("x")]})

    assert lifecycle.profiles == ("z", "a", "b", "named", "low")
    assert origins(lifecycle) == [
        "profile/z:x", "profile/a:x", "profile/b:x", "profile/b:y", "profile/named:x", "profile/low:x", "spec:x",
    ]  # fmt: skip


async def test_a_profile_that_is_named_and_matches_counts_once() -> None:
    mine = await profile("mine", match=ALL, actions=[check("x")])

    assert origins(await found(lifecycles(mine), lifecycle={"name": "mine"})) == ["profile/mine:x"]


async def test_the_account_of_a_profile_is_that_of_its_actions() -> None:
    own = await profile("own", match=ALL, actions=[check("x")], serviceAccount={"name": "c", "namespace": "platform"})
    without = await profile("without", match=ALL, actions=[check("x")])

    lifecycle = await found(lifecycles(own, without), lifecycle={"actions": [check("x")]})

    assert [each.identity for each in lifecycle.actions] == [Identity("platform", "c"), None, None]


async def test_a_tenant_cannot_turn_the_checks_of_a_profile_off() -> None:
    """Neither by its interval nor by an action of the same name; its own checks it can."""
    platform = await profile("platform", match=ALL, actions=[CHECK], validation={"every": "1m", "failureThreshold": 2})
    mine = {"actions": [CHECK], "validation": {"every": "0s"}}

    lifecycle = await found(lifecycles(platform), lifecycle=mine)

    assert intervals(lifecycle) == {"profile/platform": ("1m", 2)}


async def test_each_origin_has_its_own_interval() -> None:
    """Neither what a tenant writes nor another profile makes the checks of a profile run more or less often."""
    often = await profile("often", match=ALL, actions=[CHECK], validation={"every": "30s", "failureThreshold": 9})
    never = await profile("never", match=ALL, actions=[CHECK], validation={"every": "0s", "failureThreshold": 1})

    lifecycle = await found(lifecycles(often, never), lifecycle={"actions": [CHECK]})

    assert intervals(lifecycle) == {"profile/often": ("30s", 9), "spec": ("5m", 3)}


def intervals(lifecycle: WithActions) -> dict[str, tuple[str, int]]:
    """How often, and how strictly, the checks of each origin run again."""
    return {
        origin: (checks[0].validation.every, checks[0].validation.failure_threshold)
        for origin, checks in lifecycle.checks.items()
    }


async def test_an_invalid_profile_blocks_the_run_of_what_it_is_for() -> None:
    broken = await profile("broken", match=ALL, actions=[{"name": "x", "phase": "PreExec"}])

    blocked = why_blocked(await found(lifecycles(broken)))

    assert blocked is not None
    assert blocked.reason is Reason.LIFECYCLE_INVALID
    assert blocked.message.startswith("LifecycleProfile broken spec.actions[0] (x): set exactly one of")
    elsewhere = await profile("broken", match={"chartNames": ["api"]}, actions=[{"name": "x", "phase": "PreExec"}])
    assert why_blocked(await found(lifecycles(elsewhere))) is None


@pytest.mark.parametrize("asked", ["default", "broken"])
async def test_a_profile_with_an_unknown_lifecycle_blocks_the_run_only(asked: str) -> None:
    """What is deployed is not disturbed, whether the profile is attached or named."""
    broken = await profile("broken", match=ALL, lifecycle="nothing", actions=[check("x")])

    lifecycle = await found(lifecycles(broken), lifecycle={"name": asked})

    blocked = why_blocked(lifecycle)
    assert lifecycle.name == "default"
    assert blocked is not None
    assert blocked.message.startswith('LifecycleProfile broken spec.lifecycle: unknown lifecycle "nothing"')


async def test_too_many_actions_block_the_run() -> None:
    actions = [check(f"a{number}") for number in range(32)]
    three = [await profile(name, match=ALL, actions=actions) for name in ("a", "b", "c")]

    assert why_blocked(await found(lifecycles(*three))) is None
    blocked = why_blocked(await found(lifecycles(*three), lifecycle={"actions": [check("x")]}))

    assert blocked is not None
    assert blocked.message == (
        "The lifecycle has 97 actions with those of the LifecycleProfiles a, b, c; at most 96 are allowed"
    )


async def test_a_broken_plugin_is_named_with_its_error_and_nothing_else() -> None:
    """Which profiles there are is of no use then."""
    why = 'the lifecycle "coredns" (plug-in coredns.py) cannot be loaded: SyntaxError: invalid syntax'
    of = lifecycles(await profile("mine"), plugins=Plugins(PluginProcesses(), broken={"coredns": why}))

    missing = why_missing(await found(of, lifecycle={"name": "coredns"}))

    assert missing is not None
    assert missing.message == f"spec.lifecycle.name: {why}"
    assert missing.hint == "Correct the plug-in, and restart the operator."


async def test_an_unknown_name_blocks_runs_and_lists_the_profiles_too() -> None:
    """It raises nothing: what is deployed with a profile that was deleted later is left alone."""
    lifecycle = await found(lifecycles(await profile("mine")), lifecycle={"name": "mien", "actions": [CHECK]})

    missing = why_missing(lifecycle)
    assert missing is not None
    assert why_blocked(lifecycle) is missing
    assert missing.reason is Reason.LIFECYCLE_UNKNOWN
    assert missing.message.endswith("; LifecycleProfiles: mine")
    assert list(lifecycle.checks) == ["spec"]


THANOS = {
    "name": "errors",
    "phase": "PreDelete",
    "metric": {"url": "https://thanos.example.com", "query": "up", "expr": "true"},
}


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_server_that_is_not_allowed_blocks_the_run(*, allowed: bool) -> None:
    """Before anything runs, whether the spec or a profile names it; a deletion goes on without it."""
    metrics = MetricSources.parse(["https://thanos.example.com"] if allowed else ["https://thanos.example.com.evil"])
    for asked, source in (
        (lifecycles(metrics=metrics), ""),
        (lifecycles(await profile("p", match=ALL, actions=[THANOS]), metrics=metrics), " of profile/p"),
    ):
        chart = web() if source else web(lifecycle={"actions": [THANOS]})
        blocked = why_blocked(await asked.find(chart, spec_of(chart)))
        removal = await asked.find_for_removal(chart, spec_of(chart), lacks=lacks)
        assert isinstance(removal.lifecycle, WithActions)
        if allowed:
            assert (blocked, len(removal.lifecycle.actions), removal.problems) == (None, 1, [])
            continue
        assert blocked is not None
        assert blocked.message == (
            f"Action errors (metric){source}: https://thanos.example.com is not one of the metric sources that the operator"
            " allows"
        )
        assert blocked.reason is Reason.LIFECYCLE_INVALID
        assert '"https://thanos.example.com" to the list in the operator\'s setting MANAGEDCHART_METRIC_SOURCES' in str(
            blocked.hint
        )
        assert removal.lifecycle.actions == ()
        assert [each.message for each in removal.problems] == [blocked.message]


def of(profiles: list[Profile], error: Exception | None = None) -> Lifecycles:
    return lifecycles(*profiles, namespaces=FakeNamespaces({"team-a": {"env": "prod"}}, error))


async def test_a_removal_goes_on_without_what_is_invalid() -> None:
    """With everything else: a profile may save data before the release is deleted."""
    good = await profile("good", match=IN_PROD, lifecycle="prometheus-operator", actions=[check("save", "PreDelete")])
    broken = await profile("broken", match=ALL, actions=[{"name": "x", "phase": "PreExec"}])
    chart = web(lifecycle={"actions": [{"name": "x", "phase": "PreExec"}]})

    removal = await of([good, broken]).find_for_removal(chart, spec_of(chart), lacks=lacks)

    assert isinstance(removal.lifecycle, WithActions)
    assert type(within(removal.lifecycle)) is PrometheusOperator
    assert origins(removal.lifecycle) == ["profile/good:save"]
    assert [each.message.partition(" (")[0] for each in removal.problems] == [
        "LifecycleProfile broken spec.actions[0]",
        "spec.lifecycle.actions[0]",
    ]


@pytest.mark.parametrize(
    ("spec", "blocks"),
    [
        ({"unknown": 1, "actions": [check("save", "PreDelete")]}, True),
        ({"unknown": 1, "actions": [check("save", "PreExec")]}, False),
        ({"lifecycle": "nothing", "actions": [check("save", "PreDelete")]}, False),
    ],
)
async def test_what_of_an_invalid_profile_saves_data(spec: dict[str, Any], *, blocks: bool) -> None:
    """Where its fields are unknown, so is who runs its actions; where only its lifecycle is, they are run."""
    broken = await profile("broken", match=ALL, **spec)
    chart = web()

    removal = await of([broken]).find_for_removal(chart, spec_of(chart), lacks=lacks)

    assert isinstance(removal.lifecycle, WithActions)
    assert (removal.blocked is not None) is blocks
    assert origins(removal.lifecycle) == (["profile/broken:save"] if "lifecycle" in spec else [])
    assert len(removal.problems) == 1


async def test_a_removal_goes_on_with_an_unknown_lifecycle() -> None:
    chart = web(lifecycle={"name": "nothing", "actions": [check("x", "PreDelete")]})

    removal = await of([]).find_for_removal(chart, spec_of(chart), lacks=lacks)

    assert isinstance(removal.lifecycle, WithActions)
    assert type(removal.lifecycle.inner) is Lifecycle
    assert origins(removal.lifecycle) == ["spec:x"]
    assert [each.reason for each in removal.problems] == [Reason.LIFECYCLE_UNKNOWN]


async def lacks(_: KubeError) -> bool:
    """The operator lacks what was refused."""
    return True


@pytest.mark.parametrize(("reason", "goes_on"), [(Reason.FORBIDDEN, True), (Reason.API_UNAVAILABLE, False)])
async def test_a_removal_waits_for_the_api_server_but_for_no_permission(reason: Reason, *, goes_on: bool) -> None:
    error = KubeError("no", reason=reason, transient=True, status=0)
    chart = web()
    asked = of([await profile("p", match=IN_PROD)], error)
    if not goes_on:
        with pytest.raises(KubeError):
            await asked.find_for_removal(chart, spec_of(chart), lacks=lacks)
        return

    assert [each.message for each in (await asked.find_for_removal(chart, spec_of(chart), lacks=lacks)).problems] == [
        "without LifecycleProfiles: no"
    ]


async def test_whom_a_changed_profile_concerns() -> None:
    before = await profile("p", match={"chartNames": ["api"]})
    after = await profile("p", match={"namespaces": {"names": ["team-a"]}})
    asked = of([])

    assert await asked.concerns(web(), before, after)
    assert await asked.concerns(web(), after, None)
    assert not await asked.concerns(web(), before, None)
    assert await asked.concerns(web(lifecycle={"name": "p"}), None, before)
    error = KubeError("no", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
    assert await of([], error).concerns(web(), None, await profile("p", match=IN_PROD))
