"""Lists one collection, then watches it: what client-go calls a reflector, without a store.

It is for the few collections that kopf does not watch. After a broken connection or an expired resourceVersion the collection
is listed again and reported as a whole, so no change is lost.
Source: Kubernetes documentation, "Efficient detection of changes".
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from managedchart_operator.errors import UNREADABLE, KubeError
from managedchart_operator.kube.answers import unreadable
from managedchart_operator.kube.client import JSON_TYPE, METADATA, METADATA_LIST, KubeClient
from managedchart_operator.reasons import Reason

logger = logging.getLogger(__name__)

# The server ends a watch after this time, so that a connection that died silently is noticed; bookmarks come each minute.
WATCH_SECONDS = 300
SILENCE_SECONDS = 90
# How often a collection is listed that may not be watched: pods take longer to start, and one list costs little.
POLL_SECONDS = 5.0
# Delays between retries while the API server cannot be reached: short at first, never more than a few seconds.
_RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
# What Kubernetes itself notes in an annotation is shorter; all of them together may have 256 KiB.
_ANNOTATION = 1024


Keep: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns the parts of an object that are needed."""


def as_it_is(item: dict[str, Any]) -> dict[str, Any]:
    """Keep a whole object."""
    return item


class Change(NamedTuple):
    """What happened to an object. `Listed` carries the whole collection (each item an object) after a (re)list."""

    type: Literal["Listed", "ADDED", "MODIFIED", "DELETED"]
    object: dict[str, Any]


@dataclass(slots=True)
class Polling:
    """Whether a collection is listed at an interval because it cannot be watched."""

    watches: bool = True
    """Whether to try a watch at all."""
    refused: dict[str, KubeError] = field(default_factory=dict)
    """By path: why there is no watch, a missing permission. It is tried again with each list."""


async def _list(
    client: KubeClient, path: str, selectors: dict[str, str], *, accept: str, keep: Keep, most: int | None
) -> tuple[list[dict[str, Any]], str]:
    """Return what is to be kept of a collection, and its resourceVersion; read in pages. Raises KubeError."""
    items: deque[dict[str, Any]] = deque(maxlen=most)
    version = ""
    with _readable(path):
        async for page in client.pages(path, query=selectors, accept=accept):
            for item in page.get("items") or ():
                _forget_notes(item["metadata"], all=accept == METADATA_LIST)
                items.append(keep(item))
            version = page["metadata"]["resourceVersion"]
    return list(items), version


def _forget_notes(metadata: dict[str, Any], *, all: bool) -> None:  # noqa: A002
    """Remove what nobody reads and may be large: managedFields, and long annotations or `all` of them."""
    metadata.pop("managedFields", None)
    if all:
        metadata.pop("annotations", None)
    elif notes := metadata.get("annotations"):
        metadata["annotations"] = {name: text for name, text in notes.items() if len(text) <= _ANNOTATION}


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn an answer that is not of the API's form into a transient KubeError, after which the collection is listed again."""
    try:
        yield
    except UNREADABLE as error:
        raise unreadable("WATCH", path, type(error).__name__) from error


async def changes(
    client: KubeClient,
    path: str,
    *,
    labels: str = "",
    fields: str = "",
    since: int = 0,
    metadata_only: bool = False,
    patient: bool = True,
    polls: Polling | None = None,
    keep: Keep = as_it_is,
    most: int | None = None,
) -> AsyncIterator[Change]:
    """Yield one `Listed` change, then each change, without end; lists again when the watch is lost.

    With `polls`, a collection that may be listed and not watched is listed every POLL_SECONDS instead.

    The objects have no managedFields and no long annotations; with `metadata_only` they have no annotations at all. Those of a
    list, which are all held at once, are what `keep` returns, and no more than the last `most`: whoever may create objects in
    the collection may make them so that a megabyte of JSON takes twenty.
    With `since`, the resourceVersion of something that was read, it begins with the changes after that, and lists only if the
    API server no longer remembers them.
    Raises KubeError only if a retry cannot succeed (no such collection); without `patient` also for a missing permission.
    """
    selectors = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
    accept, accept_list = (METADATA, METADATA_LIST) if metadata_only else (JSON_TYPE, JSON_TYPE)
    version, retries = str(since or ""), _Retries(path, patient, polls or Polling(), polls is not None)
    while True:
        listed = False
        try:
            if not version or not retries.polls.watches:
                items, version = await _list(client, path, selectors, accept=accept_list, keep=keep, most=most)
                yield Change("Listed", {"items": items, "metadata": {"resourceVersion": version}})
                del items
                listed = True
            if not retries.polls.watches:
                await asyncio.sleep(POLL_SECONDS)
                continue
            version_before = version
            query = {
                **selectors,
                "resourceVersion": version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(WATCH_SECONDS),
            }
            async for event in client.stream(path, query=query, accept=accept, timeout=SILENCE_SECONDS):
                retries.succeeded()
                with _readable(path):
                    version = event["object"]["metadata"]["resourceVersion"]
                    _forget_notes(event["object"]["metadata"], all=metadata_only)
                if event["type"] != "BOOKMARK":
                    yield Change(event["type"], event["object"])
            retries.succeeded()
            if version == version_before:
                # Ended without an event: the server is stopping or overloaded, so pause before the next watch.
                await asyncio.sleep(_RETRY_SECONDS[0])
        except KubeError as error:
            if not error.transient and error.status != 410:
                raise
            await retries.after(error, listed=listed)
            version = ""


@dataclass
class _Retries:
    """The failures in a row of one collection: a list that is followed by a refused watch does not end the row."""

    path: str
    patient: bool
    polls: Polling
    lists_instead: bool
    """Whether a refused watch is no failure, since the collection is listed at an interval."""
    failures: int = 0
    forbidden: int = 0

    def succeeded(self) -> None:
        self.failures = self.forbidden = 0
        self.polls.refused.pop(self.path, None)

    async def after(self, error: KubeError, *, listed: bool) -> None:
        """Wait, longer each time; without patience raise a missing permission.

        `listed` says that the collection was listed just before, so that only the watch was refused.
        """
        if listed and self.lists_instead and error.reason is Reason.FORBIDDEN:
            self.polls.refused[self.path] = error
            await asyncio.sleep(POLL_SECONDS)
            return
        # An API server that has just started refuses everybody for a moment, also after a long outage.
        self.forbidden = self.forbidden + 1 if error.reason is Reason.FORBIDDEN else 0
        if self.forbidden > len(_RETRY_SECONDS) and not self.patient:
            raise error
        if self.forbidden == 1:
            logger.warning("cannot watch %s yet: %s", self.path, error.message)
        await asyncio.sleep(_RETRY_SECONDS[min(self.failures, len(_RETRY_SECONDS) - 1)])
        self.failures += 1
