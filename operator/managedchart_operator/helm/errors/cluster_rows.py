"""What the API server, the waiting and the release itself say.

What a row means and in which order they are read: `classify`.
"""

from managedchart_operator.api_refusals import MISSING_RIGHT
from managedchart_operator.helm.errors.row import TRUST, UNREACHABLE, Row, row
from managedchart_operator.helm.errors.unready import JOB_FAILED, NEVER_READY, TIMED_OUT, WaitFailure, unready_in
from managedchart_operator.helm.errors.wording import (
    Match,
    about,
    api,
    conflict,
    escalation,
    fields,
    hook_failed,
    hook_timeout,
    owner,
    waited,
)
from managedchart_operator.reasons import Reason

_ADOPT = (
    "To let the release take the object over, label it app.kubernetes.io/managed-by=Helm and annotate it "
    "meta.helm.sh/release-name and meta.helm.sh/release-namespace with the release's name and namespace, or use a "
    "lifecycle that adopts it, as aws-vpc-cni does; otherwise rename or delete it."
)
_GRANT = "Grant the operator's service account what is missing; README.md tells how."
_IMMUTABLE = (
    "Take the change back, or delete the object so that it is made anew (kubectl delete --cascade=orphan keeps the pods of "
    "a StatefulSet or Deployment). forceUpgrade does not help: it overwrites the object, which stays the same one."
)

_UNKNOWN_KIND = (
    r'(?:resource mapping not found for name: "(?P<name>[^"]*)".*?)?no matches for kind "(?P<kind>[^"]+)" in version '
    r'"(?P<version>[^"]+)"'
)


def _stored_kind(found: Match) -> str:
    """Which stored object is of a kind that the cluster does not serve any more."""
    what = f"{found['kind']} {found['name']}" if found["name"] else f"a {found['kind']}"
    return f"A stored revision of the release has {what} of {found['version']}, a kind that the cluster no longer knows"


def _wait_failed(pattern: str, failure: WaitFailure) -> Row:
    """A row for helm's wait: what the operator's own wait ends with has the same reason and sentence."""
    return row(
        pattern,
        failure.reason,
        lambda found: failure.message(unready_in(found.string), unknown=found.line),
        transient=True,
    )


_STORED_KIND_HINT = (
    "Install the CRD again, or take the object out of the stored revision, as the Helm plug-in mapkubeapis does: "
    "helm mapkubeapis RELEASE --namespace NAMESPACE."
)

CLUSTER_ROWS: tuple[Row, ...] = (
    # -- the release
    row(
        r"another operation \(install/upgrade/rollback\) is in progress",
        Reason.RELEASE_LOCKED,
        "Another operation on the release is in progress, or was killed in the middle",
        transient=True,
    ),
    row(
        r'Secret "sh\.helm\.release\.[^"]+" is invalid: data: Too long|Request entity too large|'
        r"etcdserver: request is too large|trying to send message larger than max",
        Reason.RELEASE_TOO_LARGE,
        "The release is too large to be stored: helm keeps chart, values and manifests in a Secret of 1 MiB at most",
        hint="Leave files out of the chart (.helmignore), split it, or make the values smaller.",
    ),
    row(
        r"has no deployed releases|release: not found|no revision for release",
        Reason.HELM_FAILED,
        "helm does not find the release, or none of its revisions is deployed: it was removed meanwhile",
        transient=True,
    ),
    row(
        r"release has no (?P<revision>\d+) version",
        Reason.ROLLBACK_FAILED,
        "The release has no revision {revision} any more",
    ),
    row(
        r"cannot reuse a name that is still in use|release: already exists",
        Reason.RELEASE_OWNED,
        "A release of this name exists already",
        transient=True,
    ),
    # -- admission: webhooks wrap network errors and refusals
    row(
        r'failed calling webhook "(?P<webhook>[^"]+)": (?:failed to call webhook: )?(?P<why>[^\n]+)',
        Reason.WEBHOOK_UNAVAILABLE,
        about("The admission webhook {webhook} could not be asked about {it}: {why}"),
        transient=True,
        hint="See whether the pods behind the webhook run; its configuration names the service.",
    ),
    row(
        r'admission webhook "(?P<webhook>[^"]+)" denied the request(?:: | )(?P<why>[^\n]+)',
        Reason.ADMISSION_REFUSED,
        about("The admission webhook {webhook} refuses {it}: {why}"),
    ),
    row(
        r"ValidatingAdmissionPolicy '(?P<policy>[^']+)' with binding '[^']+' denied request: (?P<why>[^\n]+)",
        Reason.ADMISSION_REFUSED,
        about("The admission policy {policy} refuses {it}: {why}"),
    ),
    row(
        r'violates PodSecurity "(?P<level>[^"]+)": (?P<why>[^\n]+)',
        Reason.ADMISSION_REFUSED,
        about("{it} violates the Pod Security Standard {level} of its namespace: {why}"),
    ),
    row(
        r"is forbidden: (?P<why>(?:minimum|maximum) \S+ (?:usage|limit|request)[^\n]+|\S+ max limit to request ratio[^\n]+)",
        Reason.ADMISSION_REFUSED,
        about("A LimitRange refuses {it}: {why}"),
        hint="kubectl get limitrange in the namespace shows the bounds.",
    ),
    row(
        r"exceeded quota: (?P<quota>[^,\n]+), (?P<why>[^\n]+)",
        Reason.QUOTA_EXCEEDED,
        about("The quota {quota} has no room for {it}: {why}"),
        transient=True,
    ),
    row(
        r"failed quota: (?P<quota>[^:\n]+): (?P<why>[^\n]+)",
        Reason.QUOTA_EXCEEDED,
        about("The quota {quota} refuses {it}: {why}"),
    ),
    # -- the namespace
    row(
        r"in namespace (?P<namespace>\S+) because it is being terminated",
        Reason.NAMESPACE_TERMINATING,
        about("Namespace {namespace} is being deleted; nothing can be made in it"),
        transient=True,
        hint="If it hangs, kubectl get namespace -o yaml tells which objects or finalizers it waits for.",
    ),
    row(
        r'namespaces "(?P<namespace>[^"]+)" not found',
        Reason.NAMESPACE_NOT_FOUND,
        about("Namespace {namespace} does not exist"),
        transient=True,
        hint="Set createNamespace: true for the release's own namespace; others must be made before.",
    ),
    # -- ownership and permissions
    row(
        r"exists and cannot be imported into the current release: invalid ownership metadata;(?P<why>[^\n]*)"
        r"|cannot be owned",
        Reason.OBJECT_OWNED,
        lambda found: f"{found.subject} exists already and belongs to {owner(found)}",
        hint=_ADOPT,
    ),
    row(
        r"attempting to grant RBAC permissions not currently held",
        Reason.FORBIDDEN,
        escalation,
        transient=True,
        hint=f"{_GRANT} Kubernetes lets nobody grant what they do not have themselves.",
    ),
    row(
        MISSING_RIGHT,
        Reason.FORBIDDEN,
        lambda found: (
            f"{found.hook}{found['user']} may not {found['verb']} {found['resource']}"
            + (f".{found['group']}" if found["group"] else "")
            + (f" in namespace {found['namespace']}" if found["namespace"] else " cluster-wide")
        ),
        transient=True,
        hint=_GRANT,
    ),
    # -- the objects
    # An upgrade builds what it renders and the installed revision; the others build stored revisions only.
    row(
        rf"current release manifest.*?{_UNKNOWN_KIND}",
        Reason.KIND_MISSING,
        _stored_kind,
        transient=True,
        hint=_STORED_KIND_HINT,
    ),
    row(
        _UNKNOWN_KIND,
        Reason.KIND_MISSING,
        _stored_kind,
        transient=True,
        hint=_STORED_KIND_HINT,
        commands=("uninstall", "rollback"),
    ),
    row(
        _UNKNOWN_KIND,
        Reason.KIND_MISSING,
        lambda found: (
            f"The cluster knows no kind {found['kind']} in {found['version']}"
            + (f", which the chart needs for {found['name']}" if found["name"] else "")
        ),
        transient=True,
        hint="Install the CRD first (often by another chart), or use a chart version for this Kubernetes version.",
    ),
    row(
        r"conflict occurred while applying object|Apply failed with \d+ conflicts?",
        Reason.FIELD_CONFLICT,
        conflict,
        # helm is called with --force-conflicts, which does not count for hooks (4.3.1: pkg/action/hooks.go).
        hint="Helm takes over fields of all objects except those of hooks. Delete this one, and the hook creates it again: "
        "kubectl delete KIND NAME -n NAMESPACE.",
    ),
    row(
        r"failed to create typed patch object [^:]*: (?P<field>\.\S+): field not declared in schema",
        Reason.OBJECT_INVALID,
        about("{it} has no field {field}"),
        hint="The chart, or a value that it passes on, misspells the field or is made for another API version.",
    ),
    row(
        r"failed to create typed patch object [^:]*: (?P<why>[^\n]+)",
        Reason.OBJECT_INVALID,
        about("{it}: {why}"),
    ),
    row(
        r"cannot be handled as a (?P<kind>\w+): (?:json: )?(?P<why>[^\n]+)",
        Reason.OBJECT_INVALID,
        "A {kind} of the chart cannot be read by the API server: {why}",
    ),
    row(r'unknown field "(?P<field>[^"]+)"', Reason.OBJECT_INVALID, about("{it} has no field {field}")),
    row(
        r"field is immutable|may not change once set|updates to statefulset spec for fields other than|is immutable after",
        Reason.IMMUTABLE_FIELD,
        fields,
        hint=_IMMUTABLE,
    ),
    row(r"provided port is already allocated", Reason.OBJECT_INVALID, fields, transient=True),
    row(r"is invalid: ", Reason.OBJECT_INVALID, fields),
    row(
        r"is forbidden: (?P<why>[^\n]+)",
        Reason.ADMISSION_REFUSED,
        about("{it} is refused: {why}"),
        transient=True,
    ),
    row(
        r"object is being deleted|already exists",
        Reason.OBJECT_OWNED,
        about("{it} exists already or is just being deleted"),
        transient=True,
    ),
    # -- waiting
    row(
        r"still exists\. status: ",
        Reason.UNINSTALL_BLOCKED,
        waited("Not gone within the timeout: {list}"),
        transient=True,
        hint="A finalizer keeps it: the controller that sets it must be running; see metadata.finalizers.",
    ),
    row(
        r"(?:failed |^)(?P<phase>(?:pre|post)-\w+)(?: hooks failed)?: (?:resource .*not ready.*|.*timed out.*)"
        r"(?:context deadline exceeded|timed out)",
        Reason.HOOK_TIMEOUT,
        hook_timeout,
        transient=True,
        hint="The Job of the hook stays: its pods and their logs tell more.",
    ),
    row(
        r"not ready\. status: .*context deadline exceeded",
        Reason.HOOK_TIMEOUT,
        hook_timeout,
        transient=True,
        commands=("uninstall",),
    ),
    row(
        r"(?:failed |^)(?P<phase>(?:pre|post)-\w+)(?: hooks failed)?: (?:resource |job |pod |failed to deploy)",
        Reason.HOOK_FAILED,
        hook_failed,
        transient=True,
        hint="The Job of the hook stays: its pods and their logs tell more.",
    ),
    row(r"not ready\. status: Failed", Reason.HOOK_FAILED, hook_failed, transient=True, commands=("uninstall",)),
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
    row(
        r"the server has asked for the client to provide credentials|\bUnauthorized\b",
        Reason.API_UNAVAILABLE,
        "The Kubernetes API server does not accept the operator's credentials (401)",
        transient=True,
        hint="The token may have expired with the pod's service account; a restart of the operator renews it.",
    ),
    row(
        rf"kubernetes cluster unreachable(?:: (?P<why>[^\n]+))?|etcdserver: |the server is currently unable to handle the "
        r"request|unable to return a response in the time allotted|an error on the server \(|Internal error occurred|"
        r"the server has received too many requests|too many requests|the object has been modified|"
        rf"the server could not find the requested resource|leader changed|{UNREACHABLE}",
        Reason.API_UNAVAILABLE,
        lambda found: f"The Kubernetes API server could not be reached or did not answer: {api(found)}",
        transient=True,
    ),
    row(
        r"^context canceled|signal: (?:terminated|interrupt)",
        Reason.HELM_FAILED,
        "helm was stopped before it had finished",
        transient=True,
    ),
)
