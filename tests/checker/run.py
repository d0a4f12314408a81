"""The files of a work_dir, read back, and what follows from them alone."""

import csv
import hashlib
import importlib.util
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from scipy.spatial.distance import cdist

PAIRS = ("from", "to", "distance")
EVIDENCE = ("relation", "cover_from", "cover_to", "difference")
"""Columns that are added to pairs which were compared in full detail."""
EXACT_COPIES = ("filename", "copy_of", "kind")
COMPONENTS = ("__id", "component_id", "pagerank", "degree", "count", "min_distance")
COMPONENTS_INFO = ("component_id", "count", "mean", "min", "max")
MANIFEST = (
    *("uri", "size", "mtime_or_etag", "sha256", "width", "height", "format"),
    *("first_row", "rows", "fps", "decoder", "error_code", "error_message"),
    *("brightness", "contrast", "blur", "unique_colors", "unseen", "taken"),
)

TEXTS = ("message", "label_from", "label_to")
FORMULAS = tuple("=+-@\t\r\n\uff0b\uff0d\uff1d\uff20")
"""Columns with text of others, and how no cell of them may begin: a spreadsheet would take it for a formula."""

MAX_EXACT = {"cosine": 20_000, "euclidean": 20_000, "squared_euclidean": 20_000, "manhattan": 2_000}
"""Up to so many images the neighbours are searched again, exactly."""

RFC_4180 = re.compile(rb'(?:(?:"(?:[^"]|"")*+"|[^",\r\n]*+)[,\n])*+')


@dataclass(frozen=True)
class Pairs:
    """The rows of similarity.csv or outliers.csv. source, target: rows in features.dat, -1 for a name not there."""

    names: list[tuple[str, str]]
    text: list[str]
    source: np.ndarray
    target: np.ndarray
    value: np.ndarray

    def where(self, mask: np.ndarray) -> list[tuple[str, str]]:
        return [self.names[i] for i in np.flatnonzero(mask)]


@dataclass(frozen=True)
class Nearest:
    """Each image's k nearest others, the closest first, all (n, k)."""

    target: np.ndarray
    cosine: np.ndarray
    closeness: np.ndarray


class Run:
    """The outputs in a work_dir, each read when first asked for; an unreadable one raises."""

    def __init__(self, work_dir: str | os.PathLike, input_dir: str | os.PathLike | None = None):
        self.path = Path(work_dir)
        self.input_dir = Path(os.path.abspath(input_dir)) if input_dir else None

    def file(self, name: str) -> Path:
        """Where the file of this set of pictures is that is `name` for the indexed one."""
        kept = self.path / f"train_{name}"  # where new pictures were scored, and took its name
        return kept if name.startswith("similarity.") and kept.exists() else self.path / name

    def csv(self, name: str, header: Sequence[str]) -> list[list[str]]:
        """The rows below the header. Bytes that are not UTF-8 become surrogates; `TEXTS` lose their apostrophe."""
        data = self.file(name).read_bytes()
        end = RFC_4180.match(data).end()
        if end != len(data) or not data.endswith(b"\n"):
            raise ValueError(f"{name}: not RFC 4180 with \\n at byte {end}")
        text = data.decode("utf-8", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        if tuple(rows[0]) != tuple(header):
            raise ValueError(f"{name}: header {rows[0]}, not {list(header)}")
        for number, row in enumerate(rows):
            if len(row) != len(header):
                raise ValueError(f"{name}: row {number} has {len(row)} columns, not {len(header)}")
            for place, column in enumerate(header):
                if number and column in TEXTS:
                    if row[place].lstrip(" ").startswith(FORMULAS):
                        raise ValueError(f"{name}: row {number} has a formula, {row[place]!r}")
                    row[place] = re.sub(f"^'('* *[{re.escape(''.join(FORMULAS))}])", r"\1", row[place])
        return rows[1:]

    def pairs(self, name: str) -> Pairs:
        rows = self.csv(name, PAIRS)
        source, target = (np.array([self.row_of.get(row[i], -1) for row in rows], np.int64) for i in (0, 1))
        text = [row[2] for row in rows]
        return Pairs([(a, b) for a, b, _ in rows], text, source, target, np.array(text, np.float64))

    @cached_property
    def config(self) -> dict:
        return json.loads(self.file("config.json").read_bytes())

    @cached_property
    def summary(self) -> dict:
        return json.loads(self.file("summary.json").read_bytes())

    @cached_property
    def listing(self) -> list[list[str]]:
        return self.csv("features.dat.csv", ("index", "filename"))

    @cached_property
    def names(self) -> list[str]:
        return [name for _, name in self.listing]

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def n(self) -> int:
        return len(self.names)

    @cached_property
    def features(self) -> np.ndarray:
        path = self.file("features.dat")
        width, rest = divmod(path.stat().st_size, 4 * self.n)
        if rest:
            raise ValueError(f"features.dat: {path.stat().st_size} bytes are not {self.n} rows of float32")
        return np.memmap(path, "<f4", "r", shape=(self.n, width))

    @cached_property
    def bad(self) -> list[list[str]]:
        return self.csv("features.bad.csv", ("filename", "error_code", "message"))

    @cached_property
    def similar(self) -> Pairs:
        return self.pairs("similarity.csv")

    @property
    def is_verified(self) -> bool:
        return self.config.get("verify") in ("candidates", "all")

    @property
    def pair_columns(self) -> tuple[str, ...]:
        return (*PAIRS, *EVIDENCE) if self.is_verified else PAIRS

    @cached_property
    def outliers(self) -> Pairs:
        return self.pairs("outliers.csv")

    @cached_property
    def manifest(self) -> dict[str, list]:
        return self.parquet("manifest.parquet", MANIFEST)

    @cached_property
    def components(self) -> dict[str, list[str]]:
        rows = self.csv("connected_components.csv", COMPONENTS)
        return dict(zip(COMPONENTS, map(list, zip(*rows, strict=True)), strict=True))

    @cached_property
    def component_id(self) -> np.ndarray:
        return np.array(self.components["component_id"], np.int64)

    @cached_property
    def components_info(self) -> list[list[str]]:
        return self.csv("components_info.csv", COMPONENTS_INFO)

    def parquet(self, name: str, columns: Sequence[str]) -> dict[str, list]:
        table = pq.read_table(self.file(name))
        if table.column_names != list(columns):
            raise ValueError(f"{name}: columns {table.column_names}, not {list(columns)}")
        return table.to_pydict()

    def parquet_column(self, name: str, column: str) -> list:
        return pq.read_table(self.file(name), columns=[column])[column].to_pylist()

    def values(self, source: np.ndarray, target: np.ndarray, metric: str) -> np.ndarray:
        """The column `distance` of pairs of rows, from features.dat: the cosine, or the true distance."""
        result = np.empty(len(source))
        for part in parts(len(source), 65_536):
            a, b = self.features[source[part]].astype(np.float64), self.features[target[part]].astype(np.float64)
            if metric == "cosine":
                result[part] = np.einsum("ij,ij->i", a, b)
            elif metric == "manhattan":
                result[part] = np.abs(a - b).sum(1)
            else:
                result[part] = ((a - b) ** 2).sum(1) ** (0.5 if metric == "euclidean" else 1)
        return result

    def cosines(self, pairs: Pairs) -> np.ndarray:
        """What the thresholds act on: as written, or to 6 decimals where the column is another metric."""
        if self.config["distance"] == "cosine":
            return pairs.value
        return self.values(pairs.source, pairs.target, "cosine").round(6)

    def closeness(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """What ranks neighbours, larger is closer; on unit rows both euclidean metrics rank as the cosine does."""
        if self.config["distance"] == "manhattan":
            return -self.values(source, target, "manhattan")
        return self.values(source, target, "cosine")

    def where(self, mask: np.ndarray) -> list[str]:
        """Names of the images for which the (n,) mask is true."""
        return [self.names[row] for row in np.flatnonzero(mask)]

    @cached_property
    def nearest(self) -> Nearest | None:
        """The exact neighbours; None where there are too many images to search again."""
        metric, n = self.config["distance"], self.n
        k = min(self.config["nearest_neighbors_k"], n - 1)
        if k < 1 or n > MAX_EXACT[metric]:
            return None
        rows = np.array(self.features)
        target = np.empty((n, k), np.int64)
        for part in parts(n, 1_024):
            near = -cdist(rows[part], rows, "cityblock") if metric == "manhattan" else rows[part] @ rows.T
            near[np.arange(len(near)), np.arange(n)[part]] = -np.inf
            target[part] = np.argpartition(near, n - k, axis=1)[:, n - k :]
        source = np.repeat(np.arange(n), k)
        closeness = self.closeness(source, target.ravel()).reshape(n, k)
        order = np.argsort(-closeness, axis=1)
        cosine = self.values(source, target.ravel(), "cosine").reshape(n, k)
        return Nearest(*(np.take_along_axis(table, order, 1) for table in (target, cosine, closeness)))

    @cached_property
    def index(self):
        """The faiss index; None where faiss is not installed."""
        if importlib.util.find_spec("faiss") is None:
            return None
        import faiss

        return faiss.read_index(str(self.path / "faiss.index"))

    @property
    def has_labels(self) -> bool:
        return bool(self.config.get("labels") or self.config.get("annotations"))

    def is_exact(self) -> bool:
        if self.config["nn_provider"] == "turi":
            return self.config["nnmodel"] in (0, 1, "brute_force", "ball_tree")
        if "8 bits" in self.summary["neighbors"]["index"]:
            return False
        return self.config["faiss_mode"] == "Flat" or type(self.index).__name__.startswith("IndexFlat")

    @cached_property
    def digests(self) -> list[str | None]:
        """Of each row: the sha256 of the file; of a frame, that of the file's sha256 and of its time."""
        digests = []
        for sha256, count, fps in zip(*(self.manifest[c] for c in ("sha256", "rows", "fps")), strict=True):
            times = [""] * count if fps is None else times_of(count, fps)
            digests += [hashlib.sha256((sha256 + time).encode()).hexdigest() if time else sha256 for time in times]
        return digests

    def names_of(self, entry: int) -> list[str]:
        """The names that the rows of an entry of the manifest should have, as parquet has them."""
        uri, count, fps = (self.manifest[c][entry] for c in ("uri", "rows", "fps"))
        return [uri] * count if fps is None else [uri + time for time in times_of(count, fps)]

    @cached_property
    def twins(self) -> list[list[int]]:
        """Rows of byte-identical files, for each such content."""
        rows: dict[str, list[int]] = {}
        for row, digest in enumerate(self.digests):
            if digest:
                rows.setdefault(digest, []).append(row)
        return [same for same in rows.values() if len(same) > 1]

    @cached_property
    def edges(self) -> np.ndarray:
        """Undirected edges that similarity.csv shows, (2, m) rows, each once, lesser row first."""
        above = self.cosines(self.similar) > self.config["ccthreshold"]
        ends = np.stack([self.similar.source[above], self.similar.target[above]])
        return np.unique(np.sort(ends, axis=0), axis=1)

    def all_edges_visible(self) -> bool:
        return self.config["threshold"] <= self.config["ccthreshold"]


def times_of(count: int, fps: float) -> list[str]:
    """What is added to the name of a video for each of its frames."""
    return [f"#t={round(index * 1000 / fps) / 1000:.3f}" for index in range(count)]


class Crop(NamedTuple):
    """What follows `#xywh=` in the name of a box, but for `&n=`; left, top, width and height, in percent or pixels."""

    text: str
    edges: tuple[Decimal, ...]
    in_percent: bool

    def of(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels of a photo; halves are rounded up."""
        left, top, width, height = self.edges
        corners = (left, top, left + width, top + height)
        if self.in_percent:
            corners = tuple(edge * side / 100 for edge, side in zip(corners, size * 2, strict=True))
        left, top, right, bottom = (int(edge.quantize(Decimal(1), ROUND_HALF_UP)) for edge in corners)
        return left, top, right, bottom


def box_of(name: str) -> tuple[str, Crop] | None:
    """The photo that a name is a box of, and the box."""
    match = re.fullmatch(r"(.*)#xywh=((percent:)?([\d.]+,[\d.]+,[\d.]+,[\d.]+))(?:&n=\d+)?", name, re.DOTALL)
    if match is None or os.path.lexists(raw(name)):
        return None
    return match[1], Crop(match[2], tuple(map(Decimal, match[4].split(","))), match[3] is not None)


def parts(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def printable(name: str) -> str:
    r"""A name as parquet has it: bytes that are not UTF-8 as `\xNN`."""
    return raw(name).decode("utf-8", "backslashreplace")


def raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
