"""Attacks of one team on the operator and on another team, run with the teams' identities on a real API server."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant, tenants

_numbers = itertools.count(1)


@pytest.fixture
def teams(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[Tenant, Tenant]]:
    """The attacker and the victim."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    with tenants(cluster, f"{name}-{next(_numbers)}") as found:
        yield found


@pytest.fixture(scope="module")
def strict_operator(
    operator: OperatorProcess, operator_kubeconfig: Path, helm_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """In the place of the shared operator: one that asks for consent, has a chart root for each namespace, and few slots.

    The chart roots are `shared` and one for each namespace in the folder of `roots`.
    """
    folder = tmp_path_factory.mktemp("strict")
    operator.stop()
    strict = OperatorProcess(
        kubeconfig=operator_kubeconfig,
        folder=folder,
        helm=helm_binary,
        chart_roots=[folder / "shared", folder / "{namespace}"],
        MANAGEDCHART_CROSS_NAMESPACE="Consent",
        MANAGEDCHART_APPLY_SLOTS="4",
        MANAGEDCHART_HELM_PROCESSES="12",
        # A consent is asked for every second.
        MANAGEDCHART_PROBE_SECONDS="20",
    )
    with strict:
        yield strict
    operator.start()
