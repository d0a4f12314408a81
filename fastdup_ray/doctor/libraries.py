"""Checks of the packages that a run needs, and of the embedded models."""

import importlib
import platform
from collections.abc import Iterator
from importlib.util import find_spec

from fastdup_ray.doctor.findings import Finding, State
from fastdup_ray.doctor.packages import (
    TWINS,
    find_requirement,
    find_twins,
    find_version,
    fix_twins,
    get_package_name,
    list_requirements,
)
from fastdup_ray.errors import DamagedError
from fastdup_ray.version import __version__

OPTIONAL = {
    "av": ("videos", "video"),
    "pillow_heif": ("HEIC", "heic"),
    "pillow_jxl": ("JPEG XL", "jxl"),
    "rawpy": ("raw files of cameras", "raw"),
    "huggingface_hub": ("datasets of the Hugging Face hub", "hf"),
    "lance": ("Lance datasets", "lance"),
}
"""Optional modules, what is read by them, and the extras that install them."""

CODECS = {"webp": "WebP", "avif": "AVIF", "jpg_2000": "JPEG 2000", "libtiff": "compressed TIFF"}
"""Features of Pillow, and the formats that need them."""


def check_versions() -> Iterator[Finding]:
    """Yield the versions of fastdup-ray and its dependencies, and which optional formats can be read."""
    yield Finding("fastdup-ray", State.OK, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield _check_requirements()
    missing = {module for module in OPTIONAL if find_spec(module) is None}
    text = ", ".join(
        f"{name} cannot be read (extra {extra})" if module in missing else f"{name} can be read"
        for module, (name, extra) in OPTIONAL.items()
    )
    yield Finding("optional", State.NOTE if missing else State.OK, text)


def _check_requirements() -> Finding:
    """Check the packages that the metadata of fastdup-ray names, without those of extras."""
    if find_version("fastdup-ray") is None:
        return Finding("packages", State.BROKEN, "fastdup-ray is not installed, but runs from a folder")
    unmet = {text: reason for text in list_requirements() if (reason := _describe_unmet(text))}
    if unmet:
        wanted = " ".join(f"'{text}'" for text in unmet)
        return Finding("packages", State.BROKEN, ", ".join(unmet.values()), (f"pip install {wanted}",))
    versions = " ".join(f"{name} {find_version(name)}" for name in ("ray", "numpy", "pyarrow", "boto3"))
    return Finding("packages", State.OK, f"complete; {versions}")


def _describe_unmet(requirement: str) -> str:
    """Return what is wrong with a requirement; "" if it is met, also by a twin."""
    name = get_package_name(requirement)
    installed = find_version(name)
    if installed is None:
        has_twin = any(name in packages and find_twins(module) for module, packages in TWINS.items())
        return "" if has_twin else f"{name} is missing"
    try:
        from packaging.requirements import Requirement
    except ImportError:  # it is a requirement itself, so that this is reported
        return ""
    specifier = Requirement(requirement).specifier
    return "" if specifier.contains(installed, prereleases=True) else f"{name} {installed} is not {specifier}"


def check_twins() -> Iterator[Finding]:
    """Yield for each module of `TWINS` whether exactly one package provides it, and whether it can be imported."""
    for module, packages in TWINS.items():
        installed = find_twins(module)
        names = " and ".join(f"{name} {number}" for name, number in installed.items())
        if len(installed) > 1:
            yield Finding(module, State.BROKEN, f"{names} overwrite each other", fix_twins(module))
        else:
            yield _check_import(module, names, packages[0])


def _check_import(module: str, installed: str, default: str) -> Finding:
    try:
        importlib.import_module(module)
    except Exception as error:  # a shared library that is missing, or built for another CPU or CUDA
        reason = f"{installed or f'{default} is missing'}: {' '.join(str(error).split())}"
        return Finding(module, State.BROKEN, reason, _fix_import(installed, default))
    return Finding(module, State.OK, installed or "from no package that pip knows")


def _fix_import(installed: str, default: str) -> tuple[str, ...]:
    if installed:
        return (f"pip install --force-reinstall --no-deps {get_package_name(installed)}",)
    return () if find_requirement(default) else (f"pip install {default}",)  # a requirement is mended with all others


def check_decoders() -> Iterator[Finding]:
    """Yield which formats can be read, and by what; nothing without Pillow, which `check_twins` reports."""
    try:
        from PIL import features

        from fastdup_ray.extract.fast_decoders import describe_fast_decoders
    except ImportError:
        return
    names = {*features.modules, *features.codecs}  # Pillow warns of a name that this version does not have
    missing = [name for codec, name in CODECS.items() if codec not in names or not features.check(codec)]
    jpeg = "libjpeg-turbo" if features.check("libjpeg_turbo") else "a slow libjpeg"
    formats = f"cannot read {', '.join(missing)}" if missing else "reads all formats"
    fast = describe_fast_decoders()
    by = ", ".join(f"{name} by {decoder or 'Pillow, which is slower'}" for name, decoder in fast.items())
    state = State.NOTE if missing or None in fast.values() else State.OK
    yield Finding("decoders", state, f"JPEG by {jpeg}, {by}; {formats}")


def check_model() -> Finding:
    """Check that the embedded models are complete."""
    try:
        from fastdup_ray.extract.model import get_embedded_sha256
        from fastdup_ray.parameter_types import MODELS

        digests = ", ".join(f"{name} (sha256 {get_embedded_sha256(path)[:12]}…)" for name, path in MODELS.items())
        return Finding("model", State.OK, f"embedded: {digests}")
    except DamagedError as error:
        return Finding("model", State.BROKEN, str(error))
    except Exception as error:  # a package is missing, which the other checks report
        return Finding("model", State.BROKEN, " ".join(str(error).split()))
