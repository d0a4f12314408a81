"""The good images of a run."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Images:
    """The good images, one a row of features.dat.

    names: (n,) raw bytes. entries: `manifest.ENTRIES`, the entry that each row is of. labels: (n,) text, null where a
    picture has none; None where none were given. reference: (n,) bool, of a `--reference` input; None likewise.
    """

    names: pa.Array | pa.ChunkedArray
    entries: pa.Table
    labels: pa.Array | None = None
    reference: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.names)
