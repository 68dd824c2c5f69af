"""Notices that a namespace has given or withdrawn its consent, so that neither needs a restart or a change of the spec.

Like `permission_watch`: the API server is asked again and again, each question once, however many resources depend on it. A
watch of all namespaces would need a cluster-wide permission. Nothing is remembered that the next pass does not find out itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context
from typing import Generic, TypeVar

from managedchart_operator.api.resource import Key
from managedchart_operator.errors import KubeError

logger = logging.getLogger(__name__)

# A question takes two requests at most, so this makes no more than 40 a second.
_PAUSE_SECONDS = 0.05

Question = TypeVar("Question", bound=Hashable)


class ConsentWatch(Generic[Question]):
    """Asks every `seconds`, as long as any resource depends on an answer."""

    def __init__(self, ask: Callable[[Question], Awaitable[bool]], *, seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._known: dict[Key, tuple[Question, bool]] = {}
        self._changed: Callable[[Key], None] = lambda _: None
        self._task: asyncio.Task[None] | None = None

    def when_changed(self, call: Callable[[Key], None]) -> None:
        """Set what is called with the key of each resource whose answer has changed."""
        self._changed = call

    def note(self, key: Key, question: Question, *, given: bool) -> None:
        """Note what a resource depends on, and the answer that its pass has got."""
        self._known[key] = (question, given)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(
                # Its requests count for nobody, whoever was the first to wait.
                self._watch(),
                name="watch of consent",
                context=Context(),
            )

    def forget(self, key: Key) -> None:
        """Ask no more on behalf of a resource."""
        self._known.pop(key, None)

    async def close(self) -> None:
        """Ask no more."""
        self._known.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        round_begins = loop.time()
        while self._known:
            round_begins = max(round_begins + self._seconds, loop.time())
            await asyncio.sleep(round_begins - loop.time())
            for question in dict.fromkeys(question for question, _ in self._known.values()):
                try:
                    self._answered(question, given=await self._ask(question))
                except KubeError as error:
                    logger.debug("cannot ask for the consent of a namespace: %s", error.message)
                await asyncio.sleep(min(_PAUSE_SECONDS, self._seconds))

    def _answered(self, question: Question, *, given: bool) -> None:
        for key in [key for key, known in self._known.items() if known == (question, not given)]:
            self._known[key] = (question, given)
            self._changed(key)
