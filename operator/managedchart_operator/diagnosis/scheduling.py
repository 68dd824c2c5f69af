"""Says what helps a pod that cannot be scheduled, by the scheduler's own words.

Its message counts the nodes by the reason why each does not fit; any of the remedies is enough for its nodes.
Source: kubernetes/kubernetes, pkg/scheduler/framework/plugins (the ErrReason constants), 1.37 and earlier wordings.
"""

import re

_REMEDIES = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (r"Insufficient", "lower the requests for {resources}, or add nodes with room"),
        (r"Too many pods", "add nodes, since these already run as many pods as they may"),
        (r"anti-affinity", "add nodes, lower the number of replicas, or relax the pod anti-affinity"),
        (r"pod affinity rules", "start the pods that the pod affinity asks for first, or relax it"),
        (
            r"topology spread constraints(?! \(missing)",
            "add nodes in other topology domains, or set whenUnsatisfiable: ScheduleAnyway in the topology spread constraints",
        ),
        (r"topology spread constraints \(missing", "label the nodes with the key of the topology spread constraints"),
        (r"untolerated taint", "add a toleration{taints}, or nodes without the taint"),
        (
            r"(?<!volume )node affinity|node selector",
            "correct the node selector or node affinity, or label a node for it",
        ),
        (r"were unschedulable", "let the cordoned nodes take pods again (kubectl uncordon)"),
        (r"free ports", "give the host port free, or lower the number of replicas to that of the nodes"),
        (
            r"volume node affinity conflict|no available volume zone|available persistent volumes",
            "add nodes where the volume can be reached",
        ),
        (r"max volume count|[Tt]oo many volumes", "add nodes, since these have as many volumes attached as they may"),
        (r'persistentvolumeclaim "[^"]*"', "create the PersistentVolumeClaim, or correct its name in the values"),
        (r"no nodes available|^0/0 nodes", "add nodes, since the cluster has none"),
    )
)
_RESOURCE = re.compile(r"Insufficient ([\w./-]+\w)")
_TAINT = re.compile(r"untolerated taint\(?s?\)? (\{[^}]*\})")
_UNKNOWN = "Change what the pod asks of a node, or add nodes that fit"


def without_preemption(message: str) -> str:
    """Return the scheduler's message up to its words on pods of lower priority that could be removed in favour of this one."""
    return message.partition("preemption:")[0].strip() or message


def advice(message: str) -> str:
    """Return what helps, as a sentence without its full stop; `message` is the scheduler's."""
    text = without_preemption(message)
    known = {
        "resources": ", ".join(dict.fromkeys(_RESOURCE.findall(text))),
        "taints": "".join(f" for {taint}" for taint in dict.fromkeys(_TAINT.findall(text))),
    }
    found = [sentence.format(**known) for pattern, sentence in _REMEDIES if pattern.search(text)]
    if not found:
        return _UNKNOWN
    joined = "; or ".join(found)
    return joined[:1].upper() + joined[1:]
