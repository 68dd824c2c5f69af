"""A release that does not fit into its Secret names its biggest parts."""

import random
from pathlib import Path

import pytest

from harness.chart_files import chart_files, write_chart
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{noise: {data}}}\n"


def big_chart(folder: Path) -> Path:
    """Write a chart that is big by a template, by what a template makes of values, and by a file that nobody renders."""
    noise = random.Random(1)
    text = {
        "dashboards": CONFIG_MAP.format(name="dashboards", data=noise.randbytes(350_000).hex()),
        "rules": CONFIG_MAP.format(name="rules", data="{{ repeat 600000 .Values.with }}"),
        "small": CONFIG_MAP.format(name="small", data="a"),
    }
    return write_chart(folder, chart_files("big", **text) | {"files/notes.txt": noise.randbytes(250_000).hex()})


def test_a_too_large_upgrade_does_not_touch_the_release(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """A template counts with its text and with what it renders to; a file of the chart with itself."""
    chart = {"path": str(write_chart(chart_root / "growing", chart_files("big")))}
    cluster.apply(managedchart("one", chart), namespace=ns)
    cluster.wait_ready(ns, "one")
    grown = {"path": str(big_chart(chart_root / "grown"))}
    cluster.apply(managedchart("one", grown, values={"with": "x"}), namespace=ns)
    failed = cluster.wait_failed(ns, "one", "ReleaseTooLarge")
    assert (
        "the biggest (before compression): big/templates/dashboards.yaml 1.3 MiB, big/templates/rules.yaml 586 KiB,"
        " big/files/notes.txt 488 KiB"
    ) in failed["status"]["lastFailure"]["message"]
    assert condition_of(failed, "Stalled")["status"] == "True"
    assert cluster.revisions(ns, "one") == [(1, "deployed")]
