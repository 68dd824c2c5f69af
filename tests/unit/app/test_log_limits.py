"""How many lines a resource may log (S17, S21)."""

import logging
import sys

from managedchart_operator.app import log_limits
from managedchart_operator.app.log_limits import BURST, NotTooMany


class Clock:
    """A time that tests move."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def record(name: str = "web", text: str = "HelmFailed: %s", *, traceback: bool = False) -> logging.LogRecord:
    info = None
    if traceback:
        try:
            raise KeyError
        except KeyError:
            info = sys.exc_info()
    made = logging.LogRecord("operator", logging.WARNING, __file__, 1, text, ("x",), info)
    if name:
        made.namespace, made.name_ = "apps", name
    return made


def test_a_resource_that_loops_logs_a_burst_and_then_little() -> None:
    clock = Clock()
    limits = NotTooMany(clock)
    assert sum(limits.filter(record()) for _ in range(10_000)) == BURST
    clock.now += log_limits.REFILL_SECONDS
    following = record()
    assert limits.filter(following)
    assert following.getMessage() == f"HelmFailed: x ({10_000 - BURST} lines were left out before)"
    assert not limits.filter(record())


def test_it_takes_nothing_from_others() -> None:
    limits = NotTooMany(Clock())
    for _ in range(10_000):
        limits.filter(record())
    assert limits.filter(record("victim"))
    assert limits.filter(record("", "the API server does not answer: %s"))


def test_lines_without_a_resource_are_bounded_by_their_text() -> None:
    limits = NotTooMany(Clock())
    assert sum(limits.filter(record("", "cannot watch %s yet")) for _ in range(10_000)) == BURST * 10
    assert limits.filter(record("", "another %s"))


def test_a_traceback_always_passes() -> None:
    limits = NotTooMany(Clock())
    for _ in range(10_000):
        limits.filter(record())
    assert limits.filter(record(traceback=True))


def test_its_memory_is_bounded() -> None:
    limits = NotTooMany(Clock())
    for number in range(log_limits._REMEMBERED + 50):
        limits.filter(record(f"r{number}"))
    assert len(limits._buckets) == log_limits._REMEMBERED
