"""The rows for errors of the release, of the API server and of helm's wait.

The rows for the API server's refusals come from `api_refusals`, which others use too; here they get what helm adds: which
object, in which hook, how many more. `classify` explains what a row means and in which order they are tried.
"""

import re
from collections.abc import Callable

from managedchart_operator.api_refusals import REFUSED, UNAVAILABLE, Match, RefusalRow, line_of
from managedchart_operator.helm.errors import missing_kinds
from managedchart_operator.helm.errors.row import TRUST, UNREACHABLE, Row, row
from managedchart_operator.helm.errors.text import in_hook, more, subject
from managedchart_operator.helm.errors.unready import (
    JOB_FAILED,
    NEVER_READY,
    TIMED_OUT,
    WaitFailure,
    first_unready,
    listed_in,
)
from managedchart_operator.hints import Hint
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import one_line

_ADOPT = Hint(
    "Rename or delete the object, or use a lifecycle that adopts it, as aws-vpc-cni does. To let the release take it over",
    "kubectl {at}label {kind} {name} --overwrite app.kubernetes.io/managed-by=Helm && "
    "kubectl {at}annotate {kind} {name} --overwrite meta.helm.sh/release-name={release} "
    "meta.helm.sh/release-namespace={release_namespace}",
)
_NOBODY = "no release"
_SHARED = (
    "Give the object another name in the values, or uninstall the other release; two releases cannot share an object."
)


def _owner(found: Match) -> str:
    """Name the owner of an object that the release cannot take over."""
    release = re.search(r'release-name" must equal "[^"]+": current value is "([^"]+)"', found.string)
    namespace = re.search(r'release-namespace" must equal "[^"]+": current value is "([^"]+)"', found.string)
    if release or namespace:
        name = f"the release {release[1]}" if release else "a release of this name"
        return name + (f" in namespace {namespace[1]}" if namespace else "")
    return _NOBODY


def _hook(what: str) -> Callable[[Match], str]:
    """Return a function that names the hook and the state of its Job."""

    def message(found: Match) -> str:
        phase = found.groupdict().get("phase") or "delete"
        return f"The {phase} hook {what}: {listed_in(found.string) or one_line(line_of(found), 400)}"

    return message


_hook_failed = _hook("failed")
_hook_timeout = _hook("did not finish within the timeout")


def _wait_failed(pattern: str, failure: WaitFailure) -> Row:
    """Return a row for helm's wait, with the reason and the sentence of the operator's own wait."""
    return row(
        pattern,
        failure.reason,
        lambda found: failure.sentence.format(list=listed_in(found.string) or line_of(found)),
        transient=True,
    )


def _within_helm(refusal: RefusalRow) -> Row:
    """Return the row of a refusal, with what helm adds to it."""

    def message(found: Match) -> str:
        line = line_of(found)
        return in_hook(line) + refusal.message(found, subject(line)) + more(found.string)

    return Row(refusal.pattern, refusal.reason, refusal.transient, message, refusal.hint, refusal=refusal)


def _hook_hint(found: Match) -> Hint:
    """Return how to see what a hook did; a chart may have its hooks deleted when they fail."""
    names = first_unready(found.string)
    if names is not None and names.kind not in ("Job", "Pod"):
        return Hint("See what the hook's object waits for", "kubectl {at}describe {kind} {name}")
    return Hint(
        "Read the log of the hook, which is still there unless its helm.sh/hook-delete-policy has hook-failed",
        "kubectl -n {namespace} logs {kind}/{name}",
    )


CLUSTER_ROWS: tuple[Row, ...] = (
    # -- the release
    row(
        r"another operation \(install/upgrade/rollback\) is in progress",
        Reason.RELEASE_LOCKED,
        "Another Helm operation on the release is in progress, or was killed",
        transient=True,
    ),
    row(
        r'Secret "sh\.helm\.release\.[^"]+" is invalid: data: Too long|Request entity too large|'
        r"etcdserver: request is too large|trying to send message larger than max",
        Reason.RELEASE_TOO_LARGE,
        "The release is too large to be stored: Helm keeps chart, values and manifests in a Secret of at most 1 MiB",
        hint="Leave files out of the chart (.helmignore), split it, or make the values smaller.",
    ),
    row(
        r"has no deployed releases|release: not found|no revision for release",
        Reason.HELM_FAILED,
        "The release disappeared while Helm was working on it, or has no deployed revision",
        transient=True,
    ),
    row(
        r"release has no (?P<revision>\d+) version",
        Reason.ROLLBACK_FAILED,
        "The release no longer has a revision {revision}",
    ),
    row(
        r"cannot reuse a name that is still in use|release: already exists",
        Reason.RELEASE_OWNED,
        "A release of this name already exists",
        transient=True,
    ),
    row(
        r"exists and cannot be imported into the current release: invalid ownership metadata;(?P<why>[^\n]*)"
        r"|cannot be owned",
        Reason.OBJECT_OWNED,
        lambda found: f"{subject(line_of(found))} already exists and belongs to {_owner(found)}",
        hint=lambda found: _ADOPT if _owner(found) == _NOBODY else _SHARED,
    ),
    # An upgrade builds what it renders and the installed revision; other commands build stored revisions only.
    row(
        rf"current release manifest.*?{missing_kinds.PATTERN}",
        Reason.KIND_MISSING,
        missing_kinds.stored_message,
        transient=True,
        hint=missing_kinds.stored_hint,
    ),
    row(
        missing_kinds.PATTERN,
        Reason.KIND_MISSING,
        missing_kinds.stored_message,
        transient=True,
        hint=missing_kinds.stored_hint,
        commands=("uninstall", "rollback"),
    ),
    row(
        missing_kinds.PATTERN,
        Reason.KIND_MISSING,
        missing_kinds.message,
        transient=True,
        hint=missing_kinds.hint,
    ),
    # -- what the API server refuses
    *map(_within_helm, REFUSED),
    # -- waiting
    row(
        r"still exists\. status: ",
        Reason.UNINSTALL_BLOCKED,
        lambda found: f"Not deleted within the timeout: {listed_in(found.string)}",
        transient=True,
        hint=Hint(
            "Make sure that the controller that owns the finalizer is running; metadata.finalizers has its name",
            "kubectl {at}get {kind} {name} -o yaml",
        ),
    ),
    row(
        r"(?:failed |^)(?P<phase>(?:pre|post)-\w+)(?: hooks failed)?: (?:resource .*not ready.*|.*timed out.*)"
        r"(?:context deadline exceeded|timed out)",
        Reason.HOOK_TIMEOUT,
        _hook_timeout,
        transient=True,
        hint=_hook_hint,
    ),
    row(
        r"not ready\. status: .*context deadline exceeded",
        Reason.HOOK_TIMEOUT,
        _hook_timeout,
        transient=True,
        hint=_hook_hint,
        commands=("uninstall",),
    ),
    row(
        r"(?:failed |^)(?P<phase>(?:pre|post)-\w+)(?: hooks failed)?: (?:resource |job |pod |failed to deploy)",
        Reason.HOOK_FAILED,
        _hook_failed,
        transient=True,
        hint=_hook_hint,
    ),
    row(
        r"not ready\. status: Failed",
        Reason.HOOK_FAILED,
        _hook_failed,
        transient=True,
        hint=_hook_hint,
        commands=("uninstall",),
    ),
    _wait_failed(r"resource Job/\S+ not ready\. status: Failed|BackoffLimitExceeded|job \S+ failed", JOB_FAILED),
    _wait_failed(r"not ready\. status: .*context deadline exceeded", TIMED_OUT),
    _wait_failed(r"not ready\. status: ", NEVER_READY),
    # -- the API server; last, because its words appear in other errors
    row(
        r"x509: (?P<why>[^\n]+)",
        Reason.CERTIFICATE_NOT_TRUSTED,
        "The TLS certificate of the Kubernetes API server is not trusted: {why}",
        hint=TRUST,
    ),
    *map(_within_helm, UNAVAILABLE),
    row(
        rf"kubernetes cluster unreachable(?:: (?P<why>[^\n]+))?|the server could not find the requested resource|{UNREACHABLE}",
        Reason.API_UNAVAILABLE,
        lambda found: (
            "The Kubernetes API server could not be reached or did not answer: "
            + one_line(found["why"] or line_of(found), 500)
        ),
        transient=True,
    ),
    row(
        r"^context canceled|signal: (?:terminated|interrupt)",
        Reason.HELM_FAILED,
        "Helm was stopped before it finished",
        transient=True,
    ),
)
