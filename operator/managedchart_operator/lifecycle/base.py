"""The lifecycle: six phases and the order in which they run.

Purpose: `Lifecycle` is the class that built-in lifecycles and plug-ins derive from; they override the phases that they need
to, and `run` stays the same for all. Boundary: what a run means for the status is the recorder's business. Invariants: the
original error of exec is what a run raises, whatever happens in on_deploy_failure; every phase must be safe to run again,
because a restarted operator begins a run anew.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import OperatorError
from managedchart_operator.lifecycle.context import Operation, PhaseContext
from managedchart_operator.lifecycle.versions import crosses

Payload = Mapping[str, Any]
"""What travels from phase to phase of one run; each phase returns the payload of the next."""


class Lifecycle:
    """The default phases, which do the right thing for a chart without special needs."""

    async def check_prerequisites(self, context: PhaseContext, payload: Payload) -> Payload:
        """Check what must be there before anything is changed: chart, values files, namespace.

        Only a deployment needs them; nothing of it may stand in the way of a removal.
        """
        if context.action is Action.DEPLOY:
            await context.release.check_inputs()
            await context.release.check_namespace()
        return payload

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:  # noqa: ARG002
        """Prepare the cluster. By default nothing."""
        return payload

    async def exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """Do what the action says, by `deploy`, `destroy` or nothing; what is deployed already is only waited for."""
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
        """Install or upgrade; uninstall first where the spec's breaking version is crossed."""
        await self.uninstall_before_breaking_version(context)
        await context.release.upgrade()
        return payload

    async def destroy(self, context: PhaseContext, payload: Payload) -> Payload:
        """Uninstall, only if the chart is deployed."""
        await context.release.uninstall()
        return payload

    async def on_deploy_failure(self, context: PhaseContext, payload: Payload, error: OperatorError) -> Payload:  # noqa: ARG002
        """Collect the events that tell of the failure, before anything is cleaned up."""
        context.recorder.evidence(await context.release.collect_evidence())
        return payload

    async def post_exec(self, context: PhaseContext, payload: Payload) -> Payload:  # noqa: ARG002
        """Follow up on a successful exec. By default nothing."""
        return payload

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:  # noqa: ARG002
        """Check that what was deployed works. By default nothing: exec has waited for it."""
        return payload

    async def uninstall_before_breaking_version(self, context: PhaseContext) -> None:
        """Uninstall an installed chart that is older than the spec's breaking version, which the new one has reached."""
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
                    f"the release is upgraded across the breaking version {breaking} without an uninstall before, since this"
                    " resource did not deploy it",
                )

    async def run(self, context: PhaseContext) -> Payload:
        """Run the phases in their order. Raises the OperatorError of the phase that failed."""
        payload: Payload = {}
        payload = await _phase(context, Phase.CHECK_PREREQUISITES, self.check_prerequisites, payload)
        payload = await _phase(context, Phase.PRE_EXEC, self.pre_exec, payload)
        try:
            payload = await _phase(context, Phase.EXEC, self.exec, payload)
            payload = await _phase(context, Phase.POST_EXEC, self.post_exec, payload)
            return await _phase(context, Phase.VALIDATE, self.validate, payload)
        except OperatorError as error:
            await self._explain(context, payload, error)
            raise

    async def _explain(self, context: PhaseContext, payload: Payload, error: OperatorError) -> None:
        async def explain(context: PhaseContext, payload: Payload) -> Payload:
            return await self.on_deploy_failure(context, payload, error)

        try:
            await _phase(context, Phase.ON_DEPLOY_FAILURE, explain, payload)
        except OperatorError as second:
            # The status shows this one at its phase; the run still fails with the error that came first.
            context.logger.warning("on_deploy_failure failed itself: %s", second.message)


async def _phase(
    context: PhaseContext, phase: Phase, work: Callable[[PhaseContext, Payload], Awaitable[Payload]], payload: Payload
) -> Payload:
    context.recorder.phase_started(phase)
    try:
        result = await work(context, payload)
    except OperatorError as error:
        context.recorder.phase_ended(phase, error=error)
        raise
    except Exception as error:  # a defect of a plug-in must not look like a defect of the chart, nor end the operator
        wrapped = OperatorError(
            f"the lifecycle's {phase.value} broke: {type(error).__name__}: {error}",
            # A network error that nobody caught may pass, and a corrected plug-in arrives with a restart, not with a new spec.
            transient=True,
            hint="a defect of the lifecycle or of its plug-in: the operator's log has the traceback",
        )
        context.logger.exception("phase %s broke", phase.value)
        context.recorder.phase_ended(phase, error=wrapped)
        raise wrapped from error
    context.recorder.phase_ended(phase)
    return result
