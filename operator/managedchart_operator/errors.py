"""The one exception hierarchy.

    OperatorError                 reason, message, transient?, hint
    ├── SpecError                 the spec cannot be carried out (never transient)
    │   └── ActionsError          actions of a lifecycle cannot be run; carries those that can
    ├── ChartError                the chart cannot be fetched or read
    ├── ValuesError               values files, inline YAML or `set` cannot be read
    ├── KubeError                 the API server refused or did not answer; carries the HTTP status
    ├── AccountMissingError       the ServiceAccount on whose behalf a resource is reconciled does not exist
    ├── HelmError                 helm ended with an error; carries its exit code and text
    │   ├── WaitError             the operator's wait, in the place of helm's, ended without success
    │   ├── UninstallBlockedError objects of the release are not deleted; carries which
    │   └── ObjectsLeftError      an uninstall left something in the cluster; carries what
    ├── ReleaseKeptError          the release is not uninstalled, although its ManagedChart is being deleted
    ├── LifecycleError            a lifecycle's own phase failed
    ├── WorkerError               a call in a worker process exceeded its limits; callers say what that means
    ├── StartupError              the operator cannot start here; ends the process with the message
    └── WatchEndedError           the operator can no longer watch ManagedCharts; ends the process with the message

An error is classified once, where it arises, and translated once, into a condition, by the reconciler; nothing here knows
phases or conditions. `transient` decides between a retry with back-off (True) and Stalled until the spec changes or a retry is
requested (False). A message is a sentence that a person can act on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from managedchart_operator.reasons import Reason

UNREADABLE = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError)
"""What parsers raise for untrusted input. Each of these means that the input cannot be read, and none of them a defect of the
operator."""


@dataclass(frozen=True, slots=True)
class ProfileVersion:
    """A LifecycleProfile as it was at a time."""

    name: str
    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class PluginVersion:
    """A plug-in as it was at a time."""

    name: str
    """The name of its lifecycle."""
    digest: str
    """Short digest of its code."""


class OperatorError(Exception):
    """Why a release does not match its spec.

    `transient` says whether the same input may succeed later. `hint` is the advice that is shown next to the message. Messages
    never contain values from Secrets.
    """

    profile: ProfileVersion | None = None
    """The LifecycleProfile because of which it was raised, so that a change of that may be the remedy."""
    plugin: PluginVersion | None = None
    """The plug-in whose own code has raised it, likewise."""

    def __init__(
        self, message: str, *, reason: Reason = Reason.INTERNAL_ERROR, transient: bool = False, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.transient = transient
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled as it is: by default `__init__` would be called with the message alone, which many subclasses refuse.
        return _unpickled, (type(self), self.args, self.__dict__)


def _unpickled(kind: type[OperatorError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> OperatorError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class SpecError(OperatorError):
    """The spec cannot be carried out; a retry without a change would fail again."""

    def __init__(self, message: str, *, reason: Reason = Reason.INVALID_SPEC, hint: str | None = None) -> None:
        super().__init__(message, reason=reason, transient=False, hint=hint)


class ActionsError(SpecError):
    """Actions of a list cannot be run.

    `valid` are the others, `at_deletion` what is wrong with those that are, or may be, for an uninstall and must not fail.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        hint: str | None,
        valid: Sequence[Any] = (),
        at_deletion: Sequence[str] = (),
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.valid = tuple(valid)
        self.at_deletion = tuple(at_deletion)


class ChartError(OperatorError):
    """The chart source cannot be reached or read, or has no such chart."""


class ValuesError(OperatorError):
    """A values file, an inline YAML document or a `set` entry cannot be used."""


class KubeError(OperatorError):
    """The API server refused a request or did not answer.

    `status` is the HTTP status code, 0 for no answer; `answer` is the API server's own sentence, and `path` what it refused;
    empty for an error that did not come from there.
    """

    missing_kind: tuple[str, str] | None = None
    """apiVersion and kind that the API server does not serve."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        transient: bool,
        status: int,
        hint: str | None = None,
        answer: str = "",
        path: str = "",
    ) -> None:
        super().__init__(message, reason=reason, transient=transient, hint=hint)
        self.status = status
        self.answer = answer
        self.path = path


class AccountMissingError(OperatorError):
    """The ServiceAccount on whose behalf a resource is reconciled does not exist; it may be created at any time."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, reason=Reason.FORBIDDEN, transient=True, hint=hint)


class HelmError(OperatorError):
    """helm ended with an error. `text` is helm's own error text, redacted and bounded; `exit_code` is negative for a signal."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        transient: bool,
        text: str = "",
        exit_code: int = 1,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason, transient=transient, hint=hint)
        self.text = text
        self.exit_code = exit_code


class WaitError(HelmError):
    """The operator's own wait for a release ended without success. `text` is for the stored revision, not for the status."""


class UninstallBlockedError(HelmError):
    """Objects of a release are not deleted. `objects` names them by apiVersion, kind, name and namespace."""

    def __init__(self, message: str, *, objects: Sequence[tuple[str, str, str, str]], text: str, hint: str) -> None:
        super().__init__(message, reason=Reason.UNINSTALL_BLOCKED, transient=True, text=text, hint=hint)
        self.objects = objects


class ObjectsLeftError(HelmError):
    """An uninstall left something in the cluster, because the newest revision cannot be read. `left` says what."""

    def __init__(self, unreadable: HelmError, *, left: str) -> None:
        super().__init__(
            unreadable.message,
            reason=unreadable.reason,
            transient=unreadable.transient,
            text=unreadable.text,
            exit_code=unreadable.exit_code,
            hint=unreadable.hint,
        )
        self.left = left


class ReleaseKeptError(OperatorError):
    """The release is not uninstalled, although its ManagedChart is being deleted; the message says why."""


class LifecycleError(OperatorError):
    """A phase of a lifecycle ended the run as failed."""

    def __init__(
        self, message: str, *, reason: Reason = Reason.LIFECYCLE_FAILED, transient: bool = True, hint: str | None = None
    ) -> None:
        super().__init__(message, reason=reason, transient=transient, hint=hint)


class WorkerError(OperatorError):
    """A call in a worker process took too long, needed too much memory, or ended the process; `why` says which.

    A caller translates it into an error about its input.
    """

    def __init__(self, message: str, *, why: Literal["time", "memory", "died"]) -> None:
        super().__init__(message)
        self.why = why


class StartupError(OperatorError):
    """The operator cannot work here (helm missing or too old, CRD missing, settings wrong)."""


class WatchEndedError(OperatorError):
    """The operator can no longer watch ManagedCharts (CRD deleted, permission revoked)."""
