"""Removes secrets from texts before anybody sees them.

Error texts, Events and log lines go into the status, Events and the operator's log; none of them may contain a value from a
Secret, or what looks like a credential. `redactor` masks; `known` finds the secrets in values and manifests, `needles` and
`views` compare them with a text in whatever form it has them, `patterns` knows what credentials look like.

A text is redacted where it enters the operator, before it is searched, folded into one line or cut: afterwards a part of a
secret would be left that nobody recognizes.
"""

from managedchart_operator.redaction.control_characters import printable
from managedchart_operator.redaction.known import secrets_in_manifest, secrets_in_values
from managedchart_operator.redaction.patterns import MASK
from managedchart_operator.redaction.redactor import MIN_SECRET_LENGTH, Redactor, redact_part

__all__ = [
    "MASK",
    "MIN_SECRET_LENGTH",
    "Redactor",
    "printable",
    "redact_part",
    "secrets_in_manifest",
    "secrets_in_values",
]
