"""The Helm release of one run: what a lifecycle may do with it, done for real.

Purpose: implements `lifecycle.context.Release` with helm, the chart store and the release Secrets. Boundary: executes; what is
to be done was decided before. Invariants: the labels that prove whose revision it is go with every upgrade; no method
leaves a helm process behind.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.late_hooks import text_has_ttl_jobs
from managedchart_operator.charts.store import Chart
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.helm import command
from managedchart_operator.helm.errors.classify import blames_storage, classify
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.storage import (
    ATTEMPT_LABEL,
    DEPLOYED,
    DIGEST_LABEL,
    HELM_WAITS,
    OPERATOR_WAITS,
    OWNER_LABEL,
    UNINSTALLED,
    UNINSTALLING,
    WAIT_LABEL,
    Revision,
    StoredRelease,
    attempt_label,
)
from managedchart_operator.helm.stored_manifest import Drop, Keep
from managedchart_operator.helm.values import Values
from managedchart_operator.kube.namespaces import NamespaceState
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.context import ChartCrds, InstalledRelease
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.adopted import adopted_by_failed, made_since, spared
from managedchart_operator.reconcile.dry_run import Trial, rendered_objects
from managedchart_operator.reconcile.hook_remains import delete_hook_remains
from managedchart_operator.reconcile.inputs import Inputs
from managedchart_operator.reconcile.installed_crds import installed_crds
from managedchart_operator.reconcile.kept_objects import change_stored
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.revision_remains import Older, delete_revision_remains
from managedchart_operator.reconcile.run_evidence import Deployed, RunEvidence
from managedchart_operator.reconcile.taken_fields import FieldsOfOthers, describe
from managedchart_operator.reconcile.too_large import what_is_biggest
from managedchart_operator.reconcile.tools import Tools
from managedchart_operator.reconcile.unknown_kinds import UnknownKinds
from managedchart_operator.reconcile.volume_claims import claims_of
from managedchart_operator.reconcile.who_waits import who_waits
from managedchart_operator.waiting.blockers import blocked, find_blockers

logger = logging.getLogger(__name__)

# What helm says of a release none of whose Secrets it can read (4.3.1: it leaves them out of the history, and asks for
# its newest).
_HELM_FINDS_NONE = re.compile(r"no release provided|release: not found")


@dataclass(frozen=True, slots=True)
class Unproven:
    """The newest revision was not seen ready yet. `may_fail`: it is a failed one if that does not come."""

    may_fail: bool


@dataclass(slots=True)
class HelmRelease:
    """One release during one run. `ownership` is what the ManagedChart can prove about it."""

    tools: Tools
    spec: ManagedChartSpec
    name: str
    namespace: str
    ownership: Ownership
    started: datetime
    in_own_namespace: bool = False
    """Whether it goes where its ManagedChart is."""
    dry_run: bool = False
    refresh_chart: bool = False
    blocked_by: tuple[ObjectRef, ...] = ()
    """What held up the uninstall before."""
    attempt: str = field(default_factory=lambda: secrets.token_hex(8))
    chart: Chart | None = None
    inputs: Inputs | None = None
    outcome: str = ""
    warnings: list[tuple[str, str]] = field(default_factory=list)
    """Reason and message of what does not stop the run and a person should know."""
    left: str = ""
    """Why the release was left where an uninstall was asked for."""
    spared: str = ""
    """Which objects a remedy left, since they were there before the release; to stand behind its sentence."""
    left_unread: str = ""
    """What an uninstall had to leave in the cluster, because the newest release Secret cannot be read."""
    taken_over: list[str] = field(default_factory=list)
    """What helm has taken over from other field managers, each an Event that is still to be posted."""
    storage: ReleaseStorage = field(init=False)
    evidence: RunEvidence = field(init=False)
    before_uninstall: Callable[[], Awaitable[None]] | None = None
    """Awaited when helm may start to uninstall; it does not start if this raises."""
    unproven: Unproven | None = None
    """For a run that finishes what an earlier one has deployed."""
    _make_namespace: bool = False
    _spared: bool = False
    _looked: bool = False
    """Whether `revisions` was read after the last change that we made."""
    _too_large: bool = False

    def __post_init__(self) -> None:
        self.storage = ReleaseStorage(self.tools.secrets, self.namespace, self.name, self.ownership)
        self.evidence = RunEvidence(
            self.tools.collector, self.tools.watches, self.namespace, self.started, self.attempt, self._read_newest
        )

    @property
    def newest(self) -> Revision | None:
        """The newest revision as last observed."""
        return self.storage.newest

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """The revisions as last observed, newest first."""
        return self.storage.revisions

    @property
    def why_it_stays(self) -> str:
        """A sentence for a release that is not proven to be this resource's, and so is not removed."""
        revision = f" (revision {self.newest.number}, {self.newest.status})" if self.newest else ""
        where = f"{self.namespace}/{self.name}{revision}"
        return f"The release {where} stays in the cluster, since this resource did not deploy it"

    async def observe(self) -> tuple[Revision, ...]:
        """Look at the release Secrets and return the revisions, newest first. Raises KubeError."""
        self._looked = True
        return await self.storage.observe()

    async def read_stored(self) -> StoredRelease | None:
        """Read the newest revision's document, or None where there is no release. Raises KubeError, HelmError."""
        return await self.storage.read_stored()

    async def check_inputs(self) -> None:
        """Read the chart's identity and all values. Raises ChartError, ValuesError."""
        if self.inputs is None:
            self.inputs = await self.tools.inputs.read(self.spec, chart_name=self.name)
            self.evidence.values = self.inputs.values.layers

    async def check_namespace(self) -> None:
        """Raise OperatorError when the target namespace is missing and may not be created, or is being deleted."""
        if self.newest is not None or self.in_own_namespace:
            return  # a release or its ManagedChart is there, so is the namespace; if it is going away, the API server says so
        match await self.tools.namespaces.state(self.namespace):
            case NamespaceState.TERMINATING:
                raise OperatorError(
                    f"the namespace {self.namespace} is being deleted",
                    reason=Reason.NAMESPACE_TERMINATING,
                    transient=True,
                    hint=f"wait until it is gone, or see what holds it: kubectl get namespace {self.namespace} -o yaml",
                )
            case NamespaceState.MISSING if self.spec.create_namespace:
                # Only then: helm applies even a namespace that is there, and needs more rights for that.
                self._make_namespace = True
            case NamespaceState.MISSING:
                raise OperatorError(
                    f"the namespace {self.namespace} does not exist and spec.createNamespace is false",
                    reason=Reason.NAMESPACE_NOT_FOUND,
                    transient=True,
                    hint=f"create it (kubectl create namespace {self.namespace}) or set spec.createNamespace: true",
                )

    async def fetch(self) -> Chart:
        """Return the chart as a local file or folder. Raises ChartError, HelmError."""
        if self.chart is None:
            self.chart = await self.tools.charts.fetch(self.spec.chart, refresh=self.refresh_chart)
        return self.chart

    async def chart_version(self) -> str:
        """Return the version of the chart that is to be deployed. Raises ChartError, HelmError."""
        return (await self.fetch()).version

    async def installed(self) -> InstalledRelease | None:
        """Return what is installed now, whether its last upgrade went well or not. Raises KubeError, HelmError."""
        stored = await self.read_stored()
        if stored is None or self.newest is None:
            return None
        return InstalledRelease(self.newest.number, stored.chart_name, stored.chart_version)

    async def deployed_here(self) -> bool:
        """Whether this resource has deployed the release, as far as its revisions or its status prove it. Raises KubeError."""
        if not self._looked:
            await self.observe()
        return self.ownership.deployed(self.revisions)

    async def chart_crds(self) -> ChartCrds:
        """Return the CRDs in the crds/ folders of the installed chart, as far as they can be found out. Raises KubeError."""
        return await installed_crds(self.tools, self.storage, self.spec.chart)

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        """Install or upgrade with helm, or only try it where the run is dry. Raises OperatorError."""
        await self.check_inputs()
        chart = await self.fetch()
        who = who_waits(
            wait=self.spec.wait and not self.dry_run,
            late_hooks=chart.late_hooks,
            ttl_jobs=chart.ttl_jobs,
            values=(self.inputs.values if self.inputs else Values()).text,
        )
        options = command.UpgradeOptions(
            release=self.name,
            namespace=self.namespace,
            timeout=self.spec.timeout,
            wait=who.helm,
            wait_for_jobs=who.helm_for_jobs,
            force_replace=self.spec.force_upgrade,
            take_ownership=take_ownership,
            create_namespace=self._make_namespace,
            dry_run=self.dry_run,
            labels={} if self.dry_run else self._labels(waits=who.operator),
        )
        arguments = command.upgrade(options, chart=chart.path)
        if self.dry_run:
            output = await self._helm_past_unknown_kinds(arguments, deadline=options.deadline, keep_stdout=True)
            trial = Trial(self.tools.collector.objects, self.namespace)
            found = await trial.judge(await asyncio.to_thread(rendered_objects, output))
            self.outcome = f"dry run of {chart.name} {chart.version}: {found}"
        else:
            if self.newest is not None and self.newest.status == UNINSTALLING:
                # The lifecycle continues after an uninstall that failed; helm would not upgrade what it half removed.
                await self.unlock(self.newest)
            try:
                await self._watched(
                    partial(self._deploy, arguments, options.deadline, waits=who.operator), marks=who.operator
                )
            except HelmError as error:
                self._too_large = error.reason is Reason.RELEASE_TOO_LARGE
                raise
            self.outcome = f"deployed {chart.name} {chart.version}"
        return self.outcome

    async def finish(self) -> None:
        """Wait on for what an earlier process has deployed, if it was killed while it did. Raises OperatorError."""
        if self.unproven is None or self.newest is None:
            return
        self.attempt = self.evidence.attempt = self.newest.attempt or self.attempt
        if self.newest.modified_at is not None:
            self.evidence.since = datetime.fromtimestamp(self.newest.modified_at, UTC)
        await self._watched(self._until_ready, marks=self.unproven.may_fail)

    async def uninstall(self) -> bool:
        """Uninstall and wait until all objects are gone. Raises HelmError, KubeError.

        Returns False where nothing was installed, or where the release is not proven to be this resource's: then it stays.

        Where the newest revision cannot be read, helm may still be able to, or goes by the revision before. What it did
        not uninstall cannot be found out then: it stays, with its Secret, `left_unread` describes it, and the error is
        that of the Secret.
        """
        if not await self._may_be_uninstalled():
            return False
        stored, unreadable = await self._read_or_why()
        if self.newest and stored:
            await self.evidence.remember(Deployed(self.newest, stored), await self._delete_remains(stored))
            await delete_hook_remains(self.tools.collector.objects, namespace=self.namespace, stored=stored)
        helm_waits = False
        if self.newest is None or self.newest.status != UNINSTALLED:
            foreground = await self.evidence.have_dependents()
            # Pods may take minutes to end, and hooks that follow must find everything gone.
            helm_waits = foreground or stored is None or stored.hooks_at("post-delete") > 0
            await self._helm_uninstall(foreground=foreground, wait=helm_waits, readable=unreadable is None)
        # Also after helm's wait, which ends well too soon when it has seen one object gone and none of the others yet (4.3.1).
        try:
            await self._until_gone(stored)
        except OperatorError:
            await self.observe()  # helm has forgotten the release all the same, or calls it uninstalled
            raise
        if unreadable is not None and await self.observe():
            self.left_unread = f"{unreadable.message}; objects that only this revision has made are left in the cluster"
            raise unreadable
        if not helm_waits:
            await self.storage.purge()
        self.storage.revisions = ()
        self.outcome = "uninstalled"
        return True

    async def _may_be_uninstalled(self) -> bool:
        """Whether there is a release, and it is this resource's. Raises HelmError, KubeError."""
        if not self._looked:
            await self.observe()
        if not self.revisions:
            # helm forgets a release whose objects do not go; the status remembers them.
            if blockers := await find_blockers(self.tools.collector.objects, self.blocked_by):
                raise blocked(blockers)
            self.outcome = "nothing was deployed"
            return False
        if not self.ownership.owns(self.revisions):
            self.left = self.outcome = self.why_it_stays
            return False
        if not self.ownership.deployed(self.revisions):
            try:
                await self.spare_adopted()
            except HelmError as error:  # what cannot be read must not block a removal
                self.warnings.append((error.reason.value, error.message))
        return True

    async def spare_adopted(self, *, to: Revision | None = None) -> None:
        """Keep what our failed revisions only adopted out of what an uninstall, or a rollback `to` a revision, deletes.

        `spared` names it then. Raises HelmError, KubeError.
        """
        if self._spared:
            return
        adopted = await adopted_by_failed(self.storage, self.tools.collector.objects, to=to)
        if to is None:
            await self.keep_objects(adopted)
        else:
            await self.forget_objects(adopted)
        self.spared = spared(adopted)
        self._spared = True

    async def _read_or_why(self) -> tuple[StoredRelease | None, HelmError | None]:
        """Return the newest revision's document, or why it cannot be read. Raises KubeError."""
        try:
            return await self.read_stored(), None
        except HelmError as error:
            return None, error

    async def _delete_remains(self, stored: StoredRelease | None = None) -> list[dict[str, Any]]:
        """Delete what unfinished revisions have left, and return it as rendered; `stored` is the newest.

        Raises KubeError, HelmError.
        """
        unfinished = await self.storage.read_unfinished()
        newest = (stored or await self.read_stored()) if unfinished else None
        if newest is None:
            return []
        since = made_since(self.storage, [each for each in unfinished if not each.was_good])
        older = [Older(each.stored, None if each.was_good else since) for each in unfinished]
        return await delete_revision_remains(
            self.tools.collector.objects, release=self.name, namespace=self.namespace, newest=newest, older=older
        )

    async def _delete_overlooked(self, stored: StoredRelease | None) -> bool:
        """Delete objects that helm took for gone: its cache may name an apiVersion that is no longer served.

        Raises KubeError, HelmError.
        """
        if stored is None or not await self.evidence.have_moved():
            return False
        objects, nothing = self.tools.collector.objects, StoredRelease({})
        return bool(
            await delete_revision_remains(
                objects, release=self.name, namespace=self.namespace, newest=nothing, older=[Older(stored)]
            )
        )

    async def _helm_uninstall(self, *, foreground: bool, wait: bool, readable: bool) -> None:
        timeout = self.spec.timeout
        arguments = command.uninstall(
            release=self.name, namespace=self.namespace, timeout=timeout, foreground=foreground, wait=wait
        )
        try:
            deadline = command.ReleaseOptions(self.name, self.namespace, timeout).deadline
            await self._helm_past_unknown_kinds(arguments, deadline=deadline, before=self.before_uninstall)
        except HelmError as error:
            if not readable and _HELM_FINDS_NONE.search(error.text):
                return
            await self.observe()
            # helm's wait may end at once with "still exists" although it has removed the release (seen with 4.3.1).
            if self.revisions or not await self.evidence.wait_until_gone(seconds(timeout)):
                raise await self._name_blockers(error) from error

    async def _until_gone(self, stored: StoredRelease | None) -> None:
        """Wait for the end of all objects. Raises OperatorError while any may be left, so that nothing is forgotten."""
        timeout = seconds(self.spec.timeout)
        gone = await self.evidence.wait_until_gone(timeout)
        if gone and await self._delete_overlooked(stored):
            gone = await self.evidence.wait_until_gone(timeout)
        if gone:
            return
        if blockers := await self.evidence.blockers():
            raise blocked(blockers)
        raise OperatorError(
            f"the API server did not tell within {self.spec.timeout} whether all objects of the release are gone",
            reason=Reason.API_UNAVAILABLE,
            transient=True,
        )

    async def _name_blockers(self, error: HelmError) -> HelmError:
        """Say which objects hold up an uninstall, where that is what it failed for."""
        waited = error.reason in (Reason.TIMEOUT, Reason.HELM_FAILED, Reason.UNINSTALL_BLOCKED)
        blockers = await self.evidence.blockers() if waited else []
        return blocked(blockers, text=error.text) if blockers else error

    async def rollback(self, revision: Revision) -> None:
        """Bring the release back to an earlier revision. Raises HelmError, KubeError."""
        try:
            stored = await self.storage.read(revision)
        except HelmError as error:
            logger.warning("%s/%s: %s", self.namespace, self.name, error.message)  # helm may be able to read it
            stored = None
        options = command.ReleaseOptions(
            self.name,
            self.namespace,
            self.spec.timeout,
            wait=self.spec.wait,
            wait_for_jobs=stored is None or not text_has_ttl_jobs(stored.manifest.encode()),
            force_replace=self.spec.force_upgrade,
        )
        arguments = command.rollback(
            options,
            revision=revision.number,
            description=f"Rollback to {revision.number}{self._rollback_mark}",
            by_server=stored is not None and stored.applied_by_server,
        )
        await asyncio.to_thread(self.tools.helm.forget_discovery)
        try:
            async with self._noting_taken_fields("Rollback", revision):
                await self._helm_past_unknown_kinds(arguments, deadline=options.deadline, target=revision)
        except HelmError:
            await self.observe()
            raise
        await self.observe()
        await self._delete_remains()

    async def volume_claims(self) -> tuple[str, ...]:
        """Name what of the release keeps data in volume claims. Raises KubeError, HelmError."""
        newest = await self.read_stored()
        stored = [*([newest] if newest else []), *(each.stored for each in await self.storage.read_unfinished())]
        return await asyncio.to_thread(claims_of, [text for each in stored for text in each.manifests])

    async def keep_objects(self, refs: Iterable[ObjectRef]) -> None:
        """Let a following uninstall leave objects that our revisions after the last good one have.

        Raises KubeError, HelmError.
        """
        await change_stored(self.storage, refs, Keep())

    async def forget_objects(self, refs: Iterable[ObjectRef]) -> None:
        """Let a following rollback leave objects that our revisions after the last good one have.

        Raises KubeError, HelmError.
        """
        await change_stored(self.storage, refs, Drop())

    async def unlock(self, revision: Revision) -> None:
        """Mark a revision that nobody works on any more, pending or never seen ready, failed. Raises KubeError, HelmError."""
        await self.storage.unlock(revision)

    async def manifest(self) -> list[dict[str, Any]]:
        """Return the objects that the chart renders to, without changing anything. Raises OperatorError."""
        await self.check_inputs()
        return await asyncio.to_thread(rendered_objects, await self._render())

    async def collect_evidence(self) -> Findings:
        """Return what the cluster shows of why the release does not come up. Raises nothing except when cancelled."""
        if self._too_large:
            # helm stores a release before it applies anything, so that nothing of it is in the cluster.
            return await what_is_biggest(self._render, redact=self.evidence.redactor())
        return await self.evidence.collect()

    async def _render(self) -> HelmOutput:
        """Let helm render the chart as the next upgrade would, without changing anything. Raises OperatorError."""
        chart = await self.fetch()
        options = command.UpgradeOptions(
            self.name,
            self.namespace,
            self.spec.timeout,
            create_namespace=self._make_namespace,
            take_ownership=True,
            dry_run=True,
        )
        arguments = command.upgrade(options, chart=chart.path)
        return await self._helm_past_unknown_kinds(arguments, deadline=options.deadline, keep_stdout=True)

    async def _deploy(self, arguments: list[str], deadline: float, *, waits: bool) -> None:
        """Let helm deploy, and wait for the objects where it does not. Raises OperatorError."""
        async with self._noting_taken_fields("Upgrade", self.newest):
            await self._helm_past_unknown_kinds(arguments, deadline=deadline, on_waiting=self.evidence.helm_waits)
        if waits:
            await self._until_ready()
        else:
            await self.observe()
            await self._delete_remains()

    async def _until_ready(self) -> None:
        """Wait for the objects of the newest revision as long as the spec allows. Raises HelmError, KubeError.

        Whoever cancels this leaves a revision behind that helm calls deployed: the status tells that exec has not ended,
        and the next run decides whether to wait on or to take it for failed.
        """
        self.evidence.all_is_applied()
        rendered = await self.evidence.rendered()
        await self._delete_remains()
        wait = self.tools.waits.of(
            rendered, namespace=self.namespace, since=self.evidence.since, ends_early=self.spec.fail_fast
        )
        unready = await wait.within(seconds(self.spec.timeout))
        if unready:
            self.evidence.unready = wait.unready
            raise classify(unready, exit_code=1, command="upgrade")

    async def _watched(self, deploy: Callable[[], Coroutine[Any, Any, None]], *, marks: bool) -> None:
        """Deploy, and end that early when the namespace shows that it waits in vain. Raises OperatorError.

        `marks` says to mark the revision failed then, since helm has taken it for a success.
        """
        judges = self.spec.fail_fast and self.spec.wait
        grace = seconds(self.spec.fail_fast_grace) if judges else None
        try:
            async with self.tools.waits.places:
                cause = await self.evidence.watch_over(deploy(), grace=grace)
            if cause is not None:
                raise HelmError(
                    cause.message,
                    reason=cause.reason,
                    transient=True,
                    text="the deployment was ended before its timeout, since the release could not become ready",
                    hint=cause.hint,
                )
        except OperatorError as error:
            if marks:
                await self._mark_failed(error)
            raise

    async def _mark_failed(self, why: OperatorError) -> None:
        """Mark our revision failed if helm took it for a success. What goes wrong here is logged: `why` is what is told."""
        try:
            await self.observe()
            newest = self.newest
            if newest is not None and newest.status == DEPLOYED and newest.is_of(self.attempt):
                await self.storage.fail(newest, why.text if isinstance(why, HelmError) and why.text else why.message)
        except (KubeError, HelmError) as error:
            logger.warning("%s/%s: not marked failed: %s", self.namespace, self.name, error.message)

    async def _read_newest(self) -> Deployed | None:
        await self.observe()
        stored = await self.read_stored()
        return Deployed(self.newest, stored) if self.newest and stored else None

    @property
    def _rollback_mark(self) -> str:
        # A rollback takes over the labels of the revision that it goes back to, so only its description can say whose it is.
        return f" by {OWNER_LABEL} {self.ownership.uid}"

    async def rollback_is_ours(self) -> bool:
        """Whether the newest revision is a rollback by this resource's operator that its status does not record.

        Of one that cannot be read nothing is known. Raises KubeError.
        """
        newest = self.newest
        if newest is None or newest.owner != self.ownership.uid or self.ownership.made(newest):
            return False
        stored, _ = await self._read_or_why()
        return stored is not None and stored.description.endswith(self._rollback_mark)

    async def newest_is_ours(self) -> bool:
        """Whether this resource's operator made the newest revision, rollbacks included. Raises KubeError, HelmError."""
        return self.newest is not None and (self.ownership.made(self.newest) or await self.rollback_is_ours())

    def _labels(self, *, waits: bool) -> Mapping[str, str]:
        if self.inputs is None:
            raise OperatorError("the inputs were not read before the upgrade")
        number = self.newest.number + 1 if self.newest else 1
        return {
            DIGEST_LABEL: self.inputs.digest.text,
            OWNER_LABEL: self.ownership.uid,
            ATTEMPT_LABEL: attempt_label(self.attempt, number=number),
            WAIT_LABEL: OPERATOR_WAITS if waits else HELM_WAITS,
        }

    async def _helm_past_unknown_kinds(
        self, arguments: list[str], *, target: Revision | None = None, **options: Any
    ) -> HelmOutput:
        """Run helm; once more where a stored kind that the cluster no longer serves stopped it. Raises HelmError, KubeError.

        `target` is the revision that a rollback goes back to.
        """
        try:
            return await self._helm(arguments, **options)
        except HelmError as error:
            if not blames_storage(error, command=arguments[0]):
                raise
            if not await self._remove_unknown_kinds(error, arguments[0], target):
                raise
        return await self._helm(arguments, **options)

    async def _remove_unknown_kinds(self, error: HelmError, operation: str, target: Revision | None) -> bool:
        """Rewrite the stored revisions that helm builds for an operation; False where that changes nothing.

        Raises HelmError, KubeError.
        """
        await self.observe()
        if target is not None and self.newest is not None and self.newest.pending and await self.newest_is_ours():
            await self.unlock(self.newest)  # a rollback is stored before it is built, and the next one begins at it
        built = self.newest
        if operation == "upgrade":
            built = next((revision for revision in self.revisions if revision.status == DEPLOYED), built)
        unknown = UnknownKinds(self.tools.collector.objects, self.storage, hooks=operation != "upgrade")
        found = [revision for revision in (built, target) if revision is not None]
        if self.dry_run and all(revision.owner == self.ownership.uid for revision in found):
            error.hint = (
                "A dry run changes no stored revision: with dryRun: false the object is taken out automatically."
            )
            return False
        told = await unknown.remove_from(found, error=error)
        self.warnings += [(Reason.KIND_MISSING.value, sentence) for sentence in told]
        return bool(told)

    @asynccontextmanager
    async def _noting_taken_fields(self, verb: str, known: Revision | None) -> AsyncIterator[None]:
        """Note what helm takes over meanwhile from other managers of the fields of a revision's objects."""
        if known is None:
            yield
            return
        others = FieldsOfOthers(self.tools.collector.objects, self.namespace, self.name)
        read = partial(self.storage.read, known)
        # Beside helm, which it does not delay: it sees the objects as they were before.
        look = asyncio.create_task(others.look(read, at=self.storage.version), name="fields of others")
        try:
            yield
        except asyncio.CancelledError:
            look.cancel()  # whoever takes the run's place must not wait for this
            await asyncio.gather(look, return_exceptions=True)
            raise
        except OperatorError:
            await self._note_taken_fields(verb, others, look)  # helm may have applied some before it failed
            raise
        await self._note_taken_fields(verb, others, look)

    async def _note_taken_fields(self, verb: str, others: FieldsOfOthers, look: asyncio.Task[None]) -> None:
        await look
        if taken := await others.taken_over():
            self.taken_over.append(describe(verb, taken))

    async def _helm(
        self,
        arguments: list[str],
        *,
        deadline: float,
        keep_stdout: bool = False,
        on_waiting: Callable[[], None] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> HelmOutput:
        self._looked = False
        values = self.inputs.values.arguments if arguments[0] == "upgrade" and self.inputs else []
        output = await self.tools.helm.run(
            [*arguments, *values],
            deadline=deadline,
            keep_stdout=keep_stdout,
            on_waiting=on_waiting,
            before=before,
        )
        if output.exit_code != 0:
            raise classify(output.stderr, exit_code=output.exit_code, command=arguments[0])
        return output
