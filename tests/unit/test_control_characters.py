"""S29: what changes how a terminal shows a text reaches no log, status or Event."""

import pytest

from managedchart_operator.redaction import Redactor, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ümlaut, 漢字, 🎉", "plain text, ümlaut, 漢字, 🎉"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b", ""),
        ("50%\rdone", "50%\ndone"),
        ("a\r\nb", "a\nb"),
        ("a\x00b\x08c\x7fd\x9be", "abcde"),
        ("a\u2028b\x85c\x0bd", "a\nb\nc\nd"),
        ("\u202egnp.exe\u202c \u2066x\u2069 \u200f", "gnp.exe x "),
        ("\u200d\u00a0", "\u200d\u00a0"),
    ],
)
def test_control_characters_are_removed(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert Redactor()(text) == shown


def test_a_secret_with_control_characters_in_it_is_masked() -> None:
    """A program colours what it prints; a Secret has lines that end as on Windows."""
    redact = Redactor(["hunter22-hunter22", "first line\r\nsecond line\r\n"])
    assert redact("it is hunter22\x1b[0m-hunter22") == "it is ***"
    assert redact("first line\nsecond line") == "***"
    assert redact('"first line\\r\\nsecond line"') == '"***"'
