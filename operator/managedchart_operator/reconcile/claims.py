"""Decides which of the ManagedCharts that name the same release may deploy it.

Pure, and a table test holds the rules. A deployed release stays with the ManagedChart that deployed it. Before that, whoever
lives in the namespace of the release goes first, then the oldest; and who deploys nothing (Skip, given up, refused) gives way
to everybody who would. While a run is under way, its ManagedChart stays the owner whatever changes, so that there are never
two helm processes for one release.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Self, TypeAlias

from managedchart_operator.api.resource import FINALIZER, Key, ManagedChart
from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Outlook, Phase
from managedchart_operator.helm.storage import DEPLOYED
from managedchart_operator.reasons import Reason

Target: TypeAlias = tuple[str, str]
"""Namespace and name of a release."""

DRY_RUN = "DryRun"
REMOVED = "Removed"
"""The operator has ended its removal, and others keep the ManagedChart by their finalizers."""
_GAVE_UP = frozenset({Outlook.CHANGE, Outlook.CHECK, Outlook.KEEP_ROLLED_BACK})


class Standing(IntEnum):
    """What a ManagedChart has done, or would do, with its release; the lower the stronger."""

    HAS_DEPLOYED = 0
    """Its status records that it has deployed the release, and has not uninstalled it since."""
    DEPLOYS = 1
    """It deploys, or is about to."""
    GAVE_UP = 2
    """It would change nothing now: a dry run, a Destroy, or a failure that is not retried soon."""
    NOTHING = 3
    """It claims nothing: Skip, a deletion, a namespace that does not accept it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one ManagedChart brings forward for its release."""

    key: Key
    uid: str
    created: str
    """When it was created, as an RFC 3339 time in UTC."""
    target: Target
    generation: int
    deleting: bool
    action: str
    """`spec.action`, or what it does instead: DRY_RUN, REMOVED."""
    standing: Standing = Standing.DEPLOYS
    refused: bool = False
    """Whether it waits because the release belongs to another ManagedChart."""
    release: tuple[int, str] | None = None
    """Revision and status of the release according to its status."""

    @classmethod
    def of(cls, chart: ManagedChart) -> Self:
        """Return the claim of a ManagedChart, from its spec and status as the API server has them."""
        action = chart.spec.get("action") or Action.DEPLOY
        return cls(
            key=chart.key,
            uid=chart.uid,
            created=chart.created,
            target=(chart.release_namespace, chart.release_name),
            generation=chart.generation,
            deleting=chart.deleting,
            action=_instead_of(action, chart),
        ).with_status(chart.status)

    def with_status(self, status: Mapping[str, Any]) -> Self:
        """Return the claim with another status."""
        attempt = status.get("attempt") or {}
        refused = attempt.get("reason") == Reason.RELEASE_OWNED and attempt.get("outlook") == Outlook.CHANGE
        release = status.get("release")
        return replace(
            self,
            standing=self._standing(status, attempt, refused=refused),
            refused=refused,
            release=(release.get("revision", 0), release.get("status", "")) if release else None,
        )

    @property
    def resident(self) -> bool:
        """Whether it is in the namespace of the release."""
        return self.target[0] == self.key.namespace

    def _standing(self, status: Mapping[str, Any], attempt: Mapping[str, Any], *, refused: bool) -> Standing:
        has_deployed = bool(status.get("blockers")) or _has_deployed(status)
        if self.deleting:
            # What it has deployed may be in the middle of its removal.
            return Standing.HAS_DEPLOYED if has_deployed and self.action != REMOVED else Standing.NOTHING
        gave_up = attempt.get("generation") == self.generation and attempt.get("outlook") in _GAVE_UP and not refused
        if self.action == Action.SKIP or (gave_up and _is_not_accepted(attempt)):
            return Standing.NOTHING
        if has_deployed:
            return Standing.HAS_DEPLOYED
        return Standing.GAVE_UP if gave_up or self.action in (Action.DESTROY, DRY_RUN) else Standing.DEPLOYS


def _instead_of(action: str, chart: ManagedChart) -> str:
    if chart.deleting and FINALIZER not in chart.finalizers:
        return REMOVED
    return DRY_RUN if action == Action.DEPLOY and chart.spec.get("dryRun") else action


def release_owner(claims: Iterable[Claim], *, label_owner: str | None, working: Key | None = None) -> Claim | None:
    """Return the claim that the release belongs to; None if nobody claims it.

    `label_owner` is the UID in the label of the newest revision, `working` is who has a run for the release under way.
    """
    claims = list(claims)
    at_work = next((claim for claim in claims if claim.key == working), None)
    labelled = next((claim for claim in claims if claim.uid == label_owner), None)
    if at_work or labelled:
        return at_work or labelled
    standing = (claim for claim in claims if claim.standing is not Standing.NOTHING)
    return min(standing, key=lambda each: (each.standing, not each.resident, each.created, each.uid), default=None)


def _is_not_accepted(attempt: Mapping[str, Any]) -> bool:
    """Whether it may not deploy at all. Other permissions that are missing are asked for again and again."""
    return attempt.get("reason") == Reason.FORBIDDEN and attempt.get("outlook") == Outlook.CHANGE


def _has_deployed(status: Mapping[str, Any]) -> bool:
    if status.get("phase") == Phase.DESTROYED:
        return False
    return any(record.get("outcome") == DEPLOYED for record in status.get("history") or ())
