"""Check the verified pairs: the pairs that were compared, and the outputs that show them."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .checks import DISTANCE, ROUNDING, some
from .run import EVIDENCE, EXACT_COPIES, PAIRS, Run, raw

TABLE, LIST = "verified_pairs.parquet", "verified_pairs.csv"
NUMBERS = ("cover_from", "cover_to", "difference", "left", "top", "right", "bottom")
COLUMNS = ("from", "to", "similarity", "relation", *NUMBERS, "m00", "m01", "m02", "m10", "m11", "m12", "contents")
LOSSES = ("lost_from", "lost_to")
LOST = {None, "colors", "tones", "noise"}
CONFIRMED = {"same", "cropped", "padded", "embedded", "turned", "mirrored", "altered"}
RELATIONS = CONFIRMED | {"different", "unsure"}
LEAST = {"candidates": 0.7, "all": 0.3}
"""Similarity above which all pairs of similarity.csv are compared."""


def check_verified(run: Run) -> Iterator[str]:
    if not run.is_verified:
        yield from (f"{name}: there, in spite of verify=off" for name in (TABLE, LIST) if run.file(name).exists())
        return
    table = run.parquet(TABLE, (*COLUMNS, *LOSSES))
    source, target = np.array(table["from"], np.int64), np.array(table["to"], np.int64)
    yield from _check_ends(run, table)
    off = np.abs(run.values(source, target, "cosine") - np.array(table["similarity"], np.float64))
    yield from some(TABLE, "similarities are not those of the rows", np.flatnonzero(~(off <= DISTANCE)))
    yield from some(TABLE, "unknown relations", {*table["relation"]} - RELATIONS)
    for name in LOSSES:
        yield from some(TABLE, f"{name} is unknown", {*table[name]} - LOST)
        rest = [row for row, relation in enumerate(table["relation"]) if relation != "same" and table[name][row]]
        yield from some(TABLE, f"{name} though they are not the same", rest)
    for name in NUMBERS:
        yield from some(TABLE, f"{name} not from 0 to 1", [value for value in table[name] if not 0 <= value <= 1])
    if run.summary.get("verified") != Counter(table["relation"]):
        yield f"summary.json: verified is {run.summary.get('verified')}, {TABLE} has {dict(Counter(table['relation']))}"
    evidence = _list_evidence(table)
    yield from _check_similarity(run, evidence)
    yield from _check_list(run, table, evidence)


def _check_ends(run: Run, table: dict[str, list]) -> Iterator[str]:
    ends = list(zip(table["from"], table["to"], strict=True))
    if ends != sorted({*ends}):
        yield f"{TABLE}: out of order, or twice"
    first = {digest: row for row, digest in reversed(list(enumerate(run.digests)))}
    later = [row for pair in ends for row in pair if first[run.digests[row]] != row]
    yield from some(TABLE, "not the first with its bytes", later)
    contents = [" ".join(run.digests[row][:32] for row in pair) for pair in ends]
    if [text.partition(" ")[2] for text in table["contents"]] != contents:
        yield f"{TABLE}: contents are not the beginnings of both digests"
    if len({text.partition(" ")[0] for text in table["contents"]}) > 1:
        yield f"{TABLE}: verdicts of several recipes"
    yield from some(TABLE, "the higher digest first", [text for text in contents if text[:32] > text[33:]])


def _list_evidence(table: dict[str, list]) -> dict[tuple[int, int], tuple]:
    """What is told of each pair, in both directions."""
    evidence = {}
    for a, b, relation, cover_from, cover_to, difference in zip(
        *(table[name] for name in ("from", "to", *EVIDENCE)), strict=True
    ):
        evidence[a, b] = relation, cover_from, cover_to, difference
        evidence[b, a] = relation, cover_to, cover_from, difference
    return evidence


def _check_similarity(run: Run, evidence: dict[tuple[int, int], tuple]) -> Iterator[str]:
    first = {digest: row for row, digest in reversed(list(enumerate(run.digests))) if digest}
    pairs = list(zip(*(ends.tolist() for ends in (run.similar.source, run.similar.target)), strict=True))
    contents = [tuple(first.get(run.digests[row], -1) for row in pair) for pair in pairs]
    equals = _read_equal(run)
    expected = [
        ("same", 1.0, 1.0, 0.0)
        if equals.get(source, source) == equals.get(target, target)
        else evidence.get(content, (None,) * len(EVIDENCE))
        for (source, target), content in zip(pairs, contents, strict=True)
    ]
    similar = run.parquet("similarity.parquet", run.pair_columns)
    told = list(zip(*(similar[name] for name in EVIDENCE), strict=True))
    if told != expected:
        yield f"similarity.parquet: relations are not those of {TABLE}"
    least = max(LEAST[run.config["verify"]], run.config["threshold"])
    compared = (run.cosines(run.similar) > least).tolist()
    names = [
        pair
        for pair, row, is_compared in zip(run.similar.names, told, compared, strict=True)
        if is_compared and row[0] is None and not any("#t=" in name for name in pair)
    ]
    if None not in run.digests:
        yield from some("similarity.parquet", "not compared", names)


def _read_equal(run: Run) -> dict[int, int]:
    """The image that each exact duplicate equals, byte for byte or pixel for pixel, over any number of steps."""
    equals = {run.row_of[row[0]]: run.row_of[row[1]] for row in run.csv("exact_copies.csv", EXACT_COPIES)}
    for row, other in equals.items():
        while other in equals:
            other = equals[other]
        equals[row] = other
    return equals


def _check_list(run: Run, table: dict[str, list], evidence: dict[tuple[int, int], tuple]) -> Iterator[str]:
    """The confirmed pairs that are not above the threshold, each once, the most similar first."""
    rows = run.csv(LIST, (*PAIRS, *EVIDENCE))
    ends = [(run.row_of.get(row[0], -1), run.row_of.get(row[1], -1)) for row in rows]
    similarity = dict(zip(zip(table["from"], table["to"], strict=True), table["similarity"], strict=True))
    expected = {
        tuple(sorted(pair))
        for pair, value in similarity.items()
        if evidence[pair][0] in CONFIRMED and value <= run.config["threshold"]
    }
    if sorted(tuple(sorted(pair)) for pair in ends) != sorted(expected):
        yield f"{LIST}: not the {len(expected)} confirmed pairs up to the threshold"
        return
    source, target = np.array(ends, np.int64).reshape(-1, 2).T
    off = np.abs(run.values(source, target, run.config["distance"]) - np.array([row[2] for row in rows], np.float64))
    yield from some(LIST, "distances are not those of the rows", np.flatnonzero(~(off <= DISTANCE)))
    for pair, row in zip(ends, rows, strict=True):
        relation, *numbers = evidence[pair]
        if row[3] != relation or not np.allclose(np.array(row[4:], float), numbers, rtol=0, atol=ROUNDING):
            yield f"{LIST}: the relation of {pair} is not that of {TABLE}"
    keys = [
        (-similarity.get((a, b), similarity.get((b, a))), raw(row[0]), raw(row[1]))
        for (a, b), row in zip(ends, rows, strict=True)
    ]
    yield from some(LIST, "rows out of order, after", [i for i, (a, b) in enumerate(pairwise(keys)) if a > b])
    yield from some(LIST, "names in the other order", [i for i, (_, a, b) in enumerate(keys) if a > b])
