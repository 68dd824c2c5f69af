"""What the status says about the phases of a run, and about their actions."""

from enum import StrEnum

from managedchart_operator.api.earlier_status import StatusModel


class PhaseState(StrEnum):
    """State of one phase of a run."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ActionState(StrEnum):
    """State of one action of a phase."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class ActionStatus(StatusModel):
    """One action of a phase."""

    name: str
    """Name of the action."""
    verb: str
    """Its verb, like exists or restart."""
    origin: str
    """Where it comes from: spec, or profile/ and the name of a LifecycleProfile."""
    state: ActionState
    """Running, Succeeded, Failed or Skipped."""
    attempts: int = 0
    """How often it was tried."""
    duration_seconds: float | None = None
    """How long it took, in seconds."""
    message: str | None = None
    """What it has done, or why it failed or was skipped."""


class PhaseStatus(StatusModel):
    """One phase of the current or last run."""

    name: str
    """Name of the phase."""
    state: PhaseState
    """Running, Succeeded or Failed."""
    started_at: str
    """When it began (RFC 3339)."""
    finished_at: str | None = None
    """When it ended (RFC 3339)."""
    duration_seconds: float | None = None
    """How long it took, in seconds."""
    message: str | None = None
    """Why it failed."""
    actions: list[ActionStatus] | None = None
    """The actions of the phase, in their order; absent if it has none."""
    payload: list[str] | None = None
    """The keys of the payload that the phase passed on; absent if it has none."""
