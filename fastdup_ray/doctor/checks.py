"""All checks of `doctor`. A new one is a function that returns a finding or yields several, and a line here."""

from collections.abc import Iterator

from fastdup_ray.common.locations import is_remote
from fastdup_ray.doctor import connectivity, libraries, machine
from fastdup_ray.doctor.findings import Diagnosis, Finding


def examine(*, gpu: bool = False, uri: str | None = None, work_dir: str = ".", images: int | None = None) -> Diagnosis:
    """Run all checks.

    Args:
        gpu: Whether a GPU is needed.
        uri: A bucket to list, or an https:// address to read; None to leave that out.
        work_dir: Where outputs are to be written; in a bucket, an object is written and removed.
        images: Images of a run whose needs are checked; None to leave that out.
    """

    def check_all() -> Iterator[Finding]:
        yield from libraries.check_versions()
        yield from libraries.check_twins()
        yield from libraries.check_decoders()
        yield libraries.check_model()
        yield machine.check_gpu(needed=gpu)
        yield machine.check_cores()
        yield machine.check_memory()
        yield machine.check_disk(work_dir)
        yield connectivity.check_ray()
        if uri is not None:
            yield connectivity.check_input(uri)
        if is_remote(work_dir):
            yield connectivity.check_work_dir(work_dir)
        if images is not None:
            from fastdup_ray.doctor import limits  # imports faiss, whose absence is a finding

            yield from limits.check_limits(images, work_dir)

    return Diagnosis(tuple(check_all()))
