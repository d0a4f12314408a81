"""`embed`: add embeddings to the rows of a Dataset."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ray.data import ActorPoolStrategy, Dataset

from fastdup_ray.common.formatting import format_value
from fastdup_ray.config import RunConfig
from fastdup_ray.data.columns import RowColumns, choose_columns
from fastdup_ray.data.embed_batches import CODE, EMBEDDING, MESSAGE, EmbedBatches
from fastdup_ray.errors import ConfigError
from fastdup_ray.extract.extractor import ExtractSpec
from fastdup_ray.runs.preflight import make_model_facts

EXTRACTION = frozenset(
    [
        *("model", "model_path", "compute", "bounding_box", "max_pixels", "min_size", "image_timeout", "actor_memory"),
        *("s3_anonymous", "s3_requester_pays"),
    ]
)
"""Parameters of a run that decide how an image is read."""

FRAMES = 1
"""Embeddings of a row: a row is one image, and a video with more frames is bad."""


@dataclass(frozen=True)
class ActorPool:
    """The actors that read images.

    Attributes:
        actors: Their number, or the least and the most; None: as many as Ray Data has room for.
        batch_size: Rows that an actor gets at once.
        num_cpus: Cores that each reserves, and threads that it decodes with.
    """

    actors: int | tuple[int, int] | None
    batch_size: int
    num_cpus: int

    def check(self) -> None:
        """Raise `ConfigError` if a value is invalid."""
        sizes = {"batch_size": self.batch_size, "num_cpus": self.num_cpus}
        least, most = self.actors if isinstance(self.actors, tuple) else (self.actors or 1, self.actors or 1)
        for name, value in sizes.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"Invalid value for {name}: {format_value(value)} (must be a whole number from 1 on)."
                )
        if not 1 <= least <= most:
            raise ConfigError(
                f"Invalid value for actors: {format_value(self.actors)} (must be a number from 1 on, or two: the least "
                "and the most)."
            )

    def make_strategy(self) -> ActorPoolStrategy:
        """Return the pool as Ray Data takes it."""
        if isinstance(self.actors, tuple):
            return ActorPoolStrategy(min_size=self.actors[0], max_size=self.actors[1])
        return ActorPoolStrategy(size=self.actors) if self.actors else ActorPoolStrategy(min_size=1)


def embed(
    dataset: Dataset,
    image: str | None = None,
    *,
    actors: int | tuple[int, int] | None = None,
    batch_size: int = 128,
    num_cpus: int = 1,
    **parameters: Any,
) -> Dataset:
    """Add embeddings to the rows of a Dataset, in a pool of actors, when it is executed.

    Each actor decodes in a child process: an image that crashes it, or takes too much time or memory, is a bad one, as
    in a run. Bad images stay in the Dataset.

    Args:
        dataset: Has a column of images: bytes of files, structs of bytes and path as those of Hugging Face, paths or
            URIs, or pixels as (height, width[, 3 or 4]) uint8.
        image: Name of that column; None: one with a usual name, such as `bytes` or `image`.
        actors: Number of actors, or the least and the most; None: as many as Ray Data has room for.
        batch_size: Rows that an actor gets at once.
        num_cpus: Cores that each actor reserves, and threads that it decodes with.
        parameters: Of a run, as far as they decide how an image is read: model, model_path, compute, bounding_box,
            max_pixels, min_size, image_timeout, actor_memory, s3_anonymous, s3_requester_pays.

    Returns:
        The Dataset with the columns `embedding` (float32 of shape (576,), of unit length; NaN for a bad image),
        `error_code` and `error_message` (null for a good one).

    Raises:
        ConfigError: A parameter is wrong, or there is no such column.
        InputError: The Dataset has no rows.
    """
    config = make_config("embed", parameters, EXTRACTION)
    columns = choose_columns(dataset, image, None)
    for column in (EMBEDDING, CODE, MESSAGE):
        if column in (columns.image, columns.name, *columns.others):
            raise ConfigError(f"The Dataset has a column {column!r} already: drop or rename it first.")
    return map_embeddings(dataset, columns, config, ActorPool(actors, batch_size, num_cpus))


def make_config(function: str, parameters: Mapping[str, Any], allowed: Collection[str]) -> RunConfig:
    """Return the parameters of a run on Ray that starts from embeddings.

    Args:
        function: Name of the public function, for messages.
        parameters: By name.
        allowed: Names that the function takes.

    Raises:
        ConfigError: A parameter is wrong or not allowed.
    """
    for name in parameters:
        if name in RunConfig.model_fields and name not in allowed:
            raise ConfigError(f"{function} does not take {name}.")
    return RunConfig.of(run_mode=2, executor="ray", **parameters)


def map_embeddings(
    dataset: Dataset, columns: RowColumns, config: RunConfig, pool: ActorPool, *, facts_only: bool = False
) -> Dataset:
    """Return a Dataset whose rows are read when it is executed; see `EmbedBatches` for the rest.

    Raises:
        ConfigError: The model cannot be used, or the size of the pool is invalid.
    """
    pool.check()
    gpu = config.compute == "gpu"
    spec = ExtractSpec(
        None,
        pool.num_cpus,
        config.limits.with_frames(FRAMES),
        config.image_timeout,
        config.actor_memory,
        make_model_facts(config),
        config.model_path,
        gpu,
        access=config.s3_access,
    )
    return dataset.map_batches(
        EmbedBatches,
        batch_size=pool.batch_size,
        batch_format="pyarrow",
        compute=pool.make_strategy(),
        fn_constructor_args=(columns, spec),
        fn_constructor_kwargs={"facts_only": facts_only},
        num_cpus=pool.num_cpus,
        num_gpus=1 if gpu else None,
    )
