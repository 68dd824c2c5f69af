"""S14, S15: what a tenant names is not called from the operator's pod if it is internal, and no answer comes out.

The attacker's servers are on 127.0.0.1, which the tests open, written so that Go takes it for a name and not for this machine.
127.0.0.2 stands for an internal service. More of this, by helm alone, is in tests/unit/egress.
"""

import json
from contextlib import ExitStack

from harness.chart_files import chart_files, contents, package_chart
from harness.cluster import Cluster, managedchart
from harness.egress import SECRET, Server, asks_for_token, document, indexes, redirects, trap
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant

RETRY = {"limit": 1000, "backoff": "1s", "maxBackoff": "1s"}


def test_nothing_internal_is_called_and_nothing_comes_out(
    cluster: Cluster, operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """S14, S15: by redirect, index and login server of a chart's source, and by a chart's schema; others' charts go on."""
    attacker, victim = teams
    with ExitStack() as stack:
        internal = stack.enter_context(trap())
        inside = f"http://127.2:{internal.port}/latest/credentials"
        redirecting, indexing, login, foreign, leaking = [
            stack.enter_context(Server(answer))
            for answer in (
                redirects(inside),
                indexes(f"{inside}/web-1.0.0.tgz"),
                asks_for_token(inside),
                document({"$ref": "file:///etc/passwd"}),
                # An allowed server, which stands for one that leads to an internal page.
                lambda _: (200, {}, f'apiVersion: v1\nentries: "{SECRET}"\n'.encode()),
            )
        ]
        attacks = {
            "redirect": repository(redirecting),
            "index": repository(indexing),
            "realm": {"oci": f"oci://127.1:{login.port}/x/web", "plainHTTP": True, "version": "1.0.0"},
            "page": repository(leaking),
            "spec": {"repository": inside, "name": "web"},
            "schema": with_schema(inside),
            "schema-redirect": with_schema(f"http://127.1:{redirecting.port}/x.json"),
            "schema-file": with_schema(f"http://127.1:{foreign.port}/x.json"),
        }
        reasons = {
            "redirect": "ChartSourceNotAllowed",
            "index": "ChartSourceNotAllowed",
            "realm": "ChartSourceNotAllowed",
            "page": "ChartSourceUnavailable",
            "spec": "ChartSourceNotAllowed",
            "schema": "ValuesSchemaRemote",
            "schema-redirect": "ValuesSchemaRemote",
            "schema-file": "ChartInvalid",
        }
        assert reasons.keys() == attacks.keys()
        for name, source in attacks.items():
            attacker.create(managedchart(name, source, retry=RETRY))
        victim.create(managedchart("small", contents(package_chart())))
        for name, reason in reasons.items():
            refused(cluster, attacker.namespace, name, reason)
        cluster.wait_ready(victim.namespace, "small")
        assert all(server.requests for server in (redirecting, indexing, login, foreign, leaking)), (
            "an attack did nothing"
        )
        assert internal.requests == []
        assert not any("Authorization" in headers for _, _, headers in login.requests)
        # They follow the status.
        events = [cluster.wait_event(attacker.namespace, name, reason) for name, reason in reasons.items()]
        assert SECRET not in json.dumps(events) + operator.log
    assert operator.running


def repository(server: Server) -> dict[str, str]:
    return {"repository": f"http://127.1:{server.port}", "name": "web"}


def with_schema(address: str) -> dict[str, str]:
    schema = json.dumps({"properties": {"a": {"$ref": address}}})
    return contents(package_chart({**chart_files(), "values.schema.json": schema, "values.yaml": "a: x\n"}))


def refused(cluster: Cluster, namespace: str, name: str, reason: str) -> None:
    """Wait until a ManagedChart has failed for a reason; nothing of what a server answered is in its status.

    On a busy machine the deadline of a fetch may come first, and the reason at the next try.
    """
    status = cluster.wait_failed(namespace, name, reason)["status"]
    assert SECRET not in json.dumps(status)
    assert "root:" not in json.dumps(status)
