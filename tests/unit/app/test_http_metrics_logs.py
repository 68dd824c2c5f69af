"""What is served and what is logged."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Literal

import aiohttp
import pytest

from conftest import REPOSITORY
from managedchart_operator import __version__
from managedchart_operator.api.resource import Key
from managedchart_operator.api.status import Condition, ManagedChartStatus
from managedchart_operator.app.cli import main
from managedchart_operator.app.http import serving
from managedchart_operator.app.logs import configure
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.errors import StartupError
from managedchart_operator.reasons import Reason

WEB = Key("apps", "web")


def status(**conditions: str) -> ManagedChartStatus:
    made = [
        Condition(type=kind, status=value, reason="X", last_transition_time="2026-01-01T00:00:00Z")  # type: ignore[arg-type]
        for kind, value in conditions.items()
    ]
    return ManagedChartStatus(conditions=made)


class Served:
    """A server whose health a test sets."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.sick: str | None = None
        self.unready: str | None = "the resources are not loaded yet"
        self.port = 0

    def serving(self) -> AbstractAsyncContextManager[int]:
        return serving(
            host="127.0.0.1", port=0, metrics=self.metrics, healthy=lambda: self.sick, ready=lambda: self.unready
        )

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    found = Served()
    async with found.serving() as found.port:
        yield found


async def test_health_and_readiness_say_why_not(served: Served) -> None:
    assert await served.get("/healthz") == (200, "ok\n")
    assert await served.get("/readyz") == (500, "the resources are not loaded yet")
    served.sick, served.unready = "the watch of releases has ended", None
    assert await served.get("/healthz") == (500, "the watch of releases has ended")
    assert await served.get("/readyz") == (200, "ok\n")
    assert (await served.get("/nothing"))[0] == 404


async def test_a_taken_port_ends_the_start(served: Served) -> None:
    second = serving(host="127.0.0.1", port=served.port, metrics=Metrics(), healthy=lambda: None, ready=lambda: None)
    with pytest.raises(StartupError, match="Address already in use"):
        async with second:
            pass


async def test_metrics_count_runs_and_show_states(served: Served) -> None:
    metrics = served.metrics
    metrics.reconciled("Run")
    metrics.phase_ended("Exec", seconds=0.3, succeeded=False)
    metrics.failed(Reason.CHART_NOT_FOUND, "CheckPrerequisites")
    metrics.status_changed(WEB, status(Ready="False", Stalled="True"))
    metrics.observe("managedchart_resources", "ManagedCharts known.", lambda: 3)
    code, text = await served.get("/metrics")
    assert code == 200
    for line in (
        'managedchart_reconciles_total{verdict="Run"} 1.0',
        'managedchart_phase_duration_seconds_bucket{le="0.5",outcome="failed",phase="Exec"} 1.0',
        'managedchart_failures_total{phase="CheckPrerequisites",reason="ChartNotFound"} 1.0',
        'managedchart_ready{name="web",namespace="apps"} 0.0',
        'managedchart_stalled{name="web",namespace="apps"} 1.0',
        "managedchart_resources 3.0",
    ):
        assert line in text.splitlines()


def test_a_deleted_resource_leaves_no_series() -> None:
    metrics = Metrics()
    metrics.status_changed(WEB, status(Ready="True"))
    metrics.status_changed(Key("apps", "other"), status(Ready="True"))
    metrics.forget(WEB)
    metrics.forget(Key("apps", "never-seen"))
    text = metrics.render().decode()
    assert 'name="web"' not in text
    assert 'managedchart_ready{name="other",namespace="apps"} 1.0' in text


@pytest.fixture
def own_logging() -> Iterator[None]:
    """`configure` changes the root logger; the rest of the session gets it back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("kopf", "aiohttp.access")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, former in levels.items():
        logging.getLogger(name).setLevel(former)


CONTEXT = {"namespace": "apps", "name_": "web", "generation": 3}


@pytest.mark.usefixtures("own_logging")
def test_a_json_log_has_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="INFO", form="json")
    logger = logging.LoggerAdapter(logging.getLogger("managedchart_operator.test"), CONTEXT)
    logger.info("Install: %s", "two\nlines")
    logger.debug("not at this level")
    (line,) = capsys.readouterr().err.splitlines()
    logged = json.loads(line)
    assert (logged["level"], logged["logger"]) == ("INFO", "managedchart_operator.test")
    assert logged["message"] == "Install: two\nlines"
    assert (logged["namespace"], logged["name"], logged["generation"]) == ("apps", "web", 3)


@pytest.mark.usefixtures("own_logging")
def test_a_text_log_names_the_resource_first(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="DEBUG", form="text")
    logging.LoggerAdapter(logging.getLogger("managedchart_operator.test"), CONTEXT).info("Install")
    logging.getLogger("managedchart_operator.test").info("ready")
    logging.getLogger("kopf").info("chatter")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("INFO    [apps/web] Install")
    assert second.endswith("INFO    ready")


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_message_can_forge_a_line_of_the_log(
    capsys: pytest.CaptureFixture[str], form: Literal["text", "json"]
) -> None:
    """S29: whoever writes a chart or an exception writes a part of the log."""
    configure(level="INFO", form=form)
    logger = logging.getLogger("managedchart_operator.test")
    for log in (logger.info, logger.warning):
        log("deployed %s", "\x1b[2Jchart\r12:00:00 ERROR\u202e [b/c] forged")
    logged = capsys.readouterr().err
    assert not {"\x1b", "\r", "\u202e"} & set(logged)
    assert "deployed chart" in logged
    assert not any(line.startswith("12:00:00 ERROR") for line in logged.splitlines())


def fail(kind: type[Exception]) -> None:
    raise kind("of a defect")


@pytest.mark.usefixtures("own_logging")
def test_a_defect_logs_one_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """S17: one that is met at each attempt, by many resources, would fill the disk; one line says that it is still there."""
    configure(level="INFO", form="text")
    other = {**CONTEXT, "name_": "other"}
    for context, kind in [(CONTEXT, KeyError), (CONTEXT, KeyError), (CONTEXT, TypeError), (other, KeyError)]:
        logger = logging.LoggerAdapter(logging.getLogger("managedchart_operator.test"), context)
        try:
            fail(kind)
        except (KeyError, TypeError):
            logger.exception("phase %s broke", "exec")
    logged = capsys.readouterr().err
    assert logged.count("phase exec broke") == 4
    assert logged.count("Traceback") == 2
    first, second = (line for line in logged.splitlines() if "logged before" in line)
    assert "[apps/web] phase exec broke: KeyError: 'of a defect' (traceback logged before; 1 more since)" in first
    assert "[apps/other] phase exec broke: KeyError: 'of a defect' (traceback logged before; 2 more since)" in second


def test_the_command_line_shows_version_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == __version__
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "run" in capsys.readouterr().err


def test_the_metrics_page_lists_every_metric() -> None:
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    metrics = Metrics()
    names = {family.name for family in metrics.registry.collect() if family.name.startswith("managedchart_")}
    assert names
    assert [name for name in sorted(names) if name not in page] == []


async def test_a_blocked_loop_shows_as_loop_lag() -> None:
    """What the process itself spent the time on also shows in the histogram; on a busy machine the lag alone may be long."""
    metrics = Metrics()
    task = asyncio.create_task(metrics.measure_loop_lag())
    await asyncio.sleep(0)  # the meter is at its first wait now
    busy_until = time.process_time() + 0.3
    while time.process_time() < busy_until:
        pass  # what blocks a loop
    await asyncio.sleep(0.01)  # one round of the loop, in which the meter, long due, takes its reading
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    longest = metrics.registry.get_sample_value("managedchart_loop_lag_max_seconds")
    assert longest is not None
    assert longest >= 0.15
    below = metrics.registry.get_sample_value("managedchart_loop_blocked_seconds_bucket", {"le": "0.1"})
    count = metrics.registry.get_sample_value("managedchart_loop_blocked_seconds_count")
    assert below is not None
    assert count is not None
    assert count > below
