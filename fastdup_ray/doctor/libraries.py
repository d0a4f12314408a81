"""Checks of the packages that a run needs, and of the embedded model."""

import importlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement

from fastdup_ray.doctor.findings import Finding, State
from fastdup_ray.errors import DamagedError
from fastdup_ray.version import __version__

TWINS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11"),
    "PIL": ("pillow", "pillow-simd"),
}
"""The packages that provide each module. pip installs them side by side, and they overwrite parts of each other."""

OPTIONAL = {"av": "videos", "pillow_heif": "HEIC"}
"""Optional modules, and what they read."""

CODECS = {"webp": "WebP", "avif": "AVIF", "jpg_2000": "JPEG 2000", "libtiff": "compressed TIFF"}
"""Features of Pillow, and the formats that need them."""


def check_versions() -> Iterator[Finding]:
    """Yield the versions of fastdup-ray and its dependencies, and which optional formats can be read."""
    yield Finding("fastdup-ray", State.OK, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    if unmet := list(_list_unmet()):
        yield Finding("packages", State.BROKEN, f"{', '.join(unmet)}: pip install --upgrade 'fastdup-ray[cpu]'")
    else:
        versions = " ".join(f"{name} {version(name)}" for name in ("ray", "numpy", "pyarrow", "boto3"))
        yield Finding("packages", State.OK, f"complete; {versions}")
    readable = {name: find_spec(module) is not None for module, name in OPTIONAL.items()}
    text = ", ".join(f"{name} {'can' if can else 'cannot'} be read" for name, can in readable.items())
    yield Finding("optional", State.OK if all(readable.values()) else State.NOTE, text)


def _list_unmet() -> Iterator[str]:
    """Yield what is wrong with the dependencies that the package's metadata names, without those of extras."""
    if not _is_installed("fastdup-ray"):
        yield "fastdup-ray is not installed, but runs from a folder"
        return
    for text in requires("fastdup-ray") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            try:
                installed = version(requirement.name)
            except PackageNotFoundError:
                yield f"{requirement.name} is missing"
            else:
                if not requirement.specifier.contains(installed, prereleases=True):
                    yield f"{requirement.name} {installed} is not {requirement.specifier}"


def check_twins() -> Iterator[Finding]:
    """Yield for each module of `TWINS` whether exactly one package provides it, and whether it can be imported."""
    for module, packages in TWINS.items():
        installed = {name: version(name) for name in packages if _is_installed(name)}
        names = " and ".join(f"{name} {number}" for name, number in installed.items())
        if len(installed) > 1:
            advice = f"pip uninstall {' '.join(installed)}, then install one of them"
            yield Finding(module, State.BROKEN, f"{names} overwrite each other: {advice}")
        else:
            yield _check_import(module, names, packages)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _check_import(module: str, installed: str, packages: tuple[str, ...]) -> Finding:
    try:
        importlib.import_module(module)
    except Exception as error:  # a shared library that is missing, or built for another CPU or CUDA
        reason = f"{installed or f'{packages[0]} is missing'}: {' '.join(str(error).split())}"
        return Finding(module, State.BROKEN, f"{reason}; pip install 'fastdup-ray[cpu]'")
    return Finding(module, State.OK, installed or "from no package that pip knows")


def check_pillow() -> Iterator[Finding]:
    """Yield which formats Pillow can read; nothing if it is not installed, which `check_twins` reports."""
    try:
        from PIL import features
    except ImportError:
        return
    names = {*features.modules, *features.codecs}  # Pillow warns of a name that this version does not have
    missing = [name for codec, name in CODECS.items() if codec not in names or not features.check(codec)]
    jpeg = "libjpeg-turbo" if features.check("libjpeg_turbo") else "a slow libjpeg"
    formats = f"cannot read {', '.join(missing)}" if missing else "reads all formats"
    yield Finding("decoders", State.NOTE if missing else State.OK, f"{jpeg}; {formats}")


def check_model() -> Finding:
    """Check that the embedded model is complete."""
    try:
        from fastdup_ray.extract.model import get_embedded_sha256

        return Finding("model", State.OK, f"embedded, sha256 {get_embedded_sha256()[:12]}…")
    except DamagedError as error:
        return Finding("model", State.BROKEN, str(error))
    except Exception as error:  # a package is missing, which the other checks report
        return Finding("model", State.BROKEN, " ".join(str(error).split()))
