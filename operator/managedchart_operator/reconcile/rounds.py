"""Asks the API server the same questions again and again, as long as there are any: for what Kubernetes reports no change.

`permission_watch`, `consent_watch` and `label_watch` say which questions, and what an answer means. The requests count for no
namespace, so namespaces take turns here: the questions of one do not delay those of another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextvars import Context
from typing import Generic, TypeVar

# At most 20 questions a second: a thousand different ones are asked in less than a minute.
_PAUSE_SECONDS = 0.05

Question = TypeVar("Question", bound=Hashable)


class Rounds(Generic[Question]):
    """Calls `ask` for the `questions` of each namespace, once however often one is there, every `seconds`."""

    def __init__(
        self,
        name: str,
        questions: Callable[[str], Iterable[Question]],
        ask: Callable[[Question], Awaitable[None]],
        seconds: float,
    ) -> None:
        self._name = name
        self._questions = questions
        self._ask = ask
        self._seconds = seconds
        self._turn = asyncio.Lock()  # those who wait for it get it in the order in which they came
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, namespace: str) -> None:
        """Begin the rounds of a namespace unless they go on; they end when it has no question."""
        if namespace not in self._tasks:
            # A context of its own: the requests count for nobody, whoever was the first to ask.
            task = asyncio.create_task(self._run(namespace), name=f"{self._name} {namespace}", context=Context())
            self._tasks[namespace] = task

    async def close(self) -> None:
        """Ask no more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, namespace: str) -> None:
        loop = asyncio.get_running_loop()
        begins = loop.time()
        try:
            while any(True for _ in self._questions(namespace)):
                begins = max(begins + self._seconds, loop.time())
                await asyncio.sleep(begins - loop.time())
                for question in dict.fromkeys(self._questions(namespace)):
                    async with self._turn:
                        await self._ask(question)
                        await asyncio.sleep(min(_PAUSE_SECONDS, self._seconds))
        finally:
            del self._tasks[namespace]
