"""Turns helm's error text into an error with a reason and a message: one ordered table of patterns.

An error has a reason that alerts can rely on, a sentence that names the object, file or field, and whether a retry may succeed.
The rows match texts of helm 4.3 and of the API servers behind it; for a new helm version the outputs are recorded again
(tests/unit/helm/record_outputs.py), and the tests show what has changed. The first row that matches decides, so rows for texts
that wrap other errors (webhooks, hooks) come before the rows for what they wrap. A message has at most 1,024 characters. A text
that no row matches becomes `HelmFailed` with its last line as the message, and is retried. The caller has redacted the
text. `diagnosis.apply_refusals` makes the same errors of what the API server refuses in the operator's dry run.

An error is transient if a retry may succeed without a change of the spec: an outage, a CRD, namespace or permission that is
created later, a version that is published after the commit that names it. It is terminal if only a change of the spec, the
chart, the values or the operator's settings can help.
"""

import signal
from dataclasses import replace

from managedchart_operator.api_refusals import Match, line_of
from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.chart_rows import CHART_ROWS
from managedchart_operator.helm.errors.cluster_rows import CLUSTER_ROWS
from managedchart_operator.helm.errors.pulled import without_answers
from managedchart_operator.helm.errors.row import Row
from managedchart_operator.helm.errors.text import MAX_MESSAGE, MAX_TEXT, error_part, in_order, names_in
from managedchart_operator.helm.errors.unready import exclusion_hint_in, first_unready
from managedchart_operator.hints import Names, worded
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut_middle, one_line, searchable

TABLE: tuple[Row, ...] = (*CHART_ROWS, *CLUSTER_ROWS)


def classify(text: str, *, exit_code: int, command: str, release: str = "", namespace: str = "") -> HelmError:
    """Return the error of a failed helm command. To be called in a thread.

    `text` is its redacted stderr, with the log lines of --debug; `exit_code` is negative for the signal that ended it;
    `command` is helm's first argument, such as upgrade. `release` and `namespace` are those of the release, for hints.
    """
    error = in_order(searchable(error_part(text)))
    if command == "pull":
        error = without_answers(error)
    if exit_code < 0:
        return _killed(error, exit_code=exit_code, command=command)
    for row in TABLE:
        if (not row.commands or command in row.commands) and (found := row.pattern.search(error)):
            return HelmError(
                one_line(row.message(found), MAX_MESSAGE),
                reason=row.reason,
                transient=row.transient,
                text=cut_middle(error, MAX_TEXT),
                exit_code=exit_code,
                hint=worded(row.hint, found, replace(names_of(found), release=release, release_namespace=namespace))
                or (exclusion_hint_in(error) if row.reason is Reason.TIMEOUT else None),
            )
    lines = [line for line in error.splitlines() if line.strip()]
    why = f": {lines[-1].strip()}" if lines else f" without any error output (exit code {exit_code})"
    return HelmError(
        one_line(f"Helm {command} failed{why}", MAX_MESSAGE),
        reason=Reason.HELM_FAILED,
        transient=True,
        text=cut_middle(error, MAX_TEXT),
        exit_code=exit_code,
    )


def names_of(found: Match) -> Names:
    """Return the names of the object that a match is about."""
    return first_unready(found.string) or names_in(line_of(found))


def blames_storage(error: HelmError, *, command: str) -> bool:
    """Whether helm could not build a stored object, because the cluster does not serve its kind.

    An upgrade also builds what it renders, and its text says which of the two failed; other commands build stored objects only.
    """
    return error.reason is Reason.KIND_MISSING and (command != "upgrade" or "current release manifest" in error.text)


def _killed(error: str, *, exit_code: int, command: str) -> HelmError:
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return HelmError(
        f"Helm {command} was killed by {name} before it finished",
        reason=Reason.HELM_FAILED,
        transient=True,
        text=cut_middle(error, MAX_TEXT),
        exit_code=exit_code,
        hint="Raise the memory limit of the operator's pod, or allow fewer Helm processes at once: it probably ran out."
        if -exit_code == signal.SIGKILL
        else None,
    )
