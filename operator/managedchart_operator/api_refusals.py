"""Classifies the refusals of the API server: one ordered table of patterns, each with a reason and a message.

The same message reaches the operator in three ways: as the answer to its own request (`kube.client`), in helm's error text
(`helm.errors`), and in the Event of a controller that could not create a pod (`diagnosis`). All three use this table, so a
refusal has the same reason everywhere. The first row that matches decides; rows for errors that wrap others (webhooks) come
before the rows for what they wrap. `helm.errors` handles what helm adds: which hook, how many objects. Values that the API
server repeats ("Invalid value: …", whole pod templates) are left out of the messages. The patterns match Kubernetes 1.37.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

from managedchart_operator import schema_refusals
from managedchart_operator.hints import Advice, Hint, Names, worded
from managedchart_operator.reasons import Reason
from managedchart_operator.redaction import MASK
from managedchart_operator.shortening import listed, one_line, searchable

Match = re.Match[str]
Sentence = Callable[[Match, str], str]
"""Makes the message from a match and the name of the refused object."""

MISSING_PERMISSION = (
    r'is forbidden: User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)" '
    r'(?:in the namespace "(?P<namespace>[^"]*)"|at the cluster scope)'
)
"""Matches the API server's message that a user lacks a permission."""

IMPERSONATION = (
    r'User "(?P<user>[^"]+)" cannot (?P<what>impersonate(?:-on)?(?::[\w:-]+)? (?:resource|path) "[^"\n]+"[^:\n]*)'
)
"""Matches the API server's message that a user may not impersonate another one.

It has the verb `impersonate`, or since Kubernetes 1.36 what constrained impersonation asks for first, such as
`impersonate-on:serviceaccount:get` on the resource of the request.
"""

# An error may print a whole file as one word. Searched from each of its characters, it costs its length squared (20 kB took 1 s
# to 12 s of the event loop, measured, and helm's error may have 190 kB), so a word is matched from its beginning only, or up to
# a length.
_NAMED = re.compile(
    r'(?<![\w.])(?P<kind>[A-Za-z]\w*)(\.[\w.]+)? "(?P<name>[^"]+)" (is invalid|is forbidden|already exists)'
)
_FIELD_ERROR = re.compile(
    r"(?<![A-Za-z<\[])(?P<field>[A-Za-z<\[][^\s:,]{0,500}): (?P<type>Invalid value|Unsupported value|Duplicate value|"
    r"Required value|Forbidden|Too long|Too many|Not found|Internal error)(?:: |(?=[,\]])|$)"
)
_FIELD_PATH = re.compile(r"[.][^\s,]+")
_WITH_VALUE = ("Invalid value", "Unsupported value", "Duplicate value", "Not found")

GRANT = 'Grant the missing permission to this user (see README, "Permissions", and deploy/rbac.yaml).'
IMPERSONATE = (
    "Install the operator with a profile that may impersonate ServiceAccounts: cluster-admin or impersonate (see"
    ' docs/security.md, "Profiles of permissions").'
)
RENEW = "Restart the operator if this persists: it then reads a new token of its ServiceAccount."
_IMMUTABLE = (
    "Undo the change, or delete the object so that it is created again (kubectl delete --cascade=orphan keeps the pods of "
    "a StatefulSet or Deployment). forceUpgrade does not help: it updates the object in place."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was refused. `transient` says whether the same request may succeed later."""

    reason: Reason
    message: str
    transient: bool
    hint: str | None


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """A pattern of the API server's message, and what it means."""

    pattern: re.Pattern[str]
    reason: Reason
    message: Sentence
    transient: bool
    hint: Advice


def refusal_of(text: str, *, about: str | None = None, names: Names = Names()) -> Refusal | None:  # noqa: B008 -- frozen
    """Return the meaning of a refusal, or None if no row matches the text.

    `about` names the object as `Kind namespace/name`; the default is the API server's name for it. `names` are filled into the
    command of the hint.
    """
    text = searchable(text)
    for row in (*REFUSED, *UNAVAILABLE):
        if found := row.pattern.search(text):
            hint = worded(row.hint, found, names)
            return Refusal(row.reason, row.message(found, about or named_in(line_of(found))), row.transient, hint)
    return None


def named_in(text: str) -> str:
    """Return the API server's name for the object, like `configmaps web`; "an object" if it names none."""
    found = _NAMED.search(text)
    return f"{found['kind']} {found['name']}" if found else "an object"


def line_of(found: Match) -> str:
    """Return the line of the text in which the match begins."""
    text, start = found.string, found.start()
    return text[text.rfind("\n", 0, start) + 1 :].split("\n", 1)[0]


def permission(found: Match) -> str:
    """Return the permission in a match of MISSING_PERMISSION, like `get deployments.apps in namespace web`."""
    group = f".{found['group']}" if found["group"] else ""
    where = f" in namespace {found['namespace']}" if found["namespace"] else " cluster-wide"
    return f"{found['verb']} {found['resource']}{group}{where}"


def _fields(found: Match, it: str) -> str:
    """Name the object, and its fields that were refused."""
    text, fields = line_of(found), []
    matches = list(_FIELD_ERROR.finditer(text))
    for match, following in zip_longest(matches, matches[1:]):
        rest = text[match.end() : following.start() if following else len(text)]
        if match["type"] in _WITH_VALUE:
            rest = _without_value(rest)
        detail = rest.strip(" ,]") or match["type"].lower()
        field = "the whole object" if match["field"] == "[]" else match["field"].lstrip("[")
        fields.append(f"{field}: {detail}")
    problems = listed(dict.fromkeys(fields)) or one_line(text.rpartition("is invalid: ")[2], 400)
    return f"{it}: {problems}"


def _without_value(text: str) -> str:
    """Return what follows a value, which is JSON since Kubernetes 1.34, and Go's own notation before, or is masked."""
    if text.startswith(MASK):
        return text[len(MASK) :].removeprefix(":")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text.rpartition(": ")[2]
    return text[end:].removeprefix(":")


def _unknown_fields(found: Match, it: str) -> str:
    """Name the fields that the kind does not have."""
    return schema_refusals.unknown_fields(it, re.findall(r'unknown field "([^"]+)"', line_of(found)))


def _conflict(found: Match, it: str) -> str:
    """Name the field managers that own fields of the chart, with those fields."""
    conflicts = re.findall(r'conflicts? with "([^"]+)"[^:\n]*:((?:\s*-? ?\.[^\s,]+)+)', found.string)
    owners = [f"{manager} owns {', '.join(_FIELD_PATH.findall(owned))}" for manager, owned in conflicts]
    return f"{it}: other field managers own fields that the chart sets: {listed(owners)}"


def _escalation(found: Match, it: str) -> str:
    """Name the permissions that the user would need itself."""
    rules = re.findall(r"\{APIGroups:.*?\}", found.string)
    user = re.search(r'user "([^"\n]{1,300})"', line_of(found))
    who = f"user {user[1]}" if user else "the operator"
    return f"{it} would grant permissions that {who} does not have: {listed(rules)}"


def _row(
    pattern: str, reason: Reason, message: str | Sentence, *, transient: bool = False, hint: Advice = None
) -> RefusalRow:
    """Make a row; `message` may be a text with `{it}` and the pattern's named groups in braces."""

    def sentence(found: Match, it: str) -> str:
        if isinstance(message, str):
            text = message.format(it=it, **found.groupdict(default="")).removesuffix(": ")
        else:
            text = message(found, it)
        return text[:1].upper() + text[1:]

    return RefusalRow(re.compile(pattern, re.DOTALL | re.MULTILINE), reason, sentence, transient, hint)


REFUSED: tuple[RefusalRow, ...] = (
    # -- admission: webhooks wrap network errors and refusals
    _row(
        r'failed calling webhook "(?P<webhook>[^"]+)": (?:failed to call webhook: )?(?P<why>[^\n]+)',
        Reason.WEBHOOK_UNAVAILABLE,
        "Admission webhook {webhook} could not be reached for {it}: {why}",
        transient=True,
        hint="Check that the pods behind the webhook are running; its configuration names the Service: "
        "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations",
    ),
    _row(
        r'admission webhook "(?P<webhook>[^"]+)" denied the request(?:(?:: | )(?P<why>[^\n]+))?',
        Reason.ADMISSION_REFUSED,
        "Admission webhook {webhook} refuses {it}: {why}",
        hint="Change the values so that the webhook accepts the object.",
    ),
    _row(
        r"AdmissionPolicy '(?P<policy>[^']+)' with binding '[^']+' denied request(?:: (?P<why>[^\n]+))?",
        Reason.ADMISSION_REFUSED,
        "Admission policy {policy} refuses {it}: {why}",
        hint="Change the values so that the policy accepts the object.",
    ),
    _row(
        r'violates PodSecurity "(?P<level>[^"]+)": (?P<why>[^\n]+)',
        Reason.ADMISSION_REFUSED,
        "{it} violates the Pod Security Standard {level} of its namespace: {why}",
        hint="Set the security context in the values so that the pods comply with the standard.",
    ),
    _row(
        r"(?P<why>(?:minimum|maximum) \S+ (?:usage|limit|request) per [^\n]+|(?<!\S)\S+ max limit to request ratio[^\n]+)",
        Reason.ADMISSION_REFUSED,
        "A LimitRange refuses {it}: {why}",
        hint=Hint("Keep requests and limits within the LimitRange", "kubectl -n {namespace} describe limitrange"),
    ),
    _row(
        r"exceeded quota: (?P<quota>[^,\n]+)(?:, (?P<why>[^\n]+))?",
        Reason.QUOTA_EXCEEDED,
        "Quota {quota} has no room for {it}: {why}",
        transient=True,
        hint=Hint("Raise the ResourceQuota, or request less", "kubectl -n {namespace} describe resourcequota"),
    ),
    _row(
        r"failed quota: (?P<quota>[^:\n]+): (?P<why>[^\n]+)",
        Reason.QUOTA_EXCEEDED,
        "Quota {quota} refuses {it}: {why}",
        hint=Hint(
            "Set the requests and limits that the ResourceQuota demands",
            "kubectl -n {namespace} describe resourcequota",
        ),
    ),
    _row(
        r'(?P<why>error looking up service account [^:\n]+: serviceaccount "[^"]+" not found)',
        Reason.ADMISSION_REFUSED,
        "{it} is refused: {why}",
        transient=True,
        hint="Create the ServiceAccount, or name another one in the values.",
    ),
    # -- the namespace
    _row(
        r"namespace (?P<namespace>\S+) because it is being terminated",
        Reason.NAMESPACE_TERMINATING,
        "Namespace {namespace} is being deleted; nothing can be created in it",
        transient=True,
        hint=Hint(
            "If the deletion hangs, see which objects or finalizers block it",
            "kubectl get namespace {namespace} -o yaml",
        ),
    ),
    _row(
        r'namespaces "(?P<namespace>[^"]+)" not found',
        Reason.NAMESPACE_NOT_FOUND,
        "Namespace {namespace} does not exist",
        transient=True,
        hint="Set createNamespace: true for the release's own namespace; create others first.",
    ),
    # -- permissions: a missing one heals when it is granted, so it is retried. An API server that has just started refuses
    # everybody with the same message until it has read its roles (seen with 1.37 after a kill).
    _row(
        r"attempting to grant RBAC permissions not currently held",
        Reason.FORBIDDEN,
        _escalation,
        transient=True,
        hint=f"{GRANT} Kubernetes lets nobody grant permissions that they do not have.",
    ),
    _row(
        IMPERSONATION,
        Reason.FORBIDDEN,
        "The operator may not impersonate the ServiceAccount of this resource: user {user} cannot {what}",
        transient=True,
        hint=IMPERSONATE,
    ),
    _row(
        MISSING_PERMISSION,
        Reason.FORBIDDEN,
        lambda found, _: f"User {found['user']} has no permission to {permission(found)}",
        transient=True,
        hint=GRANT,
    ),
    _row(
        r'forbidden: User "(?P<user>[^"]*)" cannot (?P<what>[^\n]+)',
        Reason.FORBIDDEN,
        "User {user} has no permission to {what}",
        transient=True,
        hint=GRANT,
    ),
    # -- the object
    _row(
        r"conflict occurred while applying object|Apply failed with \d+ conflicts?",
        Reason.FIELD_CONFLICT,
        _conflict,
        # helm runs with --force-conflicts, which it ignores for hooks (4.3.1: pkg/action/hooks.go).
        hint=Hint(
            "Helm takes over fields of other objects, but not of hooks. Delete the object, and the hook creates it again",
            "kubectl {at}delete {kind} {name}",
        ),
    ),
    _row(schema_refusals.PATTERN, Reason.OBJECT_INVALID, schema_refusals.message, hint=schema_refusals.hint),
    _row(
        r"cannot be handled as a (?P<kind>\w+): (?:json: )?(?P<why>[^\n]+)",
        Reason.OBJECT_INVALID,
        "The API server cannot read a {kind} of the chart: {why}",
    ),
    _row(r'unknown field "[^"]+"', Reason.OBJECT_INVALID, _unknown_fields, hint=schema_refusals.CORRECT_NAME),
    _row(
        r"is immutable\b|may not change once set|updates to statefulset spec for fields other than",
        Reason.IMMUTABLE_FIELD,
        _fields,
        hint=_IMMUTABLE,
    ),
    _row(
        r"provided port is already allocated",
        Reason.OBJECT_INVALID,
        _fields,
        transient=True,
        hint="Choose another nodePort, or let Kubernetes choose it; kubectl get services -A shows those in use.",
    ),
    _row(r"is invalid: ", Reason.OBJECT_INVALID, _fields),
    _row(r"is forbidden: (?P<why>[^\n]+)", Reason.ADMISSION_REFUSED, "{it} is refused: {why}", transient=True),
    _row(
        r"object is being deleted|already exists",
        Reason.OBJECT_OWNED,
        "{it} already exists, or is being deleted",
        transient=True,
    ),
)
"""The API server refuses the request itself."""

UNAVAILABLE: tuple[RefusalRow, ...] = (
    _row(
        r"the server has asked for the client to provide credentials|\bUnauthorized\b",
        Reason.API_UNAVAILABLE,
        "The Kubernetes API server does not accept the operator's credentials (401)",
        # The token is renewed while the operator runs (a projected one each hour).
        transient=True,
        hint=RENEW,
    ),
    _row(
        r"(?P<why>(?:etcdserver: |leader changed|the server is currently unable to handle the request|[Tt]oo many requests|"
        r"the server has received too many requests|unable to return a response in the time allotted|an error on the server \(|"
        r"Internal error occurred|Operation cannot be fulfilled on )[^\n]*)",
        Reason.API_UNAVAILABLE,
        lambda found, _: f"The Kubernetes API server could not carry out a request: {one_line(found['why'], 500)}",
        transient=True,
    ),
)
"""The API server cannot serve the request, or the object has changed; last, because other errors contain these words."""
