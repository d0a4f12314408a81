"""What the student learns from: views of the training images, and what the embedded model makes of them.

Both are files in a working folder, because they do not fit into memory together:
views.dat, (n, 128, 128, 3) uint8, and targets.dat, (n, 1600) float16, a row for each view.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import onnx

from fastdup_ray.common.arrays import ByteArray
from fastdup_ray.extract.model import DIMENSIONS, SIDE
from fastdup_ray.training.network import CONTENT, GRID_CHANNELS, GRID_SIDE
from fastdup_ray.training.photos import list_training_images
from fastdup_ray.training.training import HalfArray
from fastdup_ray.training.views import make_views
from fastdup_ray.training.worker_session import WorkerSession

FIRST_VIEWS, LATER_VIEWS = 3, 1
VIEWS = FIRST_VIEWS + LATER_VIEWS
"""Views of an image: itself and two copies, and one with more of the hardest edits."""

TENSORS = {"features": DIMENSIONS, "div_12": CONTENT, "sub_134": GRID_SIDE**2 * GRID_CHANNELS}
"""Tensors of model.onnx and the numbers in each: the embedding, the mapped content, the grid before it is folded."""

TARGETS = sum(TENSORS.values())
VIEW_SHAPE = (SIDE, SIDE, 3)
_DONE = "views.json"


class TeacherData(NamedTuple):
    """Views of images and what the teacher makes of them.

    Attributes:
        views: (n, 128, 128, 3) uint8, RGB; the views of an image follow each other.
        targets: (n, TARGETS) float16: the numbers of `TENSORS`, in that order.
    """

    views: ByteArray
    targets: HalfArray


def expose_tensors(path: Path) -> bytes:
    """Return the model with `TENSORS` as its outputs."""
    model = onnx.load(path)
    del model.graph.output[:]
    for name in TENSORS:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())


def compute_targets(path: Path) -> tuple[ByteArray, HalfArray]:
    """Return the views of one photograph and of its cells, (n, 128, 128, 3), and their targets, (n, TARGETS)."""
    views = make_views(path, FIRST_VIEWS, LATER_VIEWS).reshape(-1, *VIEW_SHAPE)
    outputs = WorkerSession.session.run(list(TENSORS), {"image": views})
    return views, np.concatenate([block.reshape(len(views), -1) for block in outputs], axis=1).astype(np.float16)


def write_teacher_data(photos: Path, model: Path, folder: Path, jobs: int) -> int:
    """Write views and targets of all training images of `photos` to `folder`, unless they are there.

    Returns:
        The number of images.
    """
    if (folder / _DONE).exists():
        return cast(int, json.loads((folder / _DONE).read_text(encoding="utf-8"))["images"])
    photographs = list_training_images(photos, jobs)
    print(f"{len(photographs)} photographs for training", flush=True)
    images = 0
    with (
        open(folder / "views.dat", "wb") as views_file,
        open(folder / "targets.dat", "wb") as targets_file,
        ProcessPoolExecutor(jobs, initializer=WorkerSession.start, initargs=(expose_tensors(model),)) as pool,
    ):
        for done, (views, targets) in enumerate(pool.map(compute_targets, photographs, chunksize=4), 1):
            views.tofile(views_file)
            targets.tofile(targets_file)
            images += len(views) // VIEWS
            if done % 500 == 0:
                print(f"{done} photographs, {images} images", flush=True)
    (folder / _DONE).write_text(json.dumps({"photographs": len(photographs), "images": images}), encoding="utf-8")
    return images


def load_teacher_data(folder: Path) -> TeacherData:
    """Map the files that `write_teacher_data` wrote."""
    views = np.memmap(folder / "views.dat", np.uint8, "r").reshape(-1, *VIEW_SHAPE)
    return TeacherData(views, np.memmap(folder / "targets.dat", np.float16, "r").reshape(-1, TARGETS))
