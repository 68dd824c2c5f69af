"""Runs kopf, which reports the ManagedCharts; no other module does.

kopf is used for the list and watch of the ManagedCharts that survives disconnections, the login, the signals, and the order
of start and end. docs/architecture.md says why its change handlers, finalizers and retries are not used. Its Events are not
either: `kube.events` writes them, also while kopf is shutting down.
"""

import asyncio
import dataclasses
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

import kopf

from managedchart_operator.api.resource import GROUP, PLURAL, VERSION, ManagedChart
from managedchart_operator.app.kopf_session import sessions
from managedchart_operator.kube.pages import limit_for

# A worker of kopf has nothing to wait for after an event, because the handler only hands over. A burst of changes to one
# object still meets the same worker.
_WORKER_IDLE_SECONDS = 0.1
# kopf's own requests are lists and watches only; the API server itself ends others after 60 s.
_REQUEST_SECONDS = 60
_CONNECT_SECONDS = 10

logger = logging.getLogger(__name__)


async def watch(
    *,
    started: Callable[[], Awaitable[None]],
    seen: Callable[[ManagedChart], None],
    deleted: Callable[[ManagedChart], None],
    stopping: Callable[[], Awaitable[None]],
    largest: Callable[[], int],
    host: str,
    identity: str,
    namespaces: Collection[str] = (),
) -> None:
    """Report the ManagedCharts of these namespaces (of all if none is named) until a signal ends the process.

    kopf calls `started` before the first event, and `stopping` after the last one. `largest` is the size of the largest
    ManagedChart known, in bytes: kopf lists all in pages of one length. `host` is the URL of the API server in a pod. Raises
    what ends kopf, such as a refusal of its watch; a refusal in one of several namespaces does not end it.
    """
    registry, settings = kopf.OperatorRegistry(), _settings()
    settings.watching.chunk_size = limit_for(largest())
    session_of = sessions(patient=bool(namespaces))

    @kopf.on.login(registry=registry)
    async def _login(**kwargs: Any) -> kopf.AiohttpSession | None:
        if os.environ.get("KUBECONFIG"):
            found = await asyncio.to_thread(kopf.login_with_kubeconfig, **kwargs)
        else:
            found = await asyncio.to_thread(kopf.login_with_service_account, **kwargs)
            # kopf uses a DNS name; the address in the environment, which client-go uses, works before DNS does.
            found = found and dataclasses.replace(found, server=host)
        return None if found is None else session_of(found)

    @kopf.on.startup(registry=registry)
    async def _startup(**_: Any) -> None:
        await started()

    @kopf.on.cleanup(registry=registry)
    async def _cleanup(**_: Any) -> None:
        await stopping()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def _event(event: Any, **_: Any) -> None:
        chart = ManagedChart.from_body(event["object"])
        if event["type"] == "DELETED":
            deleted(chart)
        else:
            seen(chart)
        settings.watching.chunk_size = limit_for(largest())

    try:
        await kopf.operator(
            registry=registry,
            settings=settings,
            clusterwide=not namespaces,
            namespaces=namespaces,
            standalone=True,
            # Without this kopf looks up the name of the user, and a pod's user has none.
            identity=identity,  # type: ignore[arg-type]  # a NewType of str that kopf does not export
        )
    finally:
        asyncio.get_running_loop().set_exception_handler(_at_the_end)


def _at_the_end(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the event loop reports while it ends; no error where it closes the generators of kopf's watches.

    A watch that is cancelled at an event leaves them to the loop, which closes the inner and the outer ones at the same time
    (`shutdown_asyncgens`). An outer one that finds its inner one closed raises RuntimeError, which changes nothing any more.
    """
    if "asyncgen" in context:
        logger.debug("%s: %r", context.get("message"), context.get("exception"))
    else:
        loop.default_exception_handler(context)


class NoDiffs(kopf.DiffBaseStorage):
    """Treats every object as empty, so that there is nothing to copy, compare or store.

    For each event kopf copies the whole object to find out what has changed since the last one. Only change handlers need
    that; in a profile of installs it was a sixth of the event loop's time.
    """

    def build(self, *, body: kopf.Body, extra_fields: Iterable[object] | None = None) -> kopf.BodyEssence:  # noqa: ARG002
        """Return no fields."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        """Return that nothing was stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Store nothing."""


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoDiffs()
    settings.scanning.disabled = True  # the CRD was checked at start; no permission to list CRDs is needed
    # kopf keeps each object until its worker has been idle, by default for 5 s: with thousands of resources a copy of all of
    # them, whose holes stay in Python's memory. It lists in pages for the same reason.
    settings.queueing.idle_timeout = _WORKER_IDLE_SECONDS
    settings.networking.request_timeout = _REQUEST_SECONDS
    settings.networking.connect_timeout = _CONNECT_SECONDS
    return settings
