"""Load the towers of a checkpoint: modules of torch that give one embedding for each image or text."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from fastdup_ray.errors import InputError
from fastdup_ray.extract.model import BATCH
from fastdup_ray.model_export.checkpoints import Kind

TEXTS = ("a red car", "two dogs on a beach", "x", "a photograph of the old town at night, with rain in the streets")
"""Texts that a text tower is traced and compared with."""


@dataclass(frozen=True)
class Tower:
    """A module that gives one embedding for each item of a batch.

    Attributes:
        module: A module of torch. Its only input is the batch, its only output (n, d).
        examples: A tensor, a batch to trace and to compare it with.
    """

    module: Any
    examples: Any


@dataclass(frozen=True)
class Towers:
    """The towers of a checkpoint.

    Attributes:
        image: Takes (n, 3, height, width) float32.
        text: Takes (n, tokens) int64; None if there is none.
        tokenizer: The content of the tokenizer's file; empty without a text tower.
    """

    image: Tower
    text: Tower | None = None
    tokenizer: bytes = b""


def load_towers(checkpoint: str, kind: Kind, side: tuple[int, int]) -> Towers:
    """Load a checkpoint.

    Args:
        checkpoint: A folder or file.
        kind: What it is of.
        side: Height and width of the images.

    Raises:
        InputError: It cannot be loaded.
    """
    load = {Kind.SSCD: _load_sscd, Kind.DINOV2: _load_dinov2, Kind.CLIP: _load_clip}[kind]
    pixels = torch.randn(BATCH, 3, *side, generator=torch.Generator().manual_seed(0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces what will replace TorchScript
            return load(checkpoint, pixels)
    except Exception as error:  # torch, safetensors, tokenizers and transformers raise what they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"Cannot export {checkpoint!r}: it cannot be loaded ({reason}).") from None


def _load_sscd(checkpoint: str, pixels: Any) -> Towers:
    load: Any = torch.jit.load  # which torch gives no types
    return Towers(Tower(load(checkpoint, map_location="cpu").eval(), pixels))


def _load_dinov2(checkpoint: str, pixels: Any) -> Towers:
    model = _load_weights(transformers.AutoModel, checkpoint)
    return Towers(Tower(_PooledTower(model, "pixel_values"), pixels))


def _load_clip(checkpoint: str, pixels: Any) -> Towers:
    model = _load_weights(transformers.CLIPModel, checkpoint)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    length = model.config.text_config.max_position_embeddings
    own = tokenizer.backend_tokenizer
    own.enable_truncation(length)
    own.enable_padding(length=length, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    tokens = torch.tensor([encoding.ids for encoding in own.encode_batch(list(TEXTS))])
    return Towers(
        Tower(_PooledTower(model.vision_model, "pixel_values", model.visual_projection), pixels),
        Tower(_PooledTower(model.text_model, "input_ids", model.text_projection), tokens),
        own.to_str().encode(),
    )


def _load_weights(architecture: Any, checkpoint: str) -> Any:
    model = architecture.from_pretrained(
        checkpoint,
        local_files_only=True,
        use_safetensors=True,  # other formats are pickles, which can run code
    )
    return model.float().eval()


class _PooledTower(torch.nn.Module):
    """A model of transformers from its one input to what it pools, and a projection behind that."""

    def __init__(self, model: Any, input_name: str, projection: Any = None) -> None:
        super().__init__()
        self.model, self.input_name = model, input_name
        self.projection = projection or torch.nn.Identity()

    def forward(self, batch: Any) -> Any:
        return self.projection(self.model(**{self.input_name: batch}).pooler_output)
