"""Reads the answers of the API server, and classifies its refusals by `api_refusals`."""

import json
import re
from typing import Any

from managedchart_operator.api_refusals import GRANT, RENEW, refusal_of
from managedchart_operator.errors import UNREADABLE, KubeError
from managedchart_operator.hints import Names
from managedchart_operator.reasons import Reason
from managedchart_operator.shallow_json import read_json
from managedchart_operator.shortening import cut_middle

# It may repeat a whole object. All of it is redacted later, and a person reads the beginning and the end.
_MAX_ANSWER = 16 * 1024
# What a status code means where the message is unknown, such as a proxy's: reason, whether a retry may succeed, hint. A missing
# permission heals when it is granted, an expired token when it is renewed.
_BY_STATUS: dict[int, tuple[Reason, bool, str | None]] = {
    401: (Reason.API_UNAVAILABLE, True, RENEW),
    403: (Reason.FORBIDDEN, True, GRANT),
    422: (Reason.OBJECT_INVALID, False, None),
    **dict.fromkeys((400, 404, 405, 406, 413, 415), (Reason.INTERNAL_ERROR, False, None)),
}
_CONFLICT = 409
_NAMESPACE_IN_PATH = re.compile(r"/namespaces/([^/?]+)")


async def decoded(raw: bytes, method: str, path: str) -> Any:
    """Return the document of an answer. Raises KubeError."""
    try:
        return await read_json(raw)
    except UNREADABLE as error:
        raise unreadable(method, path, str(error) or type(error).__name__) from error


def unreadable(method: str, path: str, why: str) -> KubeError:
    """Return the error for an answer of a wrong form. It is transient: the answer was cut off, or a proxy answered."""
    return unavailable(f"The answer of the API server cannot be read ({method} {path}: {why})")


def unavailable(message: str) -> KubeError:
    """Return the error for an API server that does not answer."""
    return KubeError(message, reason=Reason.API_UNAVAILABLE, transient=True, status=0)


def is_unserved(error: KubeError) -> bool:
    """Whether the API server cannot serve a request now; it can if only the object has changed meanwhile (409)."""
    return error.reason is Reason.API_UNAVAILABLE and error.status != _CONFLICT


def error_of(status: int, raw: bytes, *, method: str, path: str) -> KubeError:
    """Classify a refusal of the API server by the message of its `Status` object, else by its status code."""
    try:
        answer = json.loads(raw).get("message") or ""
        if not isinstance(answer, str):
            raise TypeError
    except UNREADABLE:
        answer = raw[:300].decode(errors="replace").strip()
    answer = cut_middle(answer, _MAX_ANSWER)
    if (known := refusal_of(answer, names=_names_in(path))) is not None:
        reason, transient, hint = known.reason, known.transient, known.hint
    else:
        reason, transient, hint = _BY_STATUS.get(status, (Reason.API_UNAVAILABLE, True, None))
    return KubeError(
        f"{method} {path} returned {status}: {answer or 'no message'}",
        reason=reason,
        transient=transient,
        status=status,
        hint=hint,
        answer=answer,
        path=path,
    )


def _names_in(path: str) -> Names:
    """Return the namespace that a request was about."""
    found = _NAMESPACE_IN_PATH.search(path)
    return Names(namespace=found[1]) if found else Names()
