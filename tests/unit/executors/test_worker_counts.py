"""How many actors, with what each, and where the index goes."""

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.executors.worker_counts import LEAST_WAITING, Node, Placement, can_share, place_extractors, place_index


def config(**parameters) -> RunConfig:
    return RunConfig.of(input_dir="x", work_dir="y", **parameters)


@pytest.mark.parametrize(
    ("parameters", "nodes", "expected"),
    [
        ({}, [Node(2)], Placement(2, 1)),
        ({}, [Node(8), Node(4)], Placement(12, 1)),
        ({}, [], Placement(1, 1)),  # nothing is there yet
        ({"num_actors": 2}, [Node(8)], Placement(2, 4)),
        ({"num_actors": 1}, [Node(4), Node(4)], Placement(1, 4)),  # no larger than a node
        ({"num_actors": 2}, [Node(5), Node(3)], Placement(2, 3)),  # as large as both fit
        ({"num_actors": 4}, [Node(2)], Placement(4, 1)),  # more than there are: the others wait
        ({"num_threads": 2}, [Node(8), Node(8)], Placement(4, 1)),
        ({"num_threads": 4, "num_actors": 1}, [Node(8)], Placement(1, 4)),
        ({"compute": "gpu"}, [Node(8), Node(16, 2), Node(24, 2)], Placement(4, 8, 1)),
        ({"compute": "gpu"}, [Node(1, 4)], Placement(4, 1, 1)),
        ({"compute": "gpu", "num_actors": 3}, [Node(8, 8)], Placement(3, 1, 1)),
        ({"compute": "gpu", "num_threads": 4}, [Node(16, 2)], Placement(2, 2, 1)),
    ],
)
def test_extractors(parameters, nodes, expected):
    assert place_extractors(config(**parameters), nodes) == expected


@pytest.mark.parametrize(
    ("parameters", "nodes", "expected"),
    [
        ({}, [], Placement(1, 1)),  # alone, until it is known what the nodes have
        ({"num_actors": 4}, [], Placement(1, 1)),
        ({"num_actors": 4}, [Node(16)], Placement(4, 4)),
        ({}, [Node(16)], Placement(16, 1, waiting=LEAST_WAITING)),
        ({}, [Node(64), Node(64)], Placement(128, 1, waiting=128)),
        ({"compute": "gpu"}, [Node(16)], Placement(1, 1, 1)),
        ({"compute": "gpu"}, [Node(16), Node(8, 1)], Placement(1, 8, 1, waiting=1)),
        ({"compute": "gpu", "num_actors": 3}, [Node(8, 1)], Placement(3, 8, 1)),
    ],
)
def test_extractors_where_nodes_may_come(parameters, nodes, expected):
    assert place_extractors(config(**parameters), nodes, grows=True) == expected


def test_gpus_that_cannot_be_had_are_told():
    with pytest.raises(ConfigError, match="has no GPU"):
        place_extractors(config(compute="gpu"), [Node(8)])


@pytest.mark.parametrize(
    ("need", "gpu", "expected"),
    [
        (10, False, [(10, 0)]),
        (10, True, [(10, 1), (10, 0)]),
        (60, True, [(60, 0)]),  # the node with the GPU is too small
        (900, False, [(100, 0)]),  # no node is large enough: the largest
    ],
)
def test_the_index_goes_where_its_memory_fits(need, gpu, expected):
    assert place_index(need, [Node(8, 0, 100), Node(8, 1, 50)], gpu=gpu) == expected


def test_the_index_waits_for_a_larger_node_where_one_may_come():
    assert place_index(900, [Node(8, 0, 100)], gpu=False, grows=True) == [(900, 0), (100, 0)]
    assert place_index(900, [], gpu=False) == [(900, 0), (0, 0)]


@pytest.mark.parametrize(
    ("memory", "reserved", "nodes", "expected"),
    [
        (60, 0, [100], True),  # no actor is in the way
        (60, 40, [100], True),
        (60, 41, [100], False),
        (60, 41, [100, 50], False),  # the actor may be where the task has to go
        (60, 100, [100, 100], True),
    ],
)
def test_a_task_never_waits_for_the_memory_of_an_idle_actor(memory, reserved, nodes, expected):
    assert can_share(memory, reserved, [Node(8, 0, most) for most in nodes]) is expected
