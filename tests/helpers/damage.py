"""Files that are damaged."""

from pathlib import Path


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
