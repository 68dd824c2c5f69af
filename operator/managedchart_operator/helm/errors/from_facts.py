"""Makes errors from facts that the operator has found without helm; `classify` makes them from helm's text.

The operator's own wait knows which objects are not ready, and its dry run knows which ones the API server refuses. Such an
error has the reason and the message that helm's error would have. Its `text` has helm's wording, for people who compare the
two; nothing parses it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.classify import TABLE
from managedchart_operator.helm.errors.row import Row
from managedchart_operator.helm.errors.text import MAX_MESSAGE, MAX_TEXT, more_refused
from managedchart_operator.helm.errors.unready import JOB_FAILED, NEVER_READY, TIMED_OUT, Unready
from managedchart_operator.helm.errors.wording import Match
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut_middle, one_line


def not_ready(objects: Sequence[Unready], *, timed_out: bool) -> HelmError:
    """Return the error of a wait that ended with objects that are not ready; `timed_out` says whether the time was up."""
    failure = TIMED_OUT if timed_out else NEVER_READY
    if any(each.is_failed_job for each in objects):
        failure = JOB_FAILED
    lines = [
        f"resource {each.kind}/{each.namespace}/{each.name} not ready. status: {each.status}, message: {each.message}"
        for each in objects
    ]
    if timed_out:
        lines.append("context deadline exceeded")
    return HelmError(
        one_line(failure.message(objects), MAX_MESSAGE),
        reason=failure.reason,
        transient=True,
        text=cut_middle("\n".join(lines).strip(), MAX_TEXT),
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that the API server refuses to apply, and its answer."""

    api_version: str
    kind: str
    namespace: str
    """Empty for cluster-wide kinds."""
    name: str
    answer: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def line(self) -> str:
        """The line that helm would write about it."""
        version = self.api_version if "/" in self.api_version else f"/{self.api_version}"
        what = f"{self.namespace}/{self.name} {version}, Kind={self.kind}"
        if self.answer.startswith("Apply failed with"):
            return f"conflict occurred while applying object {what}: {self.answer}"
        return f"server-side apply failed for object {what}: {self.answer}"


def refused(objects: Sequence[Refused]) -> HelmError:
    """Return the error of an upgrade of which the API server refuses these objects, at least one.

    The first row of the table that matches any of the answers decides, as for helm's text.
    """
    text = cut_middle("\n".join(each.line for each in objects), MAX_TEXT)
    more = more_refused(len(objects) - 1)
    if (match := next(_matches(objects, more=more), None)) is not None:
        row, found = match
        return HelmError(
            one_line(row.message(found), MAX_MESSAGE),
            reason=row.reason,
            transient=row.transient,
            text=text,
            hint=row.hint,
        )
    return HelmError(
        one_line(f"The API server refuses {objects[0]}: {objects[0].answer}{more}", MAX_MESSAGE),
        reason=Reason.HELM_FAILED,
        transient=True,
        text=text,
    )


def _matches(objects: Sequence[Refused], *, more: str) -> Iterator[tuple[Row, Match]]:
    for row in TABLE:
        if row.commands and "upgrade" not in row.commands:
            continue
        for each in objects:
            if found := row.pattern.search(each.answer):
                yield row, Match(found, subject=str(each), hook="", more=more)
