"""When a deployment counts as applied."""

from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.reconcile.run_evidence import Progress

FIRST, SECOND = Revision(1, "pending-install", "v1"), Revision(2, "pending-upgrade", "v2")
HOOKS = StoredRelease(
    {"hooks": [{"events": ["pre-install"]}, {"events": ["pre-install", "pre-upgrade"]}, {"events": ["post-install"]}]}
)


def test_nothing_is_applied_before_the_release_is_stored() -> None:
    assert not Progress().has_applied(None, None)


def test_helm_waits_for_each_hook_before_it_applies() -> None:
    progress = Progress()
    for _ in range(2):
        progress.helm_waits()
        assert not progress.has_applied(FIRST, HOOKS)
    progress.helm_waits()
    assert progress.has_applied(FIRST, HOOKS)


def test_an_upgrade_runs_its_own_hooks_only() -> None:
    progress = Progress()
    progress.helm_waits()
    assert not progress.has_applied(SECOND, HOOKS)
    progress.helm_waits()
    assert progress.has_applied(SECOND, HOOKS)


def test_all_is_applied_once_helm_has_ended() -> None:
    progress = Progress()
    assert not progress.waiting.is_set()
    progress.all_is_applied()
    assert progress.waiting.is_set()
    assert progress.has_applied(None, None)
