"""Search a faiss index on the GPU.

The index is built on the CPU in any case, so that its bytes do not depend on where it is searched.
Source: github.com/facebookresearch/faiss/wiki/Faiss-on-the-GPU.
"""

from typing import Any

import faiss

from fastdup_ray.system.gpu import measure_free_gpu_memory

MOST_CANDIDATES = 2_048
"""Most neighbors that faiss finds for a query on a GPU, and most lists that it probes."""

USABLE_SHARE = 0.8
"""Part of the free GPU memory that an index may take; the rest is for the search."""

_FLAT = (faiss.IndexFlat,)
_LISTS = (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)


def explain_cpu_search(index: faiss.Index, size: int, candidates: int, free: int) -> str | None:
    """Explain why an index has to be searched on the CPU.

    Args:
        index: The index.
        size: Its bytes.
        candidates: Candidates that are asked for, for each query.
        free: Free bytes of the GPU.

    Returns:
        The reason, for people; None if it can be searched on the GPU.
    """
    index = faiss.downcast_index(index)
    if not isinstance(index, _FLAT + _LISTS) or index.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
        return "faiss has only Flat and IVF on the GPU, by cosine and euclidean distance"
    if max(candidates, getattr(index, "nprobe", 0)) > MOST_CANDIDATES:
        return f"on the GPU faiss finds at most {MOST_CANDIDATES:,} candidates"
    if size > USABLE_SHARE * free:
        return f"it takes {size / 1e9:,.2f} GB of the {free / 1e9:,.2f} GB that are free on the GPU"
    return None


def copy_to_gpu(index: faiss.Index, size: int, candidates: int) -> tuple[faiss.Index | None, str]:
    """Copy an index to the first GPU of this process.

    Args:
        index: The index.
        size: Its bytes.
        candidates: Candidates that are asked for, for each query.

    Returns:
        The copy and "", or None and the reason why the index stays on the CPU.
    """
    if not hasattr(faiss, "StandardGpuResources"):
        return None, "this faiss has no CUDA: install faiss-gpu instead of faiss-cpu"
    reason = explain_cpu_search(index, size, candidates, measure_free_gpu_memory())
    if reason is not None:
        return None, reason
    try:
        resources = faiss.StandardGpuResources()
        copy: Any = faiss.index_cpu_to_gpu(resources, 0, index)
    except (RuntimeError, MemoryError) as error:  # another process has taken the memory meanwhile
        return None, " ".join(str(error).split())[:200]
    copy.referenced_objects = [resources]  # keeps them alive as long as the copy
    return copy, ""
