"""The chaos test in a short form; `make chaos` runs the long one, with any seed."""

from pathlib import Path

import pytest
from pytest_kind import KindCluster

from chaos.run import Chaos
from conftest import DEVCLUSTER


# Some twenty seconds by itself; on a busy machine the end may take long.
@pytest.mark.timeout(360)
def test_kills_and_changes_at_random_moments_leave_everything_as_the_specs_ask(
    kind_cluster: KindCluster, helm_binary: str
) -> None:
    """Always the same actions: a change is not refused because of a seed that nobody has tried before."""
    if Path(kind_cluster.kind_path).resolve() != DEVCLUSTER:
        pytest.skip("only the devcluster can kill its API server")
    chaos = Chaos(
        seed=81,
        number=8,
        seconds=10,
        settle=150,
        kind=DEVCLUSTER,
        kubectl=Path(kind_cluster.kubectl_path),
        helm=helm_binary,
    )
    assert chaos.run(print) == []
