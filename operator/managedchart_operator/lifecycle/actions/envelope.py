"""What every action has beside its verb: when it runs, how long, how often, and what follows its failure."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from managedchart_operator.api.duration import Duration, between, seconds
from managedchart_operator.api.schema import ApiModel, matches
from managedchart_operator.api.spec import SEMVER
from managedchart_operator.api.status import Phase
from managedchart_operator.lifecycle.actions.verb import Expression

EXPRESSION_LENGTH = 1024
"""Longest CEL expression, in characters."""
CONDITION_VARIABLES = ("release", "spec", "payload")
"""What `when.expr` may use."""

CelText = Annotated[str, Field(min_length=1, max_length=EXPRESSION_LENGTH)]
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


class ActionPhase(StrEnum):
    """The phase around which an action runs: after the lifecycle's own part of it."""

    CHECK_PREREQUISITES = Phase.CHECK_PREREQUISITES.value
    PRE_EXEC = Phase.PRE_EXEC.value
    ON_DEPLOY_FAILURE = Phase.ON_DEPLOY_FAILURE.value
    POST_EXEC = Phase.POST_EXEC.value
    VALIDATE = Phase.VALIDATE.value
    PRE_DELETE = Phase.PRE_DELETE.value
    POST_DELETE = Phase.POST_DELETE.value


class Deployment(StrEnum):
    """The operations of a run that deploys."""

    INSTALL = "Install"
    UPGRADE = "Upgrade"


class OnError(StrEnum):
    """What follows the failure of an action."""

    FAIL = "Fail"
    CONTINUE = "Continue"


class When(ApiModel):
    """Conditions of the run that must all hold, otherwise the action is skipped."""

    operation: Deployment | None = None
    """Install: only where the release is not installed yet; Upgrade: only where it is."""
    crosses: str | None = Field(
        default=None,
        pattern=SEMVER,
        max_length=64,
        json_schema_extra=matches(SEMVER, "write a version like 1.2.0"),
    )
    """Only when the run goes from a chart older than this version to this one or a newer one."""
    expr: CelText | None = None
    """Only if this CEL expression over release, spec and payload is true."""


class Envelope(ApiModel):
    """One action: a name, a phase, exactly one verb, and how it runs."""

    model_config = ConfigDict(title="Action")

    name: str = Field(min_length=1, max_length=63, pattern=_NAME)
    """Name of the action, in the status, in messages and in `payload`; each name once."""
    phase: ActionPhase
    """When it runs: after the lifecycle's own part of this phase. PreDelete and PostDelete are around an uninstall."""
    when: When | None = None
    """Conditions of the run that must all hold, otherwise the action is skipped; by default it always runs."""
    timeout: Duration = Field(
        default="1m", json_schema_extra=between(None, "24h", "timeout can be at most 24h: shorten it")
    )
    """How long one attempt may take."""
    retries: int = Field(default=0, ge=0, le=100, strict=True)
    """How often a failed attempt is repeated."""
    backoff: Duration = Field(
        default="5s", json_schema_extra=between("1s", "1h", "backoff can be from 1s to 1h: write a duration like 5s")
    )
    """How long to wait before the next attempt."""
    on_error: OnError = OnError.FAIL
    """Fail ends the run as failed; Continue posts a Warning Event, and the run goes on."""

    @property
    def seconds(self) -> float:
        """How long one attempt may take, within the bounds."""
        return min(seconds(self.timeout), 86_400.0)

    @property
    def delay(self) -> float:
        """Seconds before the next attempt, within the bounds."""
        return min(max(seconds(self.backoff), 1.0), 3_600.0)

    def conditions(self) -> tuple[Expression, ...]:
        """Its CEL expression, if it has one."""
        text = self.when.expr if self.when else None
        return (Expression("when.expr", text, CONDITION_VARIABLES),) if text else ()
