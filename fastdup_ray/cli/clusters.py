"""The command `clusters`."""

import sys
from typing import Any

import click

from fastdup_ray.cli.command import Command
from fastdup_ray.cli.completion import complete_folder, complete_path
from fastdup_ray.cli.s3_options import add_s3_options
from fastdup_ray.common.events import print_lines

EXAMPLES = """
fastdup-ray clusters out
fastdup-ray clusters out -k 50
"""


@click.command("clusters", cls=Command, examples=EXAMPLES)
@click.argument("work_dir", metavar="WORK_DIR", shell_complete=complete_folder)
@click.option(
    "-k", "k", type=click.IntRange(min=1), metavar="N", help="Number of clusters.  [the root of half of the images]"
)
@click.option(
    "-o",
    "--save-path",
    metavar="FILE",
    help="The file to write; - for standard output.  [clusters.csv in WORK_DIR]",
    shell_complete=complete_path,
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@add_s3_options
def clusters(work_dir: str, save_path: str | None, **options: Any) -> None:
    """Cluster the images of a finished run: images that look alike without being duplicates.

    Writes a CSV with the columns filename, cluster, similarity (to the center), label and cluster_label (of most images
    of the cluster), and, in WORK_DIR, a page with the most typical images of each cluster.
    """
    from fastdup_ray.export.clusters import cluster_images  # imports what only this command needs
    from fastdup_ray.report.cluster_gallery import create_clusters_gallery

    result = cluster_images(work_dir, save_path=save_path, **options)
    print_lines(result.text(), sys.stderr if result.is_stdout else sys.stdout)
    if save_path is None:
        access = {name: value for name, value in options.items() if name.startswith("s3_")}
        print_lines(f"Gallery: {create_clusters_gallery(work_dir, **access)}")
