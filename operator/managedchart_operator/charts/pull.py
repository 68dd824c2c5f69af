"""Fetches a packaged chart from a repository or registry with helm.

One call is one download; `store` caches and identifies the chart. Nothing is applied, so it needs no apply slot.
"""

from pathlib import Path

from managedchart_operator.api.spec import ChartSource
from managedchart_operator.helm import command
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.runner import HelmRunner

# A pull is one download; a chart is at most a few MiB.
PULL_SECONDS = 120.0


async def pull(helm: HelmRunner, source: ChartSource, destination: Path) -> None:
    """Fetch a packaged chart from a repository or registry into a folder. Raises HelmError."""
    reference = source.oci or source.name or ""
    arguments = command.pull(
        reference,
        destination=destination,
        repository=source.repository,
        version=source.version,
        plain_http=bool(source.plain_http),
    )
    output = await helm.run(arguments, deadline=PULL_SECONDS, applies=False)
    if output.exit_code != 0:
        raise classify(output.stderr, exit_code=output.exit_code, command="pull")
