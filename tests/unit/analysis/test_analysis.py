"""Pairs, outliers and the graph; what is done block by block is the same whatever a block holds."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastdup_ray.analysis import components, edges, pairs, sorting
from fastdup_ray.analysis.components import ComponentBlock, Components, find_components
from fastdup_ray.analysis.edges import Edges, build_edges
from fastdup_ray.analysis.outliers import iter_sorted_outliers
from fastdup_ray.analysis.pairs import (
    NameOrder,
    count_distinct,
    iter_sorted_pairs,
    rank_names,
    select_similar,
    sort_pairs,
)
from fastdup_ray.analysis.sorting import sort_blocks, split_by_group
from fastdup_ray.common import mapped_arrays, records
from fastdup_ray.common.mapped_arrays import make_array
from fastdup_ray.common.records import Neighbors, Pairs

SIZES = st.sampled_from([1, 7, 1 << 20])
"""Of a block, a sorted run, a part: each can be all there is, and none is."""


@contextmanager
def blocks_of(cells: int, run: int, part: int) -> Iterator[pytest.MonkeyPatch]:
    """Work is done in such blocks."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (records, pairs):
            patch.setattr(module, "NEIGHBORS_PER_BLOCK", cells)
        patch.setattr(edges, "EDGES_PER_BLOCK", cells)
        patch.setattr(sorting, "NUMBERS_PER_RUN", run)
        patch.setattr(sorting, "NUMBERS_PER_BLOCK", part)
        yield patch


def neighbors(similarity: list[list[float]], indices: list[list[int]]) -> Neighbors:
    cosines = np.array(similarity, np.float64)
    return Neighbors(cosines, np.array(indices, np.int64), {}, cosines, "cosine")


def as_one(blocks: Iterable[Pairs]) -> Pairs:
    blocks = [Pairs(*np.empty((3, 0), np.int64)), *blocks]
    source, target, value = ([getattr(one, name) for one in blocks] for name in ("source", "target", "value"))
    return Pairs(np.concatenate(source), np.concatenate(target), np.concatenate(value))


IN_ORDER = NameOrder(), NameOrder(), tempfile.TemporaryFile


def pairs_above(found: Neighbors, threshold: float) -> Pairs:
    return as_one(iter_sorted_pairs(found, threshold, *IN_ORDER))


def outliers_below(found: Neighbors, threshold: float) -> Pairs:
    return as_one(iter_sorted_outliers(found, threshold, *IN_ORDER))


def triples(pairs: Pairs) -> list[tuple[int, int, float]]:
    return list(zip(pairs.source.tolist(), pairs.target.tolist(), pairs.value.tolist(), strict=True))


def pairs_of(*edges: tuple[int, int, float]) -> Pairs:
    source, target, value = (np.array(column) for column in zip(*edges, strict=True)) if edges else ([], [], [])
    return Pairs(np.array(source, np.int64), np.array(target, np.int64), np.array(value, np.float64))


# --- pairs and outliers -----------------------------------------------------------------------------------------------


def test_a_pair_is_strictly_above_the_threshold():
    found = neighbors([[0.850001, 0.85], [0.85, 0.849999], [1.0, 0.2]], [[1, 2], [0, 2], [0, 1]])
    assert triples(pairs_above(found, 0.85)) == [(2, 0, 1.0), (0, 1, 0.850001)]


def test_nothing_is_above_one():
    assert len(pairs_above(neighbors([[1.0], [1.0]], [[1], [0]]), 1.0)) == 0


def test_a_place_without_a_neighbour_is_no_pair():
    assert triples(pairs_above(neighbors([[0.9, np.nan]], [[1, -1]]), 0.0)) == [(0, 1, 0.9)]


def test_an_outlier_is_what_has_its_closest_below_the_lower_threshold():
    found = neighbors([[0.3, 0.1], [0.299999, 0.1], [0.9, 0.1], [-0.5, -0.6]], [[1, 2], [0, 2], [3, 1], [2, 0]])
    assert triples(outliers_below(found, 0.3)) == [(3, 2, -0.5), (1, 0, 0.299999)]


def test_an_image_without_a_neighbour_is_no_outlier():
    assert len(outliers_below(neighbors([[np.nan]], [[-1]]), 1.0)) == 0
    assert len(outliers_below(neighbors(np.empty((1, 0)), np.empty((1, 0))), 1.0)) == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_names_are_ranked_by_their_bytes(chunked):
    names = [b"b", b"a/x", b"a.b", b"\xff", "é".encode(), b"B", b"a", b"a,b", b"", b"caf\xe9"]
    column = pa.array(names, pa.large_binary())
    ranks = rank_names(pa.chunked_array([column[:4], column[4:]]) if chunked else column)
    assert [names[i] for i in np.argsort(ranks)] == sorted(names)
    assert sorted(ranks) == list(range(len(names)))


@pytest.mark.parametrize("closest_first", [True, False])
def test_pairs_are_ordered_by_similarity_then_by_from_then_by_to(closest_first):
    ranks = np.array([3, 2, 1, 0])
    given = pairs_of((0, 1, 0.5), (1, 0, 0.5), (1, 2, 0.9), (0, 3, 0.5), (2, 1, 0.9), (3, 0, -0.2))
    sign = -1 if closest_first else 1
    expected = sorted(triples(given), key=lambda pair: (sign * pair[2], ranks[pair[0]], ranks[pair[1]]))
    assert triples(sort_pairs(given, ranks, closest_first=closest_first)) == expected


@given(drawn=st.lists(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 5))), run=SIZES, part=SIZES)
@example(drawn=[[*range(20)], [*range(0, -9, -1)]], run=1 << 20, part=7)
@example(drawn=[[*range(20)], [*range(0, -9, -1)]], run=7, part=7)
def test_numbers_come_in_order_and_in_even_parts(drawn, run, part):
    with blocks_of(1, run, part):
        found = list(sort_blocks((np.array(block, np.int64) for block in drawn), tempfile.TemporaryFile))
    assert [int(number) for block in found for number in block] == sorted(chain.from_iterable(drawn))
    assert {len(block) for block in found[:-1]} <= {part}
    assert all(0 < len(block) <= part for block in found)


@given(drawn=st.lists(st.integers(0, 40), min_size=1).map(sorted), part=SIZES)
def test_groups_stay_whole_whatever_a_block_holds(drawn, part):
    numbers = np.array(drawn)
    blocks = (numbers[start : start + part] for start in range(0, len(numbers), part))
    found = list(split_by_group(blocks, 10))
    assert [int(number) for block in found for number in block] == drawn
    ends = [int(block[at]) // 10 for block in found for at in (0, -1)]
    assert all(last < first for last, first in zip(ends[1::2], ends[2::2], strict=False))


@pytest.mark.parametrize("fill", [0, -1, np.nan])
def test_a_large_array_is_on_disk_and_filled_like_a_small_one(monkeypatch, fill):
    monkeypatch.setattr(mapped_arrays, "ARRAY_IN_MEMORY", 8 * 100)
    small, large = (make_array(n, np.float64, tempfile.TemporaryFile, fill) for n in (100, 101))
    assert isinstance(large, np.memmap)
    assert not isinstance(small, np.memmap)
    assert large.tolist()[:100] == pytest.approx(small.tolist(), nan_ok=True)
    large[7] = 1
    assert large[7] == 1


def test_what_is_merged_at_a_time_is_bounded_by_the_runs_and_a_part(monkeypatch):
    merged = []
    monkeypatch.setattr(sorting, "NUMBERS_PER_RUN", 1000)
    monkeypatch.setattr(sorting, "NUMBERS_PER_BLOCK", 10)
    monkeypatch.setattr(sorting, "_rechunk", lambda blocks: merged.extend(map(len, blocks)))
    sort_blocks((np.arange(start, 9999, 10) for start in range(10)), tempfile.TemporaryFile)
    assert sum(merged) == 9999
    assert max(merged) <= 10 * 10


@st.composite
def found_neighbors(draw) -> tuple[Neighbors, list[bytes]]:
    """Few values, so that many are equal; some rows have fewer neighbours; names in any order, of any bytes."""
    n, k = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    metric = draw(st.sampled_from(["cosine", "euclidean"]))
    cosines = st.sampled_from([0.3, 0.85, 0.850001, 0.999999, 1.0, -0.000001])
    indices, similarity = np.full((n, k), -1), np.full((n, k), np.nan)
    for row in range(n):
        others = draw(
            st.lists(st.integers(0, n - 1).filter(lambda other, row=row: other != row), unique=True, max_size=k)
        )
        values = sorted(draw(st.lists(cosines, min_size=len(others), max_size=len(others))), reverse=True)
        indices[row, : len(others)], similarity[row, : len(others)] = others, values
    distance = similarity if metric == "cosine" else np.round(np.sqrt(2 - 2 * similarity), 6)
    names = draw(st.lists(st.binary(min_size=1, max_size=3), min_size=n, max_size=n, unique=True))
    return Neighbors(similarity, indices, {}, distance, metric), sorted(names) if draw(st.booleans()) else names


@given(drawn=found_neighbors(), cells=SIZES, run=SIZES, part=SIZES)
def test_pairs_and_outliers_are_sorted_as_in_memory_whatever_a_block_holds(drawn, cells, run, part):
    found, names = drawn
    names = pa.array(names, pa.large_binary())
    ranks = rank_names(names)
    with blocks_of(cells, run, part):
        order = NameOrder.from_names(names, tempfile.TemporaryFile)
        told = list(iter_sorted_pairs(found, 0.85, order, order, tempfile.TemporaryFile))
        strange = list(iter_sorted_outliers(found, 0.85, order, order, tempfile.TemporaryFile))
        similar = list(select_similar(found, 0.85))
        once = sum(count_distinct(found, block, 0.85) for block in similar)
    for blocks, columns, closest_first in ((told, slice(None), True), (strange, slice(0, 1), False)):
        cosine = found.similarity[:, columns]
        source, place = np.nonzero(cosine > 0.85 if closest_first else cosine < 0.85)
        ends = source, found.indices[source, place], found.distance[source, place]
        expected = sort_pairs(Pairs(*ends, found.metric != "cosine"), ranks, closest_first=closest_first)
        assert triples(as_one(blocks)) == triples(expected)
        assert all(block.less_is_closer == expected.less_is_closer for block in blocks)
    source, place = np.nonzero(found.similarity > 0.85)
    assert triples(as_one(similar)) == list(
        zip(
            source.tolist(),
            found.indices[source, place].tolist(),
            found.similarity[source, place].tolist(),
            strict=True,
        )
    )
    assert once == len({frozenset(pair[:2]) for pair in triples(as_one(told))})


def test_more_than_63_bits_can_number_is_refused_rather_than_mistaken():
    n = 1 << 20
    far = np.broadcast_to(np.array([[0.0], [2.0**40]]), (2, n))
    found = Neighbors(np.ones((2, n)), np.broadcast_to(np.array([[1], [0]]), (2, n)), {}, far, "manhattan")
    with pytest.raises(OverflowError, match="63 bits"):
        list(iter_sorted_pairs(found, 0, *IN_ORDER))


# --- edges ------------------------------------------------------------------------------------------------------------


def graph_of(pairs: Pairs, first_of_bytes: list[int]) -> Edges:
    """The edges of pairs, whose values are similarities, and of images with the same bytes, in memory."""
    found = {}
    for source, target, value in [*triples(pairs), *((first, row, 1.0) for row, first in enumerate(first_of_bytes))]:
        if source != target and source >= 0:
            ends = min(source, target), max(source, target)
            found[ends] = max(value, found.get(ends, -1.0))
    low, high = np.array(sorted(found), np.int64).reshape(-1, 2).T
    return Edges(low, high, np.array([found[ends] for ends in sorted(found)], float))


def edges_with(pairs: Pairs, digests: list[int]) -> list[tuple[int, int, float]]:
    """The edges of neighbors that are given as pairs."""
    n, k = len(digests), 3
    found = neighbors([[np.nan] * k] * n, [[-1] * k] * n)
    for source, target, value in triples(pairs):
        place = found.indices[source].tolist().index(-1)
        found.indices[source, place], found.similarity[source, place] = target, value
    first = np.array([digests.index(digest) for digest in digests])
    edges = build_edges(found, 0.5, first, tempfile.TemporaryFile)
    return list(zip(edges.low.tolist(), edges.high.tolist(), edges.similarity.tolist(), strict=True))


def test_a_pair_in_both_directions_is_one_edge():
    assert edges_with(pairs_of((0, 1, 0.97), (1, 0, 0.97), (2, 1, 0.99)), [0, 1, 2]) == [(0, 1, 0.97), (1, 2, 0.99)]


def test_byte_identical_files_are_joined_though_neither_found_the_other():
    assert edges_with(pairs_of(), [7, 5, 7, 7, 5]) == [(0, 2, 1.0), (0, 3, 1.0), (1, 4, 1.0)]


def test_byte_identical_files_that_found_each_other_are_one_edge():
    assert edges_with(pairs_of((0, 1, 1.0), (1, 0, 1.0)), [7, 7]) == [(0, 1, 1.0)]


def test_files_without_a_copy_are_not_joined():
    assert edges_with(pairs_of(), [0, 1, 2]) == []


@given(drawn=found_neighbors(), data=st.data(), cells=SIZES, run=SIZES, part=SIZES)
def test_edges_from_neighbours_are_those_of_the_pairs_whatever_a_block_holds(drawn, data, cells, run, part):
    found, _ = drawn
    n = len(found)
    digests = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    first = np.array([digests.tolist().index(digest) for digest in digests])
    first[data.draw(st.lists(st.sampled_from(np.flatnonzero(np.bincount(first, minlength=n) < 2)), max_size=3))] = -1
    expected = graph_of(as_one(select_similar(found, 0.85)), first.tolist())
    with blocks_of(cells, run, part):
        streamed = build_edges(found, 0.85, first, tempfile.TemporaryFile)
    for name in ("low", "high", "similarity"):
        assert getattr(streamed, name).tolist() == getattr(expected, name).tolist()


# --- components -------------------------------------------------------------------------------------------------------


def components_among(n: int, *pairs: tuple[int, int, float], **asked: bool) -> Components:
    graph = graph_of(pairs_of(*pairs), list(range(n)))
    return find_components(graph, n, tempfile.TemporaryFile, **{"pagerank": True, "degree": True} | asked)


def graph(n: int, *pairs: tuple[int, int, float], **asked: bool) -> ComponentBlock:
    """What is known of all images."""
    return components_among(n, *pairs, **asked).block(0, n)


def test_components_are_numbered_by_their_first_image():
    found = graph(7, (5, 6, 0.97), (4, 2, 0.98), (1, 6, 0.99))
    assert found.component.tolist() == [0, 1, 2, 3, 2, 1, 1]


def test_a_component_has_the_number_of_its_images_and_the_similarities_of_its_edges():
    found = components_among(5, (1, 2, 0.97), (2, 3, 0.99), (1, 3, 0.98))
    assert (len(found), found.number.tolist(), found.count.tolist()) == (3, [0, 1, 1, 1, 2], [1, 3, 1])
    assert found.mean[1] == pytest.approx(0.98)
    assert (found.low[1], found.high[1]) == (0.97, 0.99)
    assert np.isnan([found.mean[[0, 2]], found.low[[0, 2]], found.high[[0, 2]]]).all()
    rows = found.block(0, 5)
    assert rows.count.tolist() == [1, 3, 3, 3, 1]
    assert rows.low[1:4].tolist() == [0.97] * 3
    assert np.isnan(rows.low[[0, 4]]).all()


def test_the_degree_of_an_image_is_the_number_of_its_edges():
    assert graph(4, (0, 1, 0.97), (1, 0, 0.97), (1, 2, 0.99)).degree.tolist() == [1, 2, 1, 0]


def test_the_middle_of_a_star_ranks_highest_and_all_are_one_on_average():
    found = graph(6, *((0, other, 0.97) for other in range(1, 5)))
    assert found.pagerank.mean() == pytest.approx(1, abs=1e-9)
    assert found.pagerank.argmax() == 0
    assert found.pagerank[1:5] == pytest.approx(found.pagerank[1], abs=1e-9)
    assert found.pagerank[5] < found.pagerank[1]


@pytest.mark.parametrize("pairs", [(), ((0, 1, 0.97), (1, 2, 0.97), (2, 0, 0.97))])
def test_images_that_are_all_in_the_same_place_rank_alike(pairs):
    assert graph(3, *pairs).pagerank == pytest.approx(1, abs=1e-9)


def test_what_is_not_asked_for_is_not_there():
    found = graph(3, (0, 1, 0.97), pagerank=False, degree=False)
    assert found.pagerank is None
    assert found.degree is None
    assert found.component.tolist() == [0, 0, 1]


def test_one_image_is_one_component():
    found = graph(1)
    assert (found.component.tolist(), found.count.tolist(), found.pagerank.tolist()) == ([0], [1], [1.0])


@st.composite
def random_graphs(draw) -> tuple[int, list[tuple[int, int, float]]]:
    n = draw(st.integers(2, 30))
    image = st.integers(0, n - 1)
    similarity = st.integers(960_001, 1_000_000).map(lambda millionths: millionths / 1e6)
    drawn = draw(st.lists(st.tuples(image, image, similarity), max_size=60))
    return n, [pair for pair in drawn if pair[0] != pair[1]]


@given(drawn=random_graphs(), cells=SIZES)
def test_networkx_and_scipy_agree_whatever_a_block_holds(drawn, cells):
    n, pairs = drawn
    found = []
    for limit in (10**9, -1):
        with blocks_of(cells, 7, 7) as patch:
            patch.setattr(components, "NETWORKX_UP_TO", limit)
            found.append(components_among(n, *pairs))
    one, other = found
    assert one.block(0, n).component.tolist() == other.block(0, n).component.tolist()
    assert one.block(0, n).degree.tolist() == other.block(0, n).degree.tolist()
    assert one.block(0, n).pagerank == pytest.approx(other.block(0, n).pagerank, abs=1e-7)
    for name in ("mean", "low", "high"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


@given(drawn=random_graphs(), data=st.data())
def test_what_is_known_of_some_images_is_part_of_what_is_known_of_all(drawn, data):
    n, pairs = drawn
    found = components_among(n, *pairs)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    for column, whole in zip(found.block(start, stop), found.block(0, n), strict=True):
        assert column.tobytes() == whole[start:stop].tobytes()


@given(drawn=random_graphs())
def test_components_are_those_of_the_graph(drawn):
    n, pairs = drawn
    components, found = components_among(n, *pairs), graph(n, *pairs)
    reference = nx.Graph()
    reference.add_nodes_from(range(n))
    reference.add_edges_from(pair[:2] for pair in pairs)
    parts = sorted(sorted(part) for part in nx.connected_components(reference))
    assert [np.flatnonzero(found.component == number).tolist() for number in range(len(parts))] == parts
    assert components.count.tolist() == [len(part) for part in parts]
    assert components.count_single() == sum(len(part) == 1 for part in parts)
    by_size = sorted(range(len(parts)), key=lambda number: (-len(parts[number]), number))
    numbers = components.numbers_by_size(tempfile.TemporaryFile)
    assert [number for block in numbers for number in block.tolist()] == by_size
    assert len(components) == len(parts)
    assert found.degree.tolist() == [reference.degree[image] for image in range(n)]
    ranks = nx.pagerank(reference, tol=1e-12, max_iter=1000)
    assert found.pagerank / n == pytest.approx([ranks[image] for image in range(n)], abs=1e-7)


def test_a_chain_through_all_blocks_is_one_component(monkeypatch):
    monkeypatch.setattr(components, "NETWORKX_UP_TO", -1)
    links = np.random.default_rng(1).permutation(300).tolist()
    for block in (1, 7, 299):
        monkeypatch.setattr(edges, "EDGES_PER_BLOCK", block)
        assert set(graph(300, *((a, b, 0.97) for a, b in pairwise(links)), pagerank=False).component) == {0}
