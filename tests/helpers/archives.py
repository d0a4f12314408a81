"""Archives of the kinds that a run reads."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


FILES = {f"{number}.jpg": f"content {number}".encode() * 300 for number in range(5)}


def pack(path: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """An archive of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in files.items():
                packed.writestr(name, data)
        return path
    with tarfile.open(path, TARS["".join(path.suffixes)]) as packed:
        for name, data in files.items():
            add(packed, name, data)
    return path


def add(packed: tarfile.TarFile, name: str, data: bytes = b"", **facts: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for fact, value in facts.items():
        setattr(member, fact, value)
    packed.addfile(member, io.BytesIO(data))


KINDS = [*TARS, ".zip"]
