"""Puts together the lifecycle of one ManagedChart: the one that it names, and the actions around it.

The actions of LifecycleProfiles come first, in the order of the profiles, then those of the spec. A profile wins over a
built-in lifecycle or a plug-in of its name: only an administrator can apply one, and a later version of the operator that
brings a lifecycle of that name changes nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.egress.metrics import MetricSources
from managedchart_operator.errors import ActionsError, KubeError, LifecycleError, ProfileVersion, SpecError
from managedchart_operator.lifecycle.actions.envelope import Envelope
from managedchart_operator.lifecycle.actions.reading import first_of, read_actions
from managedchart_operator.lifecycle.actions.registry import verb_of
from managedchart_operator.lifecycle.actions.running import Accounts, BoundAction
from managedchart_operator.lifecycle.actions.scene import SPEC
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.deadline import WithDeadlines
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses
from managedchart_operator.lifecycle.profiles.matching import Part, part_of
from managedchart_operator.lifecycle.profiles.profile import Profile
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.lifecycle.profiles.subject import Charts, RecentLabels, Subject
from managedchart_operator.lifecycle.registry import BUILT_IN, find_lifecycle
from managedchart_operator.lifecycle.with_actions import WithActions
from managedchart_operator.reasons import Reason

MAX_ACTIONS = 96
"""How many actions the lifecycle of one ManagedChart has at most: its status has all of them."""
DEFAULT = "default"
# A person looks for one that is spelt like theirs.
_NAMED = 16


@dataclass(frozen=True, slots=True)
class ForRemoval:
    """The lifecycle of a ManagedChart that is being deleted, without what cannot be carried out, and why."""

    lifecycle: Lifecycle
    problems: Sequence[SpecError] = ()
    blocked: SpecError | None = None
    """Why nothing may be uninstalled: an action that cannot be carried out may be what saves data before that."""


class Lifecycles:
    """Finds the lifecycles of ManagedCharts; one for the whole operator."""

    def __init__(
        self,
        profiles: Profiles | None = None,
        *,
        charts: Charts,
        namespaces: RecentLabels,
        accounts: Accounts | None = None,
        plugins: Plugins | None = None,
        metrics: MetricSources | None = None,
    ) -> None:
        self.profiles = profiles or Profiles()
        self.plugins = plugins or Plugins(PluginProcesses())
        self._charts = charts
        self._namespaces = namespaces
        self._accounts = accounts
        self._metrics = metrics or MetricSources()

    async def find(self, chart: ManagedChart, spec: ManagedChartSpec) -> Lifecycle:
        """Return the lifecycle of a ManagedChart; `blocked` says why it may not run, `missing` that nothing has its name.

        Raises SpecError (LIFECYCLE_INVALID) for actions of the spec that cannot be run.
        Raises KubeError if it is not known which profiles are for it.
        """
        parts = await self.profiles.of(self._subject(chart))
        name, names_it = _inner(spec, parts)
        inner, missing = self._found(name)
        own = await read_actions(spec.lifecycle.actions)
        blocked = next((error for part in parts if (error := part.profile.blocks())), None)
        actions = [
            *self._bound(parts),
            *(BoundAction(each, validation=spec.lifecycle.validation) for each in own),
        ]
        versions = [part.profile.version for part in parts]
        blocked = blocked or next(filter(None, map(self._not_allowed, actions)), None)
        return WithActions(
            inner,
            actions,
            name=name,
            named_by=names_it,
            profiles=versions,
            blocked=blocked or _too_many(len(actions), [each.name for each in versions]),
            missing=missing,
        )

    async def find_for_removal(
        self, chart: ManagedChart, spec: ManagedChartSpec, *, lacks: Callable[[KubeError], Awaitable[bool]]
    ) -> ForRemoval:
        """Return the lifecycle of a ManagedChart that is being deleted, with the valid ones of its actions.

        What is invalid does not block the deletion, except an action of PreDelete or PostDelete: it may be a backup, and its
        failure would block the deletion, too.

        Raises KubeError if it is not known which profiles are for it, except for a permission that the operator `lacks`. An API
        server that has just started refuses everybody: then the actions of profiles are not left out.
        """
        problems: list[SpecError] = []
        blocking: list[SpecError] = []
        parts: list[Part] = []
        try:
            parts = await self.profiles.of(self._subject(chart))
        except KubeError as error:
            if error.reason is not Reason.FORBIDDEN or not await lacks(error):
                raise
            problems.append(SpecError(f"without LifecycleProfiles: {error.message}", reason=Reason.FORBIDDEN))
        problems += [blocks for part in parts if (blocks := part.profile.blocks())]
        blocking += [blocks for part in parts if (blocks := part.profile.blocks_removal())]
        name, names_it = _inner(spec, parts)
        inner, missing = self._found(name)
        if missing is not None:
            name = DEFAULT
            problems.append(missing)
        own: Sequence[Envelope] = ()
        try:
            own = await read_actions(spec.lifecycle.actions)
        except ActionsError as error:
            own = error.valid
            problems.append(error)
            if error.at_deletion:
                blocking.append(SpecError(first_of(error.at_deletion), reason=error.reason, hint=error.hint))
        actions = [*self._bound(parts, removes=True), *map(BoundAction, own)]
        versions = [part.profile.version for part in parts]
        problems += filter(None, map(self._not_allowed, actions))
        allowed = [each for each in actions if self._not_allowed(each) is None]
        lifecycle = WithActions(inner, allowed, name=name, named_by=names_it, profiles=versions)
        return ForRemoval(lifecycle, problems, blocking[0] if blocking else None)

    async def concerns(self, chart: ManagedChart, *profiles: Profile | None) -> bool:
        """Whether one of these profiles is for a ManagedChart, or may be."""
        subject = self._subject(chart)
        try:
            return any([each is not None and await part_of(each, subject) is not None for each in profiles])
        except KubeError:
            return True

    def _subject(self, chart: ManagedChart) -> Subject:
        return Subject(chart, self._charts, self._namespaces)

    def _found(self, name: str) -> tuple[Lifecycle, SpecError | None]:
        """Return the lifecycle of this name; the default one and the error (LIFECYCLE_UNKNOWN) if there is none."""
        try:
            return self._by_name(name), None
        except SpecError as error:
            if name in self.plugins.broken:
                return Lifecycle(), error  # which others there are is of no use
            names = self.profiles.names()
            known = f"; LifecycleProfiles: {', '.join(names[:_NAMED])}{'…' if names[_NAMED:] else ''}" if names else ""
            return Lifecycle(), SpecError(f"{error.message}{known}", reason=error.reason, hint=error.hint)

    def _by_name(self, name: str) -> Lifecycle:
        """Return the lifecycle of this name, each phase of which has a deadline. Raises SpecError (LIFECYCLE_UNKNOWN)."""
        if name in BUILT_IN:
            return WithDeadlines(find_lifecycle(name), name=name)
        return self.plugins.find(name)

    def _not_allowed(self, bound: BoundAction) -> SpecError | None:
        """Return the error for an action that calls what no administrator has allowed; None for another one."""
        verb = verb_of(bound.action)
        try:
            for url in verb.calls():
                self._metrics.check(url)
        except LifecycleError as error:
            source = "" if bound.origin == SPEC else f" of {bound.origin}"
            message = f"Action {bound.action.name} ({verb.verb}){source}: {error.message}"
            found = SpecError(message, reason=error.reason, hint=error.hint)
            found.profile = bound.profile
            return found
        return None

    def _bound(self, parts: Sequence[Part], *, removes: bool = False) -> list[BoundAction]:
        return [
            BoundAction(
                action,
                part.profile.origin,
                identity=part.profile.identity,
                versions=part.versions,
                validation=part.profile.validation,
                profile=part.profile.version,
                accounts=self._accounts,
            )
            for part in parts
            for action in (part.profile.actions_of_removal if removes else part.profile.actions)
        ]


def _inner(spec: ManagedChartSpec, parts: Sequence[Part]) -> tuple[str, ProfileVersion | None]:
    """Return the name of the lifecycle around which the actions run, and the profile that names it, if one does.

    That of the profile that the spec names, else the one that the spec names itself, else that of the first profile that is
    attached and names one.
    """
    asked = spec.lifecycle.name
    named = next((part.profile for part in parts if part.profile.name == asked), None)
    if named is None and asked != DEFAULT:
        return asked, None
    first = next((part.profile for part in parts if part.profile.lifecycle is not None), None)
    if named is not None and named.lifecycle is not None:
        first = named
    return (DEFAULT, None) if first is None or first.lifecycle is None else (first.lifecycle, first.version)


def _too_many(count: int, profiles: Sequence[str]) -> SpecError | None:
    if count <= MAX_ACTIONS:
        return None
    return SpecError(
        f"The lifecycle has {count} actions with those of the LifecycleProfiles {', '.join(profiles)}; at most"
        f" {MAX_ACTIONS} are allowed",
        reason=Reason.LIFECYCLE_INVALID,
        hint="Remove actions from spec.lifecycle.actions, or ask an administrator to narrow what the profiles match.",
    )
