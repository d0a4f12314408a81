"""Checks of what is reached over the network: Ray and S3."""

from fastdup_ray.common import locations
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.doctor.findings import Finding, State
from fastdup_ray.errors import FastdupError

TIMEOUT = 2
"""Seconds to wait for S3."""


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


def check_s3(uri: str) -> Finding:
    """Check that one key below the URI can be listed with the credentials of this process."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError

        from fastdup_ray import s3

        bucket, prefix = locations.split(uri)
    except (FastdupError, ImportError) as error:
        return Finding("s3", State.BROKEN, str(error))
    try:
        s3.make_brief_client(DEFAULT_ACCESS, TIMEOUT).list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except FastdupError as error:
        return Finding("s3", State.BROKEN, str(error))
    except (ClientError, BotoCoreError) as error:
        return Finding("s3", State.BROKEN, f"cannot list {uri}: {s3.describe_error(error)}")
    return Finding("s3", State.OK, f"{uri} can be listed")
