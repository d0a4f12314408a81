"""What the outputs of a run depend on besides its inputs and parameters: the code that made them."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fastdup_ray
from fastdup_ray.common import layout
from fastdup_ray.common.facts import OutputBasis
from fastdup_ray.config import RunConfig
from fastdup_ray.storage import Store
from fastdup_ray.storage.checked_json import hash_file

_CODE = {".py", ".html", ".css", ".js"}

_LIBRARIES = (
    *("numpy", "scipy", "scikit-learn", "networkx", "pyarrow", "jinja2", "pydantic"),
    *("pillow", "pillow-simd", "faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11"),
    *("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
)
"""Packages that decide what is in the outputs, or provide the modules that do."""


def make_basis(store: Store, config: RunConfig) -> OutputBasis:
    """Return the basis of the outputs that a work_dir has now, whose report has been written.

    Args:
        store: The work_dir.
        config: Of the run.
    """
    basis: OutputBasis = {"code": _hash_code(), "libraries": _describe_libraries(), "location": store.location}
    return basis | {"report": hash_file(store.fetch(layout.REPORT))} if config.report else basis


def fits_basis(store: Store, config: RunConfig, basis: OutputBasis) -> bool:
    """Return whether this process would make outputs on the same basis, and the report is as it was written.

    Args:
        store: The work_dir.
        config: Of the run that would make them.
        basis: Of the outputs in the work_dir.
    """
    if config.report != store.exists(layout.REPORT):
        return False
    return basis == make_basis(store, config)


@cache
def _hash_code() -> str:
    """Return the SHA-256 of the files of this package, in hex."""
    digest, root = hashlib.sha256(), Path(fastdup_ray.__file__).parent
    for path in sorted(path for path in root.rglob("*") if path.suffix in _CODE):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def _describe_libraries() -> str:
    found = [f"python {platform.python_version()}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
