"""Turns what the API server refused in a dry run into the error that helm's real run would end with.

A dry run is a server-side apply that is not carried out (`Objects.try_apply`). Its refusals are worded as helm words them, so
that a failure has one reason and one message, whether it was found before the run or in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.redaction import Redactor, secrets_in_manifest

Refusal = tuple[ObjectRef, str]
"""An object, and the API server's own sentence on why it cannot be applied."""


def refused(refusals: Sequence[Refusal], *, rendered: Iterable[Mapping[str, Any]]) -> HelmError:
    """Return the error of an upgrade with these refusals; values of the rendered Secrets are masked."""
    text = "\n".join(_as_helm_says_it(ref, answer) for ref, answer in refusals)
    return classify(f"Error: {Redactor(secrets_in_manifest(rendered))(text)}", exit_code=1, command="upgrade")


def _as_helm_says_it(ref: ObjectRef, answer: str) -> str:
    version = ref.api_version if "/" in ref.api_version else f"/{ref.api_version}"
    what = f"{ref.namespace}/{ref.name} {version}, Kind={ref.kind}"
    if answer.startswith("Apply failed with"):
        return f"conflict occurred while applying object {what}: {answer}"
    return f"server-side apply failed for object {what}: {answer}"
