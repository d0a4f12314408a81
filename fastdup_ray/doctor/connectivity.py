"""What is reached over the network: Ray, and S3 when it is asked for."""

from fastdup_ray.doctor import Finding, State
from fastdup_ray.errors import FastdupError

SECONDS = 2


def check_ray() -> Finding:
    """Whether a run would find a cluster; it may start a Ray of its own where none is named."""
    try:
        from fastdup_ray.executors.ray_cluster import find_running_cluster

        address = find_running_cluster()
    except FastdupError as error:
        return Finding("ray", State.BROKEN, str(error))
    except Exception as error:  # it cannot be imported
        return Finding("ray", State.BROKEN, " ".join(str(error).split()))
    if address is None:
        return Finding("ray", State.OK, "no cluster is running or named: a run starts a Ray of its own")
    return Finding("ray", State.OK, f"a cluster answers at {address}")


def check_s3(place: str) -> Finding:
    """One listing of one key, by the credentials of this process."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError

        from fastdup_ray import s3

        bucket, prefix = s3.split(place)
    except (FastdupError, ImportError) as error:
        return Finding("s3", State.BROKEN, str(error))
    try:
        s3.make_brief_client(s3.DEFAULT_ACCESS, SECONDS).list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except FastdupError as error:
        return Finding("s3", State.BROKEN, str(error))
    except (ClientError, BotoCoreError) as error:
        return Finding("s3", State.BROKEN, f"{place} cannot be listed: {s3.describe_error(error)}")
    return Finding("s3", State.OK, f"{place} can be listed")
