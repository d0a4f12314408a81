"""What the page of a run tells, as plain data for its script: pictures by their numbers on the page, and lists."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from os import fsdecode
from typing import Any

import numpy as np
import pyarrow as pa

from fastdup_ray.common import layout
from fastdup_ray.common.facts import ChangeCounts, RunSummary
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.extract.thumbnails import MAX_PIXELS
from fastdup_ray.outputs.exact_copies import BYTES, PIXELS, read_exact_copies
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.outputs.formats import IMAGES
from fastdup_ray.report.duplicate_groups import DuplicateGroups
from fastdup_ray.report.group_table import Group, GroupTable, choose_groups
from fastdup_ray.report.image_table import LEFT_OUT, NO_ROOM, ImageTable, map_facts
from fastdup_ray.report.readers import (
    PairList,
    describe_measure,
    is_cosine,
    read_pair_list,
    read_pairs,
)
from fastdup_ray.storage import Store
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.tables import escape_names, find_positions, read_csv, read_parquet

GROUPS, ENDS_OF_CHAIN, CARD = 2_000, 4, 6
EXACT, PAIRS, OUTLIERS, LEAKS, CONFLICTS, CHANGES, BAD, EXTREMES = 1_000, 500, 200, 500, 200, 200, 5_000, 12
"""What a page has at most: of each list the first; of a chain its ends; of a group so many at first sight."""

MEMBERS, ALL_MEMBERS = (500, 200, 60, 30, 12, 8), 20_000
"""Pictures of a group: the most of these numbers with which all groups have no more than `ALL_MEMBERS` together."""

ENDS = (("Darkest", "brightness", 1), ("Brightest", "brightness", -1), ("Most blurred", "blur", 1))
"""Title, column of images.parquet, and 1 where the least comes first."""

_FILES = {
    "groups": layout.COMPONENTS_CSV,
    "exact": layout.EXACT_COPIES_CSV,
    "leakage": layout.EXACT_COPIES_CSV,
    "pairs": layout.SIMILARITY_CSV,
    "outliers": layout.OUTLIERS_CSV,
    "bad": layout.BAD_CSV,
    "changes": layout.CHANGES_CSV,
    "conflicts": layout.LABEL_CONFLICTS_CSV,
}
"""List -> the file that has all of it."""

LARGEST = 29_000_000
"""Characters of the data of a page with its thumbnails: the page stays under 30 MB."""


@dataclass(frozen=True)
class PageData:
    """data: for the script. thumbnails: data URIs. pairs: each once. labels: (n,), where there are.

    reclaim: bytes of all but one picture of each group, None where there are no groups; of exact copies alone.
    """

    data: dict[str, Any]
    thumbnails: list[str]
    pairs: PairList
    labels: pa.ChunkedArray | None
    reclaim: int | None
    reclaim_exact: int


def make_page_data(store: Store, summary: RunSummary, files: FileSet, *, thumbnails: bool) -> PageData:
    """Reads the outputs of a run or a scoring. summary: what summary.json has, or will have.

    Raises `DamagedError` or `FileNotFoundError` where an output is not what the run wrote.
    """
    found = _PageDataBuilder(store, summary, files)
    lists: dict[str, Any] = {}
    groups = exact = None
    if files is INDEXED:
        features_file = RunReader(store, summary).features_file
        grouped = DuplicateGroups(
            store, found.names.slice(0, found.n), found.facts, found.copies, features_file, summary["d"]
        )
        exact = grouped.by_content(found.contents)
        chosen = choose_groups(exact, np.zeros(len(exact)), EXACT)
        if store.exists(layout.COMPONENTS):  # not with run_cc=0
            groups, weakest = grouped.by_component()
            lists["groups"] = found.cards(groups, choose_groups(groups, weakest, GROUPS))
        lists["exact"] = found.cards(exact, chosen)
    else:
        lists["leakage"] = found.leakage()
    lists["pairs"] = found.rows(found.pairs)
    lists["outliers"] = found.rows(found.outliers)
    lists["bad"] = _read_bad(store, files)
    if files is INDEXED and store.exists(layout.CHANGES_CSV):
        lists["changes"] = found.changes(summary.get("changes", ChangeCounts()))
    if found.conflicts is not None:
        lists["conflicts"] = found.rows(found.conflicts)
    if extremes := list(found.extremes()):
        lists["extremes"] = extremes
    for name, file in _FILES.items():
        if name in lists:
            lists[name]["file"] = file if name == "pairs" else files.name(file)
    found.request_the_rest()
    columns, made = found.pictures.columns(), {}
    if thumbnails:
        room = LARGEST - len(json.dumps([columns, lists], ensure_ascii=False).encode())
        made = found.pictures.thumbnails(found.config.get("max_pixels", MAX_PIXELS), room)
    data = {
        "scored": files is SCORED,
        "measure": describe_measure(found.config),
        "cosine": is_cosine(found.config),
        "run": f"{store.location}/{files.name(layout.REPORT)}",
        "pictures": columns | found.pictures.locate_thumbnails(made, NO_ROOM if thumbnails else LEFT_OUT),
        "lists": lists,
    }
    uris = [thumbnail.data_uri for thumbnail in made.values() if thumbnail.data_uri]
    labels = found.facts["label"].slice(0, found.n) if found.conflicts is not None else None
    reclaim = groups.reclaim_all if groups else None
    return PageData(data, uris, found.pairs, labels, reclaim, exact.reclaim_all if exact else 0)


class _PageDataBuilder:
    """The outputs of a run that its page is made of. names: of the n images, then of others that the page tells of."""

    def __init__(self, store: Store, summary: RunSummary, files: FileSet):
        run, within = RunReader(store, summary, files), files is INDEXED
        self.store, self.files, self.summary, self.config = store, files, summary, run.config
        own = known = run.map_names()
        if not within:
            indexed = RunReader(store, read_summary(store)).map_names()
            known = pa.concat_arrays([own, indexed]).unique()
        self._similar = store.fetch(run.locate(layout.SIMILARITY_CSV))
        self.pairs = read_pair_list(self._similar, layout.PAIRS_HEADER, PAIRS, each_once=within)
        outliers = store.fetch(files.name(layout.OUTLIERS_CSV))
        self.outliers = read_pair_list(outliers, layout.PAIRS_HEADER, OUTLIERS, each_once=False)
        self.conflicts: PairList | None = None
        if store.exists(conflicts := files.name(layout.LABEL_CONFLICTS_CSV)):
            header = layout.LABEL_CONFLICTS_HEADER
            self.conflicts = read_pair_list(store.fetch(conflicts), header, CONFLICTS, each_once=True)
        self.names = _add_unknown_names(known, [self.pairs, self.outliers, *filter(None, [self.conflicts])])
        self.copies = read_exact_copies(store, files, known, known)
        self.n, self.facts = len(own), map_facts(store, files, self.names)
        self.contents = self.copies.contents(len(self.names))
        self.pictures = ImageTable(self.names, self.facts, self.contents, store.access)
        self.later: list[list[int]] = []

    def kind(self, first: int, second: int) -> str:
        """How two pictures are exact copies, or ""."""
        one, other = (self.facts["sha256"][row] for row in (first, second))
        if one.is_valid and one == other:
            return BYTES
        return PIXELS if self.contents[first] == self.contents[second] else ""

    def rows(self, listed: PairList) -> dict[str, Any]:
        """The first pairs, each as two pictures, value, kind, and what else the file has of it."""
        first, second = (find_positions(listed.first[end], self.names).tolist() for end in ("from", "to"))
        value, *more = (escape_names(column).to_pylist() for column in listed.first.columns[2:])
        items = [
            [*self._make_row(one, other, float(number)), *told]
            for one, other, number, *told in zip(first, second, value, *more, strict=True)
        ]
        return {"total": listed.total, "items": items}

    def _make_row(self, first: int, second: int, value: float | None) -> list[Any]:
        self.pictures.request((first, second))
        return [self.pictures.number(first), self.pictures.number(second), value, self.kind(first, second)]

    def leakage(self) -> dict[str, Any]:
        """Of each new picture its copy or its closest indexed one: exact copies first, then from the closest on."""
        _, pairs = read_pairs(self._similar, self.names)
        copies = self.copies
        copied = np.isin(pairs.source, copies.copy)
        ends = zip(pairs.source[copied].tolist(), pairs.target[copied].tolist(), strict=True)
        value = dict(zip(ends, pairs.value[copied].tolist(), strict=True))
        exact = [(a, b, value.get((a, b))) for a, b in zip(copies.copy.tolist(), copies.of.tolist(), strict=True)]
        exact.sort(key=lambda row: self.kind(*row[:2]))
        first = np.sort(np.unique(pairs.source, return_index=True)[1])
        first = first[~copied[first]]
        near = list(
            zip(*(part[first[:LEAKS]].tolist() for part in (pairs.source, pairs.target, pairs.value)), strict=True)
        )
        items = [self._make_row(*row) for row in (exact + near)[:LEAKS]]
        return {"total": len(exact) + len(first), "exact": len(exact), "of": self.n, "items": items}

    def extremes(self) -> Iterator[dict[str, Any]]:
        """The pictures at the ends of the statistics, ties by row; none where images.parquet has no statistics."""
        path = self.store.fetch(self.files.name(layout.IMAGES))
        for title, column, direction in ENDS:
            images = read_parquet(path, IMAGES.select([column]))
            if column not in images.column_names:
                continue
            found = images[column]
            rows = np.flatnonzero(found.is_valid().to_numpy())
            if len(rows):
                values = found.to_numpy()[rows]
                first = np.argsort(direction * values, kind="stable")[:EXTREMES]
                self.pictures.request(rows[first].tolist())
                items = [
                    [self.pictures.number(row), round(value, 1)]
                    for row, value in zip(rows[first].tolist(), values[first].tolist(), strict=True)
                ]
                yield {"title": title, "column": column, "items": items}

    def changes(self, counts: ChangeCounts) -> dict[str, Any]:
        """Rows of changes.csv, of each kind the first: kind, component, two names, distance, two pictures or -1."""
        table = read_csv(self.store.fetch(layout.CHANGES_CSV), layout.CHANGES_HEADER)
        kinds = table["change"].combine_chunks().dictionary_encode()
        code, kind = kinds.indices.to_numpy(), np.arange(len(kinds.dictionary))
        shown = table.take(pa.array(np.concatenate([kind[:0], *(np.flatnonzero(code == k)[:CHANGES] for k in kind)])))
        ends = [find_positions(shown[name], self.names).tolist() for name in ("from", "to")]
        items = []
        for cells, first, second in zip(shown.to_pylist(), *ends, strict=True):
            self.pictures.request(row for row in (first, second) if row >= 0)
            numbers = [self.pictures.number(row) if row >= 0 else -1 for row in (first, second)]
            items.append([*(escape_non_utf8(fsdecode(cell)) for cell in cells.values()), *numbers])
        return {"total": table.num_rows, "counts": counts, "items": items}

    def cards(self, groups: GroupTable, places: list[int]) -> dict[str, Any]:
        """Groups to look at and to decide on; thumbnails first of the keepers, the closest and the least alike."""
        counts = groups.count[places]
        most = next((m for m in MEMBERS if np.minimum(counts, m).sum() <= ALL_MEMBERS), min(MEMBERS))
        items = []
        for group in groups.select(places):
            shown = _choose_shown(group, most)
            self.pictures.request([*group.members[:2].tolist(), *group.least_similar])
            self.later.append(group.members[shown].tolist())
            items.append(self._make_card(group, shown))
        return {"total": len(groups), "items": items}

    def request_the_rest(self) -> None:
        """Thumbnails of all other pictures of groups, as far as there is room: first of those that a card shows."""
        for part in (slice(0, CARD), slice(CARD, None)):
            for members in self.later:
                self.pictures.request(members[part])

    def _make_card(self, group: Group, shown: np.ndarray) -> dict[str, Any]:
        members = group.members[shown].tolist()
        return {
            "id": group.id,
            "count": len(group.members),
            "exact": len(group.members) - len(np.unique(self.contents[group.members])),
            "members": [self.pictures.number(row) for row in members],
            "similarity": group.similarity[shown].tolist(),
            "kind": ["", *(self.kind(row, members[0]) for row in members[1:])],
            "lowest": group.lowest,
            "strangers": [members.index(row) for row in group.least_similar],
            "reason": group.reason,
            "reclaim": group.reclaim,
        }


def _add_unknown_names(known: pa.Array, lists: list[PairList]) -> pa.Array:
    """`known`, and the names that the lists have beyond them."""
    told = pa.concat_arrays([column.chunk(0).cast(known.type) for one in lists for column in one.first.columns[:2]])
    strangers = told.filter(pa.array(find_positions(told, known) < 0)).unique()
    return pa.concat_arrays([known, strangers]) if len(strangers) else known


def _choose_shown(group: Group, most: int) -> np.ndarray:
    """Places of the members that a page has: of many the most and the least like the keeper, and the least alike."""
    m = len(group.members)
    if m <= most:
        return np.arange(m)
    strangers = np.flatnonzero(np.isin(group.members, group.least_similar))
    ends = min(ENDS_OF_CHAIN, most // 4)
    return np.unique(np.concatenate([np.arange(most - ends - 2), np.arange(m - ends, m), strangers]))


def _read_bad(store: Store, files: FileSet) -> dict[str, Any]:
    """Names, codes and reasons; none of features of one's own, which come without a list."""
    if not store.exists(files.name(layout.BAD_CSV)):
        return {"total": 0, "codes": [], "items": []}
    table = read_csv(store.fetch(files.name(layout.BAD_CSV)), layout.BAD_HEADER)
    counted = table["error_code"].value_counts().to_pylist()
    codes = [(escape_non_utf8(fsdecode(code["values"])), code["counts"]) for code in counted]
    codes.sort(key=lambda code: -code[1])
    items = [[escape_non_utf8(fsdecode(cell)) for cell in row.values()] for row in table.slice(0, BAD).to_pylist()]
    return {"total": table.num_rows, "codes": codes, "items": items}
