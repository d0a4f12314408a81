"""Make an ONNX file, with its preprocessing, of a checkpoint of DINOv2, CLIP or SSCD."""

import hashlib
import os
import shlex
from dataclasses import dataclass

from fastdup_ray.common.paths import accept_paths
from fastdup_ray.errors import ConfigError, FastdupError
from fastdup_ray.extract.text_model import IMAGE_MODEL_SHA256, TOKENIZER_SHA256, make_text_paths
from fastdup_ray.model_export.checkpoints import Kind, find_kind, read_preprocessing
from fastdup_ray.storage.named_output import NamedOutput

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class ModelExportResult:
    """An exported model.

    Attributes:
        kind: DINOv2, CLIP or SSCD.
        paths: The files: the model of the images and, of CLIP, that of the texts and its tokenizer.
        size: Width and height of the images that it takes.
        dimensions: Numbers in an embedding.
        difference: By how much a number of an embedding, of unit length, differs from torch's at most.
    """

    kind: str
    paths: tuple[str, ...]
    size: tuple[int, int]
    dimensions: int
    difference: float

    def text(self) -> str:
        """Return what the command prints."""
        width, height = self.size
        lines = [
            f"Wrote {', '.join(self.paths)}: {self.kind}, {width} x {height} pixels to {self.dimensions} numbers.",
            f"The numbers differ from torch's by at most {self.difference:.1e}.",
            f"Next: fastdup-ray run INPUT --model {shlex.quote(self.paths[0])}",
        ]
        return "\n".join(lines)


@accept_paths("checkpoint", "save_path")
def export_model(checkpoint: Location, save_path: Location, *, overwrite: bool = False) -> ModelExportResult:
    """Make an ONNX file of a checkpoint, with its preprocessing in the metadata.

    Needs the extra `export-model`. The embeddings of the file are compared with torch's before anything is written.

    Args:
        checkpoint: A folder of transformers with a DINOv2 or CLIP model in safetensors, or a TorchScript file of SSCD.
        save_path: The file to write, `NAME.onnx`. Of CLIP, `NAME.text.onnx` and `NAME.tokenizer.json` are beside it.
        overwrite: Replace files that exist.

    Raises:
        ConfigError: `save_path` does not end with `.onnx`.
        InputError: The checkpoint cannot be read, or is not of such a model.
        WorkDirError: A file exists or cannot be written.
        FastdupError: A package is missing, or the file does not give the embeddings of torch.
    """
    source, path = str(checkpoint), str(save_path)
    if not path.endswith(".onnx"):
        raise ConfigError(f"Invalid value for save_path: {path!r} (must end with .onnx).")
    kind = find_kind(source)
    preprocessing = read_preprocessing(source, kind)
    assert preprocessing.input_size is not None
    _, height, width = preprocessing.input_size
    names = (path, *(make_text_paths(path) if kind is Kind.CLIP else ()))
    outputs = [NamedOutput(name, overwrite=overwrite) for name in names]
    for output in outputs:
        output.check()
    try:
        from fastdup_ray.model_export.convert import convert
        from fastdup_ray.model_export.towers import load_towers
    except ImportError as error:
        reason = f"{error.name or error} cannot be imported: pip install 'fastdup-ray[export-model]'"
        raise FastdupError(f"Cannot export {source!r}: {reason}.") from None
    towers = load_towers(source, kind, (height, width))
    image = convert(towers.image, preprocessing.to_metadata())
    contents, differences = [image.content], [image.difference]
    if towers.text is not None:
        digests = {IMAGE_MODEL_SHA256: image.content, TOKENIZER_SHA256: towers.tokenizer}
        metadata = {key: hashlib.sha256(content).hexdigest() for key, content in digests.items()}
        text = convert(towers.text, metadata)
        contents += [text.content, towers.tokenizer]
        differences.append(text.difference)
    # The model of the images comes last: with it, the others are there, too.
    for output, content in reversed(list(zip(outputs, contents, strict=True))):
        with output.open() as file:
            file.write(content)
    paths = tuple(output.path for output in outputs)
    return ModelExportResult(kind.value, paths, (width, height), image.dimensions, max(differences))
