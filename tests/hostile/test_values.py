"""S8, S18: values that expand, are named often, or are nested deep, are refused before they cost anything."""

import itertools
import json
from pathlib import Path
from typing import Any

from conftest import CHARTS
from harness.cluster import MANAGEDCHARTS, managedchart
from harness.loop_lag import MAX_SECONDS
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant

WEB = {"path": str(CHARTS / "web")}
MORE = "the values of all sources together have more than"


def test_values_that_expand_are_refused(
    operator: OperatorProcess, teams: tuple[Tenant, Tenant], chart_root: Path
) -> None:
    """S8: some kilobytes of a spec that were seconds of the event loop and gigabytes of helm; others' charts go on."""
    attacker, victim = teams
    files = []
    for number in range(64):
        files.append(chart_root / f"large-{number}.yaml")
        files[-1].write_text("b: [" + "[]," * 110_000 + "]\n")
    attacks: dict[str, dict[str, Any]] = {
        "indexes": {"set": [{"key": f"k{number}" + "[65535]" * 96, "value": "x"} for number in range(4)]},
        "one-file": {"valuesFiles": [str(files[0])] * 64},
        "files": {"valuesFiles": [str(file) for file in files]},
        "aliases": {
            "yamlFilesContent": [
                {"filename": f"{number}", "yamlContent": f"a: &a {'x' * 20_000}\nb: [{'*a,' * 190}]\n"}
                for number in range(4)
            ]
        },
        "lists": {
            "yamlFilesContent": [
                {"filename": f"{number}", "yamlContent": "b: [" + "[]," * 60_000 + "]\n"} for number in range(4)
            ]
        },
    }
    # The first chart ever loads what the operator needs from the API server and from its own disk.
    victim.create(managedchart("first", WEB, wait=False))
    attacker.cluster.wait_ready(victim.namespace, "first")
    with operator.watching() as delays:
        for name, spec in attacks.items():
            attacker.create(managedchart(name, WEB, retry={"limit": 0}, **spec))
        victim.create(managedchart("web", WEB, wait=False))
        cluster = attacker.cluster
        messages = {name: _message(cluster.wait_failed(attacker.namespace, name)) for name in attacks}
        cluster.wait_ready(victim.namespace, "web")
    assert messages == {
        "indexes": f"spec.set[0]: {MORE} 100000 values",
        "one-file": f"values file {files[0]}: {MORE} 100000 values",
        "files": f"values file {files[0]}: {MORE} 100000 values",
        "aliases": f"spec.yamlFilesContent[1] (1): {MORE} 4 MiB with what aliases repeat",
        "lists": f"spec.yamlFilesContent[1] (1): {MORE} 100000 values",
    }
    assert delays.longest <= MAX_SECONDS, delays


def test_deep_values_hold_up_no_deletion(operator: OperatorProcess, teams: tuple[Tenant, Tenant]) -> None:
    """S18: whatever the action is, up to 990 levels, which end Python's and pydantic's readers and writers."""
    attacker, _ = teams
    cluster, where = attacker.cluster, attacker.namespace
    names = []
    for depth, action in itertools.product((256, 990), ("Deploy", "Skip", "Destroy")):
        names.append(f"{action.lower()}-{depth}")
        shallow = json.dumps(managedchart(names[-1], WEB, action=action, values={"a": 0}))
        text = shallow.replace('{"a": 0}', '{"a":' * depth + "1" + "}" * depth)
        path = f"{MANAGEDCHARTS}/namespaces/{where}/managedcharts"
        cluster.create_text(path, text, as_user=attacker.user)
    for name in names:
        cluster.wait_event(where, name, "InvalidSpec")
        attacker.delete(name)
    # By kubectl: what there is meanwhile Python cannot read either.
    cluster.kubectl("wait", "--for=delete", f"--namespace={where}", "managedcharts", *names, "--timeout=60s")
    assert operator.running


def _message(chart: dict[str, Any]) -> str:
    return str(chart["status"]["lastFailure"]["message"])
