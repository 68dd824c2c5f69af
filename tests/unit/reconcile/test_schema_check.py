"""When the values are checked apart from the install: for schemas that refer to the web, once a run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.charts.schema_references import References
from managedchart_operator.errors import HelmError
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.reconcile import schema_check
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.redaction import Redactor

REMOTE = References(None, ("https://charts.example.com/x.json",))


class FakeRun:
    """A run whose chart has these references; `checks` counts what was asked of helm, which answers with `failure`."""

    def __init__(self, references: References, monkeypatch: pytest.MonkeyPatch, *, skip: bool = False) -> None:
        self.checks: list[tuple[Path, Any]] = []
        self.failure: HelmOutput | None = None
        self.name, self.namespace = "web", "apps"
        chart = SimpleNamespace(references=references)
        inputs = SimpleNamespace(values=SimpleNamespace(arguments=["--values=x"]))
        self.sources = SimpleNamespace(schemas_checked=False, fetch=_returning(chart), read=_returning(inputs))
        self.spec = SimpleNamespace(skip_schema_validation=skip)
        charts = SimpleNamespace(egress=object(), without_templates=self._copy)
        self.services = SimpleNamespace(charts=charts, helm=object())
        self.objects = SimpleNamespace(crds=SimpleNamespace(kube_version=_returning("v1.36.0")))
        self.evidence = SimpleNamespace(rendered=SimpleNamespace(read_redactor=_returning(Redactor())))
        monkeypatch.setattr(schema_check, "failed_schema_check", self._check)

    @asynccontextmanager
    async def _copy(self, _chart: object, *, schemas: bool) -> AsyncIterator[Path]:
        assert schemas
        yield Path("/copy")

    async def _check(
        self, _helm: object, _egress: object, copy: Path, _options: object, values: Any
    ) -> HelmOutput | None:
        self.checks.append((copy, values))
        return self.failure


def _returning(value: Any) -> Any:
    async def returns() -> Any:
        return value

    return returns


async def skips(run: FakeRun) -> bool:
    return await schema_check.skips_schemas(cast("ReleaseRun", run))


async def test_a_schema_without_references_to_the_web_is_left_to_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(References(), monkeypatch)
    assert not await skips(run)
    assert run.checks == []


async def test_nothing_is_checked_where_the_spec_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(REMOTE, monkeypatch, skip=True)
    assert await skips(run)
    assert run.checks == []


async def test_values_are_checked_once_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun(REMOTE, monkeypatch)
    assert await skips(run)
    assert await skips(run)
    assert run.checks == [(Path("/copy"), ["--values=x"])]


async def test_refused_values_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """And are checked again by the next one."""
    run = FakeRun(REMOTE, monkeypatch)
    words = (
        "Error: values don't meet the specifications of the schema(s) in the following chart(s):\nweb:\n- at '/a': no\n"
    )
    run.failure = HelmOutput(b"", words, 1)
    with pytest.raises(HelmError, match="The chart's schema refuses the values: web: a: no"):
        await skips(run)
    assert not run.sources.schemas_checked
