"""Runs helm for an operation.

helm builds all objects of a stored revision before it does anything, so an object of a kind that the cluster no longer serves
stops it. Then `unknown_kinds` rewrites the stored revision, and helm runs once more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from managedchart_operator.errors import HelmError
from managedchart_operator.helm import command
from managedchart_operator.helm.errors.classify import blames_storage, classify
from managedchart_operator.helm.memory_files import Argument
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.storage import DEPLOYED, Revision
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.release_storage import newest_is_own
from managedchart_operator.reconcile.rendering import Rendering
from managedchart_operator.reconcile.unknown_kinds import UnknownKinds

BeforeHelm = Callable[[], Awaitable[None]] | None
"""Awaited when helm may start; it does not start if this raises."""


@dataclass(frozen=True, slots=True)
class HelmCall:
    """One helm command."""

    arguments: Sequence[Argument]
    keep_stdout: bool = False
    """Whether its standard output is needed."""
    dry_run: bool = False
    """Whether nothing may be changed, so that no stored revision is rewritten either."""
    target: Revision | None = None
    """The revision that a rollback returns to."""
    on_waiting: Callable[[], None] | None = None
    """Called each time helm begins to wait."""
    before: BeforeHelm = None

    @property
    def command(self) -> str:
        """helm's first argument, such as upgrade."""
        return str(self.arguments[0])


async def run_helm(run: ReleaseRun, call: HelmCall) -> HelmOutput:
    """Run helm, and once more if a stored kind that the cluster no longer serves stopped it. Raises HelmError, KubeError."""
    try:
        return await _helm(run, call)
    except HelmError as error:
        if not blames_storage(error, command=call.command) or not await _remove_unknown_kinds(run, call, error):
            raise
    return await _helm(run, call)


async def helm_error(run: ReleaseRun, output: HelmOutput, *, command: str) -> HelmError:
    """Return the error of a failed helm command.

    Its text is redacted as helm wrote it: what `classify` folds and cuts would leave parts of secrets that nobody recognizes.
    """
    redact = await run.evidence.rendered.read_redactor()

    def worded() -> HelmError:
        text = redact(output.stderr)
        return classify(text, exit_code=output.exit_code, command=command, release=run.name, namespace=run.namespace)

    return await asyncio.to_thread(worded)


async def _helm(run: ReleaseRun, call: HelmCall) -> HelmOutput:
    run.storage.is_current = False
    inputs = run.sources.inputs
    values = inputs.values.arguments if call.command == "upgrade" and inputs else []
    helm, deadline = run.services.helm, command.deadline(run.spec.timeout)
    rendering = Rendering(run, call.on_waiting)
    output = await helm.run(
        [*call.arguments, *values],
        # A dry run waits for nothing.
        deadline=min(deadline, helm.limits.dry_run_seconds) if call.dry_run or call.keep_stdout else deadline,
        keep_stdout=call.keep_stdout,
        on_waiting=rendering.helm_waits,
        before=call.before,
        watch=rendering.until_too_long if call.command == "upgrade" and not call.keep_stdout else None,
    )
    if output.exit_code != 0:
        raise await helm_error(run, output, command=call.command)
    return output


async def _remove_unknown_kinds(run: ReleaseRun, call: HelmCall, error: HelmError) -> bool:
    """Rewrite the stored revisions that helm builds for the call; False if that changes nothing."""
    storage = run.storage
    await storage.observe()
    if call.target is not None and storage.newest and storage.newest.pending and await newest_is_own(storage):
        await storage.unlock(storage.newest)  # helm stores a rollback before it builds it; the next one starts from it
    built = storage.newest
    if call.command == "upgrade":
        built = next((revision for revision in storage.revisions if revision.status == DEPLOYED), built)
    found = [revision for revision in (built, call.target) if revision is not None]
    if call.dry_run and all(revision.owner == storage.ownership.uid for revision in found):
        error.hint = "Set spec.dryRun: false; the operator then removes the object from the stored revision."
        return False
    unknown = UnknownKinds(run.objects, storage, hooks=call.command != "upgrade")
    sentences = await unknown.remove_from(found, error=error)
    for sentence in sentences:
        run.journal.warn(Reason.KIND_MISSING.value, sentence)
    return bool(sentences)
