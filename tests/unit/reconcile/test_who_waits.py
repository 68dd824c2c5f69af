"""Who waits for the objects of a release."""

import pytest

from managedchart_operator.reconcile.operations.install_or_upgrade import WhoWaits, who_waits

NOBODY = WhoWaits(helm=False, helm_for_jobs=False, operator=False)
OPERATOR = WhoWaits(helm=False, helm_for_jobs=False, operator=True)
HELM = WhoWaits(helm=True, helm_for_jobs=True, operator=False)
BOTH = WhoWaits(helm=True, helm_for_jobs=False, operator=True)
LATE, TTL = b'{"helm.sh/hook": "post-install"}', b'{"ttlSecondsAfterFinished": 0}'


@pytest.mark.parametrize(
    ("wait", "late_hooks", "ttl_jobs", "values", "who"),
    [
        (False, True, True, LATE + TTL, NOBODY),
        (True, False, False, b"{}", OPERATOR),
        (True, False, True, TTL, OPERATOR),
        (True, True, False, b"{}", HELM),
        (True, False, False, LATE, HELM),
        (True, True, True, b"{}", BOTH),
        (True, True, False, TTL, BOTH),
        (True, False, True, LATE, BOTH),
    ],
)
def test_helm_waits_only_for_late_hooks(
    *, wait: bool, late_hooks: bool, ttl_jobs: bool, values: bytes, who: WhoWaits
) -> None:
    assert who_waits(wait=wait, late_hooks=late_hooks, ttl_jobs=ttl_jobs, leaves_out=False, values=values) == who
    helmless = OPERATOR if wait else NOBODY
    assert who_waits(wait=wait, late_hooks=late_hooks, ttl_jobs=ttl_jobs, leaves_out=True, values=values) == helmless
