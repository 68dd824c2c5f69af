"""Notices that a namespace has given or withdrawn its consent, so that neither needs a restart or a change of the spec.

Like `permission_watch`: the API server is asked in rounds, each question once for all resources of a namespace. A watch of all
namespaces would need a cluster-wide permission. Nothing is remembered that the next pass does not find out itself.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Generic

from managedchart_operator.api.resource import Key
from managedchart_operator.errors import KubeError
from managedchart_operator.reconcile.rounds import Question, Rounds

logger = logging.getLogger(__name__)


class ConsentWatch(Generic[Question]):
    """Asks every `seconds`, as long as any resource depends on an answer."""

    def __init__(self, ask: Callable[[Question], Awaitable[bool]], *, seconds: float) -> None:
        self._ask = ask
        self._known: dict[Key, tuple[Question, bool]] = {}
        self._changed: Callable[[Key], None] = lambda _: None
        self._rounds: Rounds[Question] = Rounds(
            "watch of consent",
            lambda namespace: [question for key, (question, _) in self._known.items() if key.namespace == namespace],
            self._ask_again,
            seconds,
        )

    def when_changed(self, call: Callable[[Key], None]) -> None:
        """Set what is called with the key of each resource whose answer has changed."""
        self._changed = call

    def note(self, key: Key, question: Question, *, given: bool) -> None:
        """Note what a resource depends on, and the answer that its pass has got."""
        self._known[key] = (question, given)
        self._rounds.begin(key.namespace)

    def known(self, key: Key) -> tuple[Question, bool] | None:
        """Return what a resource depends on, and the last answer; None if nothing was asked on its behalf."""
        return self._known.get(key)

    def forget(self, key: Key) -> None:
        """Ask no more on behalf of a resource."""
        self._known.pop(key, None)

    async def close(self) -> None:
        """Ask no more."""
        self._known.clear()
        await self._rounds.close()

    async def _ask_again(self, question: Question) -> None:
        try:
            self._answered(question, given=await self._ask(question))
        except KubeError as error:
            logger.debug("cannot ask for the consent of a namespace: %s", error.message)

    def _answered(self, question: Question, *, given: bool) -> None:
        for key in [key for key, known in self._known.items() if known == (question, not given)]:
            self._known[key] = (question, given)
            self._changed(key)
