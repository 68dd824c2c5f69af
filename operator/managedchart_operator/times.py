"""Times as Kubernetes writes them: RFC 3339, in UTC and whole seconds."""

from datetime import UTC, datetime
from typing import Any


def read_time(text: Any) -> datetime | None:
    """Return the time in UTC; None for anything that is not a time.

    The API server accepts years that Python cannot represent: `0000-01-01T00:00:00Z`.
    """
    if not isinstance(text, str):
        return None
    try:
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def write_time(moment: datetime | None = None) -> str:
    """Return a moment, by default now, as Kubernetes writes it."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def delay_until(moment: datetime | float) -> float:
    """Return the seconds from now to a moment (a time, or seconds since the epoch); 0 for one that has passed."""
    at = moment.timestamp() if isinstance(moment, datetime) else moment
    return max(at - datetime.now(UTC).timestamp(), 0.0)
