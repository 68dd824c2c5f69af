"""Names the largest parts of a release that is too large for its Secret.

helm reports only that it does not fit; a dry run shows what it consists of, and `helm.release_size` computes the sizes. This
raises nothing except when cancelled, so that helm's own error stays the error of the run, and it ends within the time that all
evidence has.
"""

import asyncio
from collections.abc import Awaitable, Callable

from managedchart_operator.diagnosis.collector import COLLECT_SECONDS, Findings
from managedchart_operator.errors import OperatorError
from managedchart_operator.helm.release_size import name_biggest
from managedchart_operator.helm.runner import HelmOutput


async def largest_parts(
    render: Callable[[], Awaitable[HelmOutput]], *, redact: Callable[[str], str], seconds: float = COLLECT_SECONDS
) -> Findings:
    """Return findings that name the largest parts of what `render` renders, or say why they are unknown."""
    try:
        async with asyncio.timeout(seconds):
            output = await render()
            # Parsing megabytes of JSON would block the event loop.
            return Findings(detail=redact(await asyncio.to_thread(name_biggest, output.stdout)))
    except TimeoutError:
        missing = f"helm's dry run did not end within {seconds:.0f} s"
    except OperatorError as error:
        missing = error.message
    except ValueError as error:
        missing = f"helm's dry run cannot be read: {error}"
    return Findings(incomplete=redact(f"Could not determine the largest parts of the release: {missing}"))
