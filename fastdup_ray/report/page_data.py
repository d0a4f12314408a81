"""The data of a report, as its scripts read it: images by their number on the page, and the lists that show them."""

import json
from dataclasses import dataclass, replace
from os import fsdecode
from typing import Any

import numpy as np
import pyarrow as pa

from fastdup_ray.common import csv_columns, layout
from fastdup_ray.common.facts import ChangeCounts, RunSummary
from fastdup_ray.common.layout import INDEXED, SCORED, FileSet
from fastdup_ray.common.names import escape_non_utf8
from fastdup_ray.curation.duplicate_rules import default_threshold
from fastdup_ray.curation.suggest import SuggestedPlan
from fastdup_ray.extract.thumbnails import MAX_PIXELS, Thumbnail
from fastdup_ray.outputs.exact_copies import read_exact_copies
from fastdup_ray.outputs.finished_run import RunReader
from fastdup_ray.outputs.pair_file import read_pairs
from fastdup_ray.report.bad_files import list_bad_files
from fastdup_ray.report.duplicate_groups import DuplicateGroups
from fastdup_ray.report.group_cards import GroupCards
from fastdup_ray.report.image_issues import list_issues
from fastdup_ray.report.image_table import LEFT_OUT, NO_ROOM, ImageTable, map_facts, read_group_numbers
from fastdup_ray.report.last_thumbnails import LastThumbnails
from fastdup_ray.report.pair_evidence import PairEvidence, has_verified_pairs, read_verified_pairs
from fastdup_ray.report.pair_lists import PairList, read_pair_list
from fastdup_ray.report.run_settings import describe_measure, is_cosine
from fastdup_ray.report.suggestions import list_suggestions
from fastdup_ray.storage import Store
from fastdup_ray.storage.csv_files import iter_csv
from fastdup_ray.storage.facts import read_summary
from fastdup_ray.storage.tables import TEXT, escape_names, find_positions

MAX_GROUPS = 20_000
MAX_CONFIRMED_GROUPS = 5_000
MAX_EXACT_SETS = 20_000
MAX_PAIRS = 2_000
MAX_OUTLIERS = 300
MAX_LEAKS = 500
MAX_CONFLICTS = 200
MAX_CHANGES_OF_KIND = 200
_FILES = {
    "groups": layout.COMPONENTS_CSV,
    "exact": layout.EXACT_COPIES_CSV,
    "leakage": layout.EXACT_COPIES_CSV,
    "pairs": layout.SIMILARITY_CSV,
    "outliers": layout.OUTLIERS_CSV,
    "bad": layout.BAD_CSV,
    "changes": layout.CHANGES_CSV,
    "conflicts": layout.LABEL_CONFLICTS_CSV,
    "issues": layout.IMAGES,
}
"""List -> the file that has all of it."""

MAX_CHARACTERS = 29_000_000
"""Characters of the data and the thumbnails of a page: the page stays under 30 MB."""


@dataclass(frozen=True)
class PageData:
    """What a report shows.

    Attributes:
        data: JSON for the scripts.
        thumbnails: Data URIs.
        pairs: The pairs above the threshold, each once.
        labels: (n,) the label of each image, None without labels.
        reclaim: Bytes of what is suggested to be dropped.
        unreadable: Images whose files could not be read for a thumbnail.
    """

    data: dict[str, Any]
    thumbnails: list[str]
    pairs: PairList
    labels: pa.ChunkedArray | None
    reclaim: int
    unreadable: int


def make_page_data(
    store: Store,
    summary: RunSummary,
    files: FileSet,
    plan: SuggestedPlan | None,
    *,
    thumbnails: bool,
    last: LastThumbnails | None = None,
) -> PageData:
    """Read the outputs of a run or a scoring.

    Args:
        store: The work_dir.
        summary: What summary.json has, or will have.
        files: Which set of files the page is about.
        plan: What the run suggests by default; None for a scoring.
        thumbnails: Whether to make thumbnails.
        last: Thumbnails to reuse.

    Raises:
        DamagedError: where an output is not what the run wrote.
        FileNotFoundError: where an output is missing.
    """
    builder = _PageDataBuilder(store, summary, files)
    lists: dict[str, Any] = {}
    cards = None
    if plan is not None:
        duplicate_groups = DuplicateGroups(
            store,
            builder.names.slice(0, builder.n),
            builder.facts,
            RunReader(store, summary).features_file,
            summary["d"],
            builder.verified,
            plan.choice,
        )
        cards = GroupCards(builder.images, builder.evidence, plan.choice)
        if store.exists(layout.COMPONENTS):  # not with run_cc=0
            lists["groups"] = cards.make_list(duplicate_groups.by_component(MAX_GROUPS))
            if builder.verified is not None:
                joined, replaced = duplicate_groups.by_confirmed_pair(MAX_CONFIRMED_GROUPS)
                lists["groups"]["confirmed"] = cards.make_list(joined) | {"replaced": replaced.tolist()}
        lists["exact"] = cards.make_list(duplicate_groups.by_content(builder.contents[: builder.n], MAX_EXACT_SETS))
    else:
        lists["leakage"] = builder.list_leaks()
    lists["pairs"] = builder.list_pairs(builder.pairs)
    if builder.confirmed is not None:
        lists["pairs"]["confirmed"] = builder.list_pairs(builder.confirmed) | {"file": layout.VERIFIED_CSV}
    lists["outliers"] = builder.list_pairs(builder.outliers)
    lists["bad"] = list_bad_files(store, files)
    if files is INDEXED and store.exists(layout.CHANGES_CSV):
        lists["changes"] = builder.list_changes(summary.get("changes", ChangeCounts()))
    if builder.conflicts is not None:
        lists["conflicts"] = builder.list_pairs(builder.conflicts)
    if issues := list_issues(store, files, builder.images):
        lists["issues"] = {"total": sum(issue["total"] for issue in issues), "kinds": issues}
    for name, file in _FILES.items():
        if name in lists:
            lists[name]["file"] = file if name == "pairs" else files.name(file)
    if cards is not None:
        cards.request_other_members()
    verified = builder.evidence.make_columns(builder.images.number) if builder.evidence else None
    suggestions = list_suggestions(plan, builder.images) if plan is not None else {}
    columns = builder.images.columns() | suggestions | {"group": read_group_numbers(store, files, builder.images.rows)}
    images: dict[int, Thumbnail] = {}
    side = 0
    if thumbnails:
        room = MAX_CHARACTERS - len(json.dumps([columns, lists, verified], ensure_ascii=False).encode())
        side = builder.images.choose_side(room)
        images = builder.images.make_thumbnails(builder.config.get("max_pixels", MAX_PIXELS), side, room, last)
    shown = [thumbnail for thumbnail in images.values() if thumbnail.data_uri]
    data = {
        "scored": files is SCORED,
        "measure": describe_measure(builder.config),
        "cosine": is_cosine(builder.config),
        "run": f"{store.location}/{files.name(layout.REPORT)}",
        "pictures": columns | builder.images.locate_thumbnails(images, NO_ROOM if thumbnails else LEFT_OUT),
        "thumbnails": {"side": side, "sha256": [thumbnail.facts and thumbnail.facts.sha256 for thumbnail in shown]},
        "lists": lists,
        "verified": verified,
        "dropped_above": None if verified or plan is None else default_threshold(builder.config),
    }
    uris = [thumbnail.data_uri for thumbnail in shown]
    unreadable = sum(not thumbnail.was_read for thumbnail in images.values())
    labels = builder.facts["label"].slice(0, builder.n) if builder.conflicts is not None else None
    return PageData(data, uris, builder.pairs, labels, 0 if plan is None else plan.dropped_bytes, unreadable)


class _PageDataBuilder:
    """The outputs of a run, and the images that the lists of its page refer to.

    Attributes:
        n: Images of the set that the page is about.
        names: Raw names: of these n images, then of all others that a list refers to.
        facts: `image_table.FACTS` of the names.
        contents: Equal for exact duplicates.
        images: Those that the page shows.
        verified: The verified pairs of the run; None if it has none.
        evidence: The verdicts that the page shows; None if it has not looked.
    """

    def __init__(self, store: Store, summary: RunSummary, files: FileSet) -> None:
        run, within = RunReader(store, summary, files), files is INDEXED
        self._store, self._files, self.config = store, files, run.config
        own = indexed_and_own = run.map_names()
        if not within:
            indexed = RunReader(store, read_summary(store)).map_names()
            indexed_and_own = pa.concat_arrays([own, indexed]).unique()
        self._similarity_file = store.fetch(run.locate(layout.SIMILARITY_CSV))
        self.pairs = read_pair_list(self._similarity_file, csv_columns.PAIRS_HEADER, MAX_PAIRS, each_once=within)
        outliers = store.fetch(files.name(layout.OUTLIERS_CSV))
        self.outliers = read_pair_list(outliers, csv_columns.PAIRS_HEADER, MAX_OUTLIERS, each_once=False)
        self.conflicts: PairList | None = None
        if store.exists(conflicts := files.name(layout.LABEL_CONFLICTS_CSV)):
            header = csv_columns.LABEL_CONFLICTS_HEADER
            self.conflicts = read_pair_list(store.fetch(conflicts), header, MAX_CONFLICTS, each_once=True)
        self.confirmed: PairList | None = None
        if within and has_verified_pairs(run.config):
            path = store.fetch(layout.VERIFIED_CSV)
            confirmed = read_pair_list(path, csv_columns.VERIFIED_HEADER, MAX_PAIRS, each_once=False)
            self.confirmed = replace(confirmed, first=confirmed.first.select(csv_columns.PAIRS_HEADER))
        lists = [self.pairs, self.outliers, *filter(None, [self.conflicts, self.confirmed])]
        self.names = _add_unknown_names(indexed_and_own, lists)
        self.copies = read_exact_copies(store, files, indexed_and_own, indexed_and_own)
        self.n, self.facts = len(own), map_facts(store, files, self.names)
        self.contents = self.copies.contents(len(self.names), store.scratch)
        self.images = ImageTable(self.names, self.facts, self.contents, store.access)
        digests = self.facts["sha256"].slice(0, self.n)
        contents = self.contents[: self.n]
        self.verified = read_verified_pairs(store, run.config, digests, contents) if within else None
        self.evidence = None if self.verified is None else PairEvidence(self.verified)

    def list_pairs(self, pairs: PairList) -> dict[str, Any]:
        """Return the first pairs, each as two images, value, kind, and any further columns of the file."""
        first, second = (find_positions(pairs.first[end], self.names).tolist() for end in ("from", "to"))
        value, *more = (escape_names(column).to_pylist() for column in pairs.first.columns[2:])
        items = [
            [*self._make_pair(one, other, float(number)), *cells]
            for one, other, number, *cells in zip(first, second, value, *more, strict=True)
        ]
        return {"total": pairs.total, "items": items}

    def _make_pair(self, first: int, second: int, value: float | None) -> list[Any]:
        self.images.request((first, second))
        if self.evidence is not None and max(first, second) < self.n:
            self.evidence.request(first, second)
        return [self.images.number(first), self.images.number(second), value, self.images.find_kind(first, second)]

    def list_leaks(self) -> dict[str, Any]:
        """Return the new images that duplicate an indexed one, each with its exact duplicate or its nearest neighbor.

        Exact duplicates come first, then the most similar ones.
        """
        pairs = read_pairs(self._similarity_file, self.names, self._store.scratch)
        copies = self.copies
        copied = np.isin(pairs.source, copies.copy)
        ends = zip(pairs.source[copied].tolist(), pairs.target[copied].tolist(), strict=True)
        value = dict(zip(ends, pairs.value[copied].tolist(), strict=True))
        exact = [(a, b, value.get((a, b))) for a, b in zip(copies.copy.tolist(), copies.of.tolist(), strict=True)]
        exact.sort(key=lambda pair: self.images.find_kind(*pair[:2]))
        first = np.sort(np.unique(pairs.source, return_index=True)[1])
        first = first[~copied[first]]
        near = list(
            zip(*(part[first[:MAX_LEAKS]].tolist() for part in (pairs.source, pairs.target, pairs.value)), strict=True)
        )
        items = [self._make_pair(*pair) for pair in (exact + near)[:MAX_LEAKS]]
        return {"total": len(exact) + len(first), "exact": len(exact), "of": self.n, "items": items}

    def list_changes(self, counts: ChangeCounts) -> dict[str, Any]:
        """Return the first rows of each kind in changes.csv: its cells, and the numbers of the two images or -1."""
        total, shown = 0, dict[bytes, list[dict[str, bytes]]]()
        for block in iter_csv(self._store.fetch(layout.CHANGES_CSV), csv_columns.CHANGES_HEADER):
            total += len(block)
            kinds = block["change"].dictionary_encode()
            codes = kinds.indices.to_numpy()
            for code, kind in enumerate(kinds.dictionary.to_pylist()):
                rows = shown.setdefault(kind, [])
                first = np.flatnonzero(codes == code)[: MAX_CHANGES_OF_KIND - len(rows)]
                rows += block.take(pa.array(first)).to_pylist()
        changes = [row for rows in shown.values() for row in rows]
        ends = [
            find_positions(pa.array([row[name] for row in changes], TEXT), self.names).tolist()
            for name in ("from", "to")
        ]
        items = []
        for cells, *indices in zip(changes, *ends, strict=True):
            self.images.request(index for index in indices if index >= 0)
            numbers = [self.images.number(index) if index >= 0 else -1 for index in indices]
            items.append([*(escape_non_utf8(fsdecode(cell)) for cell in cells.values()), *numbers])
        return {"total": total, "counts": counts, "items": items}


def _add_unknown_names(names: pa.Array, lists: list[PairList]) -> pa.Array:
    """`names`, followed by those in the lists that are not among them."""
    listed = pa.concat_arrays(
        [column.chunk(0).cast(names.type) for pairs in lists for column in pairs.first.columns[:2]]
    )
    unknown = listed.filter(pa.array(find_positions(listed, names) < 0)).unique()
    return pa.concat_arrays([names, unknown]) if len(unknown) else names
