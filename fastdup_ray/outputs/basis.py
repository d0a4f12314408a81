"""What the outputs of a run depend on besides its inputs and parameters: the code that made them."""

import hashlib
import os
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import fastdup_ray
from fastdup_ray.common import layout
from fastdup_ray.common.facts import OutputBasis
from fastdup_ray.config import RunConfig
from fastdup_ray.extract.decoder_versions import list_optional_decoders
from fastdup_ray.inputs.manifest import MANIFEST
from fastdup_ray.inputs.sidecars import SIDECAR_SUFFIXES
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file
from fastdup_ray.storage.parquet_files import iter_parquet

_CODE = {".py", ".html", ".css", ".js"}

_LIBRARIES = (
    *("numpy", "scipy", "scikit-learn", "networkx", "pyarrow", "jinja2", "pydantic"),
    *("pillow", "pillow-simd", "faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11"),
    *(
        "kornia-rs",
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
)
"""Packages that decide what is in the outputs, or provide the modules that do."""


def make_basis(store: Store, config: RunConfig) -> OutputBasis | None:
    """Return the basis of the outputs that a work_dir has now, whose report has been written.

    Args:
        store: The work_dir.
        config: Of the run.

    Returns:
        The basis; None if there are files beside the images that nobody has looked at.
    """
    blocks = iter_parquet(store.fetch(layout.MANIFEST), MANIFEST.select(["uri"]))
    sidecars = digest_sidecars(block["uri"] for block in blocks)
    return None if sidecars is None else _describe(store, config) | {"sidecars": sidecars}


def fits_basis(store: Store, config: RunConfig, basis: OutputBasis) -> bool:
    """Return whether this process would make outputs on the same basis, and the report is as it was written.

    Sidecars are left out, since a run lists its images first: see `digest_sidecars`.

    Args:
        store: The work_dir.
        config: Of the run that would make them.
        basis: Of the outputs in the work_dir.
    """
    if config.report != store.exists(layout.REPORT):
        return False
    return basis == _describe(store, config) | {"sidecars": basis.get("sidecars", "")}


def digest_sidecars(uris: Iterable[pa.Array | pa.ChunkedArray]) -> str | None:
    """Return a digest of the names, sizes and times of all sidecars in the folders of images.

    Sidecars decide what is safe to drop.

    Args:
        uris: Blocks of the names of the entries, as text.

    Returns:
        The digest in hex; None if a folder cannot be looked into, such as one in a bucket.
    """
    folders: set[str] = set()
    for block in uris:
        folders.update(pc.replace_substring_regex(block, "[^/]*$", "").unique().to_pylist())
    digest = hashlib.sha256()
    for folder in sorted(folders):
        is_archive = "!/" in folder and not os.path.isdir(folder)
        try:
            with os.scandir(os.path.dirname(folder.partition("!/")[0]) if is_archive else folder) as files:
                found = [file for file in files if os.path.splitext(file.name)[1].lower() in SIDECAR_SUFFIXES]
        except OSError:
            return None
        digest.update(repr(sorted(map(_read_state, found))).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read_state(file: os.DirEntry[str]) -> tuple[str, int, int]:
    try:
        state = file.stat()
    except OSError:  # a link to nowhere
        return file.path, 0, 0
    return file.path, state.st_size, state.st_mtime_ns


def _describe(store: Store, config: RunConfig) -> OutputBasis:
    libraries = ", ".join([describe_libraries(), *list_optional_decoders()])
    basis: OutputBasis = {"code": hash_code(), "libraries": libraries, "location": store.location}
    if config.report:
        basis["report"] = hash_file(store.fetch(layout.REPORT))
    return basis


@cache
def hash_code() -> str:
    """Return the SHA-256 of the files of this package, in hex."""
    digest, root = hashlib.sha256(), Path(fastdup_ray.__file__).parent
    for path in sorted(path for path in root.rglob("*") if path.suffix in _CODE):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def describe_libraries() -> str:
    """Return the names and versions of the libraries that decide what is in the outputs."""
    found = [f"python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
