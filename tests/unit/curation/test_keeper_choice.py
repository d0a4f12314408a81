"""Keepers, and the rows of a plan, are those of a plan that is made in memory at once, whatever a block holds."""

import tempfile

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdup_ray.analysis import linked_groups, sorting, union_find
from fastdup_ray.analysis.keeper_assignment import COMPONENTS, DIRECT
from fastdup_ray.analysis.keepers import DEFAULT_RULES, Ranking, parse_rules
from fastdup_ray.curation import duplicate_rules, finished_run, keeper_choice, plan_rows
from fastdup_ray.curation.finished_run import FinishedRun
from fastdup_ray.curation.suggest import SuggestedPlan, count_not_compared, suggest_plan

N, THRESHOLD = 16, 0.8


def draw_run(seed: int, boxes: float, *, components: bool) -> FinishedRun:
    """A run on files and boxes of photos: few kinds of content, some unknown, some shown in part, some references."""
    draw = np.random.default_rng(seed)
    first, contents = np.arange(N), draw.integers(0, N, N)
    for row in range(N):
        if contents[row] % 3:
            first[row] = np.flatnonzero(contents == contents[row])[0]
    features = draw.normal(size=(N, 3)).astype(np.float32)[first]
    source, target = np.triu_indices(N, 1)
    order = draw.permutation(len(source))[: len(source) // 2]
    ends = np.array(["", "#xywh=1,2,3,4"])[(draw.random(N) < boxes).astype(int)]
    names = [f"/{number:02d}.jpg{end}".encode() for number, end in zip(draw.permutation(N), ends, strict=True)]
    images = pa.table(
        {
            "size": draw.integers(1, 4, N),
            "sha256": [f"{number:064x}" for number in first],
            "mtime_or_etag": ["7"] * N,
            "width": draw.integers(1, 3, N),
            "height": draw.integers(1, 3, N),
            "reference": draw.random(N) < 0.2,
            "unseen": np.array(["", "pages"])[(draw.random(N) < 0.2).astype(int)],
            "contrast": np.where(draw.random(N) < 0.1, 1.0, 50.0),
        }
    )
    numbers = draw.integers(0, 6, N)
    return FinishedRun(
        images,
        pa.array(names, pa.large_binary()),
        lambda: ((source[part], target[part]) for part in np.array_split(order, 5)),
        first,
        features,
        {"threshold": 0.5},
        "",
        tempfile.TemporaryFile,
        find_components=numbers.__getitem__ if components else None,
    )


def plan_in_memory(run: FinishedRun, grouping: str) -> list[tuple[int, int, int]]:
    """Return row, keeper and number of the group of each image of a plan, in its order."""
    pairs = [pair for block in run.iter_pairs() for pair in zip(*(ends.tolist() for ends in block), strict=True)]
    fixed, seen = run.images["reference"].to_pylist(), run.find_fully_seen()
    is_file = [b"#" not in name for name in run.names.to_pylist()]

    def are_duplicates(one: int, other: int) -> bool:
        if run.first_of_bytes[one] == run.first_of_bytes[other]:
            return True
        return seen[one] and seen[other] and run.cosines(np.array([one]), np.array([other]))[0] > THRESHOLD

    pairs = [pair for pair in pairs if are_duplicates(*pair)]
    pairs += [
        (one, other) for one in range(N) for other in range(one) if run.first_of_bytes[one] == run.first_of_bytes[other]
    ]
    some = {end for pair in pairs for end in pair}
    only_boxes = not any(is_file[row] and not fixed[row] for row in some)
    eligible = [fixed[row] or is_file[row] != only_boxes for row in range(N)]
    graph = nx.Graph((one, other) for one, other in pairs if eligible[one] and eligible[other])
    groups = sorted(map(sorted, nx.connected_components(graph)))
    find = run.find_components
    numbers = range(len(groups)) if find is None else [int(min(find(np.array(group)))) for group in groups]
    ranking = Ranking(parse_rules(DEFAULT_RULES), run.images, run.names)
    plan = []
    for number, group in sorted(zip(numbers, groups, strict=True)):
        left = ranking.order(np.array(group)).tolist()
        while left:
            keeper, *others = left
            reach = [row for row in others if grouping == COMPONENTS or are_duplicates(keeper, row)]
            dropped = [row for row in reach if not fixed[row]]
            plan += [(row, keeper, number) for row in (keeper, *dropped)]
            left = [row for row in others if row not in dropped]
    return plan


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0.3, 1]),
    st.booleans(),
    st.sampled_from([DIRECT, COMPONENTS]),
    st.integers(2, 5),
)
def test_a_plan_is_the_same_whatever_a_block_holds(seed, boxes, components, grouping, size):
    run = draw_run(seed, boxes, components=components)
    whole = [*suggest_plan(run, grouping=grouping, threshold=THRESHOLD).rows()]
    with pytest.MonkeyPatch.context() as patch:
        for module in (linked_groups, keeper_choice, finished_run, plan_rows):
            patch.setattr(module, "ROWS_PER_BLOCK", size)
        patch.setattr(union_find, "NODES_PER_BLOCK", size)
        patch.setattr(plan_rows, "ROWS_AT_ONCE", size)
        patch.setattr(sorting, "NUMBERS_PER_RUN", 2 * size)
        patch.setattr(sorting, "NUMBERS_PER_BLOCK", size)
        plan = suggest_plan(run, grouping=grouping, threshold=THRESHOLD)
        assert [*plan.rows()] == whole
        check_plan(run, plan, plan_in_memory(run, grouping))


def check_plan(run: FinishedRun, plan: SuggestedPlan, expected: list[tuple[int, int, int]]) -> None:
    choice, rows = plan.choice, [*plan.rows()]
    assert [*zip(choice.row.tolist(), choice.keeper.tolist(), choice.number.tolist(), strict=True)] == expected
    assert [(row.filename, row.group) for row in rows] == [(run.name(row), number) for row, _, number in expected]
    dropped = {row: keeper for row, keeper, _ in expected if row != keeper}
    assert {row.filename: row.keeper for row in rows if row.is_dropped} == {
        run.name(row): run.name(keeper) for row, keeper in dropped.items()
    }
    assert choice.find_keepers(np.arange(N + 2)).tolist() == [dropped.get(row, -1) for row in range(N + 2)]
    blocks = [zip(*(ends.tolist() for ends in block), strict=True) for block in choice.iter_dropped()]
    assert [pair for block in blocks for pair in block] == [*dropped.items()]
    sizes = run.images["size"].to_pylist()
    assert plan.dropped == len(dropped)
    assert plan.dropped_bytes == sum(sizes[row] for row in dropped if b"#" not in run.names[row].as_py())
    some = np.arange(0, N, 3)
    assert [*plan.rows(some)] == [row for row, (index, _, _) in zip(rows, expected, strict=True) if index % 3 == 0]


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_images_that_are_similar_but_not_fully_seen_are_counted_once(seed):
    run, expected = draw_run(seed, 0, components=False), set()
    seen = run.find_fully_seen()
    for source, target in run.iter_pairs():
        for one, other in zip(source.tolist(), target.tolist(), strict=True):
            similar = run.cosines(np.array([one]), np.array([other]))[0] > THRESHOLD
            if similar and run.first_of_bytes[one] != run.first_of_bytes[other]:
                expected |= {row for row in (one, other) if not seen[row]}
    assert count_not_compared(run, THRESHOLD) == len(expected)
    assert count_not_compared(run, duplicate_rules.EXACT) == 0
