"""The status of a ManagedChart: what the operator did, with which result, and why it failed.

It is the contract with everybody who reads a ManagedChart. These models are the shape only: `reconcile.conditions` derives the
conditions, and one writer for each object writes the status. Reading tolerates fields of a newer operator.
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from managedchart_operator.api.earlier_status import EarlierStatus, StatusModel
from managedchart_operator.api.effective_lifecycle import EffectiveLifecycle
from managedchart_operator.api.phase_status import PhaseStatus
from managedchart_operator.api.validation_status import ValidationStatus

SUMMARY_LENGTH = 120
"""A wide terminal shows it beside the other columns."""


class Phase(StrEnum):
    """What the resource is doing, for people; programs read the conditions."""

    PENDING = "Pending"
    CHECK_PREREQUISITES = "CheckPrerequisites"
    PRE_EXEC = "PreExec"
    EXEC = "Exec"
    ON_DEPLOY_FAILURE = "OnDeployFailure"
    POST_EXEC = "PostExec"
    VALIDATE = "Validate"
    PRE_DELETE = "PreDelete"
    POST_DELETE = "PostDelete"
    READY = "Ready"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    DESTROYED = "Destroyed"
    DELETING = "Deleting"


class Condition(StatusModel):
    """A condition as in the Kubernetes API conventions (metav1.Condition)."""

    type: str
    """Ready, Reconciling, Stalled, Released, Validated, Clamped or LifecycleMissing."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    observed_generation: int = 0
    """The generation that this condition is about."""
    last_transition_time: str
    """When the status last changed (RFC 3339)."""
    reason: str
    """One word in CamelCase from the list in docs/failures.md."""
    message: str = ""
    """Details for people."""


class ReleaseStatus(StatusModel):
    """The Helm release as the last run left it."""

    name: str
    """Name of the release."""
    namespace: str
    """Namespace of the release."""
    revision: int
    """Revision of the release, counted by Helm from 1."""
    status: str
    """Helm's status of that revision, like deployed or failed."""
    chart: str | None = None
    """Name of the chart."""
    chart_version: str | None = None
    """Version of the chart."""
    app_version: str | None = None
    """Version of the application, as the chart states it."""
    digest: str | None = None
    """Digest of everything that determines what runs: chart, values, options and lifecycle."""
    last_deployed: str | None = None
    """When the revision was made (RFC 3339)."""


class FailureEvent(StatusModel):
    """A Kubernetes Event about the failure; repeated ones are merged."""

    type: str
    """Warning or Normal."""
    reason: str
    """The Event's reason, like FailedScheduling."""
    object: str
    """Kind and name of the object, as namespace/name outside the namespace of the release."""
    message: str
    """The Event's text, redacted and shortened."""
    count: int = 1
    """How often it was seen."""
    last_seen: str | None = None
    """When it was last seen (RFC 3339)."""


class RootCause(StatusModel):
    """The object that shows why the run failed."""

    kind: str
    """Kind of the object."""
    namespace: str
    """Namespace of the object; empty for a cluster-wide one."""
    name: str
    """Name of the object."""
    container: str | None = None
    """The container of the object that failed."""


class FailedContainer(StatusModel):
    """A container of the release that failed or does not start."""

    pod: str
    """Name of the pod, as namespace/name outside the namespace of the release."""
    name: str
    """Name of the container."""
    state: str
    """waiting, running or terminated."""
    reason: str | None = None
    """The kubelet's reason."""
    message: str | None = None
    """The kubelet's text, redacted and shortened."""
    exit_code: int | None = None
    """Exit code of its current or last termination."""
    meaning: str | None = None
    """What the exit code means."""
    restarts: int = 0
    """How often the kubelet has restarted it."""
    log: str | None = None
    """The last lines of its log, redacted."""
    previous_log: str | None = None
    """The last lines of the log of its previous run, redacted."""


class LastFailure(StatusModel):
    """Why the last failed run failed; kept until the next success."""

    phase: str
    """The phase that failed."""
    reason: str
    """One word from the list in docs/failures.md."""
    message: str
    """The error in one or a few sentences."""
    root_cause: RootCause | None = None
    """The object that shows why the run failed."""
    helm_error: str | None = None
    """Helm's own error text, redacted and shortened; absent if helm did not fail."""
    events: list[FailureEvent] = Field(default_factory=list)
    """Kubernetes Events of the release's objects during this run, warnings first."""
    containers: list[FailedContainer] = Field(default_factory=list)
    """The containers that failed or do not start, with the last lines of their logs."""
    hint: str | None = None
    """What to do next."""
    incomplete: str | None = None
    """Which evidence could not be collected, and why."""
    revision: int | None = None
    """The revision of the release that failed."""
    time: str
    """When it failed (RFC 3339)."""


class RevisionRecord(StatusModel):
    """A revision and its outcome."""

    revision: int
    """Revision of the release."""
    action: str
    """Install, Upgrade or Rollback."""
    outcome: str
    """Helm's status of the revision when the run ended."""
    chart_version: str | None = None
    """Version of the chart."""
    digest: str | None = None
    """Digest of the input."""
    time: str
    """When the run ended (RFC 3339)."""


class Outlook(StrEnum):
    """What follows an attempt that has not succeeded."""

    RETRY = "Retry"
    """The next attempt begins at nextRetryAt."""
    CHECK = "Check"
    """The retries are exhausted: the operator checks at nextRetryAt whether the cause persists."""
    CHANGE = "Change"
    """Nothing, until the spec or the annotation managedchart.dev/retry changes: the same attempt would fail again."""
    KEEP_ROLLED_BACK = "KeepRolledBack"
    """Like Change, because each attempt of an upgrade that was rolled back disrupts the running workloads."""
    WAIT = "Wait"
    """Another Helm operation is in progress; at nextRetryAt its lock is taken over."""


class PermissionStatus(StatusModel):
    """A permission that is missing."""

    user: str | None = None
    """Who lacks it: the user name of the resource's ServiceAccount; absent for the operator itself."""

    verb: str
    """Such as get or patch."""
    group: str = ""
    """The API group of the resource; empty for the core group."""
    resource: str
    """The resource in the plural, such as deployments."""
    namespace: str = ""
    """The namespace; empty for cluster-wide."""


class ProfileStatus(StatusModel):
    """A LifecycleProfile as it was."""

    name: str
    """Name of the profile."""
    uid: str
    """UID of the profile."""
    generation: int
    """The generation of its spec."""


class PluginStatus(StatusModel):
    """A plug-in as it was."""

    name: str
    """Name of its lifecycle."""
    digest: str
    """Short digest of its code."""


class AttemptStatus(StatusModel):
    """The current or last attempt to carry out the spec: all state that the next one depends on."""

    id: str | None = None
    """A random word; the revision that the attempt made has it in its label managedchart.dev/attempt."""
    digest: str | None = None
    """Digest of its input; absent if the input could not be determined."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Short digests of the parts of its input by their fields in the spec, to name what has changed in the next one."""
    generation: int = 0
    """The generation of the spec that it carries out."""
    chart: str | None = None
    """Name of the chart that it is about; what the spec names, as long as the chart was not fetched."""
    chart_version: str | None = None
    """Version of that chart; what the spec asks for, as long as the chart was not fetched."""
    operation: str | None = None
    """What it does with the release: Install, Upgrade, Resume, DryRun, Uninstall, Skip, or Rollback after a failure."""
    phase: str | None = None
    """The phase that it is in, or ended in."""
    uninstall_began: bool | None = None
    """Whether it, or the attempt that it repeats, has begun to uninstall the release: PreDelete is over then."""
    started_at: str | None = None
    """When it began (RFC 3339)."""
    ended_at: str | None = None
    """When it ended (RFC 3339); absent while it runs, or if the operator was stopped before its end."""
    revision: int | None = None
    """The revision of the release after the last attempt that ended."""
    proven: bool = False
    """Whether the objects of that revision were seen ready."""
    failed_revision: int | None = None
    """The revision that failed; absent if none failed."""
    failures: int = 0
    """Consecutive failures of the same input."""
    reason: str | None = None
    """The reason of the last failure, from the list in docs/failures.md."""
    outlook: Outlook | None = None
    """What follows: Retry, Check, Change, KeepRolledBack or Wait."""
    next_retry_at: str | None = None
    """When that happens (RFC 3339)."""
    missing_permission: PermissionStatus | None = None
    """The missing permission that made it fail; the operator retries as soon as it is granted."""
    failed_profile: ProfileStatus | None = None
    """The LifecycleProfile that made it fail; the operator retries as soon as that changes."""
    failed_plugin: PluginStatus | None = None
    """The plug-in whose code made it fail; an operator that starts with another version of it retries."""
    handled_requests: dict[str, str] = Field(default_factory=dict)
    """The values of the request annotations that were carried out, by annotation; a digest of a long one."""


class ObjectReference(StatusModel):
    """An object of the cluster."""

    api_version: str
    """The apiVersion of the object."""
    kind: str
    """The kind of the object."""
    namespace: str = ""
    """Its namespace; empty for a cluster-wide one."""
    name: str
    """The name of the object."""


class ManagedChartStatus(EarlierStatus):
    """What the operator did, and with which result."""

    observed_generation: int = 0
    """The newest generation of the spec that the operator has begun to carry out."""
    phase: Phase = Phase.PENDING
    """What the resource is doing, for people; programs read the conditions."""
    conditions: list[Condition] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """Ready, Reconciling, Stalled, Released, Validated, Clamped and LifecycleMissing."""
    summary: str | None = None
    """What is going on or what is the matter, in at most 120 characters: the column STATUS of `kubectl get -o wide`."""
    # No class: the API server would write the defaults of one into every new object.
    attempt: AttemptStatus = Field(default_factory=lambda: AttemptStatus())  # noqa: PLW0108
    """The current or last attempt."""
    lifecycle: EffectiveLifecycle | None = None
    """The lifecycle of the last run and, once a profile has changed, that of the next one."""
    phases: list[PhaseStatus] = Field(default_factory=list)
    """The phases of the current or last run, in their order."""
    release: ReleaseStatus | None = None
    """The Helm release."""
    validation: ValidationStatus | None = None
    """Why the checks of the deployed release fail; absent while they pass."""
    history: list[RevisionRecord] = Field(default_factory=list)
    """The last five revisions that this resource has made, the newest first."""
    last_failure: LastFailure | None = None
    """Why the last run failed."""
    blockers: list[ObjectReference] = Field(default_factory=list)
    """The objects whose deletion an uninstall waits for."""
