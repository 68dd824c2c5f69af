"""Decides what to do about a failed deployment: roll back, uninstall, or leave it. The most dangerous decision of all.

Pure: `remediation` collects the facts and carries out the decision. In doubt a release is left as it is. A rollback goes only
from one revision of this resource to another, and only a release that this resource alone installed, and that was never
deployed, is uninstalled.
"""

from dataclasses import dataclass
from enum import StrEnum

from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLED, UNINSTALLING, Revision


class Remedy(StrEnum):
    """What to do."""

    NOTHING = "Nothing"
    """Nothing failed that needs a remedy, or the remedy was done."""
    ROLL_BACK = "RollBack"
    UNINSTALL = "Uninstall"
    LEAVE = "Leave"
    """It failed and stays as it is; `RemedyPlan.why` says why."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision depends on. `newest` is the newest revision of the release; others may have made it."""

    atomic: bool
    newest: Revision | None
    failed: int | None
    """The revision that failed, as the status names it; it is always one of this resource."""
    after_exec: bool = False
    """Whether post_exec or validate failed, so that helm calls the failed revision deployed."""
    newest_is_own: bool = True
    good: Revision | None = None
    """The last good revision before the newest."""
    good_is_own: bool = True
    others: tuple[int, ...] = ()
    """The revisions that others made."""
    claims: tuple[str, ...] = ()
    """The objects with data in volume claims, which an uninstall would leave behind; each by kind and name."""


@dataclass(frozen=True, slots=True)
class RemedyPlan:
    """The decision. `to` is the revision to roll back to, `why` the reason for leaving the release."""

    remedy: Remedy
    to: Revision | None = None
    why: str = ""


NOTHING = RemedyPlan(Remedy.NOTHING)
UNDECIDED = RemedyPlan(Remedy.NOTHING, why="the release could not be read or marked")
"""Nothing yet: the remedy of what has failed is still to be decided."""


def decide_remedy(facts: Facts) -> RemedyPlan:
    """Return what to do now. The rules are in order of precedence."""
    newest = facts.newest
    if not facts.atomic or newest is None or facts.failed is None or facts.failed > newest.number:
        return NOTHING
    if newest.status == DEPLOYED:
        has_failed = facts.after_exec and newest.number == facts.failed
    else:
        has_failed = newest.status in (FAILED, UNINSTALLING, UNINSTALLED)
    if not facts.newest_is_own or not has_failed:
        return NOTHING
    good = facts.good
    if newest.status in (UNINSTALLING, UNINSTALLED) and (good is not None or facts.others):
        return NOTHING  # this operator uninstalls no release with a good revision, so somebody else began this
    if good is not None and facts.good_is_own:
        return RemedyPlan(Remedy.ROLL_BACK, to=good)
    if good is not None:
        why = (
            f"revision {good.number}, the last good one, was not made by this resource (helm rollback can return to it)"
        )
    elif facts.others:
        why = f"revision {facts.others[-1]} was not made by this resource, so the release may be in use"
    elif facts.claims:
        what = ", ".join(facts.claims)
        why = (
            f"an uninstall would leave the data of {what} behind, and a password that the next install generates would not fit "
            "it; the next attempt upgrades the release instead"
        )
    else:
        return RemedyPlan(Remedy.UNINSTALL)
    return RemedyPlan(Remedy.LEAVE, why=why)
