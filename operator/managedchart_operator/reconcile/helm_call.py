"""Runs helm for an operation.

helm builds all objects of a stored revision before it does anything, so one of a kind that the cluster no longer serves stops
it. That is mended in the stored revision, and helm runs once more (`unknown_kinds`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.classify import blames_storage, classify
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.storage import DEPLOYED, Revision
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.unknown_kinds import UnknownKinds
from managedchart_operator.reconcile.whose import newest_is_ours


@dataclass(frozen=True, slots=True)
class HelmCall:
    """One helm command. `deadline` in seconds."""

    arguments: list[str]
    deadline: float
    dry_run: bool = False
    """Whether it changes nothing, and its standard output is wanted."""
    target: Revision | None = None
    """The revision that a rollback returns to."""
    on_waiting: Callable[[], None] | None = None
    """Called each time that helm begins to wait."""
    before: Callable[[], Awaitable[None]] | None = None
    """Awaited when helm may start; it does not start if this raises."""

    @property
    def command(self) -> str:
        """helm's first argument, like upgrade."""
        return self.arguments[0]


async def run_helm(run: ReleaseRun, call: HelmCall) -> HelmOutput:
    """Run helm, and once more where a stored kind that the cluster no longer serves stopped it. Raises HelmError, KubeError."""
    try:
        return await _helm(run, call)
    except HelmError as error:
        if not blames_storage(error, command=call.command) or not await _remove_unknown_kinds(run, call, error):
            raise
    return await _helm(run, call)


async def _helm(run: ReleaseRun, call: HelmCall) -> HelmOutput:
    run.storage.is_current = False
    inputs = run.sources.inputs
    values = inputs.values.arguments if call.command == "upgrade" and inputs else []
    output = await run.services.helm.run(
        [*call.arguments, *values],
        deadline=call.deadline,
        keep_stdout=call.dry_run,
        on_waiting=call.on_waiting,
        before=call.before,
    )
    if output.exit_code != 0:
        raise classify(output.stderr, exit_code=output.exit_code, command=call.command)
    return output


async def _remove_unknown_kinds(run: ReleaseRun, call: HelmCall, error: HelmError) -> bool:
    """Rewrite the stored revisions that helm builds for the call; False where that changes nothing.

    Raises HelmError, KubeError.
    """
    storage = run.storage
    await storage.observe()
    if call.target is not None and storage.newest and storage.newest.pending and await newest_is_ours(storage):
        await storage.unlock(storage.newest)  # a rollback is stored before it is built, and the next one begins at it
    built = storage.newest
    if call.command == "upgrade":
        built = next((revision for revision in storage.revisions if revision.status == DEPLOYED), built)
    found = [revision for revision in (built, call.target) if revision is not None]
    if call.dry_run and all(revision.owner == storage.ownership.uid for revision in found):
        error.hint = "A dry run changes no stored revision: with dryRun: false the object is taken out automatically."
        return False
    unknown = UnknownKinds(run.objects, storage, hooks=call.command != "upgrade")
    sentences = await unknown.remove_from(found, error=error)
    for sentence in sentences:
        run.journal.warn(Reason.KIND_MISSING.value, sentence)
    return bool(sentences)
