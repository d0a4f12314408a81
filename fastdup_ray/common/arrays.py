"""Type aliases of NumPy arrays."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
"""float32: embeddings, and products of embeddings."""

DoubleArray: TypeAlias = npt.NDArray[np.float64]
"""float64: similarities and distances as they are written."""

IntArray: TypeAlias = npt.NDArray[np.int64]
"""int64: indices of images, and counts."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]
"""bool: masks."""

ByteArray: TypeAlias = npt.NDArray[np.uint8]
"""uint8: pixels."""

AnyArray: TypeAlias = npt.NDArray[Any]
"""Any dtype, such as that of structured arrays."""
