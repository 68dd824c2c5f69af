"""Turns what the API server refused in a dry run into the error that helm's real run would end with.

A dry run is a server-side apply that is not carried out (`Objects.try_apply`). `helm.errors.classify` gives the failure the
same reason and message as if helm had met it; here the values of Secrets are masked.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors import classify
from managedchart_operator.helm.errors.classify import Refused
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.redaction import Redactor, secrets_in_manifest

Refusal = tuple[ObjectRef, str]
"""An object, and the API server's answer on why it cannot be applied."""


def refused(refusals: Sequence[Refusal], *, rendered: Iterable[Mapping[str, Any]]) -> HelmError:
    """Return the error of an upgrade with these refusals; values of the rendered Secrets are masked."""
    redact = Redactor(secrets_in_manifest(rendered))
    return classify.refused(
        [Refused(ref.api_version, ref.kind, ref.namespace, ref.name, redact(answer)) for ref, answer in refusals]
    )
