"""Text from outside becomes storable: it fits, encodes as UTF-8 and holds no U+0000."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oms.domain.text import is_storable, printable_text, storable_name, storable_text

ANY_TEXT = st.text(st.characters() | st.sampled_from("\x00\ud800\udfff\U0001f600"), max_size=40)


@given(ANY_TEXT, st.integers(1, 30))
def test_any_text_becomes_storable_and_fits(text: str, limit: int) -> None:
    made = storable_text(text, limit)
    assert is_storable(made)
    made.encode()  # no lone surrogate is left
    assert len(made) <= limit


@given(ANY_TEXT.filter(is_storable), st.integers(40, 60))
def test_text_that_fits_and_is_storable_stays_as_it_is(text: str, limit: int) -> None:
    assert storable_text(text, limit) == text


def test_half_an_emoji_and_a_zero_are_replaced() -> None:
    assert storable_text("a\ud83d b\x00") == "a\ufffd b\ufffd"


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert storable_text("x" * 10, 4) == "xxx…"


def test_an_error_without_a_text_is_described_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert storable_text(Mute()) == "<Mute without text: RuntimeError>"


def test_storable_text_may_hold_any_character_but_a_zero_and_half_a_pair() -> None:
    assert is_storable("plain")
    assert is_storable("é 😀")
    assert not is_storable("a\0b")
    assert not is_storable("😀 \ud83d")


@given(st.lists(ANY_TEXT, unique=True, max_size=5), st.integers(20, 60))
def test_names_become_storable_fit_and_stay_apart(names: list[str], limit: int) -> None:
    made = [storable_name(name, limit) for name in names]
    assert all(is_storable(one) and len(one) <= limit for one in made)
    assert len(set(made)) == len(names)
    assert all(one == name for one, name in zip(made, names, strict=True) if is_storable(name) and len(name) <= limit)


def test_a_long_name_keeps_its_beginning_and_gets_a_digest() -> None:
    assert storable_name("p" * 65, 64) == "p" * 47 + "~" + storable_name("p" * 65, 20)[-16:]


@given(ANY_TEXT, st.sampled_from(["", "\n", "\n\t"]))
def test_printable_text_keeps_what_it_should_and_nothing_else_that_controls(text: str, keep: str) -> None:
    made = printable_text(text, keep=keep)
    assert len(made) == len(text)
    for before, after in zip(text, made, strict=True):
        assert after == before if before.isprintable() or before in keep else after == "\ufffd"


def test_a_terminal_can_neither_be_controlled_nor_reordered() -> None:
    assert printable_text("a\x1b[31m\u202eb\x9b\n") == "a\ufffd[31m\ufffdb\ufffd\ufffd"
