"""Shows in `status.lifecycle` which lifecycle a ManagedChart has, with the actions of all profiles. Nothing decides by it."""

from managedchart_operator.api.effective_lifecycle import EffectiveAction, EffectiveLifecycle
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.with_actions import WithActions, why_blocked
from managedchart_operator.reconcile.status_recorder import StatusRecorder


def show_lifecycle(recorder: StatusRecorder, lifecycle: Lifecycle) -> None:
    """Put the lifecycle of a run that begins into the status."""
    shown = _shown(lifecycle)
    if shown != recorder.status.lifecycle:
        recorder.status.lifecycle = shown
        recorder.writer.touch()


def show_changed_lifecycle(recorder: StatusRecorder, lifecycle: Lifecycle) -> None:
    """Put it into the status if it has changed since the last run began.

    An earlier operator wrote none, and that alone changes no status. Nor does a profile that has become invalid: the next run
    will have other actions.
    """
    status, shown = recorder.status, _shown(lifecycle)
    if status.attempt.started_at is None or why_blocked(lifecycle) is not None:
        return
    if status.lifecycle is None and (shown is None or not (shown.profiles or shown.actions)):
        return
    show_lifecycle(recorder, lifecycle)


def _shown(lifecycle: Lifecycle) -> EffectiveLifecycle | None:
    if not isinstance(lifecycle, WithActions):
        return None
    return EffectiveLifecycle(
        name=lifecycle.name,
        profiles=list(lifecycle.profiles),
        actions=[
            EffectiveAction(name=each.action.name, phase=each.action.phase.value, verb=each.verb, origin=each.origin)
            for each in lifecycle.actions
        ],
    )
