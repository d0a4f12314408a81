"""An index that is searched on the GPU. It is built on the CPU all the same: its bytes do not depend on who searched.

Source: github.com/facebookresearch/faiss/wiki/Faiss-on-the-GPU.
"""

import faiss

from fastdup_ray.system.gpu import measure_free_gpu_memory

MOST_CANDIDATES = 2_048
"""Neighbours that faiss finds on a GPU at most, and lists that it looks into."""

USABLE_SHARE = 0.8
"""Part of the free memory of the GPU that an index may take; the rest is for the search."""

_FLAT = (faiss.IndexFlat,)
_LISTS = (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)


def explain_cpu_search(index: faiss.Index, size: int, candidates: int, free: int) -> str | None:
    """Why an index of `size` bytes is searched on the CPU; None where it can be on a GPU with `free` bytes."""
    index = faiss.downcast_index(index)
    if not isinstance(index, _FLAT + _LISTS) or index.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
        return "faiss has Flat and IVF on the GPU, by cosine and euclidean distance"
    if max(candidates, getattr(index, "nprobe", 0)) > MOST_CANDIDATES:
        return f"faiss finds {MOST_CANDIDATES:,} candidates on the GPU at most"
    if size > USABLE_SHARE * free:
        return f"it takes {size / 1e9:,.2f} GB, of {free / 1e9:,.2f} GB that are free on the GPU"
    return None


def copy_to_gpu(index: faiss.Index, size: int, candidates: int) -> tuple[faiss.Index | None, str]:
    """The same index on this process's first GPU and "", or None and why it stays on the CPU."""
    if not hasattr(faiss, "StandardGpuResources"):
        return None, "this faiss has no CUDA: install faiss-gpu instead of faiss-cpu"
    reason = explain_cpu_search(index, size, candidates, measure_free_gpu_memory())
    if reason is not None:
        return None, reason
    try:
        resources = faiss.StandardGpuResources()
        copy = faiss.index_cpu_to_gpu(resources, 0, index)
    except (RuntimeError, MemoryError) as error:  # somebody else took the memory meanwhile
        return None, " ".join(str(error).split())[:200]
    copy.referenced_objects = [resources]  # or they go before their index does
    return copy, ""
