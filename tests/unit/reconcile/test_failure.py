"""Which revision failed with a run, and whether the run had changed the cluster."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import HelmError, OperatorError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.last_run import LastRun
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.remediation import newest_if_made, unremedied, was_applied

OURS = Revision(2, "failed", "v2", owner="uid", attempt="this", labelled_for=2)
OTHERS = replace(OURS, owner=None, attempt=None, labelled_for=None)


def release(newest: Revision | None, *, applied: bool = False) -> ReleaseRun:
    """A run whose attempt is `this`."""
    evidence = SimpleNamespace(has_applied=lambda: applied)
    return cast("Any", SimpleNamespace(newest=newest, attempt="this", ownership=Ownership("uid"), evidence=evidence))


@pytest.mark.parametrize("phase", [Phase.EXEC, Phase.POST_EXEC, Phase.VALIDATE])
def test_a_failed_run_failed_its_revision(phase: Phase) -> None:
    assert newest_if_made(release(OURS), phase) is OURS


@pytest.mark.parametrize(
    ("newest", "phase"),
    [
        (None, Phase.EXEC),
        (OTHERS, Phase.EXEC),
        (replace(OURS, attempt="another"), Phase.EXEC),
        (replace(OURS, number=3), Phase.EXEC),
        (OURS, Phase.PRE_EXEC),
        (OURS, None),
    ],
    ids=["none", "of others", "of another run", "carried over by hand", "before exec", "no phase"],
)
def test_a_failed_run_failed_no_other_revision(newest: Revision | None, phase: Phase | None) -> None:
    assert newest_if_made(release(newest), phase) is None


@pytest.mark.parametrize(
    ("newest", "known", "left"),
    [
        (OURS, 2, 2),
        (OURS, 1, 1),
        (OURS, None, None),
        (OURS, 3, None),
        (OTHERS, 2, None),
        (replace(OURS, status="deployed"), 2, None),
        (replace(OURS, status="superseded"), 2, None),
        (None, 2, None),
    ],
)
def test_a_failed_revision_needs_its_remedy_once(newest: Revision | None, known: int | None, left: int | None) -> None:
    """Also when the next run fails before it has made a revision; never for a revision of others."""
    assert unremedied(release(newest), LastRun(failed_revision=known, phase=Phase.EXEC), unlocked=None) == left


@pytest.mark.parametrize(
    ("before", "now", "left"),
    [
        ("pending-install", OURS, 2),
        ("pending-upgrade", OURS, 2),
        ("deployed", OURS, 2),
        ("uninstalling", OURS, None),
        ("pending-upgrade", OTHERS, None),
        ("pending-upgrade", replace(OURS, number=3, labelled_for=3), None),
        ("pending-upgrade", replace(OURS, status="pending-upgrade"), 2),
        ("deployed", replace(OURS, status="deployed"), None),
    ],
)
def test_what_an_interrupted_deployment_left_has_failed(before: str, now: Revision, left: int | None) -> None:
    """But not what was in the middle of an uninstall: it may have been deployed for long."""
    assert unremedied(release(now), LastRun(), unlocked=replace(OURS, status=before)) == left


def test_a_killed_helm_process_disturbs_nothing() -> None:
    """The kernel ends processes when memory runs out; the same upgrade may go through next time."""
    killed = HelmError("x", reason=Reason.HELM_FAILED, transient=True, exit_code=-9)
    assert not was_applied(release(OURS, applied=True), Phase.EXEC, killed)


@pytest.mark.parametrize(("phase", "left"), [(Phase.VALIDATE, 2), (Phase.POST_EXEC, 2), (Phase.EXEC, None)])
def test_a_failed_validation_still_needs_its_remedy(phase: Phase, left: int | None) -> None:
    deployed = release(replace(OURS, status="deployed"))
    assert unremedied(deployed, LastRun(failed_revision=2, phase=phase), unlocked=None) == left


@pytest.mark.parametrize(
    ("phase", "applied", "reason", "disturbed"),
    [
        (Phase.EXEC, True, Reason.IMAGE_PULL, True),
        (Phase.EXEC, True, Reason.QUOTA_EXCEEDED, True),
        (Phase.EXEC, False, Reason.ADMISSION_REFUSED, False),
        (Phase.EXEC, False, Reason.HOOK_FAILED, False),
        (Phase.EXEC, True, Reason.API_UNAVAILABLE, False),
        (Phase.VALIDATE, False, Reason.LIFECYCLE_FAILED, True),
        (Phase.POST_EXEC, False, Reason.API_UNAVAILABLE, False),
    ],
)
def test_an_applied_upgrade_disturbs(phase: Phase, *, applied: bool, reason: Reason, disturbed: bool) -> None:
    error: OperatorError = HelmError("x", reason=reason, transient=True)
    assert was_applied(release(OURS, applied=applied), phase, error) is disturbed
