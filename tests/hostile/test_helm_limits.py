"""S11, S12: templates that take all memory, or never end, cost their own resource only."""

import re

from harness.chart_files import chart_files, contents, package_chart
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, managedchart
from harness.memory import POD_BYTES, sampled_memory
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant
from hostile.test_archives import failure

RETRY = {"limit": 1, "backoff": "1s"}
# As one text, which the kernel does not count when Go makes it, and as many.
MEMORY = {
    "one-text": '{{ $x := repeat 10000 (repeat 1000000 "a") }}a: {{ len $x }}\n',
    "many-texts": '{{ $x := list }}{{ range until 100000 }}{{ $x = append $x (repeat 100000 "a") }}{{ end }}a: {{ len $x }}\n',
}
ENDLESS = "{{ range until 1000000 }}{{ range until 1000000 }}{{ end }}{{ end }}"


def chart(template: str) -> dict[str, str]:
    return contents(package_chart(chart_files(bomb=template)))


def test_templates_cannot_take_the_memory_of_the_pod(
    cluster: Cluster, operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """S11: 10 GB each; helm ends at its limit, alone, and it is not tried again and again."""
    attacker, victim = teams
    with sampled_memory(operator.pid) as peak:
        for name, template in MEMORY.items():
            attacker.create(managedchart(name, chart(template), retry={"limit": 1000, "backoff": "1s"}))
        victim.create(managedchart("small", contents(package_chart())))
        cluster.wait_ready(victim.namespace, "small")
        found = {name: failure(cluster, attacker.namespace, name) for name in MEMORY}
    message = "Helm upgrade needs more than 512 MiB of memory for this chart"
    assert found == dict.fromkeys(MEMORY, ("ChartTooLarge", message))
    print(f"\npeak of operator and children: {peak.bytes >> 20} MiB")
    assert peak.bytes < POD_BYTES
    for name in MEMORY:
        stalled = cluster.get(f"{MANAGEDCHARTS}/namespaces/{attacker.namespace}/managedcharts/{name}") or {}
        assert condition_of(stalled, "Stalled")["status"] == "True"
        assert "MANAGEDCHART_HELM_MEMORY" in stalled["status"]["lastFailure"]["hint"]


def test_templates_that_never_end_do_not_hold_the_slots(
    cluster: Cluster, operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """S12: as many as there are apply slots, with the longest timeout; rendering has a deadline of its own."""
    attacker, victim = teams
    slots = int(re.findall(r"(\d+) of them applying", operator.log)[-1])
    for number in range(slots):
        attacker.create(managedchart(f"endless-{number}", chart(ENDLESS), timeout="24h", retry=RETRY))
    victim.create(managedchart("small", contents(package_chart())))
    cluster.wait_ready(victim.namespace, "small", timeout=90)
    found = {failure(cluster, attacker.namespace, f"endless-{number}", timeout=90) for number in range(slots)}
    assert found == {("ChartTooLarge", "Helm upgrade did not finish rendering within 10 s and was stopped")}
    assert operator.running
