"""The packages that a run stands on, of those that come in two builds which one, and the model."""

import importlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement

from fastdup_ray.doctor import Finding, State
from fastdup_ray.errors import DamagedError
from fastdup_ray.version import __version__

TWINS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11"),
    "PIL": ("pillow", "pillow-simd"),
}
"""Module: the packages that provide it, of which pip lets all be installed at once; the last one then wins in part."""

OPTIONAL = {"av": "videos", "pillow_heif": "HEIC"}

CODECS = {"webp": "WebP", "avif": "AVIF", "jpg_2000": "JPEG 2000", "libtiff": "compressed TIFF"}


def check_versions() -> Iterator[Finding]:
    yield Finding("fastdup-ray", State.OK, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    wrong = list(_list_unmet())
    if wrong:
        yield Finding("packages", State.BROKEN, f"{', '.join(wrong)}: pip install --upgrade 'fastdup-ray[cpu]'")
    else:
        told = " ".join(f"{name} {version(name)}" for name in ("ray", "numpy", "pyarrow", "boto3"))
        yield Finding("packages", State.OK, f"all that is needed; {told}")
    there = {name: find_spec(module) is not None for module, name in OPTIONAL.items()}
    text = ", ".join(f"{name} {'can' if can else 'cannot'} be read" for name, can in there.items())
    yield Finding("optional", State.OK if all(there.values()) else State.NOTE, text)


def _list_unmet() -> Iterator[str]:
    """What our own metadata asks for, extras aside, and is not there."""
    if not _list_installed("fastdup-ray"):
        yield "fastdup-ray runs from a folder without being installed"
        return
    for text in requires("fastdup-ray") or ():
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            try:
                found = version(wanted.name)
            except PackageNotFoundError:
                yield f"{wanted.name} is missing"
            else:
                if not wanted.specifier.contains(found, prereleases=True):
                    yield f"{wanted.name} {found} is not {wanted.specifier}"


def check_twins() -> Iterator[Finding]:
    """Each module is there, from one package, and can be imported."""
    for module, packages in TWINS.items():
        there = {name: version(name) for name in packages if _list_installed(name)}
        told = " and ".join(f"{name} {number}" for name, number in there.items())
        if len(there) > 1:
            yield Finding(
                module,
                State.BROKEN,
                f"{told} are both installed and overwrite each other: pip uninstall {' '.join(there)}, install one",
            )
        else:
            yield _check_import(module, told, packages)


def _list_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _check_import(module: str, told: str, packages: tuple[str, ...]) -> Finding:
    try:
        importlib.import_module(module)
    except Exception as error:  # a shared library that is missing, or of another CPU, or CUDA
        reason = " ".join(str(error).split())
        return Finding(module, State.BROKEN, f"{told or f'no {packages[0]}'}: {reason}; pip install 'fastdup-ray[cpu]'")
    return Finding(module, State.OK, told or "from no package that pip knows")


def check_pillow() -> Iterator[Finding]:
    try:
        from PIL import features
    except ImportError:
        return  # told already
    known = {*features.modules, *features.codecs}  # Pillow warns of a name that this version does not know
    lacks = [name for codec, name in CODECS.items() if codec not in known or not features.check(codec)]
    turbo = "libjpeg-turbo" if features.check("libjpeg_turbo") else "a slow libjpeg"
    text = f"{turbo}; " + (f"cannot read {', '.join(lacks)}" if lacks else "reads all formats that it could")
    yield Finding("decoders", State.NOTE if lacks else State.OK, text)


def check_model() -> Finding:
    try:
        from fastdup_ray.extract.model import get_embedded_sha256

        return Finding("model", State.OK, f"the embedded one, sha256 {get_embedded_sha256()[:12]}…")
    except DamagedError as error:
        return Finding("model", State.BROKEN, str(error))
    except Exception as error:  # what it needs is missing, which is told above
        return Finding("model", State.BROKEN, " ".join(str(error).split()))
