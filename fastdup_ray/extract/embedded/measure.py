"""Figures of a model file over held-out pictures and their copies, through onnxruntime as in use."""

import time
from pathlib import Path

import numpy as np
import onnxruntime

from fastdup_ray.extract.embedded.edits import EDITS, MILD

THRESHOLD = 0.85


def embed(session: onnxruntime.InferenceSession, pictures: np.ndarray, batch: int = 64) -> np.ndarray:
    """(n, 128, 128, 3) uint8 to (n, 576) float32."""
    starts = range(0, len(pictures), batch)
    return np.concatenate([session.run(None, {"image": pictures[s : s + batch]})[0] for s in starts])


def open_model(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def average_precision(similarity: np.ndarray, is_copy: np.ndarray) -> float:
    """Micro average precision over all pairs: mean precision at the rank of each true pair; ties keep their order."""
    hits = is_copy[np.argsort(-similarity, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def milliseconds_each(session: onnxruntime.InferenceSession, pictures: np.ndarray) -> float:
    """Best of five batches of 64 on one thread."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        embed(session, pictures[:64])
        seconds.append(time.perf_counter() - start)
    return min(seconds) * 1000 / 64


def figures(model: Path, groups: np.ndarray) -> dict[str, str]:
    """What the model card says, by name.

    groups: (groups, members, 128, 128, 3) uint8; member 0 is the original, member i its copy by the i-th edit.
    """
    count, members = groups.shape[:2]
    pictures = groups.reshape(-1, *groups.shape[2:])
    session = open_model(model)
    rows = embed(session, pictures)

    first, second = np.triu_indices(len(rows), 1)
    similarity = (rows @ rows.T)[first, second]
    is_copy = first // members == second // members
    strangers = similarity[~is_copy]
    found = similarity > THRESHOLD

    by_group = rows.reshape(count, members, -1)
    to_original = np.einsum("gd,gmd->gm", by_group[:, 0], by_group[:, 1:])  # (groups, edits)
    mild = to_original[:, [name in MILD for name in EDITS]]
    alone = embed(session, pictures[:64], batch=1)
    flat = embed(session, np.full((1, *pictures.shape[1:]), 127, np.uint8))

    result = {
        "pictures": f"{len(rows)} ({count} originals), {len(similarity)} pairs, {is_copy.sum()} of copies",
        "micro average precision": f"{average_precision(similarity, is_copy):.4f}",
        f"precision at {THRESHOLD}": f"{is_copy[found].mean():.4f}",
        f"recall at {THRESHOLD}": f"{found[is_copy].mean():.4f}",
        "cosine of unrelated pictures, mean": f"{strangers.mean():.3f}",
        "cosine of unrelated pictures, 99.9th percentile": f"{np.quantile(strangers, 0.999):.3f}",
        "cosine of mild edits, mean": f"{mild.mean():.3f}",
        "cosine of mild edits, 1st percentile": f"{np.quantile(mild, 0.01):.3f}",
        "row length, largest error": f"{np.abs(np.linalg.norm(rows, axis=1) - 1).max():.1e}",
        "flat picture, row length": f"{np.linalg.norm(flat):.6f}",
        "batch 1 and batch 64, least cosine": f"{(alone * rows[:64]).sum(1).min():.7f}",
        "milliseconds a picture, one thread": f"{milliseconds_each(session, pictures):.2f}",
    }
    for name, cosines in zip(EDITS, to_original.T, strict=True):
        result[f"{name}: mean cosine to the original, share over {THRESHOLD}"] = (
            f"{cosines.mean():.3f}, {(cosines > THRESHOLD).mean():.3f}"
        )
    return result
