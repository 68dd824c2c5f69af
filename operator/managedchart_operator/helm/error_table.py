"""What helm's errors mean: one ordered table from text to reason.

Purpose: a failure is named by a word that alerts can rely on, told in a sentence that names the object, file or field,
and known to be worth another attempt or not. Boundary: texts of helm 4.3 and of the API servers behind it; a new helm
version is recorded anew (tests/unit/helm/record_outputs.py), and the tests show what has changed. Invariant: the first
row that matches decides, so what wraps other errors (webhooks, hooks) stands above what it wraps.

Transient (another attempt may succeed without a change of the spec) is what heals by itself or by others: outages, a
CRD or namespace or permission that arrives later, a version that is published after the commit that names it. Terminal
is what only a change of the spec, the chart, the values or the operator's settings can heal.
"""

from managedchart_operator.helm.error_row import Row
from managedchart_operator.helm.error_rows_chart import CHART_ROWS
from managedchart_operator.helm.error_rows_cluster import CLUSTER_ROWS

TABLE: tuple[Row, ...] = (*CHART_ROWS, *CLUSTER_ROWS)
