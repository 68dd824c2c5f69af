"""Which of the ManagedCharts that name the same release may deploy it."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.api.resource import FINALIZER, Key, ManagedChart
from managedchart_operator.reconcile.claims import Claim, Standing, release_owner
from unit.reconcile.fakes import chart

DEPLOYED = {"history": [{"revision": 1, "action": "Install", "outcome": "deployed", "time": "2026-01-01T00:00:00Z"}]}


def gave_up(reason: str = "ValuesRefused", outlook: str = "Change", **attempt: Any) -> dict[str, Any]:
    return {"attempt": {"generation": 1, "failures": 1, "reason": reason, "outlook": outlook, **attempt}}


def named(name: str, *, namespace: str = "apps", day: int = 1, **fields: Any) -> ManagedChart:
    """A ManagedChart that names the release apps/web, created on a day."""
    spec = {"chart": {"path": "/charts/web"}, "targetNamespace": "apps", "releaseName": "web", **fields.pop("spec", {})}
    return chart(name, namespace=namespace, created=f"2026-01-{day:02}T00:00:00Z", spec=spec, **fields)


@pytest.mark.parametrize(
    ("fields", "standing"),
    [
        ({}, Standing.DEPLOYS),
        ({"spec": {"action": "Skip"}}, Standing.NOTHING),
        ({"spec": {"action": "Skip"}, "status": DEPLOYED}, Standing.NOTHING),
        ({"spec": {"action": "Destroy"}}, Standing.GAVE_UP),
        ({"spec": {"action": "Destroy"}, "status": DEPLOYED}, Standing.HAS_DEPLOYED),
        ({"spec": {"dryRun": True}}, Standing.GAVE_UP),
        ({"status": DEPLOYED}, Standing.HAS_DEPLOYED),
        ({"status": {**DEPLOYED, **gave_up()}}, Standing.HAS_DEPLOYED),
        ({"status": {**DEPLOYED, "phase": "Destroyed"}}, Standing.DEPLOYS),
        ({"status": gave_up()}, Standing.GAVE_UP),
        ({"status": gave_up(outlook="Check")}, Standing.GAVE_UP),
        ({"status": gave_up(outlook="Retry")}, Standing.DEPLOYS),
        ({"status": gave_up(outlook="Wait")}, Standing.DEPLOYS),
        ({"status": gave_up(generation=0)}, Standing.DEPLOYS),  # the spec has changed since
        ({"status": gave_up("ReleaseOwned")}, Standing.DEPLOYS),  # it would, if it might
        ({"status": gave_up("Forbidden")}, Standing.NOTHING),  # refused: no consent, no account
        ({"status": {**DEPLOYED, **gave_up("Forbidden")}}, Standing.NOTHING),
        ({"status": gave_up("Forbidden", outlook="Check")}, Standing.GAVE_UP),
        ({"deleting": True}, Standing.NOTHING),
        ({"deleting": True, "status": DEPLOYED}, Standing.NOTHING),  # only others keep it
        ({"deleting": True, "status": DEPLOYED, "finalizers": (FINALIZER,)}, Standing.HAS_DEPLOYED),
        (
            {"deleting": True, "status": {"blockers": [{"kind": "ConfigMap"}]}, "finalizers": (FINALIZER,)},
            Standing.HAS_DEPLOYED,
        ),
    ],
)
def test_who_deploys_nothing_claims_nothing(fields: dict[str, Any], standing: Standing) -> None:
    assert Claim.of(named("web", **fields)).standing is standing


OWNERS = [
    ("the oldest goes first", [named("old", day=1), named("young", day=2)], "old"),
    (
        "who lives there goes first, however young",
        [named("squat", namespace="team-a", day=1), named("home", day=2)],
        "home",
    ),
    (
        "Skip claims nothing",
        [named("squat", day=1, spec={"action": "Skip"}), named("web", namespace="team-a", day=2)],
        "web",
    ),
    (
        "who has given up waits for who has not",
        [named("broken", day=1, status=gave_up()), named("web", namespace="team-a", day=2)],
        "web",
    ),
    (
        "who hangs in its deletion without having deployed claims nothing",
        [named("hangs", day=1, deleting=True), named("web", day=2)],
        "web",
    ),
    (
        "who has deployed keeps it, although the release Secrets were deleted",
        [named("first", namespace="team-a", day=2, status=DEPLOYED), named("web", day=1)],
        "first",
    ),
    (
        "a removal under way keeps it",
        [
            named("first", namespace="team-a", deleting=True, status=DEPLOYED, finalizers=(FINALIZER,)),
            named("web", day=1),
        ],
        "first",
    ),
    ("a dry run does not hold up a deployment", [named("dry", spec={"dryRun": True}), named("web", day=2)], "web"),
    (
        "among those that have given up, the one that lives there",
        [named("a", namespace="team-a", status=gave_up()), named("b", day=3, status=gave_up(outlook="Check"))],
        "b",
    ),
    ("nobody claims it", [named("a", spec={"action": "Skip"}), named("b", deleting=True)], None),
]


@pytest.mark.parametrize(("charts", "owner"), [row[1:] for row in OWNERS], ids=[row[0] for row in OWNERS])
def test_a_release_has_one_owner(charts: list[ManagedChart], owner: str | None) -> None:
    for order in permutations(map(Claim.of, charts)):
        found = release_owner(order, label_owner=None)
        assert (found.key.name if found else None) == owner
        # The label of a ManagedChart that was deleted says nothing.
        assert release_owner(order, label_owner="uid-deleted") == found


def test_a_deployed_release_stays_with_its_owner() -> None:
    """Whatever it does now: the label of the revision says whose it is."""
    for fields in ({"spec": {"action": "Skip"}}, {"status": gave_up("Forbidden")}, {"deleting": True}):
        claims = [Claim.of(named("web", day=1)), Claim.of(named("far", namespace="team-a", day=2, **fields))]
        found = release_owner(claims, label_owner="uid-far")
        assert found is claims[1]


_CHARTS = st.builds(
    named,
    st.sampled_from("abcd"),
    namespace=st.sampled_from(["apps", "team-a"]),
    day=st.integers(1, 3),
    deleting=st.booleans(),
    spec=st.sampled_from([{}, {"action": "Skip"}, {"action": "Destroy"}, {"dryRun": True}]),
    status=st.sampled_from([{}, DEPLOYED, gave_up(), gave_up("Forbidden"), gave_up("ReleaseOwned")]),
)


@given(
    st.lists(_CHARTS, unique_by=lambda each: each.uid, max_size=4),
    st.sampled_from([None, "uid-a", "uid-gone"]),
    st.data(),
)
def test_a_run_under_way_keeps_its_release(
    charts: list[ManagedChart], label_owner: str | None, data: st.DataObject
) -> None:
    """Never two helm processes for one release: whatever changes in the meantime, everybody else is refused."""
    claims = [Claim.of(each) for each in charts]
    working = data.draw(st.sampled_from([each.key for each in charts] or [Key("apps", "none")]))
    found = release_owner(claims, label_owner=label_owner, working=working)
    assert (found.key if found else None) == (working if charts else None)
