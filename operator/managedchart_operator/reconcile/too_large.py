"""What to take out of a release that is too large for its Secret.

Purpose: helm says only that it does not fit; a dry run shows what it consists of. Boundary: asks helm once; the sizes are
computed by `helm.release_size`. Invariants: never raises but for a cancel, so that helm's own error stays the error of the
run; ends within the time that all evidence has.
"""

import asyncio
from collections.abc import Awaitable, Callable

from managedchart_operator.diagnosis.collector import COLLECT_SECONDS, Findings
from managedchart_operator.errors import OperatorError
from managedchart_operator.helm.release_size import name_biggest
from managedchart_operator.helm.runner import HelmOutput


async def what_is_biggest(
    render: Callable[[], Awaitable[HelmOutput]], *, redact: Callable[[str], str], seconds: float = COLLECT_SECONDS
) -> Findings:
    """Return findings that name the biggest parts of what `render` renders, or why they cannot be named."""
    try:
        async with asyncio.timeout(seconds):
            output = await render()
            # Megabytes of JSON are not for the event loop.
            return Findings(detail=redact(await asyncio.to_thread(name_biggest, output.stdout)))
    except TimeoutError:
        missing = f"helm's dry run did not end within {seconds:.0f} s"
    except OperatorError as error:
        missing = error.message
    except ValueError as error:
        missing = f"helm's dry run cannot be read: {error}"
    return Findings(incomplete=redact(f"what is biggest in the release could not be found out: {missing}"))
