"""Make model.onnx and its .sha256 from the registry's weights and photographs.

    python -m fastdup_ray.training.build --photos DIR --out model.onnx

DIR has one sub-folder a package. Needs the extra `model` and, for the pictures of `fetch.py`, about 10 GB of memory and
on two cores two hours. The same pictures, libraries and machine give the same file.
"""

import argparse
import copy
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from fastdup_ray.extract.model import DIMENSIONS
from fastdup_ray.training import training
from fastdup_ray.training.export import onnx_of, shipped
from fastdup_ray.training.network import (
    GRID_CHANNELS,
    Back,
    Embedder,
    Front,
    Head,
    Map,
    Trained,
    grid,
    pretrained_weights,
    unit,
)
from fastdup_ray.training.photos import for_the_fit
from fastdup_ray.training.training import Cycle, Seen, train
from fastdup_ray.training.views import FIRST_VIEWS, VIEWS, views_of

CYCLES = (
    Cycle(2500, depthwise=False, views=FIRST_VIEWS),
    Cycle(3500, depthwise=True, views=FIRST_VIEWS),
    Cycle(2000, depthwise=False, views=FIRST_VIEWS),
    Cycle(2400, depthwise=False, views=VIEWS),
    Cycle(2200, depthwise=False, views=VIEWS),
)
"""Each begins with the mean of the ends of those before it; the model is the mean of all ends."""

WEIGHTS = {"content": 0.25, "grid": 0.5, "thumbnails": 0.25}  # before the training
CONTENT, GRID, THUMBNAILS = 256, 384, 96  # numbers in a block
REGULARISATION, GRID_REGULARISATION = 0.03, 0.1  # of the mean within-copy variance
SOME = 1500  # pictures by which the maps are fitted before the training


class _Reader:
    """What each worker process has: `Front`, by onnxruntime, which is quicker."""

    front: onnxruntime.InferenceSession

    @classmethod
    def start(cls, front: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        cls.front = onnxruntime.InferenceSession(front, options, providers=["CPUExecutionProvider"])


def seen_of(path: Path) -> list[np.ndarray]:
    """The blocks of `Seen` for the pictures of one photograph, float16."""
    return front_of(views_of(path), _Reader.front)


def front_of(pixels: np.ndarray, front: onnxruntime.InferenceSession) -> list[np.ndarray]:
    """pixels: (pictures, views, 128, 128, 3) uint8."""
    answers = zip(*(front.run(None, {"image": views}) for views in pixels), strict=True)
    return [np.stack(block).astype(np.float16) for block in answers]


def joined(photographs: Iterable[list[np.ndarray]]) -> Seen:
    blocks = [list(of_one) for of_one in zip(*photographs, strict=True)]
    numbers = np.repeat(np.arange(len(blocks[0])), [len(block) for block in blocks[0]])
    return Seen(*(np.concatenate(block) for block in blocks), numbers)


def scatter_map(rows: np.ndarray, groups: np.ndarray, numbers: int, regularisation: float = REGULARISATION) -> Map:
    """The learned map x -> (x - mean) @ projection, projection (d, numbers).

    rows: (n, d). groups: (n,), ascending, the same number for a picture and its copies. The inverse Cholesky factor of
    the scatter within the groups makes what the edits do small and alike in all directions (Mikolajczyk and Matas,
    ICCV 2007); a PCA without a second whitening then keeps the directions in which pictures differ most.
    """
    rows = rows.astype(np.float64)
    d, mean = rows.shape[1], rows.mean(0)
    _, starts, counts = np.unique(groups, return_index=True, return_counts=True)
    centres = np.add.reduceat(rows, starts) / counts[:, None]
    copies = rows - np.repeat(centres, counts, axis=0)
    within = copies.T @ copies / len(copies)
    within += regularisation * np.trace(within) / d * np.eye(d)
    whitening = np.linalg.inv(np.linalg.cholesky(within)).T
    projection = whitening @ principal((rows - mean) @ whitening, numbers)
    return Map(torch.from_numpy(mean).float(), torch.from_numpy(projection).float())


def principal(rows: np.ndarray, numbers: int) -> np.ndarray:
    """(d, numbers): the orthonormal directions in which rows, (n, d), are longest."""
    rows = rows.astype(np.float64)
    _, directions = np.linalg.eigh(rows.T @ rows / len(rows))
    return directions[:, ::-1][:, :numbers]


@torch.no_grad()
def untrained(seen: Seen) -> Trained:
    """The model before the training, whose maps make copies alike and keep other pictures apart."""
    back = Back(pretrained_weights())
    views = np.arange(FIRST_VIEWS)
    pooled, cells, thumbnails = [], [], []
    for picture in some_of(seen):
        stage, fourth, thumbnail = seen.batch(np.array([picture]), views[None])
        fifth, sixth, cell = back(stage)
        pooled.append(torch.cat([unit(block) for block in (fourth, fifth, sixth)], dim=1))
        cells.append(cell)
        thumbnails.append(thumbnail)
    pooled, cells, thumbnails = map(torch.cat, (pooled, cells, thumbnails))
    groups = np.arange(len(pooled) // len(views)).repeat(len(views))

    channels = scatter_map(pooled[:, -cells.shape[2] :].numpy(), groups, GRID_CHANNELS).projection
    grids = grid(cells, channels)
    maps = [
        scatter_map(pooled.numpy(), groups, CONTENT),
        scatter_map(grids.numpy(), groups, GRID, GRID_REGULARISATION),
        scatter_map(thumbnails.numpy(), groups, THUMBNAILS),
    ]
    torch.manual_seed(0)
    head = Head(channels, maps, list(WEIGHTS.values()), torch.eye(CONTENT + GRID + THUMBNAILS))
    directions = principal(head.blocks(pooled, grids, thumbnails).numpy(), DIMENSIONS)
    return Trained(back, Head(channels, maps, list(WEIGHTS.values()), torch.from_numpy(directions.copy()).float()))


def some_of(seen: Seen) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(seen.photographs))[:SOME]


def mean_of(models: Sequence[Trained]) -> Trained:
    """The mean of their weights, which finds more in pictures that none has seen (Izmailov et al., UAI 2018)."""
    mean = copy.deepcopy(models[0])
    with torch.no_grad():
        for own, *others in zip(mean.parameters(), *(model.parameters() for model in models[1:]), strict=True):
            own.copy_(torch.stack([own, *others]).mean(0))
    return mean


def front_onnx() -> bytes:
    front = Front(pretrained_weights()).eval()
    return onnx_of(front, ["stage", "pooled", "thumbnails"]).SerializeToString()


def _tell(step: int, words: str) -> None:
    if step % 20 == 0:
        print(step, words, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with one sub-folder a package")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make the copies")
    args = parser.parse_args()

    torch.use_deterministic_algorithms(True)
    photographs = for_the_fit(args.photos, args.jobs)
    if len(photographs) < training.PICTURES:
        parser.error(
            f"{args.photos} has {len(photographs)} pictures for the fit, too few: a step takes {training.PICTURES}."
        )
    print(f"{len(photographs)} photographs for the fit", flush=True)
    with ProcessPoolExecutor(args.jobs, initializer=_Reader.start, initargs=(front_onnx(),)) as pool:
        seen = joined(pool.map(seen_of, photographs, chunksize=4))
    print(f"{len(seen.photographs)} pictures of them, in {seen.stage.shape[1]} views each", flush=True)

    ends: list[Trained] = []
    for cycle in CYCLES:
        ends.append(train(mean_of(ends) if ends else untrained(seen), seen, cycle, _tell))
    args.out.write_bytes(shipped(Embedder(Front(pretrained_weights()), mean_of(ends))))
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    args.out.with_name(f"{args.out.name}.sha256").write_text(
        f"{digest}\n", encoding="ascii"
    )  # checked when the package loads the model
    print("sha256", digest, args.out.stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
