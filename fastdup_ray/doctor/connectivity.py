"""Checks of what is reached over the network: Ray, buckets and web servers."""

from fastdup_ray.doctor.findings import Finding, State
from fastdup_ray.errors import ConfigError, FastdupError

TIMEOUT = 2
"""Seconds to wait for a bucket."""


def check_ray() -> Finding:
    """Check whether a run would join a cluster. Without one it starts Ray on this machine, which is fine."""
    try:
        from fastdup_ray.executors.ray_cluster import find_running_cluster

        address = find_running_cluster()
    except FastdupError as error:
        return Finding("ray", State.BROKEN, str(error))
    except Exception as error:  # Ray cannot be imported
        return Finding("ray", State.BROKEN, " ".join(str(error).split()))
    if address is None:
        return Finding("ray", State.OK, "no cluster is running: a run starts Ray on this machine")
    return Finding("ray", State.OK, f"a cluster answers at {address}")


def check_input(uri: str) -> Finding:
    """Check that what is below the URI of a bucket can be listed, or that an https:// address can be read."""
    scheme = uri.partition("://")[0] if "://" in uri else "input"
    try:
        from fastdup_ray.common.access import DEFAULT_ACCESS
        from fastdup_ray.common.locations import HTTPS, SUPPORTED, is_remote
        from fastdup_ray.inputs.file_source import get_remote_source

        if not is_remote(uri):
            raise ConfigError(f"{uri!r}: not a URI; {SUPPORTED}.")
        source = get_remote_source(uri)
        if scheme == HTTPS and source.is_file(uri, DEFAULT_ACCESS):
            return Finding(scheme, State.OK, f"{uri} can be read")
        source.check_listing(uri, DEFAULT_ACCESS, seconds=TIMEOUT)
    except (FastdupError, ImportError) as error:
        return Finding(scheme, State.BROKEN, str(error))
    return Finding(scheme, State.OK, f"{uri} can be listed")


def check_work_dir(uri: str) -> Finding:
    """Check that a work_dir in a bucket can be written, by an object that is removed again."""
    from fastdup_ray.storage import open_store

    try:
        store = open_store(uri)
        listed = check_input(uri)  # waits less where no server answers
        if listed.state is not State.OK:
            return Finding("work_dir", listed.state, listed.text)
        store.prepare()
    except FastdupError as error:
        return Finding("work_dir", State.BROKEN, str(error))
    return Finding("work_dir", State.OK, f"{uri} can be written")
