"""What a run works with: the values in their precedence, and a digest that changes when the outcome would."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.loop_lag import MAX_SECONDS, longest_delay
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.errors import ChartError, ValuesError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.sources import Inputs, Sources


async def no_pull(*_: object) -> None:
    raise AssertionError("the inputs are read without the network")


class Reader:
    """Reads inputs from a folder of its own, with one chart in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "charts"
        self.chart = self.root / "web"
        self.chart.mkdir(parents=True)
        (self.chart / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.0\n")
        (self.chart / "values.yaml").write_text("a: 1\n")
        roots = ChartRoots([self.root])
        charts = ChartStore(roots=roots, cache_dir=folder / "cache", pull=no_pull)
        self._services = cast("Any", SimpleNamespace(charts=charts, roots=roots))

    def file(self, name: str, text: str) -> str:
        path = self.root / name
        path.write_text(text)
        return str(path)

    def sources(self, **spec: Any) -> Sources:
        spec.setdefault("chart", {"path": str(self.chart)})
        return Sources(self._services, ManagedChartSpec.model_validate(spec), "web")

    async def read(self, **spec: Any) -> Inputs:
        return await self.sources(**spec).read()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


async def test_values_are_merged_in_their_precedence(reader: Reader) -> None:
    found = await reader.read(
        valuesFiles=[
            reader.file("1.yaml", "a: file1\nb: file1\nc: file1\nd: file1\ne: file1\nf: file1"),
            reader.file("2.yaml", "b: file2\nc: file2\nd: file2\ne: file2\nf: file2"),
        ],
        yamlFilesContent=[
            {"filename": "3", "yamlContent": "c: yaml3\nd: yaml3\ne: yaml3\nf: yaml3"},
            {"filename": "4", "yamlContent": "d: yaml4\ne: yaml4\nf: yaml4"},
        ],
        values={"e": "values", "f": "values"},
        set=[{"key": "f", "value": "first"}, {"key": "f", "value": "set"}],
    )
    assert found.values.merged() == {"a": "file1", "b": "file2", "c": "yaml3", "d": "yaml4", "e": "values", "f": "set"}


async def test_an_unreadable_values_file_is_named(reader: Reader) -> None:
    missing = str(reader.root / "gone.yaml")
    with pytest.raises(ValuesError) as raised:
        await reader.read(valuesFiles=[missing])
    assert raised.value.message.startswith(f'Can\'t access helm chart override file "{missing}" for chart "web"')
    assert raised.value.reason is Reason.VALUES_FILE_UNAVAILABLE


@pytest.mark.parametrize("where", ["values.schema.json", "charts/sub/values.schema.json"])
async def test_a_schema_that_refers_to_a_file_is_refused_before_helm(reader: Reader, where: str) -> None:
    schema = reader.chart / where
    schema.parent.mkdir(parents=True, exist_ok=True)
    schema.write_text('{"properties": {"a": {"$ref": "file:///etc/passwd"}}}')
    with pytest.raises(ChartError) as raised:
        await reader.sources().fetch()
    assert (raised.value.reason, raised.value.transient) == (Reason.CHART_INVALID, False)
    assert raised.value.message == (
        f'Chart web: its {where} refers to "file:///etc/passwd", which is neither within the schema nor an http:// or '
        "https:// address"
    )
    assert "spec.skipSchemaValidation: true" in (raised.value.hint or "")
    await reader.read()  # what only identifies the chart is not about its schema

    chart = await reader.sources(skipSchemaValidation=True).fetch()
    assert chart.name == "web"


async def test_a_missing_chart_is_reported_before_helm(reader: Reader) -> None:
    with pytest.raises(ChartError) as raised:
        await reader.read(chart={"path": str(reader.root / "gone")})
    assert raised.value.reason is Reason.CHART_NOT_FOUND


async def test_a_broken_source_is_reported_before_helm(reader: Reader) -> None:
    path = reader.file("broken.yaml", "a: 1\nb: [\n")
    with pytest.raises(ValuesError) as raised:
        await reader.read(valuesFiles=[path])
    assert raised.value.message.startswith(f"values file {path}, line 3: ")
    assert raised.value.reason is Reason.VALUES_INVALID


async def test_large_values_do_not_block_the_loop(reader: Reader) -> None:
    """S8: neither is a pass in sync held up by them, nor do others wait for it."""
    path = reader.file("large.yaml", "a:\n" + "- {b: c}\n" * 20_000)
    assert await longest_delay(lambda: reader.read(valuesFiles=[path] * 64)) <= MAX_SECONDS
    assert len((await reader.read(valuesFiles=[path])).values.merged()["a"]) == 20_000


async def test_equal_inputs_have_equal_digests(reader: Reader) -> None:
    """In whatever order the keys were written."""
    one = await reader.read(values={"a": 1, "b": {"c": "x", "d": 1}})
    other = await reader.read(values={"b": {"d": 1, "c": "x"}, "a": 1})
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "change",
    [
        {"values": {"a": 2}},
        {"values": {"a": "1"}},
        {"values": {"a": None}},
        {"set": [{"key": "b", "value": "1"}]},
        {"set": [{"key": "a", "value": "1"}]},
        {"yamlFilesContent": [{"filename": "f", "yamlContent": "b: 1"}]},
        {"action": "Destroy"},
        {"dryRun": True},
        {"wait": False},
        {"forceUpgrade": True},
        {"lastBreakingVersionRequiringRestart": "2.0.0"},
        {"lifecycle": {"name": "prometheus-operator"}},
    ],
    ids="-".join,
)
async def test_what_changes_the_outcome_changes_the_digest(reader: Reader, change: dict[str, Any]) -> None:
    base = {"values": {"a": 1}}
    assert (await reader.read(**base)).digest != (await reader.read(**{**base, **change})).digest


@pytest.mark.parametrize(
    "change",
    [
        {"timeout": "1h"},
        {"atomic": False},
        {"createNamespace": False},
        {"deletionPolicy": "Orphan"},
        {"retry": {"limit": 0}},
        {"values": {}},
    ],
    ids="-".join,
)
async def test_other_fields_keep_the_digest(reader: Reader, change: dict[str, Any]) -> None:
    """Else a change of mind about the time to wait would upgrade every release."""
    assert (await reader.read()).digest == (await reader.read(**change)).digest


async def test_a_changed_values_file_changes_the_digest(reader: Reader) -> None:
    path = reader.file("v.yaml", "a: 1")
    before = await reader.read(valuesFiles=[path])
    reader.file("v.yaml", "a: 2")
    assert (await reader.read(valuesFiles=[path])).digest != before.digest


async def test_the_order_of_sources_and_entries_counts(reader: Reader) -> None:
    files = [{"filename": "f", "yamlContent": "a: 1"}, {"filename": "g", "yamlContent": "a: 2"}]
    entries = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]
    for field, items in (("yamlFilesContent", files), ("set", entries)):
        assert (await reader.read(**{field: items})).digest != (await reader.read(**{field: items[::-1]})).digest


async def test_a_changed_chart_changes_the_digest(reader: Reader) -> None:
    """Although its version stays the same; the file's size does too, so its time must show the change."""
    before = await reader.read()
    file = reader.chart / "values.yaml"
    file.write_text("a: 2\n")
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 1_000_000))
    assert (await reader.read()).digest != before.digest


async def test_remote_versions_differ_without_the_network(reader: Reader) -> None:
    source = {"repository": "https://host/charts", "name": "web"}
    digests = {(await reader.read(chart={**source, "version": version})).digest for version in ("1.0.0", "1.x")}
    assert len(digests) == 2


async def test_the_digest_is_that_of_the_stored_spec(reader: Reader) -> None:
    """The first version of the digest covers the timeout, so a clamped one would deploy again."""
    stored = ManagedChartSpec.model_validate({"chart": {"path": str(reader.chart)}, "timeout": "48h"})
    clamped = stored.model_copy(update={"timeout": "24h"})
    services = reader.sources().services
    found = (await Sources(services, clamped, "web", stored=stored).read()).digest
    before = (await Sources(services, stored, "web").read()).digest
    assert found.version_1 is not None
    assert before.version_1 is not None
    assert found.version_1() == before.version_1()
