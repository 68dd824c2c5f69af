"""A release in another namespace needs the consent of that namespace, and without it nothing of it is read or said."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from managedchart_operator.api.resource import Key
from managedchart_operator.errors import KubeError, OperatorError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.claims import Claim
from managedchart_operator.reconcile.consent import Consent, Crossing, accepts
from managedchart_operator.reconcile.consent_watch import ConsentWatch
from unit.reconcile.fakes import chart, unavailable
from unit.reconcile.world import World

ACCOUNT = Identity("team-a", "deployer")
TO_DEPLOY, TO_CREATE = Permission("create", "secrets", "", "team-b"), Permission("create", "namespaces")
LABEL = {"from.managedchart.dev/team-a": "true"}


@pytest.mark.parametrize(
    ("labels", "accepted"),
    [
        ({}, False),
        (LABEL, True),
        ({"from.managedchart.dev/team-a": "false"}, False),
        ({"from.managedchart.dev/team-c": "true"}, False),
        ({"managedchart.dev/from-any-namespace": "true"}, True),
        ({"managedchart.dev/from-any-namespace": "yes"}, False),
    ],
)
def test_a_label_gives_consent(labels: dict[str, str], accepted: bool) -> None:
    assert accepts(labels, "team-a") is accepted


class Cluster:
    """One namespace, and what the account may do. `labels` is None if the namespace does not exist."""

    def __init__(self, labels: Mapping[str, str] | None, *permissions: Permission) -> None:
        self.answer: Mapping[str, str] | KubeError | None = labels
        self.permissions = set(permissions)
        self.asked: list[str] = []

    async def labels(self, name: str) -> Mapping[str, str] | None:
        self.asked.append(name)
        if isinstance(self.answer, KubeError):
            raise self.answer
        return self.answer

    async def may(self, identity: Identity, permission: Permission) -> bool:
        assert identity == ACCOUNT
        return permission in self.permissions

    def consent(self, *, needed: bool = True, identity: Identity | None = None) -> Consent:
        return Consent(cast("Any", self), self.may, identity_of=lambda _: identity, needed=needed, seconds=3600.0)


@pytest.mark.parametrize(
    ("labels", "permissions", "identity", "given"),
    [
        ({}, [], None, False),
        (LABEL, [], None, True),
        (LABEL, [], ACCOUNT, True),
        ({}, [TO_DEPLOY], ACCOUNT, True),
        ({}, [TO_DEPLOY], None, False),  # the operator's own permissions are not those of the team
        ({}, [TO_CREATE], ACCOUNT, False),  # who may create namespaces may not write into every one
        (None, [TO_CREATE], ACCOUNT, True),
        (None, [TO_DEPLOY], ACCOUNT, False),  # nobody is there who could agree
        (None, [], None, False),
    ],
)
async def test_the_namespace_or_its_permissions_decide(
    labels: Mapping[str, str] | None,
    permissions: list[Permission],
    identity: Identity | None,
    given: bool,
) -> None:
    assert await Cluster(labels, *permissions).consent().given(Crossing("team-a", "team-b", identity)) is given


CROSSING = chart("web", namespace="team-a", spec={"chart": {"path": "/c"}, "targetNamespace": "team-b"})


async def refusal(cluster: Cluster, resource: Any = CROSSING, identity: Identity | None = None) -> OperatorError:
    consent = cluster.consent(identity=identity)
    with pytest.raises(OperatorError) as caught:
        await consent.check(resource)
    await consent.watch.close()
    return caught.value


async def test_without_consent_the_hint_has_the_command() -> None:
    told = await refusal(Cluster({}))
    assert (told.reason, told.transient) == (Reason.FORBIDDEN, False)
    assert told.message == "Namespace team-b does not accept releases of ManagedCharts in namespace team-a"
    assert told.hint == (
        "Ask an administrator of namespace team-b for its consent: kubectl label namespace team-b"
        " from.managedchart.dev/team-a=true. The operator notices it within a minute."
    )
    told = await refusal(Cluster({}), identity=ACCOUNT)
    assert (
        " or kubectl create rolebinding from-team-a --clusterrole=admin --serviceaccount=team-a:deployer"
        " --namespace=team-b. The"
    ) in (told.hint or "")


async def test_nobody_learns_whether_the_namespace_exists() -> None:
    missing, there = await refusal(Cluster(None)), await refusal(Cluster({}))
    assert (missing.message, missing.hint) == (there.message, there.hint)


async def test_a_namespace_that_cannot_be_read_gives_no_label() -> None:
    """In the profile `namespaced` the operator reads only the namespaces of its list."""
    refused = KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403)
    cluster = Cluster({}, TO_DEPLOY)
    cluster.answer = refused
    assert not await cluster.consent().given(Crossing("team-a", "team-b"))
    assert await cluster.consent().given(Crossing("team-a", "team-b", ACCOUNT))


async def test_an_outage_is_no_refusal() -> None:
    cluster = Cluster({})
    cluster.answer = unavailable()
    told = await refusal(cluster)
    assert (told.reason, told.transient) == (Reason.API_UNAVAILABLE, True)


async def test_the_own_namespace_is_never_asked() -> None:
    cluster = Cluster({})
    await cluster.consent().check(chart("web", namespace="team-a"))
    await cluster.consent(needed=False).check(CROSSING)
    assert not await cluster.consent(needed=False).hides(CROSSING)
    assert cluster.asked == []


# ---- the watch


class Answers:
    """What the API server answers, and who was woken."""

    def __init__(self) -> None:
        self.given: dict[str, bool | KubeError] = {}
        self.asked: list[str] = []
        self.woken: list[Key] = []
        self.round = asyncio.Event()

    async def ask(self, question: str) -> bool:
        self.asked.append(question)
        self.round.set()
        answer = self.given[question]
        if isinstance(answer, KubeError):
            raise answer
        return answer

    async def rounds(self, count: int) -> None:
        for _ in range(count):
            self.round.clear()
            await asyncio.wait_for(self.round.wait(), 5)


async def test_a_change_of_consent_wakes_its_resources() -> None:
    answers, a, b, c = Answers(), Key("x", "a"), Key("x", "b"), Key("x", "c")
    watch = ConsentWatch(answers.ask, seconds=0.001)
    watch.when_changed(answers.woken.append)
    answers.given = {"one": True, "two": True}
    watch.note(a, "one", given=False)
    watch.note(b, "one", given=False)
    watch.note(c, "two", given=True)
    await answers.rounds(4)
    assert answers.woken == [a, b]
    assert set(answers.asked[:2]) == {"one", "two"}, "each question once"
    answers.given["two"] = False
    await answers.rounds(3)
    assert answers.woken == [a, b, c]
    answers.given["one"] = unavailable()
    await answers.rounds(3)
    assert answers.woken == [a, b, c]
    for key in (a, b, c):
        watch.forget(key)
    await asyncio.wait_for(asyncio.gather(*watch._rounds._tasks.values()), 5)
    await watch.close()


# ---- a pass


def crossing_world(**spec: Any) -> World:
    world = World(home="team-a", asks_consent=True)
    world.secrets.add("deployed", {"chart": "payroll"})
    world.put(spec)
    return world


@pytest.mark.parametrize("spec", [{}, {"action": "Skip"}, {"action": "Destroy"}, {"dryRun": True}])
async def test_without_consent_nothing_is_read_or_run(spec: dict[str, Any]) -> None:
    world = crossing_world(**spec)
    world.secrets.failure = AssertionError("the release of others is not needed")
    world.charts.failure = AssertionError("its inputs are not needed")
    assert await world.reconcile() is None
    assert world.helm.commands == []
    assert world.condition("Stalled")["reason"] == "Forbidden"
    assert "release" not in world.status
    assert world.status["lastFailure"]["message"] == (
        "Namespace apps does not accept releases of ManagedCharts in namespace team-a"
    )


async def test_without_consent_a_deletion_says_nothing_about_releases_of_others() -> None:
    world = crossing_world()
    await world.reconcile()
    world.events.posted.clear()
    world.put(deleting=True)
    await world.reconcile()
    assert world.resource is None
    assert world.events.posted == []
    assert world.helm.commands == []
    assert world.secrets.statuses == ["deployed"]


async def test_consent_given_later_deploys() -> None:
    world = World(home="team-a", asks_consent=True)
    world.put()
    await world.reconcile()
    world.cluster.namespace_labels = LABEL
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["status"] == "True"


async def deployed_with_consent() -> World:
    world = World(home="team-a", asks_consent=True)
    world.cluster.namespace_labels = LABEL
    world.put()
    await world.reconcile()
    world.cluster.namespace_labels = {}
    return world


async def test_withdrawn_consent_leaves_the_release() -> None:
    """And says so. When it is given again, nothing is deployed anew."""
    world = await deployed_with_consent()
    world.put({"values": {"a": 1}})
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["message"] == (
        "Namespace apps does not accept releases of ManagedCharts in namespace team-a; the release that was deployed"
        " there is left as it is"
    )
    assert world.status["release"]["revision"] == 1
    world.put({"values": {}})
    world.cluster.namespace_labels = LABEL
    await world.reconcile()
    assert world.helm.commands == ["upgrade"]
    assert world.condition("Ready")["status"] == "True"


async def test_a_deletion_uninstalls_what_was_deployed_with_consent() -> None:
    world = await deployed_with_consent()
    world.put(deleting=True)
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "uninstall"]
    assert world.resource is None


async def test_a_claim_is_refused_by_the_last_answer_about_its_namespace() -> None:
    cluster = Cluster({})
    consent = cluster.consent(identity=ACCOUNT)
    crossing = chart("web", namespace="team-a", spec={"targetNamespace": "team-b"})
    assert not consent.is_known_to_refuse(Claim.of(crossing)), "nobody was asked yet"
    with pytest.raises(OperatorError):
        await consent.check(crossing)
    assert consent.is_known_to_refuse(Claim.of(crossing))
    elsewhere = chart("web", namespace="team-a", spec={"targetNamespace": "team-c"})
    assert not consent.is_known_to_refuse(Claim.of(elsewhere)), "it was created again, for another namespace"
    cluster.answer = LABEL
    await consent.check(crossing)
    assert not consent.is_known_to_refuse(Claim.of(crossing))
    await consent.watch.close()
