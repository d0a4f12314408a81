"""Which picture of a group is kept: rules in an order, and the reason in words."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.pairs import rank_names
from fastdup_ray.common.arrays import BoolArray, IntArray
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs.globs import Patterns

DEFAULT_RULES = "reference,resolution,bytes,oldest"
"""What may not be touched goes first; then the most detail, the least compression, and what was there before."""

PATH = "path:"
NAME = "name"
"""The rule that decides where all others see no difference: the first by the bytes of the name."""

_UNKNOWN = np.iinfo(np.int64).max
_NAMES = pa.large_binary()


class Reason(NamedTuple):
    """rule: as in `--keep`, or `name`. text: a few words for people, such as `most pixels: 4000 × 3000`."""

    rule: str
    text: str


@dataclass(frozen=True)
class Rule:
    """best, better: what it says of a picture that goes before all others, or before one.

    key: (n,) int64 of the table of images and the raw names; the least goes first. shown: what it is of one row, whose
    key is given, in words, or "".
    """

    name: str
    best: str
    better: str
    key: Callable[[pa.Table, pa.Array], np.ndarray]
    shown: Callable[[pa.Table, int, int], str]


def _read_numbers(column: pa.ChunkedArray) -> np.ndarray:
    numbers: IntArray = column.cast(pa.int64()).fill_null(0).to_numpy()
    return numbers


def _read_pixels(images: pa.Table, _: pa.Array) -> np.ndarray:
    pixels: IntArray = -_read_numbers(images["width"]) * _read_numbers(images["height"])
    return pixels


def _read_bytes(images: pa.Table, _: pa.Array) -> np.ndarray:
    return -_read_numbers(images["size"])


def _read_mtimes(images: pa.Table, names: pa.Array) -> np.ndarray:
    """Nanoseconds since 1970 of the last change; URIs have none, and neither have pictures in archives."""
    tokens = images["mtime_or_etag"].cast(pa.large_string()).combine_chunks()
    known = pc.and_(pc.match_substring_regex(tokens, r"^-?\d{1,18}$|^[1-8]\d{18}$"), pc.invert(_find_uris(names)))
    mtimes: IntArray = (
        pc.if_else(known, tokens, pa.scalar(str(_UNKNOWN), pa.large_string()))
        .cast(pa.int64())
        .fill_null(_UNKNOWN)
        .to_numpy()
    )
    return mtimes


def _find_uris(names: pa.Array) -> pa.Array:
    return pc.match_substring(names, "://")


def _read_references(images: pa.Table, _: pa.Array) -> np.ndarray:
    return np.where(find_references(images), 0, 1)


def find_references(images: pa.Table) -> np.ndarray:
    """(n,) bool: which images are of a reference input, and never to be touched."""
    if "reference" not in images.column_names:
        return np.zeros(images.num_rows, bool)
    references: BoolArray = pc.fill_null(images["reference"], fill_value=False).to_numpy()
    return references


def _format_pixels(images: pa.Table, row: int, _: int) -> str:
    return f"{images['width'][row].as_py() or 0} × {images['height'][row].as_py() or 0}"


def _format_bytes(_: pa.Table, __: int, key: int) -> str:
    return f"{-key:,}"


def _format_time(_: pa.Table, __: int, key: int) -> str:
    if key == _UNKNOWN:
        return "unknown"
    return datetime.fromtimestamp(key / 1e9, UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")


def _format_nothing(*_: object) -> str:
    return ""


_RULES = {
    rule.name: rule
    for rule in (
        Rule("reference", "a reference picture", "is a reference picture", _read_references, _format_nothing),
        Rule("resolution", "most pixels", "has more pixels", _read_pixels, _format_pixels),
        Rule("bytes", "most bytes", "has more bytes", _read_bytes, _format_bytes),
        Rule("oldest", "oldest", "is older", _read_mtimes, _format_time),
    )
}
_RULES_BY_NAME = Rule(NAME, "first by name", "is first by name", lambda _, names: rank_names(names), _format_nothing)


def parse_rules(text: str) -> list[Rule]:
    """Rules with commas between, the first the most important; raises `ConfigError` that lists what there is."""
    rules = [_parse_rule(word.strip()) for word in text.split(",") if word.strip()]
    if not rules:
        raise ConfigError(f"keep={text!r} is empty; known rules are {_list_rules()}.")
    if repeated := [rule.name for place, rule in enumerate(rules) if rule in rules[:place]]:
        raise ConfigError(f"keep={text!r} has {repeated[0]!r} twice; give it once.")
    return rules


def _list_rules() -> str:
    return ", ".join((*_RULES, f"{PATH}GLOB"))


def _parse_rule(word: str) -> Rule:
    if word in _RULES:
        return _RULES[word]
    glob = word.removeprefix(PATH)
    if glob in ("", word):
        raise ConfigError(f"keep: unknown rule {word!r}; known are {_list_rules()}.")
    # Names are absolute here: what does not begin with / may begin at any folder.
    patterns = Patterns([glob if glob.startswith(("/", "**/")) or "/" not in glob else f"**/{glob}"], [])

    def misses(_: pa.Table, names: pa.Array) -> np.ndarray:
        return np.array([not patterns.keep(os.fsdecode(name)) for name in names.to_pylist()], int)

    return Rule(word, f"path matches {glob}", f"has a path that matches {glob}", misses, _format_nothing)


class Ranking:
    """The order in which n images are kept, by rules; where all are equal, by the bytes of the names.

    images: the table of images.parquet. names: (n,) raw names. rank: (n,) int64, 0 goes before all others.
    """

    def __init__(self, rules: Sequence[Rule], images: pa.Table, names: pa.Array | pa.ChunkedArray) -> None:
        names = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
        self._images, self._rules = images, [*rules, _RULES_BY_NAME]
        self._keys = [rule.key(images, names.cast(_NAMES)) for rule in self._rules]
        order = np.lexsort(self._keys[::-1])
        self.rank = np.empty(len(order), np.int64)
        self.rank[order] = np.arange(len(order))

    def order(self, members: np.ndarray) -> np.ndarray:
        """Rows, (m,) int64, in the order in which they are kept: the first is the keeper of the group."""
        return members[np.argsort(self.rank[members])]

    def explain_kept(self, members: np.ndarray) -> Reason:
        """Why the first of `members`, as `ordered` gives them, goes before the second."""
        first, second = members[:2].tolist()
        place = self._find_deciding_rule(first, second)
        best, shown = self._rules[place].best, self._describe_value(place, first)
        return Reason(self._rules[place].name, f"{best}: {shown}" if shown else best)

    def explain_order(self, keeper: int, other: int) -> Reason:
        """Why `keeper` goes before `other`."""
        place = self._find_deciding_rule(keeper, other)
        first, second = (self._describe_value(place, row) for row in (keeper, other))
        better = self._rules[place].better
        return Reason(self._rules[place].name, f"{better}: {first} against {second}" if first else better)

    def _find_deciding_rule(self, first: int, second: int) -> int:
        return next(place for place, key in enumerate(self._keys) if key[first] != key[second])

    def _describe_value(self, place: int, row: int) -> str:
        return self._rules[place].shown(self._images, row, int(self._keys[place][row]))
