"""The end of kopf's watch is logged in one sentence; a defect keeps its traceback."""

import logging

import kopf
import pytest
from kopf._cogs.clients.errors import APINotFoundError

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.app.logs import RefusalsInOneLine
from managedchart_operator.app.operator import check_still_served
from managedchart_operator.errors import WatchEndedError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.managedcharts import ManagedCharts

CHARTS = ("GET", "/apis/managedchart.dev/v1alpha1/managedcharts")


def record(error: Exception, *, logger: str = "kopf._core.reactor.running") -> logging.LogRecord:
    return logging.LogRecord(
        logger, logging.ERROR, __file__, 1, "Watcher has failed", (), (type(error), error, error.__traceback__)
    )


@pytest.mark.parametrize("error", [APINotFoundError("404 page not found", status=404, headers={}), kopf.LoginError()])
def test_a_refusal_is_logged_without_its_traceback(error: Exception) -> None:
    made = record(error)
    assert RefusalsInOneLine().filter(made)
    assert made.exc_info is None


def test_a_defect_keeps_its_traceback() -> None:
    for made in (
        record(ValueError()),
        record(APINotFoundError(status=404, headers={}), logger="managedchart_operator"),
    ):
        assert RefusalsInOneLine().filter(made)
        assert made.exc_info is not None


async def test_a_deleted_crd_is_why_the_watch_ended(client: KubeClient, api: FakeApiServer) -> None:
    api.answers[CHARTS] = (404, "404 page not found")
    with pytest.raises(WatchEndedError) as raised:
        await check_still_served(ManagedCharts(client))
    assert raised.value.message == (
        "ManagedCharts can no longer be watched: The API server does not serve managedcharts of managedchart.dev/v1alpha1"
    )
    assert raised.value.hint is not None
    assert "kubectl apply --server-side -k crds/" in raised.value.hint


async def test_a_lost_permission_is_why_the_watch_ended(client: KubeClient, api: FakeApiServer) -> None:
    sentence = 'is forbidden: User "nobody" cannot list resource'
    api.answers[CHARTS] = (403, refusal(sentence, 403))
    with pytest.raises(WatchEndedError, match=sentence):
        await check_still_served(ManagedCharts(client))


async def test_any_other_error_of_the_watch_is_raised(client: KubeClient, api: FakeApiServer) -> None:
    """Then the error that kopf raised is logged."""
    api.answers[CHARTS] = (200, {"items": [], "metadata": {"resourceVersion": "1"}})
    await check_still_served(ManagedCharts(client))
