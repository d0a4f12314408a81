"""Estimate of a run before it starts: entries, requests to buckets, bytes, the search, dollars. Writes nothing."""

from dataclasses import asdict, dataclass
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from fastdup_ray.common.locations import BUCKETS, get_scheme, is_remote
from fastdup_ray.common.requests import count_requests_made
from fastdup_ray.config import RunConfig
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.features import find_missing, read_earlier_entries
from fastdup_ray.inputs import check_inputs, find_part, list_tables
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.neighbors.cost import SearchCost, estimate_search
from fastdup_ray.neighbors.search_plan import plan_search
from fastdup_ray.runs.preflight import choose_shard_size, make_model_facts
from fastdup_ray.runs.stage_memory import RunSize, StageMemory, estimate_stages
from fastdup_ray.storage import open_store
from fastdup_ray.system.memory import measure_free_memory

LIST_OR_PUT, GET_OR_HEAD = 0.005 / 1000, 0.0004 / 1000
"""Dollars for a request: S3 Standard, us-east-1, aws.amazon.com/s3/pricing, November 2026."""

TRANSFER = 0.09
"""Dollars for 10^9 bytes from S3 to the internet, the first 10 TB of a month; nothing within the region."""

FILES_OF_A_RUN = 40
"""Upper limit of the outputs, and of the files that a merge needs meanwhile."""

GETS_OF_A_SHARD, GETS_OF_A_FILE = 2, 3
"""Before its PUT the lock is read, and of a file that may be there already its ETag; each is read when it is used."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take.

    Attributes:
        entries: Entries of the list.
        to_read: Entries without an embedding in the work_dir.
        bytes_to_read: Bytes of these that are in buckets.
        lists: LIST requests.
        gets: GET and HEAD requests, also those for the work_dir.
        puts: PUT requests.
        search: The search of all entries; None in modes without one.
        memory: Of each stage.
    """

    entries: int
    to_read: int
    bytes_to_read: int
    lists: int
    gets: int
    puts: int
    memory: StageMemory
    search: SearchCost | None = None

    @property
    def dollars(self) -> float:
        """What the requests cost within the region of the bucket."""
        return (self.lists + self.puts) * LIST_OR_PUT + self.gets * GET_OR_HEAD

    @property
    def dollars_over_the_internet(self) -> float:
        """What the requests and the transfer of the images cost."""
        return self.dollars + self.bytes_to_read / 1e9 * TRANSFER

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        dollars = {name: round(getattr(self, name), 6) for name in ("dollars", "dollars_over_the_internet")}
        search = asdict(self.search) | {"dollars": round(self.search.dollars, 2)} if self.search else None
        return asdict(self) | dollars | {"search": search}

    def text(self) -> str:
        """Return what the command prints."""
        return (
            (
                f"{self.entries:,} entries, {self.to_read:,} of them to be read; "
                f"{self.bytes_to_read / 1e6:,.1f} MB from buckets.\n"
                f"Requests to buckets: about {self.lists:,} LIST, {self.gets:,} GET and HEAD, {self.puts:,} PUT.\n"
                f"About ${self.dollars:,.4f} in the region of the buckets, "
                f"${self.dollars_over_the_internet:,.4f} over the internet "
                f"(at the prices of S3 Standard, us-east-1, November 2026; nothing was read or written)."
            )
            + (f"\n{self.search.text()}" if self.search else "")
            + f"\n{self.memory.text()}"
        )


def estimate_run(config: RunConfig, actors: int = 1) -> Estimate:
    """Estimate a run: list its input and look up which embeddings the work_dir has.

    Args:
        config: Of the run.
        actors: Number of extract actors: with more of them there are more and smaller shards.

    Raises:
        FastdupError: As the run would by then.
    """
    check_inputs(config)
    before = count_requests_made()
    manifest = Manifest.from_tables(list_tables(config))
    listing = count_requests_made() - before
    manifest = manifest.window(config.min_offset or 0, config.max_offset or len(manifest))
    store = open_store(config.work_dir, config.s3_access)
    facts = make_model_facts(config)
    earlier = read_earlier_entries(store, facts["fingerprint"]) if config.reuse else []
    missing = find_missing(manifest, earlier, config.limits, list_optional_decoders(), TemporaryFile)
    refs = [ref for ref in manifest.refs(missing) if get_scheme(ref.uri) in BUCKETS]
    sizes = {find_part(ref.uri, config.s3_access).file: ref.size for ref in refs}
    gets = len(sizes)
    puts = 0
    if is_remote(config.work_dir):
        shards = (
            -(-len(missing) // (config.shard_size or choose_shard_size(len(missing), actors))) if len(missing) else 0
        )
        puts = shards + FILES_OF_A_RUN
        gets += GETS_OF_A_SHARD * shards + GETS_OF_A_FILE * FILES_OF_A_RUN
    size = int(np.sum(list(sizes.values()), dtype=np.int64))
    n, d, free = len(manifest), facts["d"], measure_free_memory()
    plan = plan_search(config, n, d, free) if config.run_mode == 0 else None
    memory = estimate_stages(config, RunSize.of(manifest, d), plan)
    memory.check_fits(free, n)
    search = estimate_search(config, n, d, free) if config.run_mode == 0 else None
    return Estimate(n, len(missing), size, listing, gets, puts, memory, search)
