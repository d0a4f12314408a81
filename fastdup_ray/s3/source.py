"""All that inputs ask of S3; see `fastdup_ray.inputs.file_source.RemoteSource`."""

from fastdup_ray.s3.listing import check_listing, list_below
from fastdup_ray.s3.objects import is_file, open_entry, open_stream, stat

__all__ = ["check_listing", "is_file", "list_below", "open_entry", "open_stream", "stat"]
