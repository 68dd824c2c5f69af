"""kopf without its comparison of objects.

Purpose: for each event kopf copies the whole object, to find out what has changed since the last one. Only its change
handlers ask for that, and we have none: in a profile of installs it was a sixth of the event loop's time. Boundary:
what has changed for us is decided by `Operator.seen`. Invariant: nothing is stored on the objects.
"""

from collections.abc import Iterable

import kopf


class NoDiffs(kopf.DiffBaseStorage):
    """Sees every object as empty, so that there is nothing to copy, to compare or to store."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[object] | None = None) -> kopf.BodyEssence:  # noqa: ARG002
        """Return no fields."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        """Return that nothing was stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Store nothing."""
