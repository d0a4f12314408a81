"""Pairs, outliers and the graph."""

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdup_ray.analysis import components
from fastdup_ray.analysis.components import Components, components_of, edges_of
from fastdup_ray.analysis.pairs import name_ranks, ordered, outliers_below, pairs_above
from fastdup_ray.records import Neighbors, Pairs


def neighbors(similarity: list[list[float]], indices: list[list[int]]) -> Neighbors:
    cosines = np.array(similarity, np.float64)
    return Neighbors(cosines, np.array(indices, np.int64), {}, cosines, "cosine")


def triples(pairs: Pairs) -> list[tuple[int, int, float]]:
    return list(zip(pairs.source.tolist(), pairs.target.tolist(), pairs.value.tolist(), strict=True))


def pairs_of(*edges: tuple[int, int, float]) -> Pairs:
    source, target, value = (np.array(column) for column in zip(*edges, strict=True)) if edges else ([], [], [])
    return Pairs(np.array(source, np.int64), np.array(target, np.int64), np.array(value, np.float64))


# --- pairs and outliers -----------------------------------------------------------------------------------------------


def test_a_pair_is_strictly_above_the_threshold():
    found = neighbors([[0.850001, 0.85], [0.85, 0.849999], [1.0, 0.2]], [[1, 2], [0, 2], [0, 1]])
    assert triples(pairs_above(found, 0.85)) == [(0, 1, 0.850001), (2, 0, 1.0)]


def test_nothing_is_above_one():
    assert len(pairs_above(neighbors([[1.0], [1.0]], [[1], [0]]), 1.0)) == 0


def test_a_place_without_a_neighbour_is_no_pair():
    assert triples(pairs_above(neighbors([[0.9, np.nan]], [[1, -1]]), 0.0)) == [(0, 1, 0.9)]


def test_an_outlier_is_what_has_its_closest_below_the_lower_threshold():
    found = neighbors([[0.3, 0.1], [0.299999, 0.1], [0.9, 0.1], [-0.5, -0.6]], [[1, 2], [0, 2], [3, 1], [2, 0]])
    assert triples(outliers_below(found, 0.3)) == [(1, 0, 0.299999), (3, 2, -0.5)]


def test_an_image_without_a_neighbour_is_no_outlier():
    assert len(outliers_below(neighbors([[np.nan]], [[-1]]), 1.0)) == 0
    assert len(outliers_below(neighbors(np.empty((1, 0)), np.empty((1, 0))), 1.0)) == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_names_are_ranked_by_their_bytes(chunked):
    names = [b"b", b"a/x", b"a.b", b"\xff", "é".encode(), b"B", b"a", b"a,b", b"", b"caf\xe9"]
    column = pa.array(names, pa.large_binary())
    ranks = name_ranks(pa.chunked_array([column[:4], column[4:]]) if chunked else column)
    assert [names[i] for i in np.argsort(ranks)] == sorted(names)
    assert sorted(ranks) == list(range(len(names)))


@pytest.mark.parametrize("closest_first", [True, False])
def test_pairs_are_ordered_by_similarity_then_by_from_then_by_to(closest_first):
    ranks = np.array([3, 2, 1, 0])
    given = pairs_of((0, 1, 0.5), (1, 0, 0.5), (1, 2, 0.9), (0, 3, 0.5), (2, 1, 0.9), (3, 0, -0.2))
    sign = -1 if closest_first else 1
    expected = sorted(triples(given), key=lambda pair: (sign * pair[2], ranks[pair[0]], ranks[pair[1]]))
    assert triples(ordered(given, ranks, closest_first=closest_first)) == expected


# --- edges ------------------------------------------------------------------------------------------------------------


def edges(pairs: Pairs, digests) -> list[tuple[int, int, float]]:
    found = edges_of(pairs, np.array(digests))
    return list(zip(found.low.tolist(), found.high.tolist(), found.similarity.tolist(), strict=True))


def test_a_pair_in_both_directions_is_one_edge():
    assert edges(pairs_of((0, 1, 0.97), (1, 0, 0.97), (2, 1, 0.99)), [0, 1, 2]) == [(0, 1, 0.97), (1, 2, 0.99)]


def test_byte_identical_files_are_joined_though_neither_found_the_other():
    assert edges(pairs_of(), [7, 5, 7, 7, 5]) == [(0, 2, 1.0), (0, 3, 1.0), (1, 4, 1.0)]


def test_byte_identical_files_that_found_each_other_are_one_edge():
    assert edges(pairs_of((0, 1, 1.0), (1, 0, 1.0)), [7, 7]) == [(0, 1, 1.0)]


def test_files_without_a_copy_are_not_joined():
    assert edges(pairs_of(), [0, 1, 2]) == []


# --- components -------------------------------------------------------------------------------------------------------


def graph(n: int, *pairs: tuple[int, int, float], pagerank: bool = True, degree: bool = True) -> Components:
    return components_of(edges_of(pairs_of(*pairs), np.arange(n)), n, pagerank=pagerank, degree=degree)


def test_components_are_numbered_by_their_first_image():
    found = graph(7, (5, 6, 0.97), (4, 2, 0.98), (1, 6, 0.99))
    assert found.component.tolist() == [0, 1, 2, 3, 2, 1, 1]


def test_the_numbers_of_components_do_not_hang_on_who_finds_them(monkeypatch):
    monkeypatch.setattr(components, "_by_networkx", lambda *_: (np.array([7, 2, 7, 9, 2]), None))
    found = graph(5, pagerank=False)
    assert found.component.tolist() == [0, 1, 0, 2, 1]
    assert found.count.tolist() == [2, 2, 1]


def test_a_component_has_the_number_of_its_images_and_the_similarities_of_its_edges():
    found = graph(5, (0, 1, 0.97), (1, 2, 0.99), (0, 2, 0.98))
    assert found.count.tolist() == [3, 1, 1]
    assert found.mean[0] == pytest.approx(0.98)
    assert (found.low[0], found.high[0]) == (0.97, 0.99)
    assert np.isnan([found.mean[1:], found.low[1:], found.high[1:]]).all()


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


@given(drawn=random_graphs())
def test_networkx_and_scipy_agree(drawn):
    n, pairs = drawn
    found = []
    for limit in (10**9, -1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(components, "NETWORKX_UP_TO", limit)
            found.append(graph(n, *pairs))
    one, other = found
    assert one.component.tolist() == other.component.tolist()
    assert one.degree.tolist() == other.degree.tolist()
    assert one.pagerank == pytest.approx(other.pagerank, abs=1e-7)
    assert one.mean.tobytes() == other.mean.tobytes()


@given(drawn=random_graphs())
def test_components_are_those_of_the_graph(drawn):
    n, pairs = drawn
    found = graph(n, *pairs)
    reference = nx.Graph()
    reference.add_nodes_from(range(n))
    reference.add_edges_from(pair[:2] for pair in pairs)
    parts = sorted(sorted(part) for part in nx.connected_components(reference))
    assert [np.flatnonzero(found.component == number).tolist() for number in range(len(parts))] == parts
    assert found.count.tolist() == [len(part) for part in parts]
    assert found.degree.tolist() == [reference.degree[image] for image in range(n)]
    ranks = nx.pagerank(reference, tol=1e-12, max_iter=1000)
    assert found.pagerank / n == pytest.approx([ranks[image] for image in range(n)], abs=1e-7)
