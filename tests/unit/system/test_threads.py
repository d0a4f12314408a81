"""Work that is divided among threads of our own does not wake those of libraries."""

import time

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fastdup_ray.extract.statistics import compute_statistics
from fastdup_ray.system.cores import count_cores
from fastdup_ray.system.threads import map_threads
from tests.helpers.images import cloudy


def count_blas_threads(item: object = None) -> list[int]:
    """Of the libraries with threads of their own, such as NumPy's; those of OpenMP are counted for each thread."""
    return [library["num_threads"] for library in threadpool_info() if library.get("threading_layer") == "pthreads"]


def test_blas_has_one_thread_meanwhile():
    with threadpool_limits(2):
        before = count_blas_threads()
        assert [set(counts) for counts in map_threads(3, count_blas_threads, range(3))] == [{1}] * 3
        assert count_blas_threads() == before


@pytest.mark.skipif(count_cores() == 1, reason="needs two cores")
def test_an_image_is_measured_by_one_thread():
    image = cloudy(1, (600, 600))
    with threadpool_limits(2):
        whole, own = time.process_time(), time.thread_time()
        for _ in range(50):
            compute_statistics(image)
        whole, own = time.process_time() - whole, time.thread_time() - own
    assert whole < 1.5 * own  # twice, where BLAS has a thread that waits for work
