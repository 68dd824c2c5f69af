"""What the status remembers of requests."""

from managedchart_operator.api.resource import RETRY_ANNOTATION, ManagedChart
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.reconcile.memory import handled, requested

LONG = "x" * 200


def annotated(value: str) -> ManagedChart:
    """A ManagedChart as the API server has it."""
    meta = {"namespace": "apps", "name": "web", "uid": "u", "annotations": {RETRY_ANNOTATION: value}}
    return ManagedChart.from_body({"metadata": meta})


def test_a_long_request_that_an_older_operator_has_carried_out_is_not_new() -> None:
    """It kept the value whole, which is now a digest: a new operator must not run anything for that."""
    status = ManagedChartStatus(handled_requests={RETRY_ANNOTATION: LONG})
    assert not requested(annotated(LONG), status, RETRY_ANNOTATION)
    assert handled(annotated(LONG), status)
    assert requested(annotated(LONG + "y"), status, RETRY_ANNOTATION)
