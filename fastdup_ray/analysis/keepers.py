"""Choice of the keeper of a group: rules in order of importance, and the reasons in words."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastdup_ray.analysis.dates import format_date, read_dates
from fastdup_ray.analysis.pairs import rank_names, rank_some_names
from fastdup_ray.analysis.verified_pairs import VerifiedPairs
from fastdup_ray.common.arrays import AnyArray, BoolArray, IntArray, shrink, split_array
from fastdup_ray.common.relations import DESCRIBED, Loss
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs.globs import Patterns
from fastdup_ray.storage.tables import ROWS_PER_BLOCK, take_rows

DEFAULT_RULES = "reference,quality,resolution,bytes,oldest"
"""Reference images come first, since they are never removed; then the least edited, most detail, least compression,
oldest date."""

LOST = "lost"
"""Column with what an image has lost beside another one, which the rule `quality` goes by; see `add_losses`."""

RANKED = ("size", "mtime_or_etag", "taken", "width", "height", "reference")
"""Columns of images.parquet that the rules go by; not every run has all of them."""

PATH = "path:"
"""Prefix of a rule with a glob."""

NAME = "name"
"""The rule that breaks all ties: the first by the bytes of the name."""

SAME_TIME = 2_000
"""Milliseconds: dates closer to each other are equal, since FAT and zip files round them to two seconds."""

_NAMES = pa.large_binary()


class Reason(NamedTuple):
    """Why an image is preferred.

    Attributes:
        rule: The rule as in `--keep`, or `name`.
        text: A short text for people, such as `most pixels: 4000 × 3000`.
    """

    rule: str
    text: str


@dataclass(frozen=True)
class Rule:
    """A rule that orders images.

    Attributes:
        name: The rule as in `--keep`.
        best: Reason for the first image of a group, such as `most pixels`.
        better: Reason for one image against another, such as `has more pixels`.
        key: Computes (b,) integer sort keys, the lowest first, from b rows of the table of images and their raw names.
        shown: Formats the value of one image from the table, its row and its key; "" if there is nothing to show.
        tie: Keys that differ by less are equal.
    """

    name: str
    best: str
    better: str
    key: Callable[[pa.Table, pa.Array], IntArray]
    shown: Callable[[pa.Table, int, int], str]
    tie: int = 1


def _read_numbers(column: pa.ChunkedArray) -> IntArray:
    numbers: IntArray = column.cast(pa.int64()).fill_null(0).to_numpy()
    return numbers


def _read_pixels(images: pa.Table, _: pa.Array) -> IntArray:
    pixels: IntArray = -_read_numbers(images["width"]) * _read_numbers(images["height"])
    return pixels


def _read_bytes(images: pa.Table, _: pa.Array) -> IntArray:
    return -_read_numbers(images["size"])


def _read_losses(images: pa.Table, _: pa.Array) -> IntArray:
    if LOST not in images.column_names:
        return np.zeros(images.num_rows, np.int64)
    has_lost: BoolArray = images[LOST].is_valid().to_numpy()
    return has_lost.astype(np.int64)


def add_losses(images: pa.Table, verified: VerifiedPairs | None) -> pa.Table:
    """Add what each image has lost to a table of all images, if the run verified pairs."""
    return images if verified is None else images.append_column(LOST, verified.find_losses())


def _read_references(images: pa.Table, _: pa.Array) -> IntArray:
    return np.where(find_references(images), 0, 1)


def find_references(images: pa.Table) -> BoolArray:
    """Find the images of reference inputs, which are never removed.

    Args:
        images: The table of images.parquet, n rows.

    Returns:
        (n,) bool.
    """
    if "reference" not in images.column_names:
        return np.zeros(images.num_rows, bool)
    references: BoolArray = pc.fill_null(images["reference"], fill_value=False).to_numpy()
    return references


def _format_loss(images: pa.Table, row: int, _: int) -> str:
    loss = images[LOST][row].as_py() if LOST in images.column_names else None
    return "nothing lost" if loss is None else DESCRIBED[Loss(loss)]


def _format_pixels(images: pa.Table, row: int, _: int) -> str:
    return f"{images['width'][row].as_py() or 0} × {images['height'][row].as_py() or 0}"


def _format_bytes(_: pa.Table, __: int, key: int) -> str:
    return f"{-key:,}"


def _format_date(_: pa.Table, __: int, key: int) -> str:
    return format_date(key) or "unknown"


def _format_nothing(*_: object) -> str:
    return ""


_RULES = {
    rule.name: rule
    for rule in (
        Rule("reference", "a reference image", "is a reference image", _read_references, _format_nothing),
        Rule("quality", "least edited", "is less edited", _read_losses, _format_loss),
        Rule("resolution", "most pixels", "has more pixels", _read_pixels, _format_pixels),
        Rule("bytes", "most bytes", "has more bytes", _read_bytes, _format_bytes),
        Rule("oldest", "oldest", "is older", read_dates, _format_date, SAME_TIME),
    )
}


_BY_NAME = Rule(NAME, "first by name", "is first by name", lambda _, names: rank_names(names), _format_nothing)


def parse_rules(text: str) -> list[Rule]:
    """Parse the value of `--keep`.

    Args:
        text: Rules separated by commas, the most important first.

    Returns:
        The rules in the same order.

    Raises:
        ConfigError: A rule is unknown or repeated, or there is none. The message lists the rules.
    """
    rules = [_parse_rule(word.strip()) for word in text.split(",") if word.strip()]
    if not rules:
        raise ConfigError(f"keep={text!r} is empty; known rules are {list_rules()}.")
    if repeated := [rule.name for index, rule in enumerate(rules) if rule in rules[:index]]:
        raise ConfigError(f"keep={text!r} has {repeated[0]!r} twice; give it once.")
    return rules


def list_rules() -> str:
    """Return the names of all rules, for people."""
    return ", ".join((*_RULES, f"{PATH}GLOB"))


def _parse_rule(word: str) -> Rule:
    if word in _RULES:
        return _RULES[word]
    glob = word.removeprefix(PATH)
    if glob in ("", word):
        raise ConfigError(f"keep: unknown rule {word!r}; known are {list_rules()}.")
    # Names are absolute paths, so that a relative glob has to match from any folder on.
    patterns = Patterns([glob if glob.startswith(("/", "**/")) or "/" not in glob else f"**/{glob}"], [])

    def misses(_: pa.Table, names: pa.Array) -> IntArray:
        return np.array([not patterns.keep(os.fsdecode(name)) for name in names.to_pylist()], int)

    return Rule(word, f"path matches {glob}", f"has a path that matches {glob}", misses, _format_nothing)


class Ranking:
    """The order of preference of m images, by rules, then by the bytes of the names.

    In memory are numbers alone: about 30 bytes for each of the m images.

    Args:
        rules: The rules, the most important first.
        images: The table of images.parquet, n rows. It is read part by part, and may be mapped from a file.
        names: (n,) names as raw bytes, which may be mapped, too.
        rows: (m,) int64 ascending indices of the images to order, which are then meant by their positions in it; None:
            all n images.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        images: pa.Table,
        names: pa.Array | pa.ChunkedArray,
        rows: IntArray | None = None,
    ) -> None:
        names = (names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names).cast(_NAMES)
        self._images, self._rules = images, [*rules, _BY_NAME]
        self._rows = np.arange(len(names)) if rows is None else rows
        self._keys = [*_read_keys(rules, images, names, self._rows), shrink(rank_some_names(names, self._rows))]

    def order(self, members: IntArray) -> IntArray:
        """Sort the images of one group by preference.

        Args:
            members: (m,) int64 indices of images.

        Returns:
            (m,) int64, the same indices; the first is the keeper.
        """
        return members[self.order_groups(members, np.zeros(len(members), np.int64))]

    def order_groups(self, members: IntArray, group: IntArray) -> IntArray:
        """Sort images by group, and by preference within each.

        Args:
            members: (m,) int64 indices of images.
            group: (m,) int64 number of the group of each.

        Returns:
            (m,) int64 positions in `members`.
        """
        place = group
        for rule, key in zip(self._rules, self._keys, strict=True):
            place = _refine(place, key[members].astype(np.int64), rule.tie)
        return np.argsort(place)

    def explain_kept(self, members: IntArray) -> Reason:
        """Return why the keeper of a group is preferred to the second image.

        Args:
            members: (m,) int64 indices of at least two images, as `order` returns them.
        """
        first, second = members[:2].tolist()
        index = self._find_deciding_rule(first, second)
        best, shown = self._rules[index].best, self._describe_value(index, first)
        return Reason(self._rules[index].name, f"{best}: {shown}" if shown else best)

    def explain_order(self, keeper: int, other: int) -> Reason:
        """Return why an image is preferred to another.

        Args:
            keeper: Index of the preferred image.
            other: Index of the other image.
        """
        index = self._find_deciding_rule(keeper, other)
        first, second = (self._describe_value(index, row) for row in (keeper, other))
        better = self._rules[index].better
        return Reason(self._rules[index].name, f"{better}: {first} against {second}" if first else better)

    def _find_deciding_rule(self, first: int, second: int) -> int:
        """Return the position of the rule by which the first image is preferred to the second."""
        ahead = [int(key[second]) - int(key[first]) for key in self._keys]
        decisive = next(index for index, rule in enumerate(self._rules) if abs(ahead[index]) >= rule.tie)
        # A third image may have parted the two by a rule that says nothing of them alone.
        return decisive if ahead[decisive] > 0 else next(index for index, value in enumerate(ahead) if value > 0)

    def _describe_value(self, index: int, row: int) -> str:
        return self._rules[index].shown(self._images, int(self._rows[row]), int(self._keys[index][row]))


def _read_keys(rules: Sequence[Rule], images: pa.Table, names: pa.Array, rows: IntArray) -> Iterator[AnyArray]:
    """Yield the (m,) keys of each rule, for the images at m rows of a table."""
    table = images.select([name for name in (*RANKED, LOST) if name in images.column_names])
    keys: list[list[AnyArray]] = [[np.empty(0, np.int8)] for _ in rules]
    for part in split_array(rows, ROWS_PER_BLOCK):
        some = take_rows(table, part), names.take(pa.array(part))
        for rule, parts in zip(rules, keys, strict=True):
            parts.append(shrink(rule.key(*some)))
    return map(np.concatenate, keys)


def _refine(place: IntArray, key: IntArray, tie: int) -> IntArray:
    """Order images that have the same place by a key.

    Args:
        place: (m,) int64, equal for images that no rule has told apart so far.
        key: (m,) int64.
        tie: A key is equal to the lowest one of its place if it is larger by less than this; and so on, from the lowest
            one of the rest.

    Returns:
        (m,) int64 places, in the order of place and key.
    """
    order = np.lexsort((key, place))
    place, key = place[order], key[order]
    is_first = np.ones(len(key), bool)
    is_first[1:] = (place[1:] != place[:-1]) | (key[1:] - key[:-1] >= tie)
    while len(key):
        lowest = key[np.maximum.accumulate(np.where(is_first, np.arange(len(key)), 0))]
        is_apart = key - lowest >= tie
        if not is_apart.any():
            break
        is_first[1:] |= is_apart[1:] & ~is_apart[:-1]
    refined = np.empty(len(key), np.int64)
    refined[order] = np.cumsum(is_first)
    return refined
