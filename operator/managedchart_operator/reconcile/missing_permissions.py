"""Finds all permissions that a release lacks, after helm or the API server has reported the first.

They are those of the resource's account, or of the operator itself for a resource without one. helm stops at the first refusal,
and its dry run does too. So the chart is rendered without its objects being read, and the API server is asked about each kind
in it. What cannot be found out in time is left out: then only the first one is named.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from managedchart_operator.errors import (
    UNREADABLE,
    AccountMissingError,
    HelmError,
    KubeError,
    LifecycleError,
    OperatorError,
)
from managedchart_operator.helm.apart import read_apart
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.stored_release import StoredRelease, read_document
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.objects import reference
from managedchart_operator.kube.permissions import IMPERSONATE, MissingPermission, Permission, missing_in
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.operations.dry_run import render, template
from managedchart_operator.reconcile.permission_hints import TO_CREATE_NAMESPACE, hint, sentence
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.services import Services

logger = logging.getLogger(__name__)

# helm reads an object before it applies it, by a patch that creates it; the operator lists and watches what it waits for.
_TO_DEPLOY: tuple[str, ...] = ("get", "list", "watch", "create", "patch", "delete")
_TO_REPLACE = ("update",)
_TO_UNINSTALL: tuple[str, ...] = ("get", "list", "watch", "delete")
# The operator's own role has get, list, watch and patch on all Secrets; an account has nothing.
_TO_STORE = ("create", "update", "delete")
_TO_STORE_AS_ACCOUNT = ("get", "list", *_TO_STORE)
# A failure is reported this much later at the most.
FIND_SECONDS = 10.0
# The largest public charts have about 25 kinds, in one or two namespaces.
_MOST_KINDS = 60
_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class Found:
    """The error with all that is missing, and the permission that was refused."""

    error: OperatorError
    missing: MissingPermission


async def find_missing(run: ReleaseRun, error: OperatorError, *, removes: bool) -> Found | None:
    """Return the error of a refusal with all missing permissions; None if it is about none, or about one that is there now.

    `removes` says that the run was to uninstall. Raises nothing except when cancelled.
    """
    missing = (await refusal_in(run.services, run.services.identity, error)).missing
    if missing is None:
        return None
    if missing.permission.verb == IMPERSONATE or isinstance(error, LifecycleError):
        # An action needs what its own message says, whatever the release needs.
        return Found(error, missing)
    identity = run.services.identity
    if identity is not None and not missing.user:
        # A permission of the operator itself, not of the account for which the release needs permissions.
        return Found(error, missing)
    found, new_namespace = [missing.permission], ""
    try:
        async with asyncio.timeout(FIND_SECONDS):
            if not removes and await run.namespace_state.is_to_be_created():
                new_namespace = run.namespace
                found = [*(await _denied(run, TO_CREATE_NAMESPACE)), *found]
            found = await _denied(run, [*found, *(await _needed(run, removes=removes))])
    except (TimeoutError, OperatorError, ManifestError) as problem:
        # What is known by then is a part of it.
        logger.info("%s/%s: cannot determine all missing permissions: %s", run.namespace, run.name, problem)
    return Found(_reworded(run, error, refused_user(error), found, new_namespace), missing)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error reports as missing, and whether it is there; the user is empty for the operator itself.

    An API server that has just started refuses everybody with the same message.
    """

    named: MissingPermission | None
    granted: bool | None = None
    """None where nothing is reported as missing, or the API server does not answer."""

    @property
    def missing(self) -> MissingPermission | None:
        """What is missing, if the API server confirms it."""
        return self.named if self.granted is False else None

    @property
    def momentary(self) -> bool:
        """Whether the API server says that the permission is there, so that the refusal means nothing."""
        return self.granted is True


async def refusal_in(services: Services, identity: Identity | None, error: OperatorError) -> Refusal:
    """Ask the API server about what an error reports as missing.

    `identity` is on whose behalf the refused request was sent. Raises nothing except when cancelled.
    """
    named = _named_in(error, identity)
    if named is None:
        return Refusal(None)
    try:
        return Refusal(named, await services.accounts.granted(named, identity))
    except KubeError:
        return Refusal(named)


def _named_in(error: OperatorError, identity: Identity | None) -> MissingPermission | None:
    """Return what an error reports as missing; its user is empty for the operator itself."""
    if isinstance(error, AccountMissingError):
        return MissingPermission("", Permission(IMPERSONATE, "serviceaccounts"))
    if error.reason is not Reason.FORBIDDEN or (named := missing_in(_words(error))) is None:
        return None
    as_account = identity is not None and named.user == identity.user
    return named if as_account else MissingPermission("", named.permission)


def refused_user(error: OperatorError) -> str:
    """Return the name of the user that an error names, for a person."""
    named = missing_in(_words(error))
    return named.user if named else ""


def _words(error: OperatorError) -> str:
    """Return the API server's words in an error, or in what it was raised from: an action's error has words of its own."""
    if isinstance(error, HelmError):
        return error.text
    if isinstance(error, LifecycleError) and isinstance(cause := error.__cause__, OperatorError):
        return _words(cause)
    return error.answer if isinstance(error, KubeError) else ""


async def _needed(run: ReleaseRun, *, removes: bool) -> list[Permission]:
    """Return the permissions that the release needs, each once. Raises OperatorError, ManifestError."""
    if removes:
        verbs, rendered = _TO_UNINSTALL, run.evidence.rendered.all
    else:
        verbs = _TO_DEPLOY + (_TO_REPLACE if run.spec.force_upgrade else ())
        rendered = await _rendered(run)
    stores = _TO_STORE if run.services.identity is None else _TO_STORE_AS_ACCOUNT
    storage = [Permission(verb, "secrets", "", run.namespace) for verb in stores]
    refs = (reference(each, run.namespace) for each in rendered)
    kinds = dict.fromkeys((ref.api_version, ref.kind, ref.namespace) for ref in refs)
    needed = [
        await run.objects.permissions.on(verb, api_version=api_version, kind=kind, namespace=namespace)
        async for api_version, kind, namespace in _served(run, list(kinds)[:_MOST_KINDS])
        for verb in verbs
    ]
    return list(dict.fromkeys([*needed, *storage]))


async def _served(run: ReleaseRun, kinds: Sequence[tuple[str, str, str]]) -> AsyncIterator[tuple[str, str, str]]:
    """Yield the kinds that the API server serves."""
    for each in kinds:
        try:
            await run.objects.namespaced(each[0], each[1])
        except KubeError as error:
            if error.reason is not Reason.KIND_MISSING:
                raise
        else:
            yield each


async def _rendered(run: ReleaseRun) -> list[dict[str, Any]]:
    """Render the chart without reading its objects; returns outlines, hooks included. Raises OperatorError, ManifestError."""
    if run.services.identity is not None:
        # Even an offline dry run reads the release Secrets, which the account may not be allowed to read yet.
        rendered = await template(run)
        return await read_apart(outline, rendered, size=len(rendered), error=ManifestError)
    output = await render(run, take_ownership=True, dry_run=True, offline=True)
    return await read_apart(_outlined, output.stdout, size=len(output.stdout), error=ManifestError)


def _outlined(output: bytes) -> list[dict[str, Any]]:
    try:
        release = StoredRelease(read_document(output))
    except UNREADABLE as error:
        raise ManifestError(f"the output of Helm's dry run cannot be read ({type(error).__name__})") from None
    return outline(*release.manifests)


async def _denied(run: ReleaseRun, permissions: Sequence[Permission]) -> list[Permission]:
    """Return those that the operator lacks, in their order, each once. Raises KubeError."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def ask(permission: Permission) -> bool:
        async with free:
            return await run.objects.permissions.allowed(permission)

    try:
        async with asyncio.TaskGroup() as group:
            asked = {each: group.create_task(ask(each)) for each in dict.fromkeys(permissions)}
    except* KubeError as errors:
        raise errors.exceptions[0] from None
    return [permission for permission, answer in asked.items() if not answer.result()]


def _reworded(
    run: ReleaseRun, error: OperatorError, user: str, found: Sequence[Permission], new_namespace: str
) -> OperatorError:
    """Return the error with the list of what is missing, and the commands that grant it."""
    message, advice = sentence(user, found), hint(user, found, release=run.name, new_namespace=new_namespace)
    if isinstance(error, HelmError):
        return HelmError(
            message,
            reason=error.reason,
            transient=error.transient,
            text=error.text,
            exit_code=error.exit_code,
            hint=advice,
        )
    return OperatorError(message, reason=error.reason, transient=error.transient, hint=advice)
