"""A search in partitions: what it finds, what it holds, and what it does again after it was stopped."""

import tracemalloc

import faiss
import numpy as np
import pytest

from fastdup_ray import RunConfig
from fastdup_ray.common import layout
from fastdup_ray.common.records import Neighbors
from fastdup_ray.errors import ConfigError, DamagedError
from fastdup_ray.executors.inline import InlineExecutor
from fastdup_ray.executors.worker_counts import Node, TaskSlots, place_tasks
from fastdup_ray.features import save_binary_feature
from fastdup_ray.neighbors import check_search
from fastdup_ray.neighbors.cost import estimate_search
from fastdup_ray.neighbors.flat_file import write_flat
from fastdup_ray.neighbors.int8_products import Quantizer
from fastdup_ray.neighbors.partition_threshold import PARTITIONED, PARTITIONED_ABOVE, PARTITIONED_ABOVE_ON_GPU
from fastdup_ray.neighbors.partitioned import cell_files, cell_knn, neighbor_records, partition_layout, tasks
from fastdup_ray.neighbors.partitioned.cell_files import Cell, Piece, read_cell
from fastdup_ray.neighbors.partitioned.cell_knn import choose_group_size, search_within
from fastdup_ray.neighbors.partitioned.kmeans import (
    find_centers_within,
    find_nearest_centers,
    fit_centers,
    fit_margin,
    group_by_label,
)
from fastdup_ray.neighbors.partitioned.partition_layout import (
    PROCESS_BYTES,
    PartitionLayout,
    compute_capacity,
    get_bytes_per_embedding,
    get_fixed_bytes,
    make_layout,
)
from fastdup_ray.neighbors.search_plan import plan_search
from fastdup_ray.runs import partitioned_search
from fastdup_ray.runs.partitioned_search import search_layout
from fastdup_ray.storage import open_store
from tests.bench.rows import blocks
from tests.helpers.embeddings import normalized, unit_rows


class Counting(InlineExecutor):
    """Counts the steps that it does, and ends at one, as a kill does."""

    def __init__(self, threads: int = 2, ends_at: tuple[str, int] = ("", 0)):
        super().__init__(threads)
        self.done: dict[str, int] = {}
        self._ends_at = ends_at

    def map(self, step, items, memory):
        for item in items:
            if (step.__name__, self.done.get(step.__name__, 0)) == self._ends_at:
                raise KeyboardInterrupt
            self.done[step.__name__] = self.done.get(step.__name__, 0) + 1
            yield step(*item, self.threads)


def planned(
    folder, rows: np.ndarray, k: int = 2, capacity: int = 250, copies: int = 2, metric: str = "cosine"
) -> PartitionLayout:
    """A plan for rows, which are put into the folder."""
    save_binary_feature(folder, [f"{number}.jpg" for number in range(len(rows))], rows)
    return PartitionLayout(layout.FEATURES, "digest", len(rows), rows.shape[1], k, metric, copies, capacity)


def searched(folder, rows: np.ndarray, *args, executor=None, **keywords) -> Neighbors:
    plan, store = planned(folder, rows, *args, **keywords), open_store(folder)
    return search_layout(executor or InlineExecutor(2), store, plan).open(store)


def exact(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The cosines and numbers of each row's k nearest others, ties by number."""
    cosine = np.round(np.clip(rows.astype(np.float64) @ rows.astype(np.float64).T, -1, 1), 6) + 0.0
    np.fill_diagonal(cosine, -np.inf)
    index = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosine, index, 1), index


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """1,500 rows of 32 numbers around 150 centres."""
    random = np.random.default_rng(1)
    centres = np.repeat(unit_rows(150, 32, seed=2), 10, axis=0)[random.permutation(1500)]
    return normalized(centres + 0.1 * random.standard_normal((1500, 32)))


@pytest.fixture(scope="module")
def equal_rows() -> np.ndarray:
    """900 equal ones in the midst of 300 others."""
    others = unit_rows(300, 32, seed=4)
    return np.concatenate([others[:150], np.repeat(unit_rows(1, 32, seed=5), 900, axis=0), others[150:]])


# --- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_planted_copies_are_found_as_the_exact_search_finds_them(tmp_path):
    rows = np.concatenate([rows for rows, _ in blocks(6000, seed=3)])
    found, (values, index) = searched(tmp_path, rows, capacity=3000, copies=3), exact(rows, 2)
    wanted = values > 0.85
    there = (found.indices[:, :, None] == index[:, None, :]).any(axis=1)
    assert wanted.sum() > 1000
    assert there[wanted].mean() >= 0.995
    assert (found.distance <= values + 1e-6).all()


def test_all_in_one_cell_are_compared_with_all(tmp_path, clusters):
    found, (values, index) = searched(tmp_path, clusters, 3, capacity=5000), exact(clusters, 3)
    assert np.abs(found.distance - values).max() <= 1e-6
    assert (found.indices == index).mean() > 0.999
    assert found.summary["recall"] == 1
    assert found.summary["cells"] == 1


def test_more_copies_find_what_stands_on_borders(tmp_path, clusters):
    recalls = [searched(tmp_path / str(c), clusters, copies=c).summary["recall"] for c in (1, 2, 4)]
    assert recalls == sorted(recalls)
    assert recalls[0] + 0.05 < recalls[1]
    assert recalls[2] > 0.99


def test_the_recall_of_look_alikes_is_told_beside_that_of_all(tmp_path):
    """Every second row has a copy; nothing else is alike, and borders divide that."""
    alone = unit_rows(1000, 64)
    rows = np.concatenate([alone, normalized(alone[::2] + 0.01 * unit_rows(500, 64, seed=1))])
    told = {metric: searched(tmp_path / metric, rows, metric=metric).summary for metric in ("cosine", "euclidean")}
    assert told["cosine"]["recall"] < 0.9 < 0.98 < told["cosine"]["recall_of_look_alikes"]
    assert told["euclidean"]["recall_of_look_alikes"] == told["cosine"]["recall_of_look_alikes"]


def test_the_recall_is_that_of_all_rows(tmp_path, clusters):
    found, (values, _) = searched(tmp_path, clusters, copies=1), exact(clusters, 2)
    true = (found.distance >= values.min(axis=1, keepdims=True) - 1e-6).mean()
    assert found.summary["recall"] == pytest.approx(true, abs=0.02)


def test_a_row_in_several_cells_is_no_neighbour_twice_nor_its_own(tmp_path, clusters):
    found = searched(tmp_path, clusters, 5, copies=3)
    assert (found.indices != np.arange(len(clusters))[:, None]).all()
    for row in found.indices:
        there = row[row >= 0]
        assert len(set(there)) == len(there)
    assert (np.diff(found.distance, axis=1) <= 0).all()


def test_ties_go_by_number(tmp_path):
    rows = np.repeat(unit_rows(30, 8), 6, axis=0)
    found = searched(tmp_path, rows, 3, capacity=100)
    _, index = exact(rows, 3)
    assert (found.indices == index).mean() > 0.95  # a copy that a border cuts off is replaced by another
    assert (np.diff(found.indices, axis=1)[np.diff(found.distance, axis=1) == 0] > 0).all()


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
def test_distances_have_their_cosines_beside_them(metric, tmp_path, clusters):
    found, as_cosines = (searched(tmp_path / m, clusters[:600], 2, metric=m) for m in (metric, "cosine"))
    assert (found.indices == as_cosines.indices).mean() > 0.99
    assert np.abs(found.similarity - as_cosines.similarity).max() < 1e-5
    assert (np.diff(found.distance, axis=1) >= 0).all()


@pytest.mark.parametrize(("n", "k"), [(1, 0), (2, 1), (3, 2), (40, 39)])
def test_few_rows(n, k, tmp_path):
    rows = unit_rows(n, 8)
    found, (values, index) = searched(tmp_path, rows, k), exact(rows, k)
    assert found.indices.shape == (n, k)
    assert (found.indices == index).all()
    assert np.abs(found.distance - values).max(initial=0) <= 1e-6


def test_what_a_cell_has_too_few_rows_for_is_no_neighbour(tmp_path):
    rows = unit_rows(60, 8)
    found = searched(tmp_path, rows, 50, capacity=20)
    none = found.indices < 0
    assert none.any()
    assert np.isnan(found.distance[none]).all()
    assert not np.isnan(found.distance[~none]).any()
    assert found.summary["recall"] < 0.9


def test_rows_of_other_lengths_are_searched_as_if_they_had_length_one(tmp_path, clusters):
    scaled = clusters * np.random.default_rng(0).uniform(0.1, 9, (len(clusters), 1)).astype(np.float32)
    one, other = (searched(tmp_path / name, rows) for name, rows in (("a", clusters), ("b", scaled)))
    assert (one.indices == other.indices).mean() > 0.999


def test_rows_of_zeros_and_such_that_are_no_numbers(tmp_path, clusters):
    rows = clusters.copy()
    rows[::2] = 0
    assert (searched(tmp_path, rows).distance[::2] == 0).all()
    rows[7, 3] = np.nan
    with pytest.raises(DamagedError, match="that are not finite"):
        searched(tmp_path, rows)


# --- how large a cell is ----------------------------------------------------------------------------------------------


class Sizes(InlineExecutor):
    """Remembers the rows of each cell that is searched, and the bytes that each step was said to take."""

    def __init__(self):
        super().__init__(1)
        self.rows: list[int] = []
        self.memory: list[int] = []

    def map(self, step, items, memory):
        self.memory.append(memory)
        for item in items:
            if step is tasks.search_cell:
                self.rows.append(item[2].rows)
            yield step(*item, self.threads)


@pytest.mark.parametrize("capacity", [120, 400, 1499])
def test_no_cell_is_larger_than_fits(capacity, tmp_path, clusters):
    sizes = Sizes()
    searched(tmp_path, clusters, capacity=capacity, executor=sizes)
    assert max(sizes.rows) <= capacity
    assert sum(sizes.rows) >= 1.5 * len(clusters)  # twice where the sample is not small


def test_a_cell_that_came_out_too_large_is_divided_again(tmp_path):
    crowd = normalized(unit_rows(1, 32, seed=1) + 0.02 * np.random.default_rng(0).standard_normal((2500, 32)))
    rows = np.concatenate([crowd, unit_rows(500, 32, seed=2)]).astype(np.float32)
    sizes = Sizes()
    found = searched(tmp_path, rows, capacity=400, copies=1, executor=sizes)
    assert max(sizes.rows) <= 400
    assert sum(sizes.rows) == len(rows)
    assert (found.indices >= 0).all()


def test_equal_rows_that_nothing_divides_are_cut_by_number(tmp_path, equal_rows):
    sizes = Sizes()
    found = searched(tmp_path, equal_rows, 3, capacity=200, executor=sizes)
    assert max(sizes.rows) <= 200
    assert (found.distance[150:1050] == 1).all()


@pytest.mark.slow
def test_there_are_more_cells_and_blocks_than_descriptors(tmp_path, clusters, few_descriptors):
    rows = clusters[:600]
    found = searched(tmp_path, rows, capacity=16)
    assert found.summary["cells"] > 60
    assert PartitionLayout("", "", len(rows), 32, 2, "cosine", 2, 16).blocks > 60
    assert (found.indices >= 0).all()


@pytest.mark.slow
def test_a_cell_takes_the_memory_that_the_plan_counts_with(in_rounds, clusters):
    """Allocated, over what the process has before; the libraries that it loads are in `PROCESS_BYTES` as well."""
    rows = np.concatenate([rows for rows, _ in blocks(20_000, seed=1)])
    counted, peak = [], []
    for m in (10_000, 20_000):
        tracemalloc.start()
        search_within(rows[:m], 2, "cosine", threads=1)
        peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        counted.append(
            get_fixed_bytes(m, 576, 2) - PROCESS_BYTES + m * (get_bytes_per_embedding(576, 2, "cosine") - 3 * 576)
        )
    assert peak[0] < counted[0] + (64 << 20)
    assert peak[1] - peak[0] < counted[1] - counted[0] + (4 << 20)


@pytest.mark.parametrize("gigabytes", [1, 4, 16])
@pytest.mark.parametrize(("d", "k"), [(576, 2), (576, 100), (2048, 2)])
def test_the_capacity_is_what_fits_into_the_bound(gigabytes, d, k):
    memory = gigabytes << 30
    capacity = compute_capacity(memory, d, k, "cosine")
    plan = PartitionLayout("", "", 10**9, d, k, "cosine", 2, capacity)
    assert 0.9 * memory < plan.estimate_memory(capacity) <= memory
    assert plan.estimate_memory(plan.block) <= memory


def test_a_bound_that_holds_next_to_nothing_is_told():
    with pytest.raises(ConfigError, match="partition_memory: 1024") as caught:
        make_layout(
            RunConfig.of(work_dir="o", run_mode=2, partition_memory=1024, nearest_neighbors_k=5_000),
            10**6,
            576,
        )
    assert "\n" not in str(caught.value)


# --- the same each time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(threads, tmp_path, clusters):
    one, other = (searched(tmp_path / str(t), clusters, capacity=400, executor=InlineExecutor(t)) for t in (2, threads))
    assert one.indices.tobytes() == other.indices.tobytes()
    assert one.distance.tobytes() == other.distance.tobytes()


STEPS = ("learn_centers", "divide_part", "split_part", "search_cell", "merge_neighbors")


@pytest.fixture(scope="module")
def undisturbed(clusters, tmp_path_factory) -> tuple[Neighbors, dict[str, int]]:
    """What is found, and how often each step is done."""
    executor = Counting()
    return searched(tmp_path_factory.mktemp("whole"), clusters, executor=executor), executor.done


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [0, 3])
def test_after_an_interruption_only_what_was_not_finished_is_done(step, number, tmp_path, clusters, undisturbed):
    reference, done = undisturbed
    first, second = Counting(ends_at=(step, number)), Counting()
    if number < done[step]:
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "cut", clusters, executor=first)
        plan, store = planned(tmp_path / "cut", clusters), open_store(tmp_path / "cut")
        found = search_layout(second, store, plan).open(store)
        for name in STEPS:
            assert first.done.get(name, 0) + second.done.get(name, 0) == done[name], name
        assert found.indices.tobytes() == reference.indices.tobytes()
        assert found.distance.tobytes() == reference.distance.tobytes()
        assert not (tmp_path / "cut" / layout.PARTITIONS).exists()


def test_what_was_left_of_another_search_is_not_taken(tmp_path, clusters):
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, clusters, executor=Counting(ends_at=("merge_neighbors", 0)))
    again = Counting()
    searched(tmp_path, clusters, 3, executor=again)
    assert again.done["search_cell"] > 0
    assert not (tmp_path / layout.PARTITIONS).exists()


# --- how it moves what it divides, and merges what it finds -----------------------------------------------------------


def test_groups_of_cells_change_nothing(tmp_path, clusters, monkeypatch, undisturbed):
    grouped, done = undisturbed
    monkeypatch.setattr(partition_layout, "LEAST_RANGE", 0)
    at_once = Counting()
    found = searched(tmp_path, clusters, executor=at_once)
    assert (done["split_part"] > 1, at_once.done.get("split_part", 0)) == (True, 0)
    assert found.indices.tobytes() == grouped.indices.tobytes()
    assert found.distance.tobytes() == grouped.distance.tobytes()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_merging_by_groups_changes_nothing(metric, tmp_path, clusters, monkeypatch):
    at_once, by_groups = Counting(), Counting()
    one = searched(tmp_path / "a", clusters, 3, metric=metric, executor=at_once)
    monkeypatch.setattr(partitioned_search, "MERGED_AT_ONCE", 4)
    monkeypatch.setattr(partitioned_search, "MOST_MERGED", 300)
    other = searched(tmp_path / "b", clusters, 3, metric=metric, executor=by_groups)
    assert by_groups.done["merge_neighbors"] > at_once.done["merge_neighbors"] + 4
    for name in ("indices", "distance", "similarity"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


@pytest.mark.parametrize("step", ["split_part", "merge_neighbors"])
def test_what_is_in_groups_is_gone_on_with_after_an_interruption(step, tmp_path, clusters, monkeypatch, undisturbed):
    monkeypatch.setattr(partitioned_search, "MERGED_AT_ONCE", 4)
    first, second = Counting(ends_at=(step, 2)), Counting()
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, clusters, executor=first)
    plan, store = planned(tmp_path, clusters), open_store(tmp_path)
    found = search_layout(second, store, plan).open(store)
    assert found.indices.tobytes() == undisturbed[0].indices.tobytes()
    assert second.done.get("divide_part", 0) == 0
    assert first.done[step] == 2
    assert second.done[step] > 0


def test_neighbors_are_stored_by_block_and_merged(tmp_path):
    plan, store = planned(tmp_path, unit_rows(40, 8), k=2, capacity=20), open_store(tmp_path)
    ours = neighbor_records.make_empty_neighbors(3, plan)
    ours["row"], ours["index"] = [3, 12, 39], [[1, 2], [4, 5], [6, -1]]
    ours["distance"] = [[0.9, 0.8], [0.7, 0.6], [0.5, np.nan]]
    theirs = neighbor_records.make_empty_neighbors(2, plan)
    theirs["row"], theirs["index"], theirs["distance"] = [3, 20], [[7, 1], [8, 9]], [[0.95, 0.9], [0.4, 0.3]]
    merged = neighbor_records.merge_records([ours, theirs], plan)
    assert merged["row"].tolist() == [3, 12, 20, 39]
    assert merged["index"].tolist() == [[7, 1], [4, 5], [8, 9], [6, -1]]
    assert merged["distance"][0].tolist() == [0.95, 0.9]
    neighbor_records.write_records(store, plan, "some.dat", [merged[:1], merged[1:]])
    assert plan.block == 10
    for some, rows in ((range(1), [3]), (range(1, 3), [12, 20]), (range(3, 4), [39]), (range(4), [3, 12, 20, 39])):
        assert neighbor_records.read_records(store, plan, "some.dat", some)["row"].tolist() == rows
    assert [len(part) for part in neighbor_records.iter_records(store, plan, "some.dat")] == [4]


@pytest.mark.parametrize(("n", "megabytes"), [(10**8, 16), (10**9, 100)])
def test_what_the_driver_holds_of_a_large_search_is_small(n, megabytes):
    """The pieces of each cell and group, and the parts that they are divided in."""
    plan = make_layout(RunConfig.of(work_dir="o", run_mode=2), n, 576)
    cells = plan.count_cells(n)
    groups = plan.count_groups(cells)
    tracemalloc.start()
    first = np.ones((-(-n // plan.part), groups if groups > 1 else cells), np.int64)
    held: list[object] = [cell_files.make_pieces(plan, "all", first)]
    for group in range(groups if groups > 1 else 0):
        members = tuple(Piece("all", 0, piece.count * plan.part // groups * 2) for piece in held[0][group])
        parts = list(Cell("group", members).cut(plan.part))
        split = np.ones((len(parts), cells // groups), np.int64)
        held += [members, parts, cell_files.make_pieces(plan, f"all.g{group}", split)]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < megabytes << 20


# --- its parts --------------------------------------------------------------------------------------------------------


def test_the_nearest_centres_are_those_with_the_largest_products():
    rows, centres = unit_rows(5000, 16), unit_rows(9, 16, seed=1)
    found = find_nearest_centers(rows, centres, 3, threads=2)
    true = np.argsort(-(rows @ centres.T), axis=1)[:, :3]
    assert (np.sort(found, axis=1) == np.sort(true, axis=1)).all()
    assert (find_nearest_centers(rows, centres, 1, threads=1)[:, 0] == true[:, 0]).all()


@pytest.mark.parametrize(("mean", "most"), [(1, 1), (2, 4), (3, 6)])
def test_rows_between_centres_have_more_of_them(mean, most):
    rows, centres = unit_rows(6000, 16), unit_rows(9, 16, seed=1)
    margin = fit_margin(rows[:3000], centres, mean, most)
    places, labels = find_centers_within(rows, centres, margin, most, threads=2)
    products = rows @ centres.T
    behind = products.max(axis=1)[places] - products[places, labels]
    count = np.bincount(places, minlength=len(rows))
    assert count.min() == 1
    assert count.max() <= most
    assert count.mean() == pytest.approx(mean, rel=0.05)
    assert (np.bincount(places, behind == 0) == 1).all()  # the nearest is among them
    assert (behind <= max(margin, 0)).all()
    within = (products.max(axis=1)[:, None] - products <= margin).sum(axis=1)
    assert (count == within.clip(1, most)).all()


def test_margins_divide_fewer_pairs_than_as_many_copies_for_all():
    rows = np.concatenate([rows for rows, _ in blocks(40_000, seed=5)])
    pairs = np.concatenate([pairs for _, pairs in blocks(40_000, seed=5)])
    centres = fit_centers(rows[::8], 13, seed=0)
    places, labels = find_centers_within(rows, centres, fit_margin(rows[1::8], centres, 2, 4), 4, threads=2)
    ours = np.zeros((len(rows), 13), bool)
    ours[places, labels] = True
    equal = np.zeros_like(ours)
    np.put_along_axis(equal, find_nearest_centers(rows, centres, 2, threads=2), True, 1)
    divided = [1 - (cells[pairs[:, 0]] & cells[pairs[:, 1]]).any(axis=1).mean() for cells in (ours, equal)]
    assert ours.sum() <= 1.02 * equal.sum()
    assert divided[0] < 0.5 * divided[1]


def test_centres_are_the_same_again_and_of_length_one():
    rows = unit_rows(600, 16)
    one, other = fit_centers(rows, 20, seed=5), fit_centers(rows, 20, seed=5)
    assert one.tobytes() == other.tobytes()
    assert np.abs(np.linalg.norm(one, axis=1) - 1).max() < 1e-5
    assert one.tobytes() != fit_centers(rows, 20, seed=6).tobytes()


def test_groups_are_places_by_label():
    order, starts = group_by_label(np.array([2, 0, 2, 1]), 4)
    assert order.tolist() == [1, 3, 0, 2]
    assert starts.tolist() == [0, 1, 2, 4, 4]


def test_the_parts_of_a_cell_have_its_rows(tmp_path):
    rows = unit_rows(50, 8)
    plan, store = planned(tmp_path, rows), open_store(tmp_path)
    cell = Cell("some", (Piece(None, 5, 10), Piece(None, 20, 10), Piece(None, 40, 10)))
    _, numbers = read_cell(store, plan, cell)
    parts = list(cell.cut(12))
    assert [part.rows for part in parts] == [12, 12, 6]
    for number, part in enumerate(parts):
        embeddings, own = read_cell(store, plan, part)
        assert own.tolist() == numbers[12 * number : 12 * number + 12].tolist()
        assert (embeddings == rows[own]).all()


def test_a_cell_is_read_some_rows_at_a_time(tmp_path, monkeypatch):
    rows = unit_rows(50, 8)
    plan, store = planned(tmp_path, rows), open_store(tmp_path)
    cell = Cell("some", (Piece(None, 5, 20), Piece(None, 30, 7)))
    whole, numbers = read_cell(store, plan, cell)
    monkeypatch.setattr(cell_files, "READ", 6)
    part, own = read_cell(store, plan, cell)
    assert own.tolist() == numbers.tolist() == [*range(5, 25), *range(30, 37)]
    assert (part == whole).all()
    assert (part == rows[own]).all()


def test_of_the_products_with_centres_only_the_best_are_kept():
    rows, centres = unit_rows(40_960, 8), unit_rows(500, 8)
    tracemalloc.start()
    best = find_nearest_centers(rows, centres, 2, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert best.shape == (40_960, 2)
    assert peak < 8 * rows.shape[0] * len(centres) / 3  # all of them, as places, would be 164 MB


@pytest.fixture
def in_rounds(monkeypatch):
    """Few rows are searched as many are."""
    monkeypatch.setattr(cell_knn, "ALL_PAIRS_UP_TO", 100)


def test_rounds_end_when_nearly_all_is_found(in_rounds, clusters):
    found = search_within(clusters, 2, "cosine", threads=2)
    values, _ = exact(clusters, 2)
    assert 1 < found.rounds < cell_knn.MOST_ROUNDS
    assert (found.distance >= values.min(axis=1, keepdims=True) - 1e-6).mean() > 0.98


def test_a_cell_without_room_for_its_rows_in_eight_bits_has_the_same_neighbours(in_rounds, clusters):
    held, not_held = (search_within(clusters, 2, "cosine", 2, hold_quantized=hold) for hold in (True, False))
    assert held.index.tobytes() == not_held.index.tobytes()
    assert held.distance.tobytes() == not_held.distance.tobytes()


@pytest.mark.parametrize("threads", [2, 5])
def test_rounds_do_not_depend_on_the_number_of_threads(in_rounds, clusters, equal_rows, threads):
    for rows in (clusters, equal_rows):
        one, more = (search_within(rows, 2, "cosine", count) for count in (1, threads))
        assert one.index.tobytes() == more.index.tobytes()


def test_a_worker_never_takes_more_for_the_rows_in_eight_bits_than_for_a_full_cell():
    plan = PartitionLayout("", "", 10**7, 576, 2, "cosine", 2, 100_000)
    sizes = [1, 1_000, 50_000, 75_000, 95_000, 100_000]
    assert [plan.holds_quantized(size) for size in sizes] == [True, True, True, True, False, False]
    assert max(map(plan.estimate_memory, sizes)) == plan.estimate_memory(100_000)


def test_rounds_over_equal_rows_are_as_quick_as_over_others(in_rounds, equal_rows):
    quantized, size = Quantizer(equal_rows).quantize(equal_rows), choose_group_size(len(equal_rows), 2)
    own = np.arange(len(equal_rows))
    sizes = [len(group) for group in cell_knn._divide(equal_rows, quantized, own, size, seed=0, threads=1)]
    assert sum(sizes) == len(equal_rows)
    assert max(sizes) <= 2 * size
    assert (search_within(equal_rows, 2, "cosine", 1).distance[150:1050] == 1).all()


def test_rounds_do_not_go_on_for_the_neighbours_of_strangers(in_rounds):
    """Half of the rows have a copy, and no other neighbour that is nearer than any other."""
    alone = unit_rows(3000, 256)
    copies = normalized(alone[:1000] + 0.01 * unit_rows(1000, 256, seed=1))
    rows = np.concatenate([alone, copies])
    found = search_within(rows, 2, "cosine", threads=2)
    assert found.rounds < 12
    assert (found.distance[:1000, 0] > 0.99).mean() > 0.98


def test_rounds_go_on_for_neighbours_as_near_as_is_asked_for(in_rounds):
    rows = unit_rows(2000, 32)
    few = search_within(rows, 2, "cosine", threads=2, least=0.9)
    many = search_within(rows, 2, "cosine", threads=2, least=0.4)
    assert few.rounds == cell_knn.LEAST_ROUNDS < many.rounds < cell_knn.MOST_ROUNDS
    assert few.distance.mean() < many.distance.mean()


def test_the_rounds_are_given_up_where_nothing_helps(in_rounds, monkeypatch):
    monkeypatch.setattr(cell_knn, "MOST_ROUNDS", cell_knn.LEAST_ROUNDS + 1)
    assert search_within(unit_rows(2000, 64), 2, "cosine", 1, least=-1).rounds == cell_knn.MOST_ROUNDS


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "squared_euclidean", "manhattan"])
@pytest.mark.parametrize("n", [1, 50])
def test_a_flat_file_is_the_one_that_faiss_writes(metric, n, tmp_path):
    from fastdup_ray.neighbors.faiss_index import FaissIndex

    rows = unit_rows(n, 8)
    index = FaissIndex("Flat", 8, {}, 1, metric)
    index.add(rows)
    index.save(tmp_path / "faiss")
    write_flat(tmp_path / "ours", n, 8, metric, np.array_split(rows, 3))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "faiss").read_bytes()
    assert faiss.read_index(str(tmp_path / "ours")).ntotal == n


# --- when it is taken, and where --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "parameters", "taken"),
    [
        (PARTITIONED_ABOVE, {}, False),
        (PARTITIONED_ABOVE + 1, {}, True),
        (PARTITIONED_ABOVE + 1, {"faiss_mode": "auto"}, True),
        (PARTITIONED_ABOVE + 1, {"faiss_mode": "Flat"}, False),
        (PARTITIONED_ABOVE + 1, {"distance": "manhattan"}, False),
        (PARTITIONED_ABOVE + 1, {"nearest_neighbors_k": 101}, False),
        (PARTITIONED_ABOVE + 1, {"nn_provider": "turi"}, False),
        (PARTITIONED_ABOVE_ON_GPU, {"compute": "gpu"}, False),
        (PARTITIONED_ABOVE_ON_GPU + 1, {"compute": "gpu"}, True),
        (10, {"faiss_mode": "partitioned"}, True),
    ],
)
def test_many_rows_are_searched_in_partitions(n, parameters, taken):
    config = RunConfig.of(input_dir="photos", **parameters)
    plan = plan_search(config, n, 576, memory=1 << 50)
    assert plan.partitioned == (plan.index == PARTITIONED) == taken
    assert (plan.reserved_bytes == 0) == taken


def test_partitions_are_not_for_manhattan():
    with pytest.raises(ConfigError, match="manhattan"):
        check_search(RunConfig.of(input_dir="photos", faiss_mode="partitioned", distance="manhattan"))


@pytest.mark.parametrize(
    ("count", "memory", "nodes", "share"),
    [
        (100, 4, [Node(8, memory=16)], TaskSlots(4, 2)),
        (100, 4, [Node(8, memory=100)], TaskSlots(8, 1)),
        (1, 4, [Node(8, memory=100)], TaskSlots(1, 8)),
        (3, 4, [Node(8, memory=100), Node(4, memory=2)], TaskSlots(3, 2)),
        (2, 4, [Node(8, memory=100), Node(4, memory=8)], TaskSlots(2, 4)),
        (0, 4, [Node(8, memory=100)], TaskSlots(1, 8)),
        (100, 4, [Node(0, memory=8)], TaskSlots(1, 1)),
    ],
)
def test_tasks_are_as_many_at_once_as_fit_and_share_the_cores(count, memory, nodes, share):
    assert place_tasks(count, memory, nodes) == share


@pytest.mark.parametrize(
    ("nodes", "share"),
    [([Node(8, memory=16)], TaskSlots(8, 2)), ([Node(8, memory=2)], TaskSlots(1, 1)), ([], TaskSlots(1, 1))],
)
def test_where_nodes_may_come_more_tasks_wait_than_fit(nodes, share):
    assert place_tasks(100, 4, nodes, grows=True) == share


def test_tasks_that_fit_nowhere_are_refused_with_what_would():
    with pytest.raises(ConfigError, match=r"takes 4,096 MiB.*more than 2,048 to give.*partition_memory"):
        place_tasks(5, 4 << 30, [Node(8, memory=2 << 30)])


@pytest.mark.parametrize(
    ("n", "parameters", "gigabytes", "told"),
    [
        (10**8, {}, 2, r"a worker of the search of 100,000,000 images takes 4\.\d GB.*partition_memory to 2048"),
        (10**8, {"faiss_mode": "Flat"}, 100, r"'Flat' with 100,000,000 images takes 230\.4 GB.*'partitioned'"),
        (10**8, {"distance": "manhattan"}, 100, "Not enough memory for an index of 100,000,000 images"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(n, parameters, gigabytes, told):
    with pytest.raises(ConfigError, match=told) as caught:
        plan_search(RunConfig.of(input_dir="photos", **parameters), n, 576, gigabytes << 30).check_fits(gigabytes << 30)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [100, 50_000, 10**6, 10**9])
def test_what_fits_is_not_refused_and_has_a_price(n):
    config = RunConfig.of(input_dir="photos")
    cost = estimate_search(config, n, 576, 8 << 30)
    assert cost.index == plan_search(config, n, 576, memory=8 << 30).index
    assert 0 < cost.worker_bytes <= 8 << 30
    assert cost.index in cost.text()
    assert "core hours" in cost.text()


def test_a_search_in_partitions_costs_as_much_more_as_there_are_more_rows():
    config = RunConfig.of(input_dir="photos")
    small, large = (estimate_search(config, n, 576, 8 << 30) for n in (10**7, 10**8))
    assert large.core_seconds == pytest.approx(10 * small.core_seconds, rel=0.1)
    assert large.worker_bytes == small.worker_bytes
    assert large.workers == pytest.approx(10 * small.workers, rel=0.1)
    assert large.dollars > small.dollars > 0
