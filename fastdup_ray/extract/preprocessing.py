"""What a model expects of its pixels, as the metadata of its ONNX file says.

The keys and their values are those of timm's `pretrained_cfg` (https://huggingface.co/docs/timm), and `channel_order`.
A key that is not there has its default; keys of others are ignored.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from fastdup_ray.extract.resize import Fit

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue (0 to 1) by which the models of torchvision and timm normalize
their input; see https://docs.pytorch.org/vision/stable/models.html."""

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
CROP_MODES = ("squash", "center")
CHANNEL_ORDERS = ("RGB", "BGR")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes the input of a model. Each field is a key of the metadata.

    Attributes:
        input_size: Channels, height and width, for a graph that leaves them open; None for those of the graph.
        mean: One number, or one for each of red, green and blue, for colors from 0 to 1. A model that takes uint8 gets
            the colors as they are.
        std: The same.
        interpolation: The filter that images are resized with.
        crop_mode: `squash` gives the model the whole image without keeping its proportions, `center` the largest part
            around the center that has the proportions of the input.
        crop_pct: Share of each side of that which is used, from 0.1 to 1.
        channel_order: `RGB`, or `BGR` for models of OpenCV and Caffe.
    """

    input_size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"
    crop_mode: str = "squash"
    crop_pct: float = 1.0
    channel_order: str = "RGB"

    @property
    def fit(self) -> Fit:
        """How an image is fitted to the size of the input."""
        return Fit(
            center=self.crop_mode == "center", share=self.crop_pct, resampling=INTERPOLATIONS[self.interpolation]
        )

    def to_metadata(self) -> dict[str, str]:
        """Return the keys and values for the metadata of a model; `parse_preprocessing` reads them again."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _format(value) for name, value in values.items() if value is not None}


def parse_preprocessing(metadata: Mapping[str, str]) -> Preprocessing:
    """Parse the metadata of a model.

    Raises:
        ValueError: A value is invalid; the message names it, and what is allowed.
    """
    given: dict[str, Any] = {}
    for name, parse in _PARSERS.items():
        if name not in metadata:
            continue
        try:
            given[name] = parse(metadata[name])
        except _InvalidValueError as error:
            raise ValueError(f"{name}={metadata[name]!r} in its metadata must be {error}") from None
    return Preprocessing(**given)


class _InvalidValueError(Exception):
    """A value of the metadata is invalid; the message says what it must be."""


def _parse_numbers(text: str) -> tuple[float, ...]:
    """Parse numbers that are separated by commas, perhaps in brackets; () if there is anything else."""
    try:
        numbers = json.loads(f"[{text.strip().strip('[]()')}]")
        return tuple(map(float, numbers)) if {*map(type, numbers)} <= {int, float} else ()
    except (ValueError, TypeError, OverflowError):
        return ()


def _parse_colors(text: str) -> tuple[float, ...]:
    numbers = _parse_numbers(text)
    if len(numbers) not in (1, 3) or not all(abs(number) < _LARGEST for number in numbers):
        raise _InvalidValueError("one number, or three separated by commas")
    return numbers


def _parse_std(text: str) -> tuple[float, ...]:
    numbers = _parse_colors(text)
    if not all(number > 0 for number in numbers):
        raise _InvalidValueError("above 0")
    return numbers


def _parse_input_size(text: str) -> tuple[int, int, int]:
    numbers = _parse_numbers(text)
    if len(numbers) != 3 or numbers[0] != 3 or not all(1 <= side < _LARGEST and side % 1 == 0 for side in numbers):
        raise _InvalidValueError("3,height,width in whole pixels")
    return 3, int(numbers[1]), int(numbers[2])


def _parse_share(text: str) -> float:
    numbers = _parse_numbers(text)
    if len(numbers) != 1 or not _SMALLEST_SHARE <= numbers[0] <= 1:
        raise _InvalidValueError(f"between {_SMALLEST_SHARE} and 1")
    return numbers[0]


def _parse_choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise _InvalidValueError(f"{', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return parse


def _format(value: Any) -> str:
    return ",".join(f"{number:.9g}" for number in value) if isinstance(value, tuple) else str(value)


_LARGEST = 1e6
"""Numbers of this size make no sense in any key."""

_SMALLEST_SHARE = 0.1
"""Of the smallest images, less is no pixel."""

_PARSERS: dict[str, Callable[[str], Any]] = {
    "input_size": _parse_input_size,
    "mean": _parse_colors,
    "std": _parse_std,
    "interpolation": _parse_choice(*INTERPOLATIONS),
    "crop_mode": _parse_choice(*CROP_MODES),
    "crop_pct": _parse_share,
    "channel_order": _parse_choice(*CHANNEL_ORDERS),
}
