"""What actions have to know about the revisions of a run, equal before and after exec, and after a restart of the operator."""

from dataclasses import dataclass
from typing import Any

from managedchart_operator.charts.files import objects_in
from managedchart_operator.charts.reading import read_chart
from managedchart_operator.helm.storage import DEPLOYED, SUPERSEDED, Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.release_run import ReleaseRun


@dataclass(slots=True)
class RevisionFacts:
    """Implements `lifecycle.context.RunFacts`."""

    run: ReleaseRun
    plan: Run
    _replaced: tuple[str | None] | None = None
    """The answer of `replaced_version`: later the revision may be deleted."""

    @property
    def stamp(self) -> str:
        """The random word of the attempt that made the newest revision, or its number if the operator did not make it."""
        return _stamp_of(self.run.newest)

    @property
    def replaced_stamp(self) -> str:
        """The same of the newest revision that was deployed; helm keeps it deployed until its next one has succeeded."""
        good = [each for each in self.run.storage.revisions if each.status in (DEPLOYED, SUPERSEDED)]
        return _stamp_of(good[0] if good else None)

    async def replaced_version(self) -> str | None:
        """Return the version of the chart that was deployed before this run's revision. Raises KubeError, HelmError."""
        if self._replaced is None:
            resumed = self.plan.operation is Operation.RESUME
            good = [
                each
                for place, each in enumerate(await self.run.storage.look())
                if each.status in (DEPLOYED, SUPERSEDED)
                and not each.is_of(self.run.attempt)
                and not (resumed and place == 0)
            ]
            stored = await self.run.storage.read(good[0]) if good else None
            self._replaced = (stored.chart_version if stored else None,)
        return self._replaced[0]

    async def chart_objects(self, pattern: str, *, most_bytes: int, most_objects: int) -> list[dict[str, Any]]:
        """Return the objects in the chart's files that a pattern matches. Raises ChartError, HelmError."""
        chart = await self.run.sources.fetch()
        return await read_chart(
            objects_in, chart.path, pattern, most_bytes, most_objects, origin=f"The chart {chart.name}"
        )


def _stamp_of(revision: Revision | None) -> str:
    if revision is None:
        return ""
    # Another Helm operation copies the word to its own revision.
    own = revision.attempt is not None and revision.is_of(revision.attempt)
    return revision.attempt or "" if own else str(revision.number)
