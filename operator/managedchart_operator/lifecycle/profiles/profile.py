"""One LifecycleProfile, read and checked; an invalid one is kept, since it blocks the runs that it is for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from managedchart_operator.api.lifecycle import Revalidation
from managedchart_operator.api.schema import field_names, nearest
from managedchart_operator.errors import ActionsError, ProfileVersion, SpecError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.lifecycle.actions.envelope import Envelope
from managedchart_operator.lifecycle.actions.reading import first_of, matters_at_deletion, read_actions
from managedchart_operator.lifecycle.plugins.catalog import BROKEN_HINT, Plugins
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses
from managedchart_operator.lifecycle.profiles.model import KIND, LifecycleProfileSpec, Match
from managedchart_operator.lifecycle.registry import BUILT_IN
from managedchart_operator.reasons import Reason

_LOOK = "correct the profile: kubectl get lifecycleprofile {name} -o yaml"
_HINT = f"Ask an administrator to {_LOOK}"
_HINT_FOR_PLUGIN = f"Ask an administrator to correct the plug-in and restart the operator, or to {_LOOK}"


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as it counts."""

    name: str
    uid: str
    generation: int
    match: Match | None = None
    priority: int = 0
    lifecycle: str | None = None
    """The lifecycle around which its actions run; None if it names none, or is invalid."""
    actions: tuple[Envelope, ...] = ()
    validation: Revalidation = field(default_factory=Revalidation)
    identity: Identity | None = None
    """The account as which its actions run; None for that of the ManagedChart."""
    error: ActionsError | None = None
    """Why it cannot be carried out; it has the valid actions then, `actions` is empty. The message begins with the field."""

    @property
    def origin(self) -> str:
        """Where its actions come from, in the status of a ManagedChart."""
        return f"profile/{self.name}"

    @property
    def order(self) -> tuple[int, str]:
        """Sorts profiles: the highest priority first, then by name."""
        return -self.priority, self.name

    @property
    def version(self) -> ProfileVersion:
        """Identifies its spec."""
        return ProfileVersion(self.name, self.uid, self.generation)

    @property
    def actions_of_removal(self) -> tuple[Envelope, ...]:
        """The actions that can be run, also those of an invalid profile."""
        return self.actions if self.error is None else self.error.valid

    def blocks_removal(self) -> SpecError | None:
        """Return why nothing that it is for may be uninstalled; None if that may be."""
        if self.error is None or not self.error.at_deletion:
            return None
        return self._error(first_of(self.error.at_deletion), self.error.reason)

    def blocks(self) -> SpecError | None:
        """Return the error of a run that it is for; None if it can be carried out."""
        if self.error is None:
            return None
        hint = _HINT_FOR_PLUGIN if self.error.hint == BROKEN_HINT else _HINT
        return self._error(self.error.message, self.error.reason, hint)

    def _error(self, message: str, reason: Reason, hint: str = _HINT) -> SpecError:
        error = SpecError(f"{KIND} {self.name} {message}", reason=reason, hint=hint.format(name=self.name))
        error.profile = self.version
        return error


async def read_profile(body: Mapping[str, Any], plugins: Plugins | None = None) -> Profile:
    """Return the profile of an API object; its `error` says what is wrong with it. It may name one of the plug-ins."""
    meta, raw = body["metadata"], body.get("spec") or {}
    name, uid, generation = meta["name"], meta["uid"], meta.get("generation", 0)
    try:
        spec = LifecycleProfileSpec.model_validate(raw)
    except ValidationError as error:
        problems = list(_problems(error))
        # Nothing of it can be run, since who would run it is not known.
        at_deletion = problems if any(map(matters_at_deletion, _raw_actions(raw))) else ()
        wrong = ActionsError(
            "; ".join(problems), reason=Reason.LIFECYCLE_INVALID, hint=None, valid=(), at_deletion=at_deletion
        )
        # A field of a newer CRD could narrow what it matches, so it counts for all that the known fields match.
        return Profile(name, uid, generation, match=_known_match(raw), priority=_priority(raw), error=wrong)
    account = spec.service_account
    actions: tuple[Envelope, ...] = ()
    problem: ActionsError | None = None
    try:
        actions = await read_actions(spec.actions, where="spec.actions", foreign=account is not None)
        if spec.lifecycle is not None:
            _check_lifecycle(spec.lifecycle, plugins or Plugins(PluginProcesses()))
    except ActionsError as error:
        problem = error
    except SpecError as error:
        problem = ActionsError(error.message, reason=error.reason, hint=error.hint, valid=actions)
        actions = ()
    return Profile(
        name,
        uid,
        generation,
        match=spec.match,
        priority=spec.priority,
        # One that this operator does not have would fail also what is in sync.
        lifecycle=None if problem else spec.lifecycle,
        actions=actions,
        validation=spec.validation,
        identity=Identity(account.namespace, account.name) if account else None,
        error=problem,
    )


def _check_lifecycle(name: str, plugins: Plugins) -> None:
    """Raise SpecError if no built-in lifecycle or plug-in has the name."""
    if name in BUILT_IN:
        return
    try:
        plugins.find(name)
    except SpecError as error:
        raise SpecError(
            error.message.replace("spec.lifecycle.name", "spec.lifecycle", 1), reason=error.reason, hint=error.hint
        ) from error


def _problems(error: ValidationError) -> Iterator[str]:
    for each in error.errors():
        said = {"extra_forbidden": "there is no such field: correct its name", "missing": "this field is required"}
        text = said.get(each["type"], each["msg"].removeprefix("Value error, "))
        if each["type"] == "extra_forbidden":
            *place, name = each["loc"]
            meant = nearest(str(name), field_names(LifecycleProfileSpec, *place))
            text += f" to {meant}" if meant else ""
        yield f"{'.'.join(map(str, ('spec', *each['loc'])))}: {text}"


def _raw_actions(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = raw.get("actions")
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _known_match(raw: Mapping[str, Any]) -> Match | None:
    """Return what an invalid spec matches, as far as that can be read."""
    try:
        return Match.model_validate(raw.get("match"), extra="ignore") if raw.get("match") is not None else None
    except ValidationError:
        return None


def _priority(raw: Mapping[str, Any]) -> int:
    return found if isinstance(found := raw.get("priority"), int) else 0
