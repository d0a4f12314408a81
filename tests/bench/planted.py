"""Finished parts of a run on very many images, made quickly and block by block: nothing is decoded or searched.

The images are empty files, or rows of one byte in tables. Their feature shards and neighbors are written as if they had
been read and searched. The same images always get the same shards.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastdup_ray import RunConfig
from fastdup_ray.analysis.verified_pairs import BOX, VERIFIED
from fastdup_ray.common import layout
from fastdup_ray.common.facts import FeatureFacts
from fastdup_ray.features import write_shard
from fastdup_ray.inputs.manifest import Manifest
from fastdup_ray.neighbors.metrics import COSINE
from fastdup_ray.neighbors.neighbor_files import create_neighbors
from fastdup_ray.parameter_types import Verify
from fastdup_ray.runs.pair_pieces import Pieces
from fastdup_ray.runs.preflight import list_manifest, make_list_facts, make_model_facts
from fastdup_ray.storage import local, open_store
from fastdup_ray.storage.parquet_files import open_parquet
from fastdup_ray.verify.pieces import name_answer, name_piece
from tests.bench.outputs import Fours, K, make_entries
from tests.helpers.models import save_model

TABLES, FILES = "tables", "files"
"""Kinds of input."""

PARTS = 100
"""Tables of an input: one of them is what changes."""

FILES_PER_FOLDER = 1_000
ENTRIES_PER_SHARD = 512
BLOCK = 1 << 16
LISTED = f"{layout.LIST}/planting"


@dataclass(frozen=True)
class PlantedRun:
    """A run on n images with embeddings of d numbers.

    Attributes:
        folder: Where its input, model and work_dir are.
        n: Number of images, a multiple of `PARTS`.
        d: Numbers of an embedding.
        kind: Of the input.
        verified: Whether its pairs are verified.
    """

    folder: Path
    n: int
    d: int
    kind: str = TABLES
    verified: bool = False

    @property
    def work_dir(self) -> Path:
        return self.folder / "out"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def options(self) -> list[object]:
        """The options of the command that `config` is the configuration of."""
        options = ["--work-dir", self.work_dir, "--model-path", self.folder / "model.onnx"]
        return [*options, "--verify", self._verify, "--no-report", "--executor", "local"]

    @property
    def config(self) -> RunConfig:
        named = {"input_dir": str(self.images), "work_dir": str(self.work_dir)}
        named["model_path"] = str(self.folder / "model.onnx")
        return RunConfig.of(**named, verify=self._verify, report=False, executor="local")

    @property
    def _verify(self) -> Verify:
        return "candidates" if self.verified else "off"

    def describe(self, manifest: Manifest) -> FeatureFacts:
        """Return the facts of the run's features."""
        return make_list_facts(manifest) | make_model_facts(self.config)

    def plant(self) -> None:
        """Write the input, shards of all images, their neighbors, and the digest that features.dat has to get."""
        self.images.mkdir(parents=True)
        weights = np.random.default_rng(0).standard_normal((3, self.d)).astype(np.float32)
        save_model(self.folder / "model.onnx", weights=weights)
        (self._write_tables if self.kind == TABLES else self._write_files)()
        with patch.object(local, "sync", lambda path: None):
            (self.folder / "digest").write_text(self._write_shards(self.n))
            self._write_neighbors()

    def answer(self, pieces: Pieces) -> None:
        """Answer all pieces of pairs: six in ten are the same, two are altered, and two differ."""
        store, relation = open_store(self.work_dir), pa.array([*["same"] * 6, *["altered"] * 2, *["different"] * 2])
        with patch.object(local, "sync", lambda path: None):
            for number in range(pieces.count):
                pairs = pq.read_table(store.fetch(name_piece(pieces.folder, number)))
                drawn = (pairs["from"].to_numpy() + pairs["to"].to_numpy()) % len(relation)
                columns = {name: pairs[name] for name in ("from", "to", "similarity", "contents")}
                columns |= {"relation": relation.take(pa.array(drawn)).cast(pa.large_string())}
                numbers = ("cover_from", "cover_to", "difference", *BOX)
                columns |= {name: pa.array(np.zeros(len(pairs))) for name in numbers}
                known = [columns.get(field.name, pa.nulls(len(pairs), field.type)) for field in VERIFIED.schema]
                with open_parquet(store, name_answer(pieces.folder, number), VERIFIED.schema) as write:
                    write(pa.table(known, VERIFIED.schema))

    def change(self) -> None:
        """Change the first image in a hundred, and plant their new shards."""
        count = self.n // PARTS
        if self.kind == TABLES:
            self._write_table(0, b"22")
        else:
            for number in range(count):
                self._locate_file(number).write_bytes(b"2")
        with patch.object(local, "sync", lambda path: None):
            self._write_shards(count)

    @property
    def digest(self) -> str:
        """The SHA-256 that features.dat has to have."""
        return (self.folder / "digest").read_text()

    def _locate_file(self, number: int) -> Path:
        return self.images / f"{number // FILES_PER_FOLDER:06d}" / f"{number:09d}.jpg"

    def _write_files(self) -> None:
        for number in range(self.n):
            path = self._locate_file(number)
            if number % FILES_PER_FOLDER == 0:
                path.parent.mkdir()
            path.touch()

    def _write_tables(self) -> None:
        for number in range(PARTS):
            self._write_table(number, b"1")

    def _write_table(self, number: int, content: bytes) -> None:
        rows = np.zeros(self.n // PARTS, np.int64)
        table = pa.table({"image": pa.array([content], pa.binary()).take(pa.array(rows))})
        pq.write_table(table, self.images / f"train-{number:05d}-of-{PARTS:05d}.parquet")

    def _write_shards(self, stop: int) -> str:
        """Write the shards of the first images; return the SHA-256 of their embeddings."""
        store, digest = open_store(self.work_dir), hashlib.sha256()
        manifest = list_manifest(self.config, store=store, folder=LISTED)
        facts, fours, start = self.describe(manifest), Fours(self.n), 0
        for block in manifest.window(0, stop).key_blocks():
            for keys in (block.slice(first, ENTRIES_PER_SHARD) for first in range(0, len(block), ENTRIES_PER_SHARD)):
                rows = np.arange(start, start + len(keys))
                entries = make_entries(keys, rows - start, fours.contents_of(rows))
                embeddings = _make_embeddings(rows, self.d)
                digest.update(embeddings)
                stem = f"{layout.SHARDS}/{layout.format_range_stem(start, start + len(keys))}-planted"
                bounds = {"min_offset": start, "max_offset": start + len(keys)}
                write_shard(store, stem, entries, [embeddings], facts | bounds)
                start += len(keys)
        store.remove(LISTED)
        return digest.hexdigest()

    def _write_neighbors(self) -> None:
        fours = Fours(self.n)
        with create_neighbors(open_store(self.work_dir), self.n, K, COSINE) as neighbors:
            for start in range(0, self.n, BLOCK):
                rows = np.arange(start, min(start + BLOCK, self.n))
                neighbors.indices[rows], neighbors.similarity[rows] = fours.neighbors_of(rows)


def _make_embeddings(rows: np.ndarray, d: int) -> np.ndarray:
    """Return (b, d) float32 of unit length, a different one for each image."""
    embeddings = np.zeros((len(rows), d), np.float32)
    embeddings[:, 0], embeddings[:, 1] = np.cos(rows), np.sin(rows)
    return embeddings
