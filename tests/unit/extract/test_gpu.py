"""The GPU's part: what can be seen without one, and, where there is one, that it does as the CPU."""

import threading
import time

import faiss
import numpy as np
import onnxruntime
import pytest

from fastdup_ray.errors import ConfigError
from fastdup_ray.extract import cuda
from fastdup_ray.extract.gpu_batcher import BatchingModel
from fastdup_ray.extract.model import BATCH, SIDE, Model, _read_embedded
from fastdup_ray.neighbors.faiss_factory import make_empty_index, measure_embedding_bytes
from fastdup_ray.neighbors.faiss_gpu import explain_cpu_search
from fastdup_ray.neighbors.faiss_index import FaissIndex
from fastdup_ray.neighbors.search_plan import estimate_index_bytes
from fastdup_ray.system.gpu import list_gpus, measure_free_gpu_memory
from tests.helpers.embeddings import unit_rows
from tests.helpers.gpu import needs_gpu

GIB = 1 << 30


def pixels(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("available", "visible", "words"),
    [
        (["CPUExecutionProvider"], None, "this onnxruntime has no CUDA"),
        ([cuda.PROVIDER, "CPUExecutionProvider"], "", "this process was given no GPU"),
        ([cuda.PROVIDER, "CPUExecutionProvider"], "-1", "this process was given no GPU"),
    ],
)
def test_a_gpu_that_was_not_given_is_an_error_of_one_line(available, visible, words):
    with pytest.raises(ConfigError, match=words) as error:
        cuda.check_gpu(available, visible)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("visible", [None, "0", "3", "GPU-5a8f"])
def test_a_gpu_that_was_given_is_taken(visible):
    cuda.check_gpu([cuda.PROVIDER], visible)


def test_batches_fit_the_memory():
    sizes = [cuda.choose_batch_size(free, (SIDE, SIDE)) for free in (0, 256 << 20, GIB, 4 * GIB, 80 * GIB)]
    assert sizes == [16, 32, 128, 256, 256]
    assert cuda.choose_batch_size(4 * GIB, (512, 512)) == 32


def test_io_binding_gives_what_a_plain_call_gives():
    session = onnxruntime.InferenceSession(_read_embedded(), providers=["CPUExecutionProvider"])
    bound = cuda.IoBinding(session, (BATCH, *session.get_inputs()[0].shape[1:]), np.uint8, "cpu")
    name = session.get_inputs()[0].name
    for seed in (1, 2):
        batch = np.random.default_rng(seed).integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
        if session.get_inputs()[0].shape[1] == 3:
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(bound.run(batch), session.run(None, {name: batch})[0])


class Slow:
    """A model that tells how it was called."""

    dimensions = 2

    def __init__(self):
        self.calls = []

    def embed(self, pixels):
        time.sleep(0.05)
        self.calls.append(len(pixels))
        if (pixels == 255).any():
            raise MemoryError("too much")
        return np.stack([pixels[:, 0], pixels[:, 0] + 1], axis=1)


def test_several_threads_feed_one_model_and_each_gets_its_own_rows():
    model = Slow()
    feeder = BatchingModel(model, 32)
    got = {}

    def decode(thread: int) -> None:
        for turn in range(5):
            own = np.full((4, 1), 10 * thread + turn)
            got[thread, turn] = (own, feeder.embed(own))

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(got) == 40
    for own, rows in got.values():
        np.testing.assert_array_equal(rows, np.concatenate([own, own + 1], axis=1))
    assert sum(model.calls) == 160
    assert max(model.calls) <= 32
    assert len(model.calls) < 40  # they came together


def test_what_the_model_raises_reaches_who_asked():
    feeder = BatchingModel(Slow(), 8)
    with pytest.raises(MemoryError, match="too much"):
        feeder.embed(np.full((1, 1), 255))
    assert len(feeder.embed(np.zeros((3, 1)))) == 3


@pytest.mark.parametrize(
    ("name", "candidates", "free", "words"),
    [
        ("Flat", 10, GIB, None),
        ("IVF64,Flat", 10, GIB, None),
        ("IVF64,SQ8", 10, GIB, None),
        ("IVF64,PQ96", 10, GIB, None),
        ("HNSW32", 10, GIB, "Flat and IVF"),
        ("OPQ96,PQ96", 10, GIB, "Flat and IVF"),
        ("Flat", 5000, GIB, "2,048 candidates"),
        ("Flat", 10, 1 << 20, "0.00 GB that are free"),
        ("Flat", 10, 0, "free on the GPU"),
    ],
)
def test_who_is_searched_on_the_gpu(name, candidates, free, words):
    reason = explain_cpu_search(make_empty_index(name, 576, "cosine"), 2 << 20, candidates, free)
    assert reason is None if words is None else words in reason


def test_manhattan_stays_on_the_cpu():
    assert "by cosine" in explain_cpu_search(faiss.IndexFlat(8, faiss.METRIC_L1), 1, 1, GIB)


def test_an_index_that_cannot_go_is_searched_on_the_cpu_and_says_so(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    index, rows = FaissIndex("Flat", 576, {}, 1, why="exact"), unit_rows(50)
    index.add(rows)
    before = index.search(rows, 3)
    index.to_gpu(3)
    assert index.why.startswith("exact; searched on the CPU: ")
    np.testing.assert_array_equal(before[1], index.search(rows, 3)[1])


def test_nvidias_tool_is_asked_for_the_gpus_of_this_process(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        '#!/bin/sh\necho "$@" > "$0.asked"\necho "NVIDIA A10G, 23028, 22515"\necho "NVIDIA A10G, 23028, 10"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert list_gpus() == ["NVIDIA A10G, 23028 MiB"] * 2
    assert measure_free_gpu_memory() == 22515 << 20
    assert "--id=2,3" in (tmp_path / "nvidia-smi.asked").read_text()
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert list_gpus() == []
    assert measure_free_gpu_memory() == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert list_gpus() == []


@pytest.mark.parametrize("name", ["Flat", "HNSW32", "IVF16,SQ8", "IVF16,Flat", "PQ96", "SQ8"])
def test_an_index_takes_the_bytes_that_are_said(name, tmp_path):
    """As faiss writes it to a file, which holds what it has in memory."""
    index, rows = FaissIndex(name, 576, {}, 1), unit_rows(2_000)
    index.add(rows)
    index.save(tmp_path / "index")
    fixed = 4 * 576 * 256 + 50_000  # codebooks and headers
    size = (tmp_path / "index").stat().st_size
    assert size == pytest.approx(
        2_000 * measure_embedding_bytes(make_empty_index(name, 576, "cosine")), rel=0.15, abs=fixed
    )
    assert estimate_index_bytes(name, 2_000, 576) >= 0.85 * (size - fixed)


@pytest.mark.parametrize("mark", [pytest.param(None, marks=needs_gpu)])
def test_rows_of_the_gpu_are_those_of_the_cpu_but_for_rounding(mark):
    batch = pixels(40)
    of_gpu, of_cpu = Model(gpu=True).embed(batch), Model().embed(batch)
    assert ((of_gpu * of_cpu).sum(axis=1) > 0.9999).all()
    np.testing.assert_array_equal(of_gpu, Model(gpu=True).embed(batch))


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_gpu) for name in ("Flat", "IVF16,Flat", "IVF16,SQ8")])
def test_the_gpu_finds_what_the_cpu_finds(name):
    index, rows = FaissIndex(name, 576, {}, 1), unit_rows(2_000)
    index.add(rows)
    of_cpu = index.search(rows, 5)[1]
    index.to_gpu(5)
    if index.why.endswith("on the GPU"):
        assert (index.search(rows, 5)[1] == of_cpu).mean() > 0.99
    else:
        assert "searched on the CPU: this faiss has no CUDA" in index.why
