"""Asks the API server the same questions again and again, as long as there are any: for what Kubernetes reports no change.

`permission_watch` and `consent_watch` say which questions, and what an answer means. The requests count for no namespace.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

# At most 20 questions a second: a thousand different ones are asked in less than a minute.
_PAUSE_SECONDS = 0.05

Question = TypeVar("Question", bound=Hashable)


@dataclass(slots=True)
class Rounds(Generic[Question]):
    """Calls `ask` for each of the `questions`, once however often it is there, every `seconds`."""

    name: str
    questions: Callable[[], Iterable[Question]]
    ask: Callable[[Question], Awaitable[None]]
    seconds: float
    _task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin if they have ended, or have not begun yet; they end when there is no question."""
        if self._task is None or self._task.done():
            # A context of its own: the requests count for nobody, whoever was the first to ask.
            self._task = asyncio.create_task(self._run(), name=self.name, context=Context())

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        begins = loop.time()
        while any(True for _ in self.questions()):
            begins = max(begins + self.seconds, loop.time())
            await asyncio.sleep(begins - loop.time())
            for question in dict.fromkeys(self.questions()):
                await self.ask(question)
                await asyncio.sleep(min(_PAUSE_SECONDS, self.seconds))
