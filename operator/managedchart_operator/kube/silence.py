"""Notes whether the API server answers what a piece of work asks it.

A deadline that passes while the API server does not answer says nothing about what the work waits for. The work itself does not
know: its request is cancelled, or its watch is begun again and again. So `client` notes each request here, in the context in
which it is sent.
"""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

# An API server answers within milliseconds, but an object may change in the last moment before a deadline.
_SECONDS = 1.0
_SHARE = 0.1


@dataclass(slots=True)
class Silence:
    """Since when the API server has not answered."""

    outer: "Silence | None" = None
    """That of the work of which this one is a part."""
    _since: float | None = None

    @property
    def seconds(self) -> float:
        """For how long it has not answered; 0 if it has answered the last request."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def explains(self, deadline: float) -> bool:
        """Whether it explains why the work has not ended within `deadline` seconds."""
        return self.seconds >= min(_SECONDS, deadline * _SHARE)

    def noted(self, *, answered: bool, sent: float) -> None:
        """A request that was `sent` at this time of the monotonic clock was answered, or not."""
        if answered:
            self._since = None
        elif self._since is None:
            self._since = sent
        if self.outer is not None:
            self.outer.noted(answered=answered, sent=sent)


_CURRENT: ContextVar[Silence | None] = ContextVar("silence", default=None)


@contextlib.contextmanager
def listening() -> Iterator[Silence]:
    """Note the requests of a block, also those of tasks that it starts."""
    silence = Silence(_CURRENT.get())
    token = _CURRENT.set(silence)
    try:
        yield silence
    finally:
        _CURRENT.reset(token)


def note(*, answered: bool, sent: float) -> None:
    """Note a request of the running work, which was `sent` at this time of the monotonic clock."""
    if (silence := _CURRENT.get()) is not None:
        silence.noted(answered=answered, sent=sent)
