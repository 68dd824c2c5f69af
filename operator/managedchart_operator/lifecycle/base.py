"""The lifecycle: its phases and the order in which they run.

Built-in lifecycles and plug-ins derive from `Lifecycle` and override phases; `run` is the same for all. A run raises the
original error, whatever happens in on_deploy_failure. Every phase must be safe to run again, because a restarted operator
starts the run from the beginning. The recorder writes the status.
"""

import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import OperatorError
from managedchart_operator.lifecycle.context import Operation, PhaseContext
from managedchart_operator.lifecycle.versions import crosses
from managedchart_operator.reasons import Reason

Payload = Mapping[str, Any]
"""What one phase of a run passes to the next: each phase gets the payload that the one before returned."""


METHODS = {
    Phase.POST_EXEC: "post_exec",
    Phase.VALIDATE: "validate",
    Phase.PRE_DELETE: "pre_delete",
    Phase.POST_DELETE: "post_delete",
}
"""The methods of the phases that do nothing by default."""


class Lifecycle:
    """The default lifecycle, for charts without special needs."""

    async def check_prerequisites(self, context: PhaseContext, payload: Payload) -> Payload:
        """Check what a deployment needs before anything is changed: chart, values files, namespace.

        A removal needs none of them, and nothing missing may block it.
        """
        if context.action is Action.DEPLOY:
            await context.release.check_inputs()
            await context.release.check_namespace()
        return payload

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:  # noqa: ARG002
        """Prepare the cluster. Does nothing by default."""
        return payload

    async def exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """Carry out the action: `deploy`, `destroy`, or nothing. A release that is deployed already is only resumed."""
        match context.action:
            case Action.DEPLOY if context.operation is Operation.RESUME:
                await context.release.resume()
                return payload
            case Action.DEPLOY:
                return await self.deploy(context, payload)
            case Action.DESTROY:
                return await self.destroy(context, payload)
            case Action.SKIP:
                return payload

    async def deploy(self, context: PhaseContext, payload: Payload) -> Payload:
        """Install or upgrade; uninstall first if the change crosses the spec's breaking version."""
        await self.uninstall_before_breaking_version(context)
        await context.release.upgrade()
        return payload

    async def destroy(self, context: PhaseContext, payload: Payload) -> Payload:
        """Uninstall the release, if there is one."""
        await context.release.uninstall()
        return payload

    async def on_deploy_failure(self, context: PhaseContext, payload: Payload, error: OperatorError) -> Payload:  # noqa: ARG002
        """Collect the evidence of the failure, before anything is cleaned up."""
        context.recorder.evidence(await context.release.collect_evidence())
        return payload

    async def post_exec(self, context: PhaseContext, payload: Payload) -> Payload:  # noqa: ARG002
        """Follow up on a successful exec. Does nothing by default."""
        return payload

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:  # noqa: ARG002
        """Check that the release works. Does nothing by default: exec has waited until it is ready."""
        return payload

    async def pre_delete(self, context: PhaseContext, payload: Payload) -> Payload:  # noqa: ARG002
        """Prepare an uninstall: Destroy, or the deletion of the ManagedChart. Does nothing by default."""
        return payload

    async def post_delete(self, context: PhaseContext, payload: Payload) -> Payload:  # noqa: ARG002
        """Follow up on an uninstall. Does nothing by default."""
        return payload

    def has(self, phase: Phase) -> bool:
        """Whether something is done in a phase that does nothing by default."""
        method = METHODS[phase]
        return getattr(type(self), method) is not getattr(Lifecycle, method)

    async def uninstall_before_breaking_version(self, context: PhaseContext) -> None:
        """Uninstall the installed chart if it is older than the spec's breaking version and the new one is not."""
        breaking = context.spec.last_breaking_version_requiring_restart
        if breaking is None or context.operation is Operation.DRY_RUN:
            return
        installed = await context.release.installed()
        if installed is None or installed.chart_version is None:
            return
        if crosses(installed=installed.chart_version, breaking=breaking, new=await context.release.chart_version()):
            context.logger.info("uninstalling %s before breaking version %s", installed.chart_version, breaking)
            if not await context.release.uninstall():
                context.recorder.warn(
                    "ReleaseLeft",
                    f"Upgrading across the breaking version {breaking} without uninstalling first, because this ManagedChart"
                    " did not deploy the release",
                )

    async def run(self, context: PhaseContext, *, without: Collection[Phase] = ()) -> Payload:
        """Run the phases in order, those around an uninstall only if they are not in `without`.

        Raises the OperatorError of the phase that failed.
        """
        payload = await _phase(context, Phase.CHECK_PREREQUISITES, self.check_prerequisites, {})
        payload = await _phase(context, Phase.PRE_EXEC, self.pre_exec, payload)
        around = context.operation is Operation.UNINSTALL
        if around and Phase.PRE_DELETE not in without and self.has(Phase.PRE_DELETE):
            payload = await _phase(context, Phase.PRE_DELETE, self.pre_delete, payload)
        executed = False
        try:
            payload = await _phase(context, Phase.EXEC, self.exec, payload)
            executed = True
            if not around and (self.has(Phase.POST_EXEC) or self.has(Phase.VALIDATE)):
                # An operator that is killed in them must know that the release was ready: such a revision is a good one.
                await context.recorder.store()
            if around and Phase.POST_DELETE not in without and self.has(Phase.POST_DELETE):
                payload = await _phase(context, Phase.POST_DELETE, self.post_delete, payload)
            payload = await _phase(context, Phase.POST_EXEC, self.post_exec, payload)
            return await _phase(context, Phase.VALIDATE, self.validate, payload)
        except OperatorError as error:
            if not (executed and says_nothing(error)):
                await self._explain(context, payload, error)
            raise

    async def _explain(self, context: PhaseContext, payload: Payload, error: OperatorError) -> None:
        # The recorder has a second error, for the status of its phase and the log; the run fails with the first one.
        with contextlib.suppress(OperatorError):
            await _phase(
                context,
                Phase.ON_DEPLOY_FAILURE,
                lambda context, payload: self.on_deploy_failure(context, payload, error),
                payload,
            )


def says_nothing(error: OperatorError) -> bool:
    """Whether an error after exec says nothing about the release: the API server cannot be reached, or is overloaded.

    The release is left as it is then, and the run is retried.
    """
    return error.reason is Reason.API_UNAVAILABLE


async def _phase(
    context: PhaseContext, phase: Phase, work: Callable[[PhaseContext, Payload], Awaitable[Payload]], payload: Payload
) -> Payload:
    context.recorder.phase_started(phase)
    try:
        result = await work(context, payload)
    except OperatorError as error:
        context.recorder.phase_ended(phase, error=error)
        raise
    except (Exception, SystemExit) as error:
        # A defect of a plug-in, or its sys.exit(), must neither look like a defect of the chart nor end the operator.
        wrapped = OperatorError(
            f"Unhandled error in phase {phase.value}: {type(error).__name__}: {error}",
            # A network error that nobody caught may pass, and a corrected plug-in comes with a restart, not with a new spec.
            transient=True,
            hint="Correct the lifecycle plug-in, or report the defect of a built-in one; the operator's log has the traceback.",
        )
        wrapped.__cause__ = error  # the recorder logs it, once it knows all secrets
        # Whose defect it is, where that is known.
        wrapped.profile, wrapped.plugin = getattr(error, "profile", None), getattr(error, "plugin", None)
        context.recorder.phase_ended(phase, error=wrapped)
        raise wrapped from error
    context.recorder.phase_ended(phase, payload=tuple(result))
    return result
