"""What is done about a failed deployment, state by state. Whatever is wrong here destroys something."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.helm.storage import PENDING, Revision
from managedchart_operator.reconcile.remedy import Facts, Remedy, decide_remedy


def revision(number: int, status: str) -> Revision:
    """A revision of a release."""
    return Revision(number, status, f"v{number}")


UPGRADE_FAILED = Facts(atomic=True, newest=revision(2, "failed"), failed=2, good=revision(1, "deployed"))
INSTALL_FAILED = Facts(atomic=True, newest=revision(1, "failed"), failed=1)
NOTHING, ROLL_BACK, UNINSTALL, LEAVE = Remedy.NOTHING, Remedy.ROLL_BACK, Remedy.UNINSTALL, Remedy.LEAVE


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    promise: str
    facts: Facts
    remedy: Remedy
    to: int | None = None
    why: str = ""


TABLE = [
    # ---- a failed upgrade
    Case("a failed upgrade is rolled back to the last good revision", UPGRADE_FAILED, ROLL_BACK, to=1),
    Case("not where atomic is false", replace(UPGRADE_FAILED, atomic=False), NOTHING),
    Case("not where the run made no revision", replace(UPGRADE_FAILED, failed=None), NOTHING),
    Case("not from a revision that others made", replace(UPGRADE_FAILED, newest_is_own=False), NOTHING),
    Case("not where the release was made again since", replace(UPGRADE_FAILED, failed=3), NOTHING),
    Case("not where nothing is there any more", replace(UPGRADE_FAILED, newest=None), NOTHING),
    Case(
        "not to a revision that others made",
        replace(UPGRADE_FAILED, good_is_own=False),
        LEAVE,
        why="revision 1, the last good one, was not made by this resource",
    ),
    Case(
        "a rollback that failed is tried again",
        replace(UPGRADE_FAILED, newest=revision(3, "failed"), good=revision(1, "superseded")),
        ROLL_BACK,
        to=1,
    ),
    Case("what was rolled back stays so", replace(UPGRADE_FAILED, newest=revision(3, "deployed")), NOTHING),
    Case("what somebody has fixed stays so", replace(UPGRADE_FAILED, newest=revision(2, "deployed")), NOTHING),
    *(
        Case(f"a {status} is left to whoever works on it", replace(UPGRADE_FAILED, newest=revision(2, status)), NOTHING)
        for status in sorted(PENDING)
    ),
    Case(
        "an uninstall of a release with a good revision is somebody else's",
        replace(UPGRADE_FAILED, newest=revision(2, "uninstalling")),
        NOTHING,
    ),
    Case("claims do not matter to a rollback", replace(UPGRADE_FAILED, claims=("StatefulSet db",)), ROLL_BACK, to=1),
    # ---- a failed first install
    Case("a failed first install is uninstalled", INSTALL_FAILED, UNINSTALL),
    Case("not where atomic is false, either", replace(INSTALL_FAILED, atomic=False), NOTHING),
    Case("its uninstall is ended after a kill", replace(INSTALL_FAILED, newest=revision(1, "uninstalling")), UNINSTALL),
    Case("and forgotten at its end", replace(INSTALL_FAILED, newest=revision(1, "uninstalled")), UNINSTALL),
    Case("one of several attempts too", replace(INSTALL_FAILED, newest=revision(3, "failed"), failed=3), UNINSTALL),
    Case(
        "data is not left behind by an uninstall",
        replace(INSTALL_FAILED, claims=("StatefulSet db", "PersistentVolumeClaim files")),
        LEAVE,
        why="an uninstall would leave the data of StatefulSet db, PersistentVolumeClaim files behind",
    ),
    Case(
        "what others began is not uninstalled",
        replace(INSTALL_FAILED, newest=revision(2, "failed"), failed=2, others=(1,)),
        LEAVE,
        why="revision 1 was not made by this resource",
    ),
    Case(
        "nor ended where they uninstall it",
        replace(INSTALL_FAILED, newest=revision(2, "uninstalling"), failed=2, others=(1,)),
        NOTHING,
    ),
    # ---- what follows exec failed
    Case(
        "a failed validation rolls back what helm calls deployed",
        replace(UPGRADE_FAILED, newest=revision(2, "deployed"), good=revision(1, "superseded"), after_exec=True),
        ROLL_BACK,
        to=1,
    ),
    Case(
        "and uninstalls a first install",
        replace(INSTALL_FAILED, newest=revision(1, "deployed"), after_exec=True),
        UNINSTALL,
    ),
    Case(
        "but not what was made after it",
        replace(UPGRADE_FAILED, newest=revision(3, "deployed"), after_exec=True),
        NOTHING,
    ),
    Case(
        "nor where atomic is false",
        replace(INSTALL_FAILED, newest=revision(1, "deployed"), after_exec=True, atomic=False),
        NOTHING,
    ),
]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.promise)
def test_each_failure_has_its_remedy(case: Case) -> None:
    plan = decide_remedy(case.facts)
    assert plan.remedy is case.remedy
    assert (plan.to.number if plan.to else None) == case.to
    assert case.why in plan.why
    assert bool(plan.why) == (plan.remedy is LEAVE)


revisions = st.builds(
    revision,
    st.integers(1, 4),
    st.sampled_from(["deployed", "failed", "superseded", "uninstalling", "uninstalled", "unknown", *sorted(PENDING)]),
)
all_facts = st.builds(
    Facts,
    atomic=st.booleans(),
    newest=st.none() | revisions,
    failed=st.none() | st.integers(1, 4),
    after_exec=st.booleans(),
    newest_is_own=st.booleans(),
    good=st.none() | revisions,
    good_is_own=st.booleans(),
    others=st.just(()) | st.just((1,)),
    claims=st.just(()) | st.just(("StatefulSet db",)),
)


@given(all_facts)
def test_nothing_is_changed_without_atomic_and_proof(facts: Facts) -> None:
    plan = decide_remedy(facts)
    if plan.remedy in (ROLL_BACK, UNINSTALL):
        assert facts.atomic
        assert facts.newest_is_own
        assert facts.failed is not None
        assert facts.newest is not None
        assert facts.failed <= facts.newest.number
    if plan.remedy is ROLL_BACK:
        assert plan.to is facts.good
        assert facts.good_is_own


@given(all_facts)
def test_only_a_bad_release_without_data_is_uninstalled(facts: Facts) -> None:
    if decide_remedy(facts).remedy is UNINSTALL:
        assert facts.good is None
        assert not facts.others
        assert not facts.claims
