"""The values that go into helm: reading, merging, encoding.

Purpose: all sources of a ManagedChart's values become one mapping, and that mapping one text for helm's stdin.
Boundary: no files are opened here (`confinement` does), and the chart's own defaults stay with helm. Invariant: the
outcome is that of the same `--values` and `--set` on helm's command line; precedence, lowest first: values files,
inline YAML files, values, set. Nothing passed in is changed in place.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from managedchart_operator.api.resource import RETRY_ANNOTATION
from managedchart_operator.api.spec import SetValue, YamlFile
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.set_syntax import apply_set
from managedchart_operator.helm.yaml_reader import YamlError, read_documents
from managedchart_operator.helm.yaml_scalars import describe
from managedchart_operator.reasons import Reason

# helm reads its stdin as YAML, which JSON nearly is: these characters are refused or folded into a space when they
# stand in a string as they are (go-yaml's reader and its line breaks), and taken when they are escaped.
_NOT_PLAIN_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

# What is stalled is looked at again when its spec changes, which a correction of a file does not do.
_HINT = f"Correct it; where that was a file and not the spec, give the annotation {RETRY_ANNOTATION} a new value."


def load_mapping(text: bytes | str, *, origin: str) -> dict[str, Any]:
    """Read a YAML text that must be a mapping, as `helm --values` reads it.

    Empty documents count as {}; of several documents the later ones win. `origin` names the text in errors, like
    "values file /charts/a.yaml". Raises ValuesError (VALUES_INVALID) that tells the origin, the line and the problem;
    it never quotes the text, which may hold secrets.
    """
    result: dict[str, Any] = {}
    try:
        for line, value in read_documents(text.encode() if isinstance(text, str) else text):
            if value is None:
                continue
            if not isinstance(value, dict):
                raise YamlError(f"a mapping (key: value) is needed, this is {describe(value)}", line)
            result = merge(result, value)
    except UnicodeEncodeError as error:
        raise ValuesError(
            f"{origin}: the text is not valid Unicode", reason=Reason.VALUES_INVALID, hint=_HINT
        ) from error
    except YamlError as problem:
        where = "" if problem.line is None else f", line {problem.line}"
        raise ValuesError(f"{origin}{where}: {problem.problem}", reason=Reason.VALUES_INVALID, hint=_HINT) from problem
    return result


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as helm does: mappings recursively, all else replaces. A None stays: helm deletes the chart's default."""
    result = dict(base)
    for key, value in override.items():
        present = result.get(key)
        result[key] = merge(present, value) if isinstance(value, dict) and isinstance(present, dict) else value
    return result


def merge_values(
    *,
    files: Sequence[tuple[str, bytes]],
    yaml_files: Sequence[YamlFile],
    values: Mapping[str, Any],
    set_values: Sequence[SetValue],
) -> dict[str, Any]:
    """Merge everything that the spec says about values, in its precedence.

    `files` are pairs of a path, for messages, and the content. Raises ValuesError that names the file or the field.
    """
    result: dict[str, Any] = {}
    for path, content in files:
        result = merge(result, load_mapping(content, origin=f"values file {path}"))
    for index, file in enumerate(yaml_files):
        origin = f"spec.yamlFilesContent[{index}] ({file.filename})"
        result = merge(result, load_mapping(file.yaml_content, origin=origin))
    result = merge(result, values)
    for index, entry in enumerate(set_values):
        result = apply_set(result, key=entry.key, value=entry.value, field=f"spec.set[{index}]")
    return result


def encode(values: Mapping[str, Any]) -> bytes:
    """Encode values for `helm --values -`: JSON that helm's YAML reader reads back without a change.

    Plain `json.dumps` is not enough: its surrogate pairs are refused, and some characters are unless escaped. Raises
    ValuesError for what JSON cannot hold.
    """
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
        return _NOT_PLAIN_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()
    except (ValueError, RecursionError) as error:
        problem = "they hold half a character (a lone surrogate), NaN or infinity, or are nested too deep"
        raise ValuesError(
            f"the values cannot be passed to helm: {problem}", reason=Reason.VALUES_INVALID, hint=_HINT
        ) from error
