"""What a checkpoint is, and the preprocessing that it comes with, without loading its weights.

transformers writes `config.json` and, depending on its version, `preprocessor_config.json` or `processor_config.json`
into the folder of a model: see https://huggingface.co/docs/transformers/main_classes/image_processor.
"""

import json
import os
from enum import StrEnum
from typing import Any

from PIL import Image

from fastdup_ray.errors import InputError
from fastdup_ray.extract.preprocessing import INTERPOLATIONS, Preprocessing

SSCD_SIDE = 320
"""Width and height of the images of SSCD: "skew_320" of https://github.com/facebookresearch/sscd-copy-detection, which
squashes them."""

_INTERPOLATION_NAMES = {resampling: name for name, resampling in INTERPOLATIONS.items()}

CONFIG, PROCESSORS = "config.json", ("preprocessor_config.json", "processor_config.json")


class Kind(StrEnum):
    """A model that can be exported."""

    DINOV2 = "DINOv2"
    CLIP = "CLIP"
    SSCD = "SSCD"


_MODEL_TYPES = {"dinov2": Kind.DINOV2, "dinov2_with_registers": Kind.DINOV2, "clip": Kind.CLIP}
"""Kinds by `model_type` in `config.json`."""


def find_kind(checkpoint: str) -> Kind:
    """Return what a checkpoint is of.

    Raises:
        InputError: It does not exist, or is of no model that can be exported.
    """
    if os.path.isfile(checkpoint):
        return Kind.SSCD
    model_type = _read_json(checkpoint, CONFIG).get("model_type")
    if model_type not in _MODEL_TYPES:
        known = ", ".join(_MODEL_TYPES)
        raise InputError(
            f"Cannot export {checkpoint!r}: its {CONFIG} says model_type={model_type!r} (can be exported: {known})."
        )
    return _MODEL_TYPES[model_type]


def read_preprocessing(checkpoint: str, kind: Kind) -> Preprocessing:
    """Return how a model wants its images, with its input size.

    Raises:
        InputError: The files are missing, or ask for something else than resizing, cropping and normalizing.
    """
    if kind is Kind.SSCD:
        return Preprocessing((3, SSCD_SIDE, SSCD_SIDE))
    name = next((name for name in PROCESSORS if os.path.exists(os.path.join(checkpoint, name))), PROCESSORS[0])
    content = _read_json(checkpoint, name)
    try:
        return _parse_processor(content.get("image_processor", content))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"Cannot export {checkpoint!r}: {name} is not as expected ({error!r}).") from None


def _parse_processor(processor: dict[str, Any]) -> Preprocessing:
    """Parse the fields of an image processor of transformers."""
    if not processor.get("do_resize", True) or not processor.get("do_rescale", True):
        raise ValueError("do_resize and do_rescale must be true")
    height, width, is_shortest = _parse_size(processor["size"])
    if processor.get("do_center_crop", False):
        crop_height, crop_width, _ = _parse_size(processor["crop_size"])
    elif is_shortest:
        raise ValueError("images keep their proportions, and are not cropped")
    else:
        crop_height, crop_width = height, width
    if min(height, width, crop_height, crop_width) < 1:
        raise ValueError("a size has no pixels")
    share = crop_height / height
    if (not is_shortest and share != crop_width / width) or share > 1:
        raise ValueError("crop_size does not fit size")
    normalizes = processor.get("do_normalize", True)
    return Preprocessing(
        input_size=(3, crop_height, crop_width),
        mean=tuple(map(float, processor["image_mean"])) if normalizes else (0.0,),
        std=tuple(map(float, processor["image_std"])) if normalizes else (1.0,),
        interpolation=_INTERPOLATION_NAMES[Image.Resampling(processor["resample"])],
        crop_mode="center" if is_shortest else "squash",
        crop_pct=share,
    )


def _parse_size(size: int | dict[str, int]) -> tuple[int, int, bool]:
    """Return height and width, and whether they are those of the shorter side alone."""
    if isinstance(size, int):  # in older files
        return size, size, True
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"]), True
    return int(size["height"]), int(size["width"]), False


def _read_json(folder: str, name: str) -> dict[str, Any]:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise InputError(f"Cannot export {folder!r}: {name} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"Cannot export {folder!r}: {name} is no JSON object.")
    return content
