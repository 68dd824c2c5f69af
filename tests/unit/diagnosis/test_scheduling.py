"""What helps a pod that cannot be scheduled follows from the scheduler's words."""

import pytest

from managedchart_operator.diagnosis.scheduling import advice, without_preemption

PREEMPTION = " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("0/1 nodes are available: 1 Insufficient cpu.", "Lower the requests for cpu, or add nodes with room"),
        (
            "0/3 nodes are available: 1 Insufficient memory, 3 Insufficient nvidia.com/gpu.",
            "Lower the requests for memory, nvidia.com/gpu, or add nodes with room",
        ),
        ("0/1 nodes are available: 1 Too many pods.", "Add nodes, since these already run as many pods as they may"),
        (
            "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.",
            "Add nodes, lower the number of replicas, or relax the pod anti-affinity",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.",
            "Add nodes, lower the number of replicas, or relax the pod anti-affinity",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match pod affinity rules.",
            "Start the pods that the pod affinity asks for first, or relax it",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints.",
            "Add nodes in other topology domains, or set whenUnsatisfiable: ScheduleAnyway in the topology spread constraints",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label).",
            "Label the nodes with the key of the topology spread constraints",
        ),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }.",
            "Add a toleration for {node-role.kubernetes.io/control-plane: }, or nodes without the taint",
        ),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint(s).",
            "Add a toleration, or nodes without the taint",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            "Correct the node selector or node affinity, or label a node for it",
        ),
        (
            "0/1 nodes are available: 1 node(s) were unschedulable.",
            "Let the cordoned nodes take pods again (kubectl uncordon)",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
            "Give the host port free, or lower the number of replicas to that of the nodes",
        ),
        (
            "0/1 nodes are available: 1 node(s) had volume node affinity conflict.",
            "Add nodes where the volume can be reached",
        ),
        (
            "0/1 nodes are available: 1 node(s) exceed max volume count.",
            "Add nodes, since these have as many volumes attached as they may",
        ),
        (
            '0/1 nodes are available: persistentvolumeclaim "data" not found.',
            "Create the PersistentVolumeClaim, or correct its name in the values",
        ),
        ("no nodes available to schedule pods", "Add nodes, since the cluster has none"),
        ("0/3 nodes are available: 3 something new.", "Change what the pod asks of a node, or add nodes that fit"),
    ],
)
def test_each_reason_has_its_own_remedy(message: str, words: str) -> None:
    assert advice(message) == words
    assert advice(message + PREEMPTION) == words


def test_the_reasons_are_shown_without_preemption() -> None:
    """It repeats the number of nodes, and never helps."""
    assert without_preemption("0/1 nodes are available: 1 Insufficient cpu." + PREEMPTION) == (
        "0/1 nodes are available: 1 Insufficient cpu."
    )
    assert without_preemption("preemption: no") == "preemption: no"


def test_several_reasons_have_several_remedies() -> None:
    found = advice(
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod anti-affinity rules, 1 node(s) had "
        "untolerated taint {dedicated: db}."
    )
    assert found == (
        "Lower the requests for cpu, or add nodes with room; or add nodes, lower the number of replicas, or relax the pod "
        "anti-affinity; or add a toleration for {dedicated: db}, or nodes without the taint"
    )
