"""The messages between the operator and the process of a plug-in: JSON texts, each behind its length in 8 bytes.

The operator never unpickles what a plug-in has sent: it takes only JSON, of a bounded size, and only the calls that `answers`
lists. An error travels as its class, message, reason, hint and details; the operator keeps the errors that it has sent, so that
one that a plug-in lets pass is raised again as it was.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from managedchart_operator import errors
from managedchart_operator.errors import OperatorError
from managedchart_operator.reasons import Reason

LENGTH_BYTES = 8
# Built in the operator's memory, and read in one turn of its event loop: 0.1 s. An object of the API has 1.5 MiB at most.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
# Of the classes of errors: what they have besides what all have.
_DETAILS = ("status", "answer", "text", "exit_code", "objects", "left", "why")


def framed(message: Mapping[str, Any]) -> bytes:
    """Return a message as it is sent. Raises TypeError or ValueError for what JSON cannot express, RecursionError."""
    data = json.dumps(message, default=_plain).encode()
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def framed_list(message: Mapping[str, Any], key: str, items: Sequence[Any]) -> bytes:
    """Return a message with a long list under `key`. Other threads run between its items, while one call encodes all of it."""
    texts = ",".join([json.dumps(item, default=_plain) for item in items])
    data = f"{json.dumps(message)[:-1]}, {json.dumps(key)}: [{texts}]}}".encode()
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def read(data: bytes) -> dict[str, Any]:
    """Return the message of a text. Raises ValueError for anything else than a JSON object."""
    try:
        message = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 -- for whoever reads it, the text is wrong
    return message


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} cannot be passed between processes")


def error_to_wire(error: OperatorError) -> dict[str, Any]:
    """Return an error as a part of a message."""
    details = {name: getattr(error, name) for name in _DETAILS if hasattr(error, name)}
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "reason": error.reason.value,
        "transient": error.transient,
        "hint": error.hint,
        "details": details,
    }


def error_of_operator(wire: Mapping[str, Any]) -> OperatorError:
    """Return an error that the operator has sent, of the class that it has there."""
    kind = getattr(errors, wire["kind"], OperatorError)
    error: OperatorError = kind.__new__(kind, wire["message"])
    error.__dict__.update(
        message=wire["message"],
        reason=Reason(wire["reason"]),
        transient=wire["transient"],
        hint=wire["hint"],
        **wire["details"],
    )
    return error
