"""Packages that a run needs: which are missing, and which overwrite each other."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

TWINS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11"),
    "PIL": ("pillow", "pillow-simd"),
}
"""The packages that provide each module, first the one that is installed by default.

pip installs them side by side, and they overwrite parts of each other.
"""

_PROVIDERS = {module: packages[0] for module, packages in TWINS.items()} | {
    "botocore": "boto3",
    "cv2": "opencv-python-headless",
    "kornia_rs": "kornia-rs",
    "lazy_loader": "lazy-loader",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages whose name is not that of their module."""


def find_version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def find_twins(module: str) -> dict[str, str]:
    """Return the packages of `TWINS` that are installed for a module, with their versions."""
    return {name: found for name in TWINS[module] if (found := find_version(name))}


def list_requirements() -> list[str]:
    """Return what fastdup-ray requires without extras, such as `pillow>=12.3`; nothing if it is not installed."""
    try:
        return [text for text in requires("fastdup-ray") or () if ";" not in text]  # each extra is a marker
    except PackageNotFoundError:
        return []


def find_requirement(package: str) -> str | None:
    """Return what fastdup-ray requires of a package, such as `pillow>=12.3`; None if it does not name it."""
    return next((text for text in list_requirements() if get_package_name(text) == package), None)


def get_package_name(requirement: str) -> str:
    """Return the name in a requirement, without version, extras and markers."""
    match = re.match(r"[\w.-]+", requirement)
    return match[0] if match else requirement


def fix_twins(module: str) -> tuple[str, str]:
    """Return the commands that leave one of several installed twins: the one that is not there by default."""
    twins = find_twins(module)
    kept = next((name for name in twins if name != TWINS[module][0]), TWINS[module][0])
    return f"pip uninstall -y {' '.join(twins)}", f"pip install --no-deps {kept}=={twins[kept]}"


def describe_twins() -> Iterator[str]:
    """Yield a line for each module that several installed packages provide."""
    for module in TWINS:
        if len(twins := find_twins(module)) > 1:
            names = " and ".join(f"{name} {number}" for name, number in twins.items())
            yield f"{names} overwrite each other; keep one of them"


def describe_import_error(error: ImportError) -> str:
    """Return a line that says which package is missing or broken, and what to do.

    Returns:
        The line, or "" if the error is about a module of fastdup-ray.
    """
    module = (error.name or "").partition(".")[0]
    if module in ("", "fastdup_ray"):
        return ""
    package = _PROVIDERS.get(module, module)
    if isinstance(error, ModuleNotFoundError):
        wanted = find_requirement(package) or package
        return f"The package {package} is missing. Install it with: pip install '{wanted}'"
    return f"The package {package} does not work here: {' '.join(str(error).split())}. See: fastdup-ray doctor"
