"""Training of stage 5 and the head: copies near one another, look-alikes apart, strangers near 0.

Two terms. One is relative: a copy has to be nearer than all that are none, of this batch and of a memory with the last
row of every picture (InfoNCE, van den Oord et al. 2018; the memory is that of Wang et al., CVPR 2020). One is absolute,
as thresholds have to mean the same for all pictures: copies are drawn over COPY, look-alikes under LOOK_ALIKE, the
nearest strangers under STRANGER.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fastdup_ray.training.network import Trained

SEED = 2
PICTURES, VIEWS = 64, 3  # of a batch: as many pictures, each in as many views
PARTS = 2  # of a batch, each on a thread of its own
WARM_UP = 0.04  # share of the steps

SCALE = 20.0  # inverse temperature
COPY, LOOK_ALIKE, STRANGER = 0.85, 0.5, 0.2
SPREAD = 100.0
NEAREST_STRANGERS, NEAREST_LOOK_ALIKES = 8, 2

BACK_RATE, HEAD_RATE = 2e-4, 5e-4
WEIGHT_DECAY = 1e-2
LONGEST_SLOPE = 5.0  # longer gradients are cut
KEPT = 0.998  # of the mean of the model, by each step


class Cycle(NamedTuple):
    """Steps from a learning rate that rises to one that has fallen (Loshchilov and Hutter, ICLR 2017).

    depthwise: whether the depthwise convolutions of stage 5 are trained too; else they stay as they are.
    views: of each picture its first so many.
    """

    steps: int
    depthwise: bool
    views: int


class Seen(NamedTuple):
    """What `Front` gives for all views: of picture i its views in row i.

    stage: (n, views, 80, 8, 8) float16. pooled: (n, views, 240). thumbnails: (n, views, 96). photographs: (n,),
    ascending, the same number for pictures of one photograph.
    """

    stage: np.ndarray
    pooled: np.ndarray
    thumbnails: np.ndarray
    photographs: np.ndarray

    def batch(self, pictures: np.ndarray, views: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """float32. pictures: (n,). views: (n, m), those of each that are wanted. n * m rows."""
        blocks = (self.stage, self.pooled, self.thumbnails)
        wanted = [block[pictures[:, None], views].astype(np.float32) for block in blocks]
        return tuple(torch.from_numpy(block).flatten(0, 1) for block in wanted)


def train(model: Trained, seen: Seen, cycle: Cycle, report: Callable[[int, str], None]) -> Trained:
    """Trains in place; returns the mean of what the model was in the last steps, which is better than the last step."""
    rng = np.random.default_rng([SEED, cycle.steps, cycle.depthwise])
    memory = torch.zeros(len(seen.photographs), 576)
    photographs = torch.from_numpy(seen.photographs)
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(KEPT))
    groups = parameters(model, depthwise=cycle.depthwise)
    optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    peaks = [group["lr"] for group in groups]
    trained = [parameter for group in groups for parameter in group["params"]]
    batches = drawn(seen.photographs, rng)
    started = time.monotonic()
    torch.set_num_threads(1)  # for each part
    with ThreadPoolExecutor(PARTS) as pool:
        for step in range(cycle.steps):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * rate(step / cycle.steps)
            pictures = next(batches)
            views = np.stack([rng.permutation(cycle.views)[:VIEWS] for _ in pictures])
            parts = np.array_split(np.arange(len(pictures)), PARTS)
            rows = list(pool.map(_rows, repeat(model), [seen.batch(pictures[part], views[part]) for part in parts]))
            all_rows = torch.cat([part.detach() for part in rows]).requires_grad_()
            of = torch.from_numpy(pictures).repeat_interleave(VIEWS)
            torch.set_num_threads(PARTS)
            terms = loss(all_rows, of, memory, photographs)
            sum(terms.values()).backward()
            torch.set_num_threads(1)
            slopes = all_rows.grad.split([len(part) for part in rows])
            each = pool.map(torch.autograd.grad, rows, repeat(trained), slopes)
            for parameter, *slope in zip(trained, *each, strict=True):
                parameter.grad = sum(slope)
            torch.nn.utils.clip_grad_norm_(trained, LONGEST_SLOPE)
            optimiser.step()
            memory[of] = all_rows.detach()
            told = " ".join(f"{name} {term.item():.3f}" for name, term in terms.items())
            mean.update_parameters(model)
            report(step + 1, f"{told} {time.monotonic() - started:.0f} s")
    return mean.module


def _rows(model: Trained, blocks: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    stage, *others = blocks
    return model(stage.contiguous(memory_format=torch.channels_last), *others)


def parameters(model: Trained, *, depthwise: bool) -> list[dict]:
    """Those that are trained, in two groups, each with its highest learning rate."""
    model.back.requires_grad_()
    for block in model.back.blocks:
        block.depthwise.requires_grad_(depthwise)
    convolutions = [parameter for parameter in model.back.parameters() if parameter.requires_grad]
    return [
        {"params": convolutions, "lr": BACK_RATE},
        {"params": list(model.head.parameters()), "lr": HEAD_RATE},
    ]


def rate(done: float) -> float:
    """Share of the highest learning rate: up in a line, down in half a cosine."""
    if done < WARM_UP:
        return done / WARM_UP + 1e-3
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def drawn(photographs: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of pictures, those of one photograph side by side: look-alikes meet. Without end, none twice in one."""
    members = np.split(np.arange(len(photographs)), np.flatnonzero(np.diff(photographs)) + 1)
    while True:
        order = np.concatenate([members[i] for i in rng.permutation(len(members))])
        yield from order[: len(order) // PICTURES * PICTURES].reshape(-1, PICTURES)


def loss(rows: Tensor, of: Tensor, memory: Tensor, photographs: Tensor) -> dict[str, Tensor]:
    """The terms. rows: (b, 576). of: (b,) their pictures. memory: (n, 576), zeros where nothing was seen yet."""
    among = rows @ rows.T
    known = rows @ memory.T
    pictures = torch.arange(len(memory))
    same = of[:, None] == of
    cosines = torch.cat([among, known], dim=1)
    columns = torch.cat([of, pictures])
    other = of[:, None] != columns
    scene = photographs[of][:, None] == photographs[columns]
    far = torch.finfo().min

    copies = among[same & ~torch.eye(len(of), dtype=torch.bool)].view(len(of), -1)
    rest = torch.logsumexp((cosines * SCALE).masked_fill(~other, far), dim=1, keepdim=True)
    strangers = cosines.masked_fill(~other | scene, -1).topk(NEAREST_STRANGERS, dim=1).values
    alike = cosines.masked_fill(~other | ~scene, -1).topk(NEAREST_LOOK_ALIKES, dim=1).values
    return {
        "relative": 2 * softplus(rest - copies * SCALE).mean(),
        "copies": softplus((COPY - copies) * SCALE).mean(),
        "look-alikes": softplus((alike - LOOK_ALIKE) * SCALE).mean(),
        "strangers": 2 * softplus((strangers - STRANGER) * SCALE).mean(),
        "spread": SPREAD * cosines.square().masked_fill(~other, 0).mean(),
    }
