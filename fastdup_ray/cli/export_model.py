"""The command `export-model`."""

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_path
from fastdup_ray.common.events import print_lines

EXAMPLES = """
fastdup-ray export-model clip-vit-base-patch32/ clip.onnx
fastdup-ray export-model dinov2-small/ dinov2.onnx
fastdup-ray export-model sscd_disc_mixup.torchscript.pt sscd.onnx
"""


@click.command("export-model", cls=Command, examples=EXAMPLES)
@click.argument("checkpoint", metavar="CHECKPOINT", shell_complete=complete_path)
@click.argument("save_path", metavar="FILE.onnx", shell_complete=complete_path)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def export_model(checkpoint: str, save_path: str, *, overwrite: bool) -> None:
    """Make an ONNX file of a checkpoint of DINOv2, CLIP or SSCD, for run --model.

    CHECKPOINT is a folder of transformers with a DINOv2 or CLIP model, or a TorchScript file of SSCD. The text tower of
    CLIP is written beside FILE.onnx, for search --text. Needs the extra export-model.
    """
    from fastdup_ray.model_export import export_model as export  # imports what only this command needs

    print_lines(export(checkpoint, save_path, overwrite=overwrite).text())
