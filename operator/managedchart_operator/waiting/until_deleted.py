"""Waits until the objects of a release are deleted.

An uninstall is over when none of its objects is being deleted any more; until then the release must not be forgotten. So this
covers all objects: one that cannot be read does not count as deleted. `blockers` names the objects that block an uninstall, and
`dependents` finds out whether objects have dependents.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason

# Objects without finalizers are deleted within milliseconds of their last pod.
LOOK_SECONDS = 0.3


async def until_deleted(objects: Objects, refs: Iterable[ObjectRef], seconds: float) -> bool:
    """Wait until none of the objects is being deleted any more; False if some are after so many seconds.

    Asks again if the API server does not answer. Raises KubeError if it refuses to.
    """
    left = list(refs)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            # They are of any kinds: a watch on each would cost more than a few requests.
            while left:
                try:
                    left = await being_deleted(objects, left)
                except KubeError as error:
                    if error.reason is not Reason.API_UNAVAILABLE:
                        raise
                if left:
                    await asyncio.sleep(LOOK_SECONDS)
    return not left


async def being_deleted(objects: Objects, refs: Iterable[ObjectRef]) -> list[ObjectRef]:
    """Return all of the objects that exist and are marked for deletion. Raises KubeError."""
    asked = list(refs)
    found = await asyncio.gather(*map(objects.get, asked))
    return [ref for ref, body in zip(asked, found, strict=True) if body and body["metadata"].get("deletionTimestamp")]
