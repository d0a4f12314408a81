"""Fits the head: learned maps to begin with, then training that brings copies together and look-alikes apart."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from fastdup_ray.extract.embedded.copies import Copies
from fastdup_ray.extract.embedded.network import (
    CONTENT,
    CONTENT_CHANNELS,
    GRID,
    GRID_CHANNELS,
    THUMBNAILS,
    Head,
    mirrored_thumbnails,
    pretrained_weights,
)
from fastdup_ray.extract.model import DIMENSIONS

SEED = 3
THREADS = 2  # part of what decides the file: sums are made in another order on more

START_GROUPS = 1200  # for the maps to begin with
REGULARISATION, GRID_REGULARISATION = 0.03, 0.1  # of the mean within-copy variance

STEPS = 1500
WARM_UP = 100  # steps
PHOTOGRAPHS = 20  # in a step
PICTURES = 4  # of each: look-alikes of one another
MEMBERS = 3  # of each picture and its copies
ORIGINALS = 0.8  # of these triples have the picture itself among them
HEAD_RATE, NETWORK_RATE = 2e-3, 1e-3  # of a parameter's own root mean square, at most, a step
LAST_RATE = 0.05  # of these, at the end
LONGEST_GRADIENT = 5.0
AVERAGED = 100  # steps that the averaged weights look back on, at most

TEMPERATURE = 0.06
COPY, STRANGER = 0.85, 0.65  # what the cosines of copies should be above, and all others below
COPY_SLOPE, STRANGER_SLOPE = 10.0, 40.0
THRESHOLDS_WEIGHT = 2.0

COMMON = 0.4
"""How much of the mean row is taken out of all rows at the end: it nearly keeps the order of cosines, and spreads them,
so that what the training leaves at 0.91 comes to 0.85."""


def fit(copies: Copies) -> Head:
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(SEED)
    head = Head(pretrained_weights()).to(memory_format=torch.channels_last)
    begin(head, copies, rng)
    train(head, copies, rng)
    spread(head, copies)
    return head.eval()


@torch.no_grad()
def begin(head: Head, copies: Copies, rng: np.random.Generator) -> None:
    """Sets the maps in closed form."""
    n, members = copies.shallow.shape[:2]
    some = np.sort(rng.choice(n, min(n, START_GROUPS), replace=False))
    groups = np.repeat(np.arange(len(some)), members)
    maps, shallow, thumbnails = copies.rows(some, np.tile(np.arange(members), (len(some), 1)))
    looks = [head.look(*part) for part in zip(maps.split(256), shallow.split(256), strict=True)]
    content, cells = (torch.cat(parts) for parts in zip(*looks, strict=True))
    weight, _ = scatter_map(content[:, -CONTENT_CHANNELS[-1] :], groups, GRID_CHANNELS)
    head.channels.weight.copy_(weight)
    blocks = content, head.layout(cells), mirrored_thumbnails(thumbnails)
    for linear, block, numbers, regularisation in (
        (head.content, blocks[0], CONTENT, REGULARISATION),
        (head.grid, blocks[1], GRID, GRID_REGULARISATION),
        (head.thumbnails, blocks[2], THUMBNAILS, REGULARISATION),
    ):
        weight, bias = scatter_map(block, groups, numbers, regularisation)
        length = torch.linalg.vector_norm(block @ weight.T + bias, dim=1).mean()
        linear.weight.copy_(weight / length)
        linear.bias.copy_(bias / length)
    head.row.weight.copy_(torch.from_numpy(principal(head.joined(*blocks).numpy(), DIMENSIONS).T.copy()))
    head.row.bias.zero_()


def scatter_map(
    rows: Tensor, groups: np.ndarray, numbers: int, regularisation: float = REGULARISATION
) -> tuple[Tensor, Tensor]:
    """The learned map x -> weight @ x + bias, weight (numbers, d), bias (numbers,).

    rows: (n, d). groups: (n,), ascending, the same number for a picture and its copies. The inverse Cholesky factor of
    the scatter within the groups makes what the edits do small and alike in all directions (Mikolajczyk and Matas,
    ICCV 2007); a PCA without a second whitening then keeps the directions in which pictures differ most.
    """
    rows = rows.numpy().astype(np.float64)
    d, mean = rows.shape[1], rows.mean(0)
    _, starts, counts = np.unique(groups, return_index=True, return_counts=True)
    centres = np.add.reduceat(rows, starts) / counts[:, None]
    apart = rows - np.repeat(centres, counts, axis=0)
    within = apart.T @ apart / len(apart)
    within += regularisation * np.trace(within) / d * np.eye(d)
    whitening = np.linalg.inv(np.linalg.cholesky(within)).T
    projection = whitening @ principal((rows - mean) @ whitening, numbers)
    return torch.from_numpy(projection.T.copy()).float(), torch.from_numpy(-mean @ projection).float()


def principal(rows: np.ndarray, numbers: int) -> np.ndarray:
    """(d, numbers): the orthonormal directions in which rows, (n, d), are longest."""
    rows = rows.astype(np.float64)
    _, directions = np.linalg.eigh(rows.T @ rows / len(rows))
    return directions[:, ::-1][:, :numbers]


def train(head: Head, copies: Copies, rng: np.random.Generator) -> None:
    """Leaves the averaged weights of all steps in the head."""
    optimizer = torch.optim.AdamW(_rates(head), betas=(0.9, 0.99), weight_decay=0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate)
    averaged = torch.optim.swa_utils.AveragedModel(head, avg_fn=_averaged)
    for step, groups in zip(range(STEPS), _batches(copies, rng), strict=False):
        members = np.array([_members(copies.shallow.shape[1], rng) for _ in groups])
        rows = head(*copies.rows(groups, members))
        value = loss(rows, *_relations(copies, np.repeat(groups, MEMBERS)))
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(head)
        if step % 50 == 0:
            print(f"step {step}, loss {value.item():.3f}", flush=True)
    head.load_state_dict(averaged.module.state_dict())


def _rates(head: Head) -> Iterator[dict]:
    for name, parameter in head.named_parameters():
        parameter.requires_grad_(True)
        size = max(1e-3, parameter.detach().square().mean().sqrt().item())
        yield {"params": [parameter], "lr": size * (NETWORK_RATE if name.startswith(("blocks", "last")) else HEAD_RATE)}


def _rate(step: int) -> float:
    falling = (1 + np.cos(np.pi * step / STEPS)) / 2
    return min(1, (step + 1) / WARM_UP) * (LAST_RATE + (1 - LAST_RATE) * falling)


def _averaged(average: Tensor, now: Tensor, steps: Tensor) -> Tensor:
    return average + (now - average) / (1 + steps / 9).clamp(max=AVERAGED)


def _batches(copies: Copies, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Groups of one step: some photographs, some pictures of each."""
    of = [np.flatnonzero(copies.photograph == photograph) for photograph in np.unique(copies.photograph)]
    while True:
        chosen = rng.choice(len(of), min(PHOTOGRAPHS, len(of)), replace=False)
        yield np.concatenate([rng.permutation(of[photograph])[:PICTURES] for photograph in chosen])


def _members(members: int, rng: np.random.Generator) -> np.ndarray:
    copies = 1 + rng.permutation(members - 1)
    return np.concatenate([[0], copies])[:MEMBERS] if rng.random() < ORIGINALS else copies[:MEMBERS]


def _relations(copies: Copies, groups: np.ndarray) -> tuple[Tensor, Tensor]:
    """(n, n) bool each: which rows are copies of one another, and which show different things.

    Neither: a photograph and a cell of it, which some would call a strong crop.
    """
    same = groups[:, None] == groups
    one = copies.photograph[groups][:, None] == copies.photograph[groups]
    whole = copies.whole[groups]
    unclear = one & ~same & (whole[:, None] | whole)
    return torch.from_numpy(same & ~np.eye(len(groups), dtype=bool)), torch.from_numpy(~same & ~unclear)


def loss(rows: Tensor, copies: Tensor, strangers: Tensor) -> Tensor:
    """Of a step's rows (n, 576) and their relations (n, n).

    Each copy against all strangers of its row (van den Oord et al., InfoNCE, 2018), and all pairs against thresholds
    that are the same for all (Wang et al., multi-similarity loss, CVPR 2019), as one threshold has to serve everybody.
    """
    cosines = rows @ rows.T
    none = torch.full_like(cosines, -1e4)
    nearest = torch.where(strangers, cosines / TEMPERATURE, none).logsumexp(1, keepdim=True)
    contrast = softplus(nearest - cosines / TEMPERATURE)[copies].mean()
    far = softplus(COPY_SLOPE * (COPY - cosines[copies])).mean() / COPY_SLOPE
    near = torch.where(strangers, STRANGER_SLOPE * (cosines - STRANGER), none).logsumexp(1)
    return contrast + THRESHOLDS_WEIGHT * (far + softplus(near).mean() / STRANGER_SLOPE)


@torch.no_grad()
def spread(head: Head, copies: Copies) -> None:
    """Takes `COMMON` of the mean row out of all rows."""
    n = len(copies.photograph)
    parts = np.array_split(np.arange(n), n // 256 + 1)
    rows = [head(*copies.rows(part, np.zeros((len(part), 1), int))) for part in parts]
    head.common.copy_(COMMON * torch.cat(rows).mean(0))
