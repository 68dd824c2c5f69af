"""How long texts are shortened."""

from managedchart_operator.shortening import cut, cut_middle, one_line


def test_a_text_that_fits_is_not_changed() -> None:
    assert [shorten("x" * 9, 9) for shorten in (cut, one_line, cut_middle)] == ["x" * 9] * 3


def test_a_cut_is_marked() -> None:
    assert cut("x" * 10, 9) == "x" * 8 + "…"
    assert one_line("  a\n\tb  c\n", 5) == "a b c"
    assert one_line("  a\n\tb  c\n", 4) == "a b…"


def test_more_of_the_end_of_an_error_is_kept() -> None:
    cut_error = cut_middle("Error: " + "x" * 100 + " the end", 30)
    assert (len(cut_error), cut_error[:7], cut_error[-7:]) == (30, "Error: ", "the end")
