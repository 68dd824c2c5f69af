"""The same questions in rounds: each once a round, in turns between namespaces, and none when nobody asks any more."""

import asyncio

from managedchart_operator.reconcile.rounds import Rounds


async def test_each_question_is_asked_once_a_round_until_there_is_none() -> None:
    asked: list[str] = []
    questions = ["one", "two", "one"]
    ended = asyncio.Event()

    async def ask(question: str) -> None:
        asked.append(question)
        if asked.count("two") == 2:
            questions.clear()
            ended.set()

    rounds: Rounds[str] = Rounds("test", lambda _: questions, ask, 0.001)
    rounds.begin("apps")
    rounds.begin("apps")
    async with asyncio.timeout(5):
        await ended.wait()
    await rounds.close()
    assert asked == ["one", "two", "one", "two"]


async def test_the_questions_of_one_namespace_do_not_delay_those_of_another() -> None:
    """Its rounds begin again although those of the other have not ended."""
    asked: list[str] = []
    questions = {"many": [f"{number}" for number in range(5000)], "few": ["own"]}
    ended = asyncio.Event()

    async def ask(question: str) -> None:
        asked.append(question)
        if asked.count("own") == 3:
            ended.set()

    rounds: Rounds[str] = Rounds("test", lambda namespace: questions[namespace], ask, 0.001)
    rounds.begin("many")
    rounds.begin("few")
    async with asyncio.timeout(20):
        await ended.wait()
    await rounds.close()
    assert len(asked) < 100
