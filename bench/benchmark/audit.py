"""Who asked the API server how often during a run.

Boundary: counts; the audit log is read by the tests' harness.
"""

from collections import Counter
from collections.abc import Iterable

from harness.audit import Request


def by_client(requests: Iterable[Request]) -> dict[str, int]:
    """Count the requests by program, the busiest first."""
    return dict(Counter(request.client for request in requests).most_common())
