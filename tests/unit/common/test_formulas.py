"""Texts that a spreadsheet would take for formulas: none is left in a CSV, and all of them come back."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.common.formulas import escape_formula, escape_formulas, unescape_formula, unescape_formulas

FORMULAS = [*"=+-@\t\r\n", "=1+1", "  =1+1", "\n=1", "\uff1dcmd|' /C calc'!A0", "-5", "@SUM(A1)"]
texts = st.text(st.sampled_from("'=+-@\t\r\n\uff1d a\u202e\N{PILE OF POO}"))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe(text):
    assert escape_formula(text) == f"'{text}"
    assert escape_formulas(pa.array([text])).to_pylist() == [f"'{text}".encode()]


@pytest.mark.parametrize("text", ["", "cat", "'cat'", "a=1", "'", "1-2", "\u2212 1", "\u00ef\u00bc\u009d"])
def test_other_texts_stay_as_they_are(text):
    assert escape_formula(text) == text == unescape_formula(text)


@given(texts)
def test_every_text_comes_back_and_begins_like_no_formula(text):
    escaped = escape_formula(text)
    assert unescape_formula(escaped) == text
    assert escaped == "" or escaped.lstrip(" ")[:1] not in tuple("=+-@\t\r\n\uff1d")


@given(st.lists(st.none() | texts))
def test_a_column_is_escaped_as_its_texts_are(column):
    array = pa.array(column, pa.large_string())
    escaped = escape_formulas(array)
    assert escaped.to_pylist() == [text if text is None else escape_formula(text).encode() for text in column]
    assert unescape_formulas(escaped).cast(pa.large_string()).to_pylist() == column
    assert escape_formulas(pa.chunked_array([array])).to_pylist() == escaped.to_pylist()
