"""Make fast.onnx, a student of the embedded model, and its .sha256 from photographs.

    python -m fastdup_ray.training.distill --photos DIR --work DIR --out fast.onnx

Needs the extra `model`, 6 GB of disk in the working folder, and one core for two hours. An interrupted run
goes on from its last checkpoint.
"""

import argparse
import hashlib
import os
import time
from collections.abc import Iterator
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.training.network import GRID_SIDE
from fastdup_ray.training.student import Layer, Outputs, Student
from fastdup_ray.training.student_export import export_student
from fastdup_ray.training.teacher import TENSORS, VIEWS, TeacherData, load_teacher_data, write_teacher_data
from fastdup_ray.training.training import LARGEST_GRADIENT, get_rate

SEED = 3
IMAGES = 32
"""Images of a batch, each with all its views."""

WEIGHT_DECAY = 0.02
TEACHER_SHARE = 0.2
"""Of the learning rate, for the parts that begin as the teacher's."""

CHECKPOINT_STEPS = 250
NEIGHBORS = 4
"""Images of a batch that follow each other in the data: mostly parts of one photograph, which look alike."""

NEAR, FAR = 8.0, 10.0
"""Weights of the terms for similarities within neighbors and between others."""


class Phase(NamedTuple):
    """Steps with a learning rate that rises and falls once.

    Attributes:
        steps: Number of steps.
        rate: The highest learning rate.
        warm_up: Share of the steps in which the rate rises.
        rounded: Whether weights and activations are rounded to 8 bits.
    """

    steps: int
    rate: float
    warm_up: float
    rounded: bool


PHASES = (Phase(9000, 2e-3, 0.05, rounded=False), Phase(2700, 3e-4, 0.02, rounded=True))
FREEZE = 0.5
"""Share of a phase after which the scales of the activations stay as they are."""


class Training:
    """The state of a training, which a checkpoint holds."""

    def __init__(self, teacher: Path) -> None:
        torch.manual_seed(SEED)
        self.student = Student(teacher).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.phase = self.step = 0
        self.optimizer = self._make_optimizer()

    def start_phase(self, number: int) -> None:
        self.phase, self.step = number, 0
        if PHASES[number].rounded:
            self.student.fold()
        self.optimizer = self._make_optimizer()

    def run_step(self, views: Tensor, targets: Tensor) -> dict[str, float]:
        """Take one step; return the terms of the loss."""
        phase = PHASES[self.phase]
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * phase.rate * get_rate(self.step / phase.steps, phase.warm_up)
        for layer in self.student.layers:
            cast(Layer, layer).frozen = self.step >= FREEZE * phase.steps
        terms = compute_loss(self.student(views), targets)
        self.optimizer.zero_grad()
        cast(Tensor, sum(terms.values())).backward()  # type: ignore[no-untyped-call]  # torch has no annotation
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        return {name: term.item() for name, term in terms.items()}

    def save(self, path: Path) -> None:
        state = {
            "phase": self.phase,
            "step": self.step,
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        for number in range(1, state["phase"] + 1):
            self.start_phase(number)
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def _make_optimizer(self) -> torch.optim.Optimizer:
        head = self.student.head
        new = [*self.student.layers.parameters(), *head.content.parameters(), *head.channels.parameters()]
        old = [
            parameter
            for part in (head.grid, head.thumbnails, head.rotation, head.hidden, head.more)
            for parameter in part.parameters()
        ]
        groups = [{"params": new, "share": 1.0}, {"params": old, "share": TEACHER_SHARE}]
        return torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)


def split_targets(targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return embeddings, content and cells of (n, TARGETS)."""
    embeddings, content, cells = torch.split(targets, list(TENSORS.values()), dim=1)
    return embeddings, content, cells


def compute_loss(outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
    """Return the terms of the loss.

    They are one less the cosine, for embeddings and what leads to them, and the errors of the similarities within the
    batch (Park et al., "Relational Knowledge Distillation", CVPR 2019).

    Args:
        outputs: Of n views, (n, ...).
        targets: (n, TARGETS).
    """
    embeddings, content, cells = split_targets(targets)
    errors = (outputs.embeddings @ outputs.embeddings.T - embeddings @ embeddings.T).square()
    group = torch.arange(len(errors)) // (NEIGHBORS * VIEWS)
    is_near = group[:, None] == group
    return {
        "embeddings": (1 - (outputs.embeddings * embeddings).sum(1)).mean(),
        "content": 0.5 * (1 - (outputs.content * content).sum(1)).mean(),
        "cells": (1 - torch.cosine_similarity(outputs.cells.flatten(1), cells)).mean(),
        "near": NEAR * errors[is_near].mean(),
        "far": FAR * errors[~is_near].mean(),
    }


def iter_batches(data: TeacherData, phase: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of a phase without end, from step `start` on: views, half of them mirrored, and their targets."""
    groups, in_batch = len(data.views) // (VIEWS * NEIGHBORS), IMAGES // NEIGHBORS
    step = 0
    for epoch in count():
        rng = np.random.default_rng([SEED, phase, epoch])
        order = rng.permutation(groups)
        for some in order[: groups // in_batch * in_batch].reshape(-1, in_batch):
            images = (some[:, None] * NEIGHBORS + np.arange(NEIGHBORS)).ravel()
            mirrored = rng.random(IMAGES * VIEWS) < 0.5
            if step >= start:
                yield _load_batch(data, images, torch.from_numpy(mirrored))
            step += 1


def _load_batch(data: TeacherData, images: IntArray, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    rows = (images[:, None] * VIEWS + np.arange(VIEWS)).ravel()
    views, targets = torch.from_numpy(data.views[rows]), torch.from_numpy(data.targets[rows].astype(np.float32))
    views = torch.where(mirrored[:, None, None, None], views.flip(2), views)
    embeddings, content, cells = split_targets(targets)
    grid = cells.view(len(rows), GRID_SIDE, GRID_SIDE, -1)
    cells = torch.where(mirrored[:, None, None, None], grid.flip(2), grid).flatten(1)
    return views, torch.cat([embeddings, content, cells], dim=1)


def train(training: Training, data: TeacherData, checkpoint: Path) -> None:
    """Run all steps that are left, with a checkpoint from time to time."""
    started = time.monotonic()
    while True:
        phase = PHASES[training.phase]
        batches = iter_batches(data, training.phase, training.step)
        while training.step < phase.steps:
            terms = training.run_step(*next(batches))
            if training.step % 50 == 0:
                text = " ".join(f"{name} {term:.4f}" for name, term in terms.items())
                print(training.phase, training.step, text, f"{time.monotonic() - started:.0f} s", flush=True)
            if training.step % CHECKPOINT_STEPS == 0:
                training.save(checkpoint)
        training.save(checkpoint.with_stem(f"{checkpoint.stem}-{training.phase}"))
        if training.phase + 1 == len(PHASES):
            return
        training.start_phase(training.phase + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with one subfolder per package")
    parser.add_argument("--work", type=Path, required=True, help="folder for views and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="model to write; its digest goes to OUT.sha256")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes that make views")
    args = parser.parse_args()

    teacher = Path(str(files("fastdup_ray.extract.embedded") / "model.onnx"))
    args.work.mkdir(parents=True, exist_ok=True)
    images = write_teacher_data(args.photos, teacher, args.work, args.jobs)
    if images < IMAGES:
        parser.error(f"too few images for training in {args.photos}: {images}; a step takes {IMAGES}.")
    torch.set_num_threads(1)
    training = Training(teacher)
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        training.load(checkpoint)
    train(training, load_teacher_data(args.work), checkpoint)
    args.out.write_bytes(export_student(training.student))
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    args.out.with_name(f"{args.out.name}.sha256").write_text(f"{digest}\n", encoding="ascii")
    print("sha256", digest, args.out.stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
