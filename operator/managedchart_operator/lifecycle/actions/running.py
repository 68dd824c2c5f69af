"""Runs the actions of one phase in their order, and records each in the status.

An action that is not due is skipped, one that fails is retried as it says, and the error of one that ends the run names it. A
dry run asks each writing verb what it would do. The deadline of an attempt is that of its action.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from managedchart_operator.api.lifecycle import Revalidation
from managedchart_operator.api.phase_status import ActionState, ActionStatus
from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import KubeError, LifecycleError, OperatorError, ProfileVersion
from managedchart_operator.kube.answers import is_unserved
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.permissions import IMPERSONATE, missing_in
from managedchart_operator.kube.silence import listening
from managedchart_operator.lifecycle.actions import expressions
from managedchart_operator.lifecycle.actions.api_errors import in_words, refusal_text
from managedchart_operator.lifecycle.actions.envelope import Deployment, Envelope, OnError
from managedchart_operator.lifecycle.actions.registry import verb_of
from managedchart_operator.lifecycle.actions.scene import SPEC, Scene
from managedchart_operator.lifecycle.actions.verb import Done, Verb
from managedchart_operator.lifecycle.context import Operation, PhaseContext
from managedchart_operator.lifecycle.versions import VersionRange, crosses, is_in
from managedchart_operator.reasons import Reason

ACTION_FAILED = "ActionFailed"
"""Reason of the Warning Event about an action whose failure does not end the run."""

Payload = Mapping[str, Any]

# An API server that has just started refuses everybody until it has read its roles, for some seconds at most.
_REFUSALS = 10
_REFUSED_PAUSE_SECONDS = 1.0


class Accounts(Protocol):
    """Knows which ServiceAccounts exist."""

    async def check(self, identity: Identity | None) -> str:
        """Return the UID of the account. Raises OperatorError if it does not exist."""


@dataclass(frozen=True, slots=True)
class BoundAction:
    """An action, and where it comes from."""

    action: Envelope
    origin: str = SPEC
    """`spec`, or `profile/NAME`."""
    identity: Identity | None = None
    """The profile's own ServiceAccount; None for the identity of the ManagedChart."""
    versions: VersionRange | None = None
    """Only for charts of these versions; None for all."""
    validation: Revalidation = field(default_factory=Revalidation)
    """How often it runs again if it is in phase Validate."""
    profile: ProfileVersion | None = field(default=None, compare=False)
    """The profile that it comes from. A change of the profile that leaves the action as it is makes no other one of it."""
    accounts: Accounts | None = field(default=None, compare=False, repr=False)
    """What reads whether the identity exists, which the API server does not do."""

    @property
    def verb(self) -> str:
        """Name of its verb."""
        return verb_of(self.action).verb


async def run_actions(actions: Sequence[BoundAction], phase: Phase, context: PhaseContext, payload: Payload) -> Payload:
    """Run the actions of a phase; returns the payload with what they add. Raises OperatorError that names the action.

    An action of the spec cannot change what one of the same name in a profile adds. What is done as the account of a profile
    adds nothing, as nothing enters it.
    """
    of_profiles = {each.action.name for each in actions if each.origin != SPEC}
    for bound in actions:
        if bound.action.phase.value == phase.value:
            added = await _run(bound, phase, context, payload)
            hidden = bound.identity is not None or (bound.origin == SPEC and bound.action.name in of_profiles)
            payload = payload if hidden else added
    return payload


async def _run(bound: BoundAction, phase: Phase, context: PhaseContext, payload: Payload) -> Payload:
    action = bound.action
    began = time.monotonic()
    entry = ActionStatus(name=action.name, verb=bound.verb, origin=bound.origin, state=ActionState.RUNNING)
    try:
        async with in_words(context, verb_of(action)):
            scene = await _scene(bound, phase, context, payload)
            why = await _why_not_for(bound, context) or await _why_skipped(action, scene)
        if why:
            entry.state, entry.message = ActionState.SKIPPED, why
            context.recorder.action(entry)
            return payload
        context.recorder.action(entry)
        if scene.foreign:
            _check_no_tenant_data(action)
        done = await _attempts(action, scene, entry)
    except OperatorError as error:
        entry.state, entry.message = ActionState.FAILED, error.message
        entry.duration_seconds = round(time.monotonic() - began, 3)
        named = _named(bound, error)
        context.recorder.action(entry)
        if action.on_error is OnError.FAIL and not _never_succeeds(action, phase, context, error):
            raise named from error
        context.recorder.warn(ACTION_FAILED, named.message)
        return payload
    entry.state, entry.message = ActionState.SUCCEEDED, done.message
    entry.duration_seconds = round(time.monotonic() - began, 3)
    context.recorder.action(entry)
    return {**payload, action.name: dict(done.output)} if done.output else payload


def _check_no_tenant_data(action: Envelope) -> None:
    """Raise LifecycleError for a verb that the account of a profile must not run; such a profile is invalid already."""
    needed = verb_of(action).tenant_data()
    if needed is not None:
        raise LifecycleError(
            needed.problem[:1].upper() + needed.problem[1:],
            reason=Reason.LIFECYCLE_INVALID,
            transient=False,
            hint=f"{needed.remedies[:1].upper()}{needed.remedies[1:]}.",
        )


def _never_succeeds(action: Envelope, phase: Phase, context: PhaseContext, error: OperatorError) -> bool:
    """Whether an action before or after an uninstall would create something in the release's namespace, which is being deleted.

    It would hold up the deletion for ever. Of a verb that writes only, since what a Service answers may read like this.
    """
    return (
        phase in (Phase.PRE_DELETE, Phase.POST_DELETE)
        and _writes(action)
        and error.reason is Reason.NAMESPACE_TERMINATING
        and f"namespace {context.release.namespace} " in error.message.lower()
    )


async def _attempts(action: Envelope, scene: Scene, entry: ActionStatus) -> Done:
    """Try an action as often as it says. Raises the last OperatorError.

    That the API server does not answer says nothing about the release: until the timeout of the action is over, such an attempt
    does not count. After exec its error does not roll the release back either (`base.says_nothing`). A refusal that may be only
    one of an API server that has just started counts once it has lasted.
    """
    until = time.monotonic() + action.seconds
    refusals = 0
    while True:
        entry.attempts += 1
        try:
            return await _attempt(action, scene)
        except OperatorError as error:
            momentary = refusals < _REFUSALS and await _may_be_momentary(scene, error)
            refusals = refusals + 1 if momentary else 0
            unanswered = error.reason is Reason.API_UNAVAILABLE and time.monotonic() + action.delay < until
            if momentary or unanswered:
                entry.attempts -= 1
            elif entry.attempts > action.retries:
                if action.on_error is OnError.FAIL and scene.evidence != Findings():
                    scene.context.recorder.evidence(scene.evidence)
                raise
            entry.message = error.message
            scene.context.recorder.action(entry)
        await asyncio.sleep(_REFUSED_PAUSE_SECONDS if momentary else action.delay)


async def _may_be_momentary(scene: Scene, error: OperatorError) -> bool:
    """Whether an error is a refusal of a permission that the API server does not deny when it is asked for it."""
    text = refusal_text(error)
    if (missing := missing_in(text)) is None:
        return False
    return missing.permission.verb == IMPERSONATE or await scene.cluster.permissions.refused_for_a_moment(text)


async def _attempt(action: Envelope, scene: Scene) -> Done:
    verb = verb_of(action)
    scene.progress, scene.evidence, scene.seconds = "", Findings(), action.seconds
    try:
        with listening() as silence:
            async with in_words(scene.context, verb), asyncio.timeout(action.seconds) as limit:
                if scene.context.operation is Operation.DRY_RUN:
                    return await _previewed(verb, scene)
                return await verb.run(scene)
    except TimeoutError as error:
        if not limit.expired():
            raise
        progress = f": {scene.progress}" if scene.progress else ""
        if silence.explains(action.seconds):
            raise LifecycleError(
                f"It did not end within {action.timeout}, and the API server does not answer{progress}",
                reason=Reason.API_UNAVAILABLE,
            ) from error
        raise LifecycleError(
            f"It did not end within {action.timeout}{progress}",
            reason=Reason.PHASE_TIMEOUT,
            hint="Remove the cause, or set a longer timeout for the action.",
        ) from error


async def _previewed(verb: Verb, scene: Scene) -> Done:
    """Return what a verb would do in a dry run; of a kind that an earlier part of the run would bring, that cannot be known."""
    try:
        return await verb.preview(scene)
    except KubeError as error:
        api_version, kind = error.missing_kind or ("", "")
        if (coming := scene.context.extras.coming.find(api_version, kind)) is None:
            raise
        what = "tell what it would do with" if verb.writes else "check"
        return Done(f"Cannot {what} objects of kind {kind} in a dry run: {coming.reason}")


async def _why_not_for(bound: BoundAction, context: PhaseContext) -> str:
    """Return why a profile's action is not for the version of the chart; "" if it is. Raises OperatorError."""
    if bound.versions is None:
        return ""
    if context.operation in (Operation.INSTALL, Operation.UPGRADE, Operation.DRY_RUN):
        version: str | None = await context.release.chart_version()
    else:
        installed = await context.release.installed()
        version = installed.chart_version if installed else None
    if version is None:
        return "No version of the chart is installed"
    if is_in(bound.versions, version):
        return ""
    return f"Version {version} of the chart is not in {bound.versions}, for which the profile is"


async def _why_skipped(action: Envelope, scene: Scene) -> str:
    """Return why an action does not run now; "" if it does. Raises OperatorError."""
    when, context = action.when, scene.context
    if scene.phase in (Phase.CHECK_PREREQUISITES, Phase.PRE_EXEC) and context.operation is Operation.RESUME:
        return "The release is deployed already"
    if (
        context.operation is Operation.DRY_RUN
        and scene.phase in (Phase.POST_EXEC, Phase.VALIDATE)
        and not _writes(action)
    ):
        return "Nothing is deployed in a dry run"
    if when is None:
        return ""
    if when.operation is not None and (installs := await _installs(context)) is not (
        when.operation is Deployment.INSTALL
    ):
        return f"The run {'installs' if installs else 'upgrades'} the release"
    if when.crosses is not None and not await _crosses(context, when.crosses):
        return f"The run does not cross version {when.crosses}"
    for expression in action.conditions():
        if not await expressions.holds(expression, scene.variables):
            return f"{expression.place} is false"
    return ""


def _writes(action: Envelope) -> bool:
    return verb_of(action).writes


async def _installs(context: PhaseContext) -> bool:
    """Whether the run deploys the release for the first time; in a resumed run its only revision says so."""
    match context.operation:
        case Operation.INSTALL:
            return True
        case Operation.UPGRADE:
            return False
        case _:
            installed = await context.release.installed()
            first = 1 if context.operation is Operation.RESUME else 0
            return installed is None or installed.revision <= first


async def _crosses(context: PhaseContext, version: str) -> bool:
    replaced = await context.facts.replaced_version()
    return replaced is not None and crosses(
        installed=replaced, breaking=version, new=await context.release.chart_version()
    )


async def _scene(bound: BoundAction, phase: Phase, context: PhaseContext, payload: Payload) -> Scene:
    foreign = bound.identity is not None
    account = await bound.accounts.check(bound.identity) if bound.accounts is not None else ""
    cluster = context.cluster.acting_as(bound.identity) if foreign else context.cluster
    release = {"name": context.release.name, "namespace": context.release.namespace}
    variables: Mapping[str, Any] = {"release": release, "spec": {}, "payload": {}}
    if not foreign:
        variables = await _variables(bound.action, context, payload, release)
    return Scene(
        bound.action.name, phase, context, cluster, variables, account if foreign else None, origin=bound.origin
    )


async def _variables(
    action: Envelope, context: PhaseContext, payload: Payload, release: Mapping[str, str]
) -> dict[str, Any]:
    """Return the variables that the expressions of an action mention: most actions have none, and run again and again."""
    texts = " ".join(each.text for each in (*action.conditions(), *verb_of(action).expressions()))
    variables: dict[str, Any] = {"release": {**release, "operation": context.operation.value}, "payload": dict(payload)}
    if "chart" in texts:
        variables["release"]["chart"] = await _chart(context)
    if "spec" in texts:
        variables["spec"] = context.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return variables


async def _chart(context: PhaseContext) -> dict[str, str]:
    """Return the version of the chart of this run, where it deploys one."""
    if context.action is not Action.DEPLOY:
        return {}
    with contextlib.suppress(OperatorError):  # what is wrong with the chart is reported where it is needed
        return {"version": await context.release.chart_version()}
    return {}


def _is_conflict(error: OperatorError) -> bool:
    """Whether the object was changed meanwhile, or is not in the version that a manifest with a resourceVersion is about.

    That is repeated like a request that is not answered, but it is an answer.
    """
    cause = error.__cause__ if isinstance(error, LifecycleError) else error
    return isinstance(cause, KubeError) and error.reason is Reason.API_UNAVAILABLE and not is_unserved(cause)


def _named(bound: BoundAction, error: OperatorError) -> OperatorError:
    """Return the error of an action with its name; it keeps reason, hint and whether a retry may succeed."""
    source = "" if bound.origin == SPEC else f" of {bound.origin}"
    own = (Reason.INTERNAL_ERROR, Reason.FORBIDDEN) if bound.identity is not None else (Reason.INTERNAL_ERROR,)
    # What the account of a profile lacks, the account of the ManagedChart does not: FORBIDDEN is about the latter.
    reason = Reason.LIFECYCLE_FAILED if error.reason in own or _is_conflict(error) else error.reason
    named = LifecycleError(
        f"Action {bound.action.name} ({bound.verb}){source} failed: {error.message}",
        reason=reason,
        transient=error.transient,
        hint=error.hint,
    )
    named.profile = bound.profile
    return named
