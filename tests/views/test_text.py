"""Text made safe to look at."""

from hypothesis import given
from hypothesis import strategies as st

from logpi.views.colours import BLUE, GREY, PALETTE, VERMILION, diverging
from logpi.views.text import signed, spaced, visible

any_text = st.text(st.characters())  # surrogates and controls too


@given(any_text)
def test_nothing_invisible_is_left(text):
    shown = visible(text)
    joiners = {"\u200c", "\u200d"}
    assert all(c.isprintable() or c.isspace() or c in joiners for c in shown)
    assert not set(shown) & set("\n\r\t\x0b\x0c\x1b\x85\u2028\u2029")
    shown.encode()


@given(any_text)
def test_a_line_break_is_all_that_breaks_may_add(text):
    assert visible(text, breaks=True).replace("\n", "") == visible(text)


@given(any_text)
def test_a_token_alone_is_never_empty_and_shows_its_spaces(text):
    shown = spaced(text)
    assert shown
    assert not shown.startswith(" ")
    assert not shown.endswith(" ")


def test_signs_are_shown_and_minus_zero_is_zero():
    assert [signed(v) for v in (-0.0, 1e-9, -3.0, None)] == ["0", "+1e-09", "-3", "–"]


def luminance(colour):
    channels = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_is_legible_on_every_colour():
    for colour in (BLUE, VERMILION, GREY, diverging(0.01, 1.0), diverging(-0.5, 1.0)):
        assert contrast((255, 255, 255), colour) >= 4.5
    pages = {"light": ((255, 254, 251), (27, 27, 26)), "dark": ((21, 23, 26), (233, 230, 223))}
    for theme, (paper, ink) in pages.items():
        for colour in PALETTE[theme].values():
            fullest = [0.58 * c + 0.42 * p for c, p in zip(colour, paper, strict=True)]
            assert contrast(ink, fullest) >= 4.5
