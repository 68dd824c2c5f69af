"""A lifecycle with actions around its phases: each phase is the lifecycle's own part, then its actions in their order.

PreDelete and PostDelete belong to an uninstall, all other phases to a deployment. The evidence of a failure is collected before
the actions of OnDeployFailure run, since they may change what it is about.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any, cast

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import OperatorError, PluginVersion, ProfileVersion, SpecError
from managedchart_operator.lifecycle.actions.api_errors import in_words
from managedchart_operator.lifecycle.actions.registry import verb_of
from managedchart_operator.lifecycle.actions.running import BoundAction, run_actions
from managedchart_operator.lifecycle.actions.verbs.adopt import Adopt
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import Operation, PhaseContext, Release
from managedchart_operator.lifecycle.plugins.plugin_lifecycle import PluginLifecycle


class _Adopting:
    """The release in a dry run with objects to adopt. They were not marked, so Helm's check of the marks is left out."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def __getattr__(self, name: str) -> Any:
        return getattr(self._release, name)

    async def upgrade(self, *, take_ownership: bool = True) -> str:  # noqa: ARG002 -- whatever the lifecycle says
        """Validate the upgrade."""
        return await self._release.upgrade(take_ownership=True)


class WithActions(Lifecycle):
    """Runs a lifecycle with actions."""

    def __init__(
        self,
        inner: Lifecycle,
        actions: Sequence[BoundAction],
        *,
        name: str = "default",
        named_by: ProfileVersion | None = None,
        profiles: Sequence[ProfileVersion] = (),
        blocked: SpecError | None = None,
        missing: SpecError | None = None,
    ) -> None:
        self.inner = inner
        self.actions = tuple(actions)
        self.name = name
        """Name of the lifecycle within."""
        self.named_by = named_by
        """The LifecycleProfile that names the lifecycle within; None if the ManagedChart does, or nobody."""
        self.versions = tuple(profiles)
        """The LifecycleProfiles that take part, in their order."""
        self.missing = missing
        """Why there is no lifecycle of the name that the ManagedChart asks for; the one within is the default then."""
        self.blocked = missing or blocked
        """Why no run may begin: the lifecycle is missing, or a profile cannot be carried out."""

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of the LifecycleProfiles that take part, in their order."""
        return tuple(each.name for each in self.versions)

    @property
    def checks(self) -> dict[str, tuple[BoundAction, ...]]:
        """The actions of phase Validate that run again after a run, by their origins; each origin decides for its own."""
        found: dict[str, tuple[BoundAction, ...]] = {}
        for each in self.actions:
            if each.action.phase.value == Phase.VALIDATE.value and each.validation.seconds > 0:
                found[each.origin] = (*found.get(each.origin, ()), each)
        return found

    async def check_prerequisites(self, context: PhaseContext, payload: Payload) -> Payload:
        """Check as the lifecycle does, then by the actions."""
        payload = await self._within(self.inner.check_prerequisites(context, payload))
        return await self._run(Phase.CHECK_PREREQUISITES, context, payload)

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """Prepare as the lifecycle does, then by the actions."""
        return await self._run(Phase.PRE_EXEC, context, await self._within(self.inner.pre_exec(context, payload)))

    async def exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """Carry out the action of the spec as the lifecycle does."""
        if any(each.action.when and each.action.when.crosses for each in self.actions):
            await context.facts.replaced_version()  # afterwards the revision may be deleted
        for each in self.actions:
            verb = verb_of(each.action)
            async with in_words(context, verb):
                await verb.before_exec(context)
        if context.operation is Operation.DRY_RUN and any(
            each.verb == Adopt.verb and payload.get(each.action.name) for each in self.actions
        ):
            context = replace(context, release=cast("Release", _Adopting(context.release)))
        return await self._within(self.inner.exec(context, payload))

    async def on_deploy_failure(self, context: PhaseContext, payload: Payload, error: OperatorError) -> Payload:
        """Collect the evidence as the lifecycle does, then run the actions."""
        payload = await self.inner.on_deploy_failure(context, payload, error)
        return await self._run(Phase.ON_DEPLOY_FAILURE, context, payload)

    async def post_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """Follow up as the lifecycle does, then by the actions."""
        return await self._run(Phase.POST_EXEC, context, await self._within(self.inner.post_exec(context, payload)))

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:
        """Validate as the lifecycle does, then by the actions."""
        return await self._run(Phase.VALIDATE, context, await self._within(self.inner.validate(context, payload)))

    async def pre_delete(self, context: PhaseContext, payload: Payload) -> Payload:
        """Prepare an uninstall as the lifecycle does, then by the actions."""
        return await run_actions(
            self.actions, Phase.PRE_DELETE, context, await self._within(self.inner.pre_delete(context, payload))
        )

    async def post_delete(self, context: PhaseContext, payload: Payload) -> Payload:
        """Follow up on an uninstall as the lifecycle does, then by the actions."""
        return await run_actions(
            self.actions, Phase.POST_DELETE, context, await self._within(self.inner.post_delete(context, payload))
        )

    def has(self, phase: Phase) -> bool:
        """Whether the lifecycle or an action has the phase."""
        return self.inner.has(phase) or any(each.action.phase.value == phase.value for each in self.actions)

    async def _within(self, phase: Awaitable[Payload]) -> Payload:
        """Return what a phase of the lifecycle within returns; what its plug-in raises is also of the profile that names it."""
        try:
            return await phase
        except Exception as error:
            if self.named_by is not None and getattr(error, "plugin", None) is not None:
                error.__dict__.update(profile=self.named_by)  # also of a defect, which `base` wraps
            raise

    async def _run(self, phase: Phase, context: PhaseContext, payload: Payload) -> Payload:
        """Run the actions of a phase of a deployment."""
        if context.action is not Action.DEPLOY:
            return payload
        return await run_actions(self.actions, phase, context, payload)


def why_blocked(lifecycle: Lifecycle) -> SpecError | None:
    """Return why no run of a lifecycle may begin; None if one may."""
    return lifecycle.blocked if isinstance(lifecycle, WithActions) else None


def why_missing(lifecycle: Lifecycle) -> SpecError | None:
    """Return why a ManagedChart does not have the lifecycle that it names; None if it has."""
    return lifecycle.missing if isinstance(lifecycle, WithActions) else None


def version_of(lifecycle: Lifecycle, profile: str) -> ProfileVersion | None:
    """Return the version of a LifecycleProfile that takes part in a lifecycle; None if it does not."""
    versions = lifecycle.versions if isinstance(lifecycle, WithActions) else ()
    return next((each for each in versions if each.name == profile), None)


def plugin_of(lifecycle: Lifecycle) -> PluginVersion | None:
    """Return the version of the plug-in that a lifecycle is or has within; None if there is none."""
    inner = lifecycle.inner if isinstance(lifecycle, WithActions) else lifecycle
    return inner.plugin.version if isinstance(inner, PluginLifecycle) else None
