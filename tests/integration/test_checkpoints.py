"""Searches that were killed."""

from collections import Counter

import pytest

from fastdup_ray.features import save_binary_feature
from fastdup_ray.neighbors import search
from fastdup_ray.neighbors.checkpoint import SearchCheckpoint
from fastdup_ray.neighbors.faiss_index import FaissIndex
from fastdup_ray.runs import search_stage
from tests.helpers.embeddings import unit_rows
from tests.helpers.runs import run_inline

search_of = search._search_block


@pytest.mark.parametrize("mode", ["HNSW32", "IVF16,SQ8", "Flat"])
@pytest.mark.parametrize("at", [0, 2])
def test_a_killed_search_goes_on(mode, at, tmp_path, monkeypatch):
    """With the index that was built and the blocks that were searched; its outputs are those of an undisturbed one."""
    monkeypatch.setattr(SearchCheckpoint, "block", 500)
    rows = unit_rows(1_700)
    for name in ("out", "whole"):
        save_binary_feature(tmp_path / name, [f"{i:05d}.jpg" for i in range(len(rows))], rows)
    arguments = {"run_mode": 2, "faiss_mode": mode, "report": False, "nearest_neighbors_k": 3}
    run_inline(None, tmp_path / "whole", **arguments)

    searched = Counter()

    def counted(*args):
        if killed and searched["blocks"] == at:
            raise KeyboardInterrupt
        searched["blocks"] += 1
        return search_of(*args)

    killed = True
    monkeypatch.setattr(search, "_search_block", counted)
    with pytest.raises(KeyboardInterrupt):
        run_inline(None, tmp_path / "out", **arguments)
    killed = False
    monkeypatch.setattr(FaissIndex, "add", lambda *_: pytest.fail("built anew"))
    run_inline(None, tmp_path / "out", **arguments)
    assert searched["blocks"] == 4
    for name in ("faiss.index", "similarity.csv", "outliers.csv", "connected_components.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "out" / "shards").exists()


@pytest.mark.parametrize("other", [{"nearest_neighbors_k": 2}, {"faiss_param": "efSearch=200"}, {"faiss_mode": "Flat"}])
def test_another_question_takes_nothing_of_a_killed_search(other, tmp_path, monkeypatch):
    monkeypatch.setattr(SearchCheckpoint, "block", 500)
    rows = unit_rows(1_200)
    for name in ("out", "whole"):
        save_binary_feature(tmp_path / name, [f"{i:05d}.jpg" for i in range(len(rows))], rows)
    arguments = {"run_mode": 2, "faiss_mode": "HNSW32", "report": False, "nearest_neighbors_k": 3}
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(search_stage, "store_neighbors", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        run_inline(None, tmp_path / "out", **arguments)
    assert list((tmp_path / "out" / "shards" / "search").rglob("*.npz"))
    searched = []
    monkeypatch.setattr(search, "_search_block", lambda *args: searched.append(1) or search_of(*args))
    for name in ("out", "whole"):
        run_inline(None, tmp_path / name, **arguments | other)
    assert len(searched) == 3 + 3
    for name in ("faiss.index", "similarity.csv", "outliers.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
