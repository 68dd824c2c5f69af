"""Turns what the API server refused in a dry run into the error that helm's real run would end with.

A dry run is a server-side apply that is not carried out (`Objects.try_apply`). The table of `helm.errors` gives the failure the
same reason and message as if helm had met it.
"""

from collections.abc import Callable, Sequence
from itertools import starmap

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.classify import TABLE
from managedchart_operator.helm.errors.text import MAX_MESSAGE, MAX_TEXT, more_refused
from managedchart_operator.hints import Names, worded
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut_middle, one_line, searchable

Refusal = tuple[ObjectRef, str]
"""An object, and the API server's answer on why it cannot be applied."""


def refused(refusals: Sequence[Refusal], *, redact: Callable[[str], str] = str) -> HelmError:
    """Return the error of an upgrade with these refusals, at least one. The answers are redacted before they are cut.

    The first row that matches any of the answers decides, as for helm's text. The error's `text` has helm's wording, for people
    who compare the two; nothing parses it.
    """
    answers = [(ref, searchable(redact(answer))) for ref, answer in refusals]
    text = cut_middle("\n".join(starmap(line_of_helm, answers)), MAX_TEXT)
    further = more_refused(len(answers) - 1)
    for row in (row for row in TABLE if not row.commands or "upgrade" in row.commands):
        for ref, answer in answers:
            if found := row.pattern.search(answer):
                message = row.refusal.message(found, str(ref)) + further if row.refusal else row.message(found)
                return HelmError(
                    one_line(message, MAX_MESSAGE),
                    reason=row.reason,
                    transient=row.transient,
                    text=text,
                    exit_code=1,
                    hint=worded(row.hint, found, Names(ref.kind, ref.name, ref.namespace)),
                )
    message = one_line(f"The API server refuses {answers[0][0]}: {answers[0][1]}{further}", MAX_MESSAGE)
    return HelmError(message, reason=Reason.HELM_FAILED, transient=True, text=text)


def line_of_helm(ref: ObjectRef, answer: str) -> str:
    """Return the line that helm would write about a refusal."""
    version = ref.api_version if "/" in ref.api_version else f"/{ref.api_version}"
    what = (
        "conflict occurred while applying" if answer.startswith("Apply failed with") else "server-side apply failed for"
    )
    return f"{what} object {ref.namespace}/{ref.name} {version}, Kind={ref.kind}: {answer}"
