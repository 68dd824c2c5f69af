"""Words what the API server answers to an action, in one place for all verbs: `running` runs each within `in_words`.

A person reads who lacks which permission, with the command that grants it; which object or kind is missing; or what the API
server itself says about an object. No refusal is shown as a request with its path. A verb that knows its object names it by
`writing.refusals`, which leaves missing permissions to this module, where the verb and the account are known.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import unquote

from managedchart_operator.api_refusals import refusal_of
from managedchart_operator.errors import HelmError, KubeError, LifecycleError, OperatorError
from managedchart_operator.hints import Names
from managedchart_operator.kube.discovery import NOT_SERVED
from managedchart_operator.kube.grants import grant_command, kubectl_resource
from managedchart_operator.kube.permissions import IMPERSONATE, MissingPermission, Permission, missing_in
from managedchart_operator.lifecycle.actions.targets import KindRef
from managedchart_operator.lifecycle.actions.verb import Verb
from managedchart_operator.lifecycle.context import PhaseContext
from managedchart_operator.reasons import Reason

_NOT_FOUND = 404
_SERVER_ERROR = 500
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<resource>[^/?]+)"
    r"(?:/(?P<name>[^/?]+))?"
)
# Who needs one of the two needs the other one as well, if the verb says so: an apply creates what does not exist, and a watch
# begins with a list.
_PAIRS = (("create", "patch"), ("list", "watch"))


@contextlib.asynccontextmanager
async def in_words(context: PhaseContext, verb: Verb) -> AsyncIterator[None]:
    """Raise the errors of the block as a person reads them; what is in words already is raised as it is."""
    try:
        yield
    except OperatorError as error:
        if (missing := permission_of(error)) is not None:
            verbs = await _to_grant(missing.permission, context, verb)
            raise LifecycleError(
                _sentence(missing),
                reason=Reason.FORBIDDEN,
                hint=f"Grant what is missing: {grant_command(missing.user, missing.permission, verbs)}",
            ) from error
        if not isinstance(error, KubeError) or not error.path:
            raise
        raise worded(error, await asyncio.to_thread(context.release.redactor, [])) from error


def permission_of(error: OperatorError) -> MissingPermission | None:
    """Return the permission that the API server, or helm in its words, reports as missing; None for another error."""
    missing = None if isinstance(error, LifecycleError) else missing_in(refusal_text(error))
    return None if missing is None or missing.permission.verb == IMPERSONATE else missing


def refusal_text(error: OperatorError) -> str:
    """Return what the API server, or helm, says in the error of a refusal, also one in words; "" for another error."""
    if error.reason is not Reason.FORBIDDEN:
        return ""
    cause = error.__cause__ if isinstance(error, LifecycleError) else error
    return cause.answer if isinstance(cause, KubeError) else cause.text if isinstance(cause, HelmError) else ""


def worded(
    error: KubeError,
    redact: Callable[[str], str],
    *,
    about: str = "",
    names: Names = Names(),  # noqa: B008 -- frozen
) -> LifecycleError:
    """Return a refusal of the API server in words; `about` names the object where the path of the request says it worse.

    `redact` removes secrets from what the API server repeats.
    """
    answer, reason, transient, hint = redact(error.answer), error.reason, error.transient, error.hint
    found = _PATH.match(error.path)
    about = about or _described(found)
    if (known := refusal_of(answer, about=about, names=names)) is not None:
        message, reason, transient, hint = known.message, known.reason, known.transient, known.hint
        hint = hint and hint.replace("in the values or the chart", "in the action or the chart")
    elif answer.strip() in NOT_SERVED and found:
        message = f"The API server does not serve {found['resource']} of {_version(found)}"
        reason, transient = Reason.KIND_MISSING, True
        hint = "Install the CustomResourceDefinition that defines it first."
    elif error.status == _NOT_FOUND:
        message, reason, transient = f"{_capital(about)} does not exist", Reason.LIFECYCLE_FAILED, True
    elif error.status >= _SERVER_ERROR:
        message = f"The API server answers {error.status} for {about}: {answer or 'no message'}"
    else:
        message = f"The API server refuses {about}: {answer or f'no message ({error.status})'}"
    return LifecycleError(message, reason=reason, transient=transient, hint=hint)


def summary(error: OperatorError) -> str:
    """Return what an error says, for the middle of another message, which is redacted as a whole."""
    return (worded(error, str) if isinstance(error, KubeError) and error.path else error).message


async def _to_grant(missing: Permission, context: PhaseContext, verb: Verb) -> Sequence[str]:
    """Return the verbs of RBAC to grant: what the verb needs for the kind that it is about, else only what is missing."""
    needed = {missing.verb}
    if await _is_about(verb, missing, context):
        needed |= set(verb.needs)
        # An object by its name needs neither, and who may list Secrets may read all of them.
        needed -= set() if missing.verb in _PAIRS[1] else set(_PAIRS[1])
    for pair in _PAIRS:
        if missing.verb in pair:
            needed |= set(pair) & set(verb.needs)
    return [*(each for each in verb.needs if each in needed), *(needed - set(verb.needs))]


async def _is_about(verb: Verb, missing: Permission, context: PhaseContext) -> bool:
    """Whether a verb is about the kind of a permission itself, and not only about something beside it."""
    kind: object = verb  # mypy takes no verb for a KindRef, since it looks at the two classes in one order only
    if not isinstance(kind, KindRef) or missing.verb not in verb.needs:
        return False
    try:
        own = await context.cluster.permissions.on(
            missing.verb, api_version=kind.version, kind=kind.kind, namespace=missing.namespace
        )
    except KubeError:  # the kind is not served, or the API server does not answer now
        return False
    return (own.group, own.resource) == (missing.group, missing.resource)


def _sentence(missing: MissingPermission) -> str:
    lacking = missing.permission
    where = f"in namespace {lacking.namespace}" if lacking.namespace else "cluster-wide"
    return f"User {missing.user} has no permission to {lacking.verb} {kubectl_resource(lacking)} {where}"


def _described(path: re.Match[str] | None) -> str:
    """Return what a request is about, like `deployments apps/web`."""
    if path is None:
        return "the request"
    named = "/".join(unquote(each) for each in (path["namespace"], path["name"]) if each)
    return f"{path['resource']} {named}".strip() if path["name"] else path["resource"]


def _version(path: re.Match[str]) -> str:
    return f"{path['group']}/{path['version']}" if path["group"] else path["version"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
