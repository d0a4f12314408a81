"""Training of stage 5 and the head: copies close together, look-alikes apart, unrelated images near 0.

The loss has two parts. The relative one is InfoNCE (van den Oord et al. 2018): a copy has to be closer than all images
that are not copies, among this batch and a memory of the last embedding of every image (Wang et al., CVPR 2020). The
absolute one makes thresholds mean the same for all images: similarities of copies are pushed above COPY, those of
look-alikes below LOOK_ALIKE, those of the nearest unrelated images below UNRELATED.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fastdup_ray.common.arrays import IntArray
from fastdup_ray.training.network import Tail

HalfArray = npt.NDArray[np.float16]

SEED = 2
IMAGES, VIEWS = 64, 3  # images in a batch, and views of each
PARTS = 2  # of a batch, each on a thread of its own
WARM_UP = 0.04  # share of the steps

SCALE = 20.0  # inverse temperature
COPY, LOOK_ALIKE, UNRELATED = 0.85, 0.5, 0.2
SPREAD = 100.0
NEAREST_UNRELATED, NEAREST_LOOK_ALIKES = 8, 2

BACK_RATE, HEAD_RATE = 2e-4, 5e-4
WEIGHT_DECAY = 1e-2
LARGEST_GRADIENT = 5.0  # norm to which larger gradients are clipped
EMA_DECAY = 0.998  # of the running mean of the weights


class Cycle(NamedTuple):
    """Steps with a learning rate that rises and falls once (Loshchilov and Hutter, ICLR 2017).

    Attributes:
        steps: Number of steps.
        depthwise: Train the depthwise convolutions of stage 5 too.
        views: Number of views of each image to draw from, the first ones.
    """

    steps: int
    depthwise: bool
    views: int


class FrontOutputs(NamedTuple):
    """Outputs of `Front` for n images in several views each.

    Attributes:
        stage: (n, views, 80, 8, 8) float16.
        pooled: (n, views, 240) float16.
        thumbnails: (n, views, 96) float16.
        photographs: (n,) int64, ascending: the number of the photograph that an image is part of.
    """

    stage: HalfArray
    pooled: HalfArray
    thumbnails: HalfArray
    photographs: IntArray

    def batch(self, images: IntArray, views: IntArray) -> tuple[Tensor, Tensor, Tensor]:
        """Return stage, pooled and thumbnails of b * m views as float32.

        Args:
            images: (b,) indices of images.
            views: (b, m) indices of views of each image.
        """

        def select(block: HalfArray) -> Tensor:
            return torch.from_numpy(block[images[:, None], views].astype(np.float32)).flatten(0, 1)

        return select(self.stage), select(self.pooled), select(self.thumbnails)


def train(model: Tail, outputs: FrontOutputs, cycle: Cycle, report: Callable[[int, str], None]) -> Tail:
    """Train a model in place, and return the running mean of its weights, which is better than the last step."""
    rng = np.random.default_rng([SEED, cycle.steps, cycle.depthwise])
    memory = torch.zeros(len(outputs.photographs), 576)
    photographs = torch.from_numpy(outputs.photographs)
    average = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]  # torch has no annotation for it
    mean = AveragedModel(model, multi_avg_fn=average)
    groups = list_parameters(model, depthwise=cycle.depthwise)
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    peaks = [group["lr"] for group in groups]
    parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
    batches = draw_batches(outputs.photographs, rng)
    started = time.monotonic()
    torch.set_num_threads(1)  # for each part
    with ThreadPoolExecutor(PARTS) as pool:
        for step in range(cycle.steps):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * get_rate(step / cycle.steps)
            images = next(batches)
            views = np.stack([rng.permutation(cycle.views)[:VIEWS] for _ in images])
            parts = np.array_split(np.arange(len(images)), PARTS)
            blocks = [outputs.batch(images[part], views[part]) for part in parts]
            embedded = list(pool.map(_embed, repeat(model), blocks))
            embeddings = torch.cat([part.detach() for part in embedded]).requires_grad_()
            image_of = torch.from_numpy(images).repeat_interleave(VIEWS)
            torch.set_num_threads(PARTS)
            terms = compute_loss(embeddings, image_of, memory, photographs)
            cast(Tensor, sum(terms.values())).backward()  # type: ignore[no-untyped-call]  # torch has no annotation
            torch.set_num_threads(1)
            sizes = [len(part) for part in embedded]
            gradients = cast(Tensor, embeddings.grad).split(sizes)  # type: ignore[no-untyped-call]  # no annotation either
            of_parts = pool.map(torch.autograd.grad, embedded, repeat(parameters), gradients)
            for parameter, *gradient in zip(parameters, *of_parts, strict=True):
                parameter.grad = cast(Tensor, sum(gradient))
            torch.nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            optimizer.step()
            memory[image_of] = embeddings.detach()
            progress = " ".join(f"{name} {term.item():.3f}" for name, term in terms.items())
            mean.update_parameters(model)
            report(step + 1, f"{progress} {time.monotonic() - started:.0f} s")
    return cast(Tail, mean.module)


def _embed(model: Tail, blocks: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    stage, *others = blocks
    return cast(Tensor, model(stage.contiguous(memory_format=torch.channels_last), *others))


def list_parameters(model: Tail, *, depthwise: bool) -> list[dict[str, Any]]:
    """Return the parameters to train, in two groups, each with its highest learning rate."""
    model.back.requires_grad_()
    for block in model.back.blocks:
        cast(torch.nn.Module, block.depthwise).requires_grad_(depthwise)
    convolutions = [parameter for parameter in model.back.parameters() if parameter.requires_grad]
    return [
        {"params": convolutions, "lr": BACK_RATE},
        {"params": list(model.head.parameters()), "lr": HEAD_RATE},
    ]


def get_rate(progress: float, warm_up: float = WARM_UP) -> float:
    """Return the share of the highest learning rate: a linear rise, then half a cosine."""
    if progress < warm_up:
        return progress / warm_up + 1e-3
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def draw_batches(photographs: IntArray, rng: np.random.Generator) -> Iterator[IntArray]:
    """Yield batches of distinct images without end; images of one photograph, the look-alikes, are kept together."""
    members = np.split(np.arange(len(photographs)), np.flatnonzero(np.diff(photographs)) + 1)
    while True:
        order = np.concatenate([members[i] for i in rng.permutation(len(members))])
        yield from order[: len(order) // IMAGES * IMAGES].reshape(-1, IMAGES)


def compute_loss(embeddings: Tensor, image_of: Tensor, memory: Tensor, photographs: Tensor) -> dict[str, Tensor]:
    """Return the terms of the loss.

    Args:
        embeddings: (b, 576).
        image_of: (b,) the images that they are of.
        memory: (n, 576) the last embedding of every image, zeros for those that had none yet.
        photographs: (n,) the photographs that the images are part of.
    """
    in_batch = embeddings @ embeddings.T
    cosines = torch.cat([in_batch, embeddings @ memory.T], dim=1)
    columns = torch.cat([image_of, torch.arange(len(memory))])
    is_same = image_of[:, None] == image_of
    is_other = image_of[:, None] != columns
    is_look_alike = photographs[image_of][:, None] == photographs[columns]
    least = torch.finfo().min

    copies = in_batch[is_same & ~torch.eye(len(image_of), dtype=torch.bool)].view(len(image_of), -1)
    others = torch.logsumexp((cosines * SCALE).masked_fill(~is_other, least), dim=1, keepdim=True)
    unrelated = cosines.masked_fill(~is_other | is_look_alike, -1).topk(NEAREST_UNRELATED, dim=1).values
    look_alikes = cosines.masked_fill(~is_other | ~is_look_alike, -1).topk(NEAREST_LOOK_ALIKES, dim=1).values
    return {
        "relative": 2 * softplus(others - copies * SCALE).mean(),
        "copies": softplus((COPY - copies) * SCALE).mean(),
        "look-alikes": softplus((look_alikes - LOOK_ALIKE) * SCALE).mean(),
        "unrelated": 2 * softplus((unrelated - UNRELATED) * SCALE).mean(),
        "spread": SPREAD * cosines.square().masked_fill(~is_other, 0).mean(),
    }
