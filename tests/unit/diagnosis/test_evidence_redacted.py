"""The evidence shows no part of a secret: events, what a kubelet says about containers, and logs."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from managedchart_operator.diagnosis.collector import Collector, Findings, Subject
from managedchart_operator.kube.logs import MAX_BYTES, RAW_BYTES
from managedchart_operator.redaction import Redactor
from unit.diagnosis.test_collector import DAEMON_SET, FakeCluster, crashing, event, item
from unit.redaction_texts import FORMS, SECRETS, left_of

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)
FILLER = "word " * 4000


class Cluster(FakeCluster):
    """A pod that says the same in an event, in its log, and when it ends."""

    def __init__(self, text: str) -> None:
        pod: Any = crashing("apps", "agent-1", DAEMON_SET)
        state = pod["status"]["containerStatuses"][0]
        state["state"] = {"terminated": {"reason": "Error", "exitCode": 1, "message": text[-4096:]}}
        subject = {"uid": "Pod-apps-agent-1", "kind": "Pod", "namespace": "apps", "name": "agent-1"}
        super().__init__(("Pod", pod), events=[("apps", event("apps", subject, text[:1024]))])
        self.text = text

    async def tail(self, **_: Any) -> str:
        """The end of its log."""
        return self.text[-RAW_BYTES:]


async def collect(text: str, secret: str) -> Findings:
    """The evidence of a release with a pod that says something."""
    cluster: Any = Cluster(text)
    subject = Subject("apps", (item("DaemonSet", "agent"),), (), SINCE)
    return await Collector(cluster, cluster).collect(
        subject, views={}, redact=Redactor([secret], own=["agent", "apps"])
    )


@given(SECRETS, st.sampled_from(sorted(FORMS)), st.integers(0, 6000), st.integers(0, 6000))
@settings(max_examples=100)
async def test_no_part_of_a_secret_is_in_the_evidence(secret: str, form: str, before: int, after: int) -> None:
    """Wherever the kubelet, the API server or the operator cuts the text."""
    found = await collect(f"{FILLER[:before]} {FORMS[form](secret)} {FILLER[:after]}", secret)
    [container], [shown] = found.containers, found.events
    assert container.log is not None
    assert container.message is not None
    assert len(container.log) <= MAX_BYTES
    assert len(container.message) <= 512
    for text in (container.log, container.previous_log or "", container.message, shown.message):
        assert not left_of(secret, text)


@given(st.sampled_from([511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, RAW_BYTES]), st.integers(0, 30))
async def test_an_edge_inside_a_secret_shows_nothing_of_it(edge: int, inside: int) -> None:
    """Each limit that a text meets on its way, counted from its beginning and from its end."""
    secret = 'Xy1-"correct horse" Zz9-battery'
    for text in (FILLER[: edge - inside] + secret + FILLER[:9000], FILLER[:9000] + secret + FILLER[: edge - inside]):
        found = await collect(text, secret)
        [container], [shown] = found.containers, found.events
        assert not left_of(secret, f"{container.log}\n{container.message}\n{shown.message}")
