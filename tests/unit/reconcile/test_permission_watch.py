"""A permission that resources wait for is noticed when it is granted, and asked for once for all of them."""

import asyncio
from collections import Counter

from managedchart_operator.api.resource import Key
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.permissions import MissingPermission, Permission
from managedchart_operator.reconcile.permission_watch import Awaited, PermissionWatch
from unit.reconcile.fakes import unavailable

SERVICES = Permission("get", "services", "", "web")
PODS = Permission("get", "pods", "", "web")


def waits_for(permission: Permission) -> Awaited:
    """A permission of the operator itself."""
    return Awaited(MissingPermission("", permission), None)


class Answers:
    """The API server's answers: which permissions there are, and how often each was asked for."""

    def __init__(self) -> None:
        self.granted: set[Permission] = set()
        self.asked: Counter[Permission] = Counter()
        self.enough = asyncio.Event()
        self.failures: list[Exception] = []

    async def allowed(self, missing: MissingPermission, _: Identity | None) -> bool:
        permission = missing.permission
        self.asked[permission] += 1
        if self.asked.total() >= 3:
            self.enough.set()
        if self.failures:
            raise self.failures.pop()
        return permission in self.granted


async def test_each_permission_is_asked_for_once_for_all_who_wait() -> None:
    answers, woken = Answers(), asyncio.Queue[Key]()
    watch = PermissionWatch(answers.allowed, seconds=0.001)
    watch.when_granted(woken.put_nowait)
    for number in range(100):
        watch.wait_for(Key("web", f"{number}"), waits_for(SERVICES))
    watch.wait_for(Key("web", "other"), waits_for(PODS))
    await answers.enough.wait()
    assert max(answers.asked.values()) - min(answers.asked.values()) <= 1
    assert woken.empty()

    answers.granted.add(SERVICES)
    assert {await woken.get() for _ in range(100)} == {Key("web", f"{number}") for number in range(100)}
    asked = answers.asked[SERVICES]
    answers.granted.add(PODS)
    assert await woken.get() == Key("web", "other")
    assert answers.asked[SERVICES] == asked, "nobody waits for it any more"
    await watch.close()


async def test_no_answer_is_no_permission() -> None:
    answers, woken = Answers(), asyncio.Queue[Key]()
    answers.failures = [unavailable()]
    answers.granted.add(SERVICES)
    watch = PermissionWatch(answers.allowed, seconds=0.001)
    watch.when_granted(woken.put_nowait)
    watch.wait_for(Key("web", "a"), waits_for(SERVICES))
    assert await woken.get() == Key("web", "a")
    assert answers.asked[SERVICES] == 2
    await watch.close()


async def test_nothing_is_asked_while_nobody_waits() -> None:
    answers = Answers()
    watch = PermissionWatch(answers.allowed, seconds=0.001)
    watch.wait_for(Key("web", "a"), waits_for(SERVICES))
    watch.wait_for(Key("web", "a"), None)
    await asyncio.sleep(0.01)
    assert not answers.asked
    await watch.close()
