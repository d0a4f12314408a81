"""The memory that each stage of a run takes: one definition for `--estimate`, refusals and reservations.

The numbers are upper limits: between what `tests/bench/scale.py` measures and twice that. The number
of the search comes from `neighbors.search_plan`.
"""

from dataclasses import dataclass

import pyarrow.compute as pc

from fastdup_ray.config import RunConfig
from fastdup_ray.errors import ConfigError
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.neighbors.partition_threshold import is_partitioned
from fastdup_ray.neighbors.partitioned.partition_layout import make_layout
from fastdup_ray.neighbors.search_plan import USABLE_SHARE, SearchPlan, format_bytes
from fastdup_ray.runs.verify_stage import NEIGHBORS
from fastdup_ray.storage.tables import ROWS_PER_BLOCK

PROCESS_BYTES = 300 << 20
"""A process with the libraries of a stage, and the blocks that it reads and writes."""

LIST_BYTES, MERGE_BYTES, OUTPUTS_BYTES = 40, 60, 20
"""For each entry, or image. The outputs have numbers of all images in files that are mapped, but for a moment."""

BLOCK_NAMES = 7
"""For each byte of the names of a block: how often it is held at once."""

OUTPUT_BLOCKS, REPORT_LISTS, REPORT_IMAGES = 140 << 20, 140 << 20, 100_000
"""Bytes of the blocks of the outputs, and of the lists of the report, which grow up to so many images and no more."""

NAME_BYTES = 100
"""Bytes of a name, where the list is not known."""

NEIGHBOR_BYTES, NEIGHBOR_FILES = 20, 4
"""Bytes on disk for each neighbor of an image: index, distance, and a share of what goes before them; and how often it
is there, besides once in each cell of the image: merged for a group of cells, merged, gathered, and kept."""

ROW_BYTES, NAMES_ON_DISK = 600, 12
"""Bytes on disk for each entry in all tables, besides its name, and how often that is in them."""

FILES_OF_A_RUN, ENTRIES_PER_FILE = 1_000, 256
"""Files that a run has besides those that grow with the list, and entries for each of these: shards have at most 512,
the first ones fewer."""


@dataclass(frozen=True)
class RunSize:
    """What the memory of a run depends on.

    Attributes:
        entries: Entries of the list; about as many as images.
        name_bytes: Bytes of all their names.
        d: Numbers of an embedding.
    """

    entries: int
    name_bytes: int
    d: int

    @classmethod
    def of(cls, manifest: Manifest, d: int) -> "RunSize":
        """Return the size of a run on a list."""
        name_bytes = (pc.sum(pc.binary_length(block["uri"])).as_py() for block in manifest.blocks())
        return cls(len(manifest), sum(name_bytes), d)

    @classmethod
    def of_images(cls, n: int, d: int) -> "RunSize":
        """Return the size of a run on n stored embeddings, whose names are not known."""
        return cls(n, NAME_BYTES * n, d)


@dataclass(frozen=True)
class StageMemory:
    """Bytes of the process that runs each stage; 0 for one that the run does not have.

    Attributes:
        list: The driver: the list, and the look-up of stored embeddings.
        merge: The index actor.
        search: The index actor, or each worker of a partitioned search.
        outputs: The final task.
    """

    list: int
    merge: int
    search: int
    outputs: int

    def check_fits(self, memory: int, n: int) -> None:
        """Check that a process can have what the stages after the listing take.

        Args:
            memory: Bytes that a process can have, besides what it has at its start.
            n: Number of images, for the message.

        Raises:
            ConfigError: One of them takes more.
        """
        for stage, size in (("merge", self.merge), ("outputs", self.outputs)):
            if size - PROCESS_BYTES > memory:
                raise ConfigError(
                    f"Not enough memory: the stage {stage} of {n:,} images takes {format_bytes(size)}, and a process "
                    f"can have at most {format_bytes(memory)}. Use a machine, or a node of the cluster, with more."
                )

    def text(self) -> str:
        """Return the memory of each stage as one line for people."""
        stages = {"list": self.list, "merge": self.merge, "search": self.search, "outputs": self.outputs}
        sizes = ", ".join(f"{stage} {format_bytes(size)}" for stage, size in stages.items() if size)
        return f"Memory at most: {sizes}."


def estimate_stages(config: RunConfig, size: RunSize, plan: SearchPlan | None) -> StageMemory:
    """Estimate the memory of each stage of a run.

    Args:
        config: Of the run.
        size: Of the run.
        plan: Its search; None for modes without one.
    """
    names_of_block = size.name_bytes * min(size.entries, ROWS_PER_BLOCK) // max(1, size.entries)

    def add(per_entry: int) -> int:
        return PROCESS_BYTES + per_entry * size.entries + BLOCK_NAMES * names_of_block

    lists = OUTPUT_BLOCKS + (REPORT_LISTS if config.report else 0)
    lists = lists * min(size.entries, REPORT_IMAGES) // REPORT_IMAGES
    reads_list = config.run_mode in (0, 1, 3)
    search = 0
    if plan is not None:
        search = plan.process_bytes if plan.partitioned else PROCESS_BYTES + int(plan.process_bytes / USABLE_SHARE)
    return StageMemory(
        list=add(LIST_BYTES) if reads_list else 0,
        merge=add(MERGE_BYTES) if reads_list else 0,
        search=search,
        outputs=add(OUTPUTS_BYTES) + lists if config.run_mode != 1 else 0,
    )


def estimate_disk(config: RunConfig, size: RunSize) -> int:
    """Return the bytes that a run needs in its work_dir while it works, at most.

    Args:
        config: Of the run.
        size: Of the run.
    """
    embeddings = 4 * size.d * size.entries
    # Shards and what they are merged into, which replaces what an earlier run left; the index; copies in cells.
    copies, found = 4, NEIGHBOR_FILES
    if is_partitioned(config, size.entries):
        search = make_layout(config, size.entries, size.d)
        is_gathered = search.count_groups(search.count_cells(size.entries)) > 1
        copies += (1 + is_gathered) * config.partition_copies
        found += config.partition_copies
    neighbors = NEIGHBOR_BYTES * found * max(NEIGHBORS, config.nearest_neighbors_k) * size.entries
    return copies * embeddings + neighbors + size.entries * ROW_BYTES + NAMES_ON_DISK * size.name_bytes


def estimate_files(size: RunSize) -> int:
    """Return the number of files that a run has in its work_dir while it works, at most."""
    return FILES_OF_A_RUN + size.entries // ENTRIES_PER_FILE
