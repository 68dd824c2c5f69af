"""The same questions in rounds: each once a round, and none when nobody asks any more."""

import asyncio

from managedchart_operator.reconcile.rounds import Rounds


async def test_each_question_is_asked_once_a_round_until_there_is_none() -> None:
    questions, asked = ["one", "two", "one"], []
    ended = asyncio.Event()

    async def ask(question: str) -> None:
        asked.append(question)
        if asked.count("two") == 2:
            questions.clear()
            ended.set()

    rounds: Rounds[str] = Rounds("test", lambda: questions, ask, 0.001)
    rounds.begin()
    async with asyncio.timeout(5):
        await ended.wait()
    await rounds.close()
    assert asked == ["one", "two", "one", "two"]
