"""Which groups a page shows, with blocks so small that groups lie across their ends, against the same in memory."""

import tempfile
from pathlib import Path
from unittest.mock import patch

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.analysis import sorting, union_find
from fastdup_ray.errors import DamagedError
from fastdup_ray.outputs.formats import COMPONENTS
from fastdup_ray.report import component_table, duplicate_groups, group_table, joined_components, shown_groups
from fastdup_ray.report.component_table import map_components
from fastdup_ray.report.group_table import SUMMARY, GroupTable, by_lowest, by_reclaim, by_size, choose_groups
from fastdup_ray.report.joined_components import JoinedComponents
from fastdup_ray.report.shown_groups import ShownGroups
from fastdup_ray.storage import open_store
from fastdup_ray.storage.parquet_files import write_parquet

N = 40
NUMBERS = st.lists(st.integers(0, 12), max_size=N)
SIZES = st.lists(st.integers(0, 3), min_size=N, max_size=N)
BLOCK = st.integers(1, 9)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(sorting, "NUMBERS_PER_RUN", 11)
    monkeypatch.setattr(sorting, "NUMBERS_PER_BLOCK", 3)
    monkeypatch.setattr(group_table, "NUMBERS_PER_BLOCK", 4)
    monkeypatch.setattr(duplicate_groups, "ROWS_PER_BLOCK", 5)
    monkeypatch.setattr(component_table, "ROWS_PER_BLOCK", 2)
    monkeypatch.setattr(joined_components, "NODES_PER_BLOCK", 5)
    monkeypatch.setattr(union_find, "NODES_PER_BLOCK", 7)


def list_groups(numbers):
    """The images of each group of two or more, by its number."""
    groups = {id_: [row for row, number in enumerate(numbers) if number == id_] for id_ in sorted(set(numbers))}
    return {id_: images for id_, images in groups.items() if len(images) > 1}


def make_table(numbers, block=5):
    numbers, rows = np.array(numbers, np.int64), np.arange(len(numbers))
    cuts = range(block, len(rows), block)
    blocks = zip(np.split(numbers, cuts), np.split(rows, cuts), strict=True)
    return GroupTable(blocks, len(rows), tempfile.TemporaryFile)


@given(NUMBERS, BLOCK)
def test_the_groups_have_their_images_and_sums(numbers, block):
    sizes = np.arange(N) ** 2
    groups = list_groups(numbers)
    table = make_table(numbers, block)
    blocks = list(table.summarize(lambda images, first: (np.add.reduceat(sizes[images], first), -images[first])))
    summaries = np.concatenate([np.empty(0, SUMMARY), *blocks])
    assert summaries["id"].tolist() == list(groups)
    assert summaries["count"].tolist() == [len(images) for images in groups.values()]
    assert summaries["reclaim"].tolist() == [sizes[images].sum() for images in groups.values()]
    assert summaries["lowest"].tolist() == [-images[0] for images in groups.values()]
    if groups:
        backwards = [image for id_ in reversed(groups) for image in groups[id_]]
        assert table.list_members(summaries[::-1]).tolist() == backwards


@given(NUMBERS)
def test_an_image_that_is_repeated_counts_once(numbers):
    n, repeated = len(numbers), np.tile(np.array(numbers, np.int64), 3)
    table = GroupTable([(repeated, np.tile(np.arange(n), 3))], n, tempfile.TemporaryFile)
    blocks = table.summarize(lambda _, first: (0 * first, 0 * first))
    assert [count for block in blocks for count in block["count"]] == [
        len(images) for images in list_groups(numbers).values()
    ]


@given(SIZES, SIZES, SIZES, BLOCK, st.integers(1, N))
def test_of_many_groups_each_order_has_an_equal_share(counts, reclaim, lowest, block, limit):
    groups = np.empty(N, SUMMARY)
    groups["id"], groups["count"], groups["reclaim"], groups["lowest"] = np.arange(N), counts, reclaim, lowest
    orders = [sorted(range(N), key=key) for key in (lambda i: -counts[i], lambda i: -reclaim[i], lowest.__getitem__)]
    chosen = set(list(dict.fromkeys(id_ for ids in zip(*orders, strict=True) for id_ in ids))[:limit])
    blocks = np.split(groups, range(block, N, block))
    total, found = choose_groups(blocks, limit, (by_size, by_reclaim, by_lowest))
    assert total == N
    assert found["id"].tolist() == [id_ for id_ in orders[0] if id_ in chosen]


def test_where_all_groups_have_room_they_are_in_the_first_order():
    groups = np.zeros(3, SUMMARY)
    groups["id"], groups["count"] = [0, 1, 2], [2, 5, 2]
    total, found = choose_groups([groups], 3, (by_size, by_reclaim))
    assert (total, found["id"].tolist()) == (3, [1, 0, 2])


@given(NUMBERS, st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), max_size=12))
def test_links_join_components_and_images_that_are_in_none(numbers, pairs):
    numbers = [list(dict.fromkeys(numbers)).index(id_) for id_ in numbers]  # components are numbered by first images
    n, components = len(numbers), list_groups(numbers)
    number = np.array([id_ if id_ in components else -1 for id_ in numbers], np.int64)
    pairs = [pair for pair in pairs if max(pair) < n]
    nodes = [n + id_ if id_ >= 0 else n - 1 - row for row, id_ in enumerate(number.tolist())]
    graph = nx.Graph([(nodes[one], nodes[other]) for one, other in pairs if nodes[one] != nodes[other]])
    joined = {min(part): part for part in nx.connected_components(graph)}
    firsts = sorted({*joined, *(n + id_ for id_ in components if n + id_ not in graph)})
    expected = {
        row: firsts.index(first) for first, part in joined.items() for row, node in enumerate(nodes) if node in part
    }
    links = (np.array(pairs[start : start + 3], np.int64).reshape(-1, 2).T for start in range(0, len(pairs), 3))
    found = JoinedComponents(number, ((one, other) for one, other in links), tempfile.TemporaryFile)
    members = [pair for block in found.list_members() for pair in np.stack(block, axis=1).tolist()]
    assert {row: group for group, row in members} == expected
    assert found.list_replaced().tolist() == [id_ for id_ in components if n + id_ in graph]


def test_images_that_repeat_one_come_with_it():
    contents = np.array([0, 1, 0, 3, 4, 5, 3, 0, 8, 3])
    table = GroupTable(duplicate_groups._list_repeats(contents), len(contents), tempfile.TemporaryFile)
    groups = np.concatenate(list(table.summarize(lambda _, first: (0 * first, 0 * first))))
    assert groups["id"].tolist() == [0, 3]
    assert table.list_members(groups).tolist() == [0, 2, 7, 3, 6, 9]


class ByIndex:
    """Ranks images backwards."""

    def __init__(self, rows):
        self._rows = rows

    def order_groups(self, members, group):
        return np.lexsort((-self._rows[members], group))

    def explain_kept(self, members):
        return type("Reason", (), {"text": f"{self._rows[members[0]]}"})


class Odd:
    """Drops images of odd numbers."""

    def find_keepers(self, images):
        return np.where(images % 2 == 1, images - 1, -1)


@pytest.mark.parametrize("batch", [1, 4, 1_000])
def test_batches_of_groups_are_ranked_like_all_at_once(batch):
    numbers = [0, 1, 1, 2, 1, 0, 2, 2, 1, 2, 0, 3]
    table = make_table(numbers)
    total, chosen = choose_groups(table.summarize(lambda _, first: (first, first)), 9, (by_size,))
    features = np.random.default_rng(0).standard_normal((len(numbers), 4)).astype(np.float32)
    with patch.object(shown_groups, "MEMBERS_PER_BATCH", batch):
        groups = list(ShownGroups(total, table, chosen, ByIndex, Odd(), features))
    assert [(group.id, sorted(group.members.tolist())) for group in groups] == [
        (1, [1, 2, 4, 8]),
        (2, [3, 6, 7, 9]),
        (0, [0, 5, 10]),
    ]
    assert [(int(group.members[0]), group.reason) for group in groups] == [(8, "8"), (6, ""), (10, "10")]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_components_of_another_number_of_images_are_refused(tmp_path: Path, n: int):
    columns = {"component_id": [0, 1, 0], "count": [2, 1, 2], "min_distance": [0.9, None, 0.9]}
    names = {field.name: columns.get(field.name, [0] * 3) for field in COMPONENTS.schema}
    store = open_store(tmp_path)
    write_parquet(store, "c.parquet", pa.table(names, schema=COMPONENTS.schema))
    if n != 3:
        with pytest.raises(DamagedError):
            map_components(store.fetch("c.parquet"), n, tempfile.TemporaryFile)
        return
    found = map_components(store.fetch("c.parquet"), n, tempfile.TemporaryFile)
    assert found.number.tolist() == [0, -1, 0]
    assert found.lowest[[0, 2]].tolist() == [0.9, 0.9]
    assert [list(map(list, block)) for block in found.list_members()] == [[[0], [0]], [[0], [2]]]
