"""Finds in one pass over a chart what the operator has to know of it before helm reads it.

A chart is a folder, whose files are added one by one, or an archive; packaged subcharts are searched with it, within one budget
for all. Each question has a module of its own, which decides about one file: `metadata`, `late_hooks`, `schema_references` and
`crd_folders`. In doubt, for a packaged subchart that cannot be read, a chart has late hooks and Jobs with a TTL, its schemas
are refused, and helm says which CRDs it has; what is wrong with the subchart, helm reports.
"""

from dataclasses import dataclass, field

from managedchart_operator.charts.archive import MAX_NESTED, SUBCHART, ArchiveError, Budget, BudgetError, files_in
from managedchart_operator.charts.crd_folders import CrdFolders, folders_in
from managedchart_operator.charts.late_hooks import (
    is_rendered,
    template_has_ttl_jobs,
    text_has_late_hooks,
    text_leaves_out,
)
from managedchart_operator.charts.metadata import invalid
from managedchart_operator.charts.schema_references import UNSEARCHED, References, references_in


@dataclass(slots=True)
class ChartSearch:
    """What was found so far. `origin` names the chart in errors; the fields mean what they mean in `local.ChartContent`."""

    origin: str
    chart_yaml: bytes | None = None
    late_hooks: bool = False
    ttl_jobs: bool = False
    leaves_out: bool = False
    references: References = field(default_factory=References)
    crds: CrdFolders = CrdFolders.NONE
    budget: Budget = field(default_factory=Budget)

    def add_archive(self, data: bytes) -> None:
        """Search a packaged chart. Raises ChartError (CHART_INVALID)."""
        try:
            for name, content in files_in(data, self.budget):
                self._add(name, content)
        except ArchiveError as error:
            raise invalid(f"{self.origin}: {error}") from error

    def add(self, name: str, data: bytes) -> None:
        """Search a file of a chart by its path in it. Raises ChartError (CHART_INVALID)."""
        try:
            self.budget.take(len(data))
            self._add(name, data)
        except BudgetError as error:
            raise invalid(f"{self.origin}: {error}") from error

    def _add(self, name: str, data: bytes, *, above: str = "", depth: int = 0) -> None:
        """Search a file; `above` is the path of the packaged subchart that it is in, and `depth` how many contain it."""
        if name == "Chart.yaml" and not depth and self.chart_yaml is None:
            self.chart_yaml = data
        if SUBCHART.search(name):
            self._add_subchart(data, f"{above}{name}/", depth=depth + 1)
            return
        if is_rendered(name):
            self.late_hooks = self.late_hooks or text_has_late_hooks(data)
            self.ttl_jobs = self.ttl_jobs or template_has_ttl_jobs(data)
            self.leaves_out = self.leaves_out or text_leaves_out(data)
        self.references |= references_in(f"{above}{name}", data)
        if found := folders_in(name):
            self.crds = max(self.crds, CrdFolders.SUBCHARTS if depth else found)

    def _add_subchart(self, data: bytes, path: str, *, depth: int) -> None:
        try:
            if depth > MAX_NESTED:
                raise ArchiveError("it is nested too deep")
            for name, content in files_in(data, self.budget):
                self._add(name, content, above=path, depth=depth)
        except BudgetError:
            raise
        except ArchiveError:
            # `leaves_out` matters with late hooks only, and in doubt these had better run after the wait.
            self.late_hooks = self.ttl_jobs = True
            self.references |= References(f"its {path.rstrip('/')} {UNSEARCHED}")
            self.crds = CrdFolders.SUBCHARTS
