"""What every part of a status is, and the fields that earlier operators wrote."""

from pydantic import ConfigDict

from managedchart_operator.api.schema import ApiModel


class StatusModel(ApiModel):
    """A part of the status; unknown fields are ignored, so that an older operator can read a newer one's status."""

    model_config = ConfigDict(extra="ignore", frozen=False)


class EarlierStatus(StatusModel):
    """Fields of earlier operators (0.1), read once and then removed; the schema keeps them so that none is pruned."""

    blocked_by: list[str] | None = None
    """Earlier form of blockers."""
    failures: int | None = None
    """Earlier form of attempt.failures."""
    attempted_digest: str | None = None
    """Earlier form of attempt.digest."""
    next_retry_at: str | None = None
    """Earlier form of attempt.nextRetryAt."""
    handled_requests: dict[str, str] | None = None
    """Earlier form of attempt.handledRequests."""
