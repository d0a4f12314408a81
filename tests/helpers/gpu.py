"""Whether this machine has a GPU for the tests marked `gpu`."""

import onnxruntime
import pytest

from fastdup_ray.extract import cuda
from fastdup_ray.system.gpu import count_gpus


def has_gpu() -> bool:
    return bool(count_gpus()) and cuda.PROVIDER in onnxruntime.get_available_providers()


needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not has_gpu(), reason="needs a GPU, and fastdup-ray[gpu]")]
