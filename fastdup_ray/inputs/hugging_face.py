"""Datasets of the Hugging Face hub, by names such as `hf:owner/name` and `hf:owner/name/train`.

Their Parquet files are read where huggingface_hub keeps them: in its cache, which it fills first if there is a network.
Without one, the cache of the library `datasets` is used, too.
"""

import glob
import os
import re
from functools import lru_cache

from fastdup_ray.errors import InputError
from fastdup_ray.inputs.suffixes import get_split

_SCHEME = "hf:"
_NAME = re.compile(r"hf:([\w.-]+)/([\w.-]+)(?:/(.+?))?/?")
_SHOWN = 10
"""Splits that a message names."""


def is_hub_name(location: str) -> bool:
    """Return whether an input is a dataset of the hub; not if a file or folder has that name."""
    return location.startswith(_SCHEME) and not os.path.lexists(location)


@lru_cache(maxsize=64)  # so that a process reads one version of it
def list_hub_files(location: str) -> tuple[str, ...]:
    """Return the paths of the files of a dataset, or of one of its splits, in the cache of this machine, sorted.

    Args:
        location: `hf:owner/name`, with `/split`, or `/config/split` if it has several configurations.

    Raises:
        InputError: There is no such dataset or split, or it is in no cache and cannot be downloaded.
    """
    match = _NAME.fullmatch(location)
    if match is None:
        raise InputError(f"{location!r}: name a dataset as hf:owner/name, or one of its splits as hf:owner/name/split.")
    owner, name, split = match.groups()
    folder, files = _find_files(location, owner, name)
    if split is None:
        return tuple(files)
    chosen = tuple(file for file in files if _is_in_split(os.path.relpath(file, folder), name, split))
    if not chosen:
        known = sorted({_name_split(file, name) for file in files})
        raise InputError(f"{location!r}: there is no split {split!r}, only {', '.join(known[:_SHOWN])}.")
    return chosen


def _find_files(location: str, owner: str, name: str) -> tuple[str, list[str]]:
    """Return the folder of a dataset in a cache, and its files."""
    try:
        folder = _get_snapshot(location, f"{owner}/{name}")
    except InputError:
        folder = _find_prepared(owner, name)
        if not folder:
            raise
        return folder, sorted(glob.glob(f"{glob.escape(folder)}/{glob.escape(name)}-*.arrow"))
    files = sorted(glob.glob(f"{glob.escape(folder)}/**/*.parquet", recursive=True))
    if not files:
        raise InputError(f"{location!r} has no Parquet files: download it with `hf download`, and name the folder.")
    return folder, files


def _get_snapshot(location: str, repository: str) -> str:
    """Return the folder of a dataset in the cache of huggingface_hub, after downloading what is missing there."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise InputError(f"{location!r}: to read it, pip install 'fastdup-ray[hf]'.") from None
    try:
        return str(snapshot_download(repository, repo_type="dataset", allow_patterns=["*.parquet"]))
    except errors.LocalEntryNotFoundError:
        reason = "it is in no cache of this machine, and the hub cannot be reached"
    except errors.GatedRepoError:
        reason = "its owner has to give you access: accept its terms on its page, then `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = "there is no such dataset on the hub, or it is private: `hf auth login`"
    except (errors.HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    raise InputError(f"{location!r}: {reason}.")


def _find_prepared(owner: str, name: str) -> str:
    """Return the newest folder in the cache of `datasets` that has files of a dataset; "" if there is none."""
    home = os.environ.get("HF_HOME") or os.path.join(os.path.expanduser("~"), ".cache", "huggingface")
    cache = os.environ.get("HF_DATASETS_CACHE") or os.path.join(home, "datasets")
    found = glob.glob(f"{glob.escape(cache)}/{owner}___{name}/*/*/*/dataset_info.json")
    return os.path.dirname(max(found, key=os.path.getmtime, default=""))


def _is_in_split(file: str, name: str, split: str) -> bool:
    """Return whether a file belongs to a split by its path, such as data/train-00000-of-00002.parquet."""
    *folders, _ = file.split("/")
    own = _name_split(file, name)
    return split in (own, "/".join([*folders, own]), "/".join([*folders[:-1], own]))


def _name_split(file: str, name: str) -> str:
    """Return the split that a file belongs to: by its name, or by its folder if the name is but a number."""
    folder, _, base = file.rpartition("/")
    stem = get_split(base) or os.path.splitext(base)[0]
    return folder.rpartition("/")[2] if stem.isdigit() else stem.removeprefix(f"{name}-")
