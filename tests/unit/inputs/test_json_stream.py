"""JSON objects that are read item by item."""

import io
import json
from typing import Any

import pytest

from fastdup_ray.inputs import json_stream
from fastdup_ray.inputs.json_stream import iter_members

DOCUMENT = {
    "info": {"a": [1, 2, {"x": 'é\\"]},'}]},
    "number": 12345,
    "small": -1.5e-10,
    "text": 'x\\y"',
    "images": [{"id": number, "file_name": f"a/{number}.jpg", "width": 1.25} for number in range(20)],
    "empty": [],
    "mixed": [1234, -5e7, True, None, "abc", [1, [2, []]], {}],
    "true": True,
    "nothing": None,
}


def read(text: str) -> dict[str, Any]:
    """Everything in a document, parsed again from the texts of its values."""
    content: dict[str, Any] = {}
    for member in iter_members(io.StringIO(text)):
        if member.elements is None:
            content[member.key] = json.loads(member.text)
        else:
            elements = list(member.elements)
            assert [json.loads(element.text) for element in elements] == [element.value for element in elements]
            content[member.key] = [element.value for element in elements]
    return content


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 50, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_values_may_be_cut_anywhere(monkeypatch, chunk, indent):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    text = json.dumps(DOCUMENT, indent=indent, ensure_ascii=False)
    assert read(text) == DOCUMENT
    assert [member.key for member in iter_members(io.StringIO(text))] == list(DOCUMENT)  # arrays that nobody reads


@pytest.mark.parametrize("chunk", [1, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "[]", "1", "{", '{"a"', '{"a":', '{"a":1', '{"a":[1,2}', '{"a" 1}', '{"a":[1 2]}', '{"a":[tru]}'),
        *('{"a":"x', '{"a":1} x', "{1:2}", '{"a":[1,]}', '{"a":1,}', '{"a":1,"a":2}', '{"a":[01]}', '{"a":"\\x"}'),
        *('{"a":' + 100_000 * "[", '{"a":[' + 100_000 * '{"b":'),
    ],
)
def test_what_is_no_object_says_where(monkeypatch, chunk, text):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    with pytest.raises(ValueError, match=r"at character [\d,]+$"):
        read(text)


def test_an_array_is_not_held_as_a_whole():
    class Endless(io.StringIO):
        """An object with an array that never ends."""

        def read(self, size: int | None = -1) -> str:
            return super().read(size) or '{"id": 1}, ' * 1000

    elements = next(iter_members(Endless('{"images": ['))).elements
    assert elements is not None
    assert sum(next(elements).value["id"] for _ in range(50_000)) == 50_000
