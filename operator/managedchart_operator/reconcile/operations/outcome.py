"""The result of an operation that did not fail."""

from dataclasses import dataclass

from managedchart_operator.kube.objects import ObjectRef

RELEASE_LEFT = "ReleaseLeft"
"""Reason of the Event that says what of a release stays in the cluster, and why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done; `message` is for the status and for logs."""

    message: str
    left: str = ""
    """Why the release was left although an uninstall was requested."""
    spared: tuple[ObjectRef, ...] = ()
    """The objects that were left because they existed before the release."""
    changed: bool = True
    """Whether anything was changed in the cluster."""
