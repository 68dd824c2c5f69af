"""From helm's error text to an error that says what is wrong.

Purpose: the one place where helm's failures are classified. Boundary: the meanings stand in `error_table`, the reading
of the text in `error_text`; redaction is the caller's. Invariant: every text gives an error with a sentence of at most
1,024 characters; what no row knows is `HelmFailed`, is tried again, and carries helm's own last line.
"""

import signal

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.error_table import TABLE
from managedchart_operator.helm.error_text import MAX_TEXT, bounded, error_part, in_order, shortened
from managedchart_operator.reasons import Reason


def classify(text: str, *, exit_code: int, command: str) -> HelmError:
    """Tell what a failed helm command means.

    `text` is its stderr, with the log lines of --debug; `exit_code` is negative for the signal that ended it; `command`
    is helm's first argument, like upgrade.
    """
    error = in_order(error_part(text))
    if exit_code < 0:
        return _killed(error, exit_code=exit_code, command=command)
    for row in TABLE:
        if row.commands and command not in row.commands:
            continue
        if found := row.pattern.search(error):
            return HelmError(
                shortened(row.message(found)),
                reason=row.reason,
                transient=row.transient,
                text=bounded(error, MAX_TEXT),
                exit_code=exit_code,
                hint=row.hint,
            )
    lines = [line for line in error.splitlines() if line.strip()]
    told = f"helm {command} failed: {lines[-1].strip()}" if lines else f"helm {command} failed without a word"
    return HelmError(
        shortened(f"{told} (exit code {exit_code})" if not lines else told),
        reason=Reason.HELM_FAILED,
        transient=True,
        text=bounded(error, MAX_TEXT),
        exit_code=exit_code,
    )


def blames_storage(error: HelmError, *, command: str) -> bool:
    """Whether helm could not build an object that it has stored, of a kind that the cluster does not serve.

    An upgrade builds what it renders first, so it says which one it was; the others build stored objects only.
    """
    return error.reason is Reason.KIND_MISSING and (command != "upgrade" or "current release manifest" in error.text)


def _killed(error: str, *, exit_code: int, command: str) -> HelmError:
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return HelmError(
        f"helm {command} was killed by {name} before it had finished",
        reason=Reason.HELM_FAILED,
        transient=True,
        text=bounded(error, MAX_TEXT),
        exit_code=exit_code,
        hint="Most often the operator's pod ran out of memory: raise its limit or allow fewer helm processes at once."
        if -exit_code == signal.SIGKILL
        else None,
    )
