"""How long texts are shortened."""

from managedchart_operator.shortening import CUT_OUT, cut, cut_middle, one_line, searchable


def test_a_text_that_fits_is_not_changed() -> None:
    assert [shorten("x" * 9, 9) for shorten in (cut, one_line, cut_middle)] == ["x" * 9] * 3


def test_a_cut_is_marked() -> None:
    assert cut("x" * 10, 9) == "x" * 8 + "…"
    assert one_line("  a\n\tb  c\n", 5) == "a b c"
    assert one_line("  a\n\tb  c\n", 4) == "a b…"


def test_more_of_the_end_of_an_error_is_kept() -> None:
    cut_error = cut_middle("Error: " + "x" * 100 + " the end", 30)
    assert (len(cut_error), cut_error[:7], cut_error[-7:]) == (30, "Error: ", "the end")


def test_what_patterns_search_has_whole_lines_and_short_words() -> None:
    """S9: before any pattern sees it; a pattern may cost the square of a word or of a text."""
    lines = [f"line {number} {'x' * 40}" for number in range(1000)]
    short = searchable("\n".join(lines))
    assert len(short) <= 8 * 1024
    head, tail = short.split(CUT_OUT)
    assert head.split("\n") == lines[: head.count("\n") + 1]
    assert tail.split("\n") == lines[-tail.count("\n") - 1 :]
    assert len(tail) > len(head), "an error ends with why"


def test_a_long_word_keeps_its_beginning_and_its_end() -> None:
    assert searchable(f"a {'b' * 512} c") == f"a {'b' * 512} c"
    word = searchable(f"a {'b' * 300}{'c' * 50_000}{'d' * 100} e").split()[1]
    assert (len(word), word[:300], word[-100:]) == (512, "b" * 300, "d" * 100)
    assert len(searchable("ä" * 100_000)) == 512


def test_a_line_that_is_longer_than_everything_is_cut() -> None:
    assert searchable("x y " * 10_000).count("x y") > 1000
