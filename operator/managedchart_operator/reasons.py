"""The closed list of reasons in conditions, Events and `status.lastFailure`.

Alerts and scripts rely on these words, so a reason is never renamed within an API version. docs/failures.md explains each
failure reason (a test compares the two); `api_refusals`, `helm.errors` and `diagnosis` recognise the errors.
"""

from enum import StrEnum


class Reason(StrEnum):
    """A CamelCase reason as Kubernetes conditions use it (API conventions, "Typical status properties")."""

    # -- success
    DEPLOYED = "Deployed"
    DESTROYED = "Destroyed"
    SKIPPED = "Skipped"
    DRY_RUN_SUCCEEDED = "DryRunSucceeded"

    # -- in progress
    PROGRESSING = "Progressing"
    RETRY_SCHEDULED = "RetryScheduled"

    # -- the spec was stored before a bound existed
    SPEC_CLAMPED = "SpecClamped"

    # -- the resource is invalid
    INVALID_SPEC = "InvalidSpec"
    LIFECYCLE_UNKNOWN = "LifecycleUnknown"
    LIFECYCLE_INVALID = "LifecycleInvalid"
    RELEASE_OWNED = "ReleaseOwned"

    # -- the chart cannot be fetched or is invalid
    CHART_NOT_FOUND = "ChartNotFound"
    CHART_INVALID = "ChartInvalid"
    CHART_TOO_LARGE = "ChartTooLarge"
    CHART_VERSION_NOT_FOUND = "ChartVersionNotFound"
    CHART_SOURCE_UNAVAILABLE = "ChartSourceUnavailable"
    CERTIFICATE_NOT_TRUSTED = "CertificateNotTrusted"
    CHART_SOURCE_UNAUTHORIZED = "ChartSourceUnauthorized"
    CHART_SOURCE_NOT_ALLOWED = "ChartSourceNotAllowed"
    PATH_NOT_ALLOWED = "PathNotAllowed"

    # -- the values are invalid
    VALUES_FILE_UNAVAILABLE = "ValuesFileUnavailable"
    VALUES_INVALID = "ValuesInvalid"
    VALUES_REFUSED = "ValuesRefused"
    VALUES_SCHEMA_REMOTE = "ValuesSchemaRemote"
    TEMPLATE_ERROR = "TemplateError"

    # -- the API server refuses
    NAMESPACE_NOT_FOUND = "NamespaceNotFound"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    OBJECT_OWNED = "ObjectOwned"
    FORBIDDEN = "Forbidden"
    KIND_MISSING = "KindMissing"
    OBJECT_INVALID = "ObjectInvalid"
    IMMUTABLE_FIELD = "ImmutableField"
    FIELD_CONFLICT = "FieldConflict"
    QUOTA_EXCEEDED = "QuotaExceeded"
    ADMISSION_REFUSED = "AdmissionRefused"
    WEBHOOK_UNAVAILABLE = "WebhookUnavailable"
    RELEASE_TOO_LARGE = "ReleaseTooLarge"
    API_UNAVAILABLE = "ApiUnavailable"

    # -- workloads do not become ready
    IMAGE_PULL = "ImagePull"
    CRASH_LOOP = "CrashLoop"
    OOM_KILLED = "OOMKilled"
    UNSCHEDULABLE = "Unschedulable"
    CONTAINER_CONFIG = "ContainerConfig"
    READINESS_PROBE = "ReadinessProbe"
    VOLUME_UNBOUND = "VolumeUnbound"
    JOB_BACKOFF_LIMIT = "JobBackoffLimit"
    HOOK_FAILED = "HookFailed"
    HOOK_TIMEOUT = "HookTimeout"
    TIMEOUT = "Timeout"

    # -- the release
    RELEASE_LOCKED = "ReleaseLocked"
    UNINSTALL_BLOCKED = "UninstallBlocked"
    ROLLBACK_FAILED = "RollbackFailed"

    # -- other: helm's own text, or a defect of the operator
    HELM_FAILED = "HelmFailed"
    LIFECYCLE_FAILED = "LifecycleFailed"
    PHASE_TIMEOUT = "PhaseTimeout"
    VALIDATION_FAILED = "ValidationFailed"
    INTERNAL_ERROR = "InternalError"
