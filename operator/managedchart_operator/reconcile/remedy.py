"""What is to be done about a failed deployment: roll back, uninstall, or leave it. The most dangerous decision there is.

Pure: `remediation` reads what is asked for here, and carries the answer out. In doubt a release is left as it is: a rollback
goes only from a revision of this resource to another one of it, and only what this resource alone has installed, and what was
never deployed, is uninstalled.
"""

from dataclasses import dataclass
from enum import StrEnum

from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLED, UNINSTALLING, Revision


class Remedy(StrEnum):
    """What is to be done."""

    NOTHING = "Nothing"
    """Nothing has failed that would have to be remedied, or it was remedied."""
    ROLL_BACK = "RollBack"
    UNINSTALL = "Uninstall"
    LEAVE = "Leave"
    """It failed, and stays as it is; `Plan.why` says why."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision depends on. `newest` is the newest revision of the release, which others may have made meanwhile."""

    atomic: bool
    newest: Revision | None
    failed: int | None
    """The revision that failed, as the status names it; only ever one of ours."""
    after_exec: bool = False
    """Whether post_exec or validate failed: then helm calls the failed revision deployed."""
    newest_is_ours: bool = True
    good: Revision | None = None
    """The last revision that was good, before the newest."""
    good_is_ours: bool = True
    others: tuple[int, ...] = ()
    """The revisions that others made."""
    claims: tuple[str, ...] = ()
    """What of the release keeps data in volume claims, which an uninstall would leave behind; each as a person names it."""


@dataclass(frozen=True, slots=True)
class RemedyPlan:
    """The decision. `to` is the revision to roll back to; `why` a sentence where the release is left."""

    remedy: Remedy
    to: Revision | None = None
    why: str = ""


NOTHING = RemedyPlan(Remedy.NOTHING)


def decide_remedy(facts: Facts) -> RemedyPlan:
    """Return what is to be done now. The rules stand in their order of precedence."""
    newest = facts.newest
    if not facts.atomic or newest is None or facts.failed is None or facts.failed > newest.number:
        return NOTHING
    if not facts.newest_is_ours or not _is_to_be_remedied(facts, newest):
        return NOTHING
    good = facts.good
    if newest.status in (UNINSTALLING, UNINSTALLED) and (good is not None or facts.others):
        return NOTHING  # ours uninstalls nothing that has a good revision, so somebody else has begun this
    if good is not None and facts.good_is_ours:
        return RemedyPlan(Remedy.ROLL_BACK, to=good)
    if good is not None:
        return _left(
            f"revision {good.number}, the last good one, was not made by this resource (helm rollback returns to it)"
        )
    if facts.others:
        return _left(f"revision {facts.others[-1]} was not made by this resource, so what is there may be in use")
    if facts.claims:
        what = ", ".join(facts.claims)
        return _left(
            f"it brought {what}, whose data would outlive an uninstall, so that a later attempt upgrades the release"
        )
    return RemedyPlan(Remedy.UNINSTALL)


def _is_to_be_remedied(facts: Facts, newest: Revision) -> bool:
    if newest.status == DEPLOYED:
        return facts.after_exec and newest.number == facts.failed
    return newest.status in (FAILED, UNINSTALLING, UNINSTALLED)


def _left(why: str) -> RemedyPlan:
    return RemedyPlan(Remedy.LEAVE, why=why)
