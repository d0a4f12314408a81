"""The student: plain 3x3 convolutions in 8 bits, and a head like that of the embedded model, its teacher.

A stack of 3x3 convolutions is what a CPU runs fastest in 8 bits (Ding et al., "RepVGG", CVPR 2021). There are no
branches to fold after the training: a kernel begins as the sum of the identity and a random part.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, relu
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fastdup_ray.extract.model import DIMENSIONS
from fastdup_ray.training.network import (
    CONTENT,
    GRID,
    GRID_CHANNELS,
    GRID_SIDE,
    HIDDEN,
    THUMBNAILS,
    WEIGHTS,
    Thumbnails,
    center_cells,
    fold_grid,
    scale_to_unit,
)

STEM = 32
"""Channels of the first convolution: 6x6, from 128 x 128 to 32 x 32 pixels."""

WIDTHS, DEPTHS = (32, 64, 192), (1, 2, 3)
"""Channels and number of the 3x3 convolutions of each stage after it; from the second stage on the first one halves the
sides."""

LAST = 256
"""Channels of the last convolution, which is 1x1."""

LENGTHS = tuple(weight**0.5 for weight in WEIGHTS.values())
"""Of content, grid and thumbnails."""

LUMA_WEIGHTS = (77 / 256, 150 / 256, 29 / 256)
"""Those of the teacher, rounded so that sums of pixels are exact."""

PIXEL_ZERO, PIXEL_SCALE = 128, 1 / 64
"""The value of a pixel p is (p - PIXEL_ZERO) * PIXEL_SCALE."""

LARGEST_WEIGHT = 63
"""7 bits: two products with 255 fit into 16 bits, where CPUs without VNNI add them."""

LARGEST_ACTIVATION = 255
RANGE_DECAY = 0.98  # of the running mean of the largest activations
DIRAC = 0.5  # the part of the identity in a kernel at first


class Outputs(NamedTuple):
    """What the student makes of n images.

    Attributes:
        embeddings: (n, 576) of unit length.
        content: (n, 256) of unit length.
        cells: (n, 16, 48), less their mean.
    """

    embeddings: Tensor
    content: Tensor
    cells: Tensor


class _RoundActivation(torch.autograd.Function):
    """ReLU and rounding to 8 bits; the gradient is that of a clamp (Bengio et al. 2013)."""

    @staticmethod
    def forward(context: Any, x: Tensor, scale: Tensor) -> Tensor:
        steps = (x.float() / scale).round_()
        context.save_for_backward((steps >= 0) & (steps <= LARGEST_ACTIVATION))
        return steps.clamp_(0, LARGEST_ACTIVATION).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (inside,) = context.saved_tensors
        return gradients[0] * inside, None


class Layer(nn.Module):
    """A convolution, batch normalization and ReLU; after `fold`, a convolution of rounded weights and activations.

    Attributes:
        scale: What the last bit of an activation stands for.
        frozen: Keep `scale` as it is.
    """

    scale: Tensor

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, (kernel - stride + 1) // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_in")
        with torch.no_grad():
            conv.weight += DIRAC * nn.init.dirac_(torch.empty_like(conv.weight))
        self.conv = conv
        self.norm: nn.Module = nn.BatchNorm2d(channels_out)
        self.register_buffer("scale", torch.zeros(()))
        self.folded = self.frozen = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.folded:
            return relu(self.norm(self.conv(x)))
        weight = self.conv.weight
        rounded = weight + (self.round_weight()[0] - weight).detach()  # the gradient passes through
        x = conv2d(x, rounded, self.conv.bias, self.conv.stride, self.conv.padding)
        if self.training and not self.frozen:
            self._observe(x.detach())
        return cast(Tensor, _RoundActivation.apply(x, self.scale))  # type: ignore[no-untyped-call]

    def round_weight(self) -> tuple[Tensor, Tensor]:
        """Return the rounded kernels, and what the last bit of each output channel's weights stands for."""
        weight = self.conv.weight.detach()
        scale = weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-8) / LARGEST_WEIGHT
        return (weight / scale).round() * scale, scale.flatten()

    def fold(self) -> None:
        """Fold the batch normalization into the convolution."""
        norm = cast(nn.BatchNorm2d, self.norm)
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        kernel, bias = fuse_conv_bn_weights(self.conv.weight, None, mean, variance, norm.eps, norm.weight, norm.bias)
        self.conv.weight, self.conv.bias = nn.Parameter(kernel.detach()), nn.Parameter(bias.detach())
        self.norm = nn.Identity()
        self.folded = True

    def _observe(self, x: Tensor) -> None:
        """Follow the largest activation of an image, averaged over the images of the batch."""
        largest = x.float().amax((1, 2, 3)).clamp_min(1e-3).mean() / LARGEST_ACTIVATION
        self.scale.copy_(torch.where(self.scale > 0, self.scale.lerp(largest, 1 - RANGE_DECAY), largest))


class Head(nn.Module):
    """Activations (n, 256, 8, 8) and thumbnails (n, 96) to embeddings; most of it begins as the teacher's."""

    def __init__(self, teacher: Path) -> None:
        super().__init__()
        self.content = nn.Linear(LAST, CONTENT)
        self.channels = nn.Linear(LAST, GRID_CHANNELS, bias=False)
        self.grid = nn.Linear(GRID_CHANNELS * GRID_SIDE**2, GRID)
        self.thumbnails = nn.Linear(THUMBNAILS, THUMBNAILS)
        self.rotation = nn.Linear(CONTENT + GRID + THUMBNAILS, DIMENSIONS)
        self.hidden = nn.Linear(CONTENT + GRID + THUMBNAILS, HIDDEN)
        self.more = nn.Linear(HIDDEN, DIMENSIONS, bias=False)
        tensors = {tensor.name.removesuffix(".half"): tensor for tensor in onnx.load(teacher).graph.initializer}

        def read(name: str) -> nn.Parameter:
            return nn.Parameter(torch.from_numpy(numpy_helper.to_array(tensors[f"trained.head.{name}"]).copy()).float())

        for layer, name in ((self.grid, "maps.1"), (self.thumbnails, "maps.2"), (self.hidden, "hidden")):
            layer.weight, layer.bias = read(f"{name}.weight"), read(f"{name}.bias")
        self.more.weight = read("more.weight")
        self.rotation.weight = nn.Parameter(read("rotation").detach().T.contiguous())
        self.rotation.bias = read("more.bias")

    def forward(self, x: Tensor, thumbnails: Tensor) -> Outputs:
        cells = avg_pool2d(x.float(), x.shape[2] // GRID_SIDE).flatten(2).transpose(1, 2)
        content = scale_to_unit(self.content(cells.mean(1)))
        values = center_cells(self.channels(cells))
        blocks = (content, scale_to_unit(self.grid(fold_grid(values))), scale_to_unit(self.thumbnails(thumbnails)))
        mapped = torch.cat([block * length for block, length in zip(blocks, LENGTHS, strict=True)], dim=1)
        embeddings = scale_to_unit(self.rotation(mapped) + self.more(relu(self.hidden(mapped))))
        return Outputs(embeddings, content, values)


class Student(nn.Module):
    """(n, 128, 128, 3) uint8 RGB to embeddings like those of the teacher.

    Args:
        teacher: The ONNX file of the embedded model, version 6, whose head the student begins with.
    """

    def __init__(self, teacher: Path) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_make_layers())
        self.thumbnails = Thumbnails(LUMA_WEIGHTS)
        self.head = Head(teacher)

    def forward(self, image: Tensor) -> Outputs:
        pixels = image.permute(0, 3, 1, 2)  # in memory still channels last, which is faster
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.layers((pixels.float() - PIXEL_ZERO) * PIXEL_SCALE)
        with torch.no_grad():
            thumbnails = self.thumbnails(pixels.float())
        return cast(Outputs, self.head(x, thumbnails))

    def fold(self) -> None:
        """Fold the batch normalizations, and round weights and activations from now on."""
        for layer in self.layers:
            cast(Layer, layer).fold()


def _make_layers() -> Iterator[Layer]:
    yield Layer(3, STEM, 6, 4)
    channels = STEM
    for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        for number in range(depth):
            yield Layer(channels, width, 3, 2 if stage and not number else 1)
            channels = width
    yield Layer(channels, LAST, 1, 1)
