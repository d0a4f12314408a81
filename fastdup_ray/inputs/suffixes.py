"""Which files of folders, archives and buckets are read, by extension. The format is detected from the content."""

import os
import re
from functools import lru_cache

IMAGE_SUFFIXES = frozenset(
    [
        *(".apng", ".avif", ".avifs", ".bmp", ".cur", ".dib", ".gif", ".heic", ".heics", ".heif", ".heifs", ".hif"),
        *(".icns", ".ico", ".j2c", ".j2k", ".jfi", ".jfif", ".jif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg"),
        *(
            ".jps",
            ".jpx",
            ".jxl",
            ".mpo",
            ".pbm",
            ".pcx",
            ".pfm",
            ".pgm",
            ".png",
            ".pnm",
            ".pns",
            ".ppm",
            ".psd",
            ".qoi",
        ),
        *(".tif", ".tiff", ".webp"),
        *(".blp", ".dcx", ".dds", ".icb", ".pcd", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".vda", ".xbm", ".xpm"),
    ]
)
"""Image formats in common use that Pillow, or its plugins for HEIF and JPEG XL, decode.

Left out, although Pillow supports them: programs and drawings (.eps .ps .pdf .wmf .emf); scientific data, most of which
are not images (.fit .fits .grib .bufr .h5 .hdf .spi); suffixes that mostly mean something else (.bw: BigWig, .msp:
Windows Installer, .vst: Visio and audio plugins, .im, .iim); brushes, textures and animations of a few old programs
(.gbr .pxr .ftc .ftu .fli .flc); formats that it writes and cannot read (.palm).
"""

VIDEO_SUFFIXES = frozenset(
    [
        *(".3g2", ".3gp", ".3gpp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gifv", ".insv", ".m1v", ".m2t", ".m2ts"),
        *(".m2v", ".m4v", ".mj2", ".mk3d", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf"),
        *(".ogm", ".ogv", ".qt", ".tod", ".vob", ".webm", ".wm", ".wmv"),
    ]
)
"""Containers that `extract.video` opens. Left out: `.ts`, which is as often TypeScript, and `.lrv`, a camera's small
copy of the video beside it."""

RAW_SUFFIXES = frozenset(
    [
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos"),
        *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    ]
)
"""Raw files of cameras."""

READ_RAW_SUFFIXES = RAW_SUFFIXES - {".raw"}
"""The ones that are read. Left out: `.raw`, which mostly means samples without a header."""

ARCHIVE_SUFFIXES = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".zip"),
    *(".cbt", ".cbz"),  # comics: a tar, or zip, of pages
)

TABLE_SUFFIXES = (".parquet", ".pq", ".arrow")
"""Files with a table, of which each row may have an image."""

_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(?:-[0-9a-f]{16})?\.(?:parquet|arrow)", re.IGNORECASE)
"""Names of the files of a Hugging Face dataset, each with a part of a split, on their server and by `save_to_disk`."""

_SYSTEM_FOLDERS = frozenset(
    [
        *("@eadir", "__macosx"),  # thumbnails of a Synology, metadata of a Mac
        *("$recycle.bin", "#recycle", "@recycle", "system volume information", "lost+found"),
    ]
)


def is_image_name(name: str) -> bool:
    """Return whether a name has the suffix of an image."""
    return _get_suffix(name) in IMAGE_SUFFIXES or is_raw_name(name)


def is_raw_name(name: str) -> bool:
    """Return whether a name has the suffix of a camera's raw file."""
    return _get_suffix(name) in READ_RAW_SUFFIXES


def is_video_name(name: str) -> bool:
    """Return whether a name has the suffix of a video."""
    return _get_suffix(name) in VIDEO_SUFFIXES


def is_media_name(name: str) -> bool:
    """Return whether a file that is not hidden has the suffix of an image or a video; quick, for long listings."""
    return _is_media_suffix(name[name.rfind(".") :])


@lru_cache(maxsize=1024)
def _is_media_suffix(suffix: str) -> bool:
    return is_image_name(f"x{suffix}") or is_video_name(f"x{suffix}")


def is_archive_name(name: str) -> bool:
    """Return whether a name has the suffix of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def get_split(name: str) -> str | None:
    """Return the split of a dataset that a file has a part of, such as "train" of `train-00000-of-00002.parquet`.

    Args:
        name: A path or URI.

    Returns:
        The split; None if it is not the name of such a file.
    """
    if not name[-8:].lower().endswith((".parquet", ".arrow")):  # long listings ask this of each file
        return None
    match = _SHARD.fullmatch(name.rpartition("/")[2])
    return match[1] if match else None


def has_members(name: str) -> bool:
    """Return whether a file of this name contains images: an archive or a table."""
    return name.lower().endswith((*ARCHIVE_SUFFIXES, *TABLE_SUFFIXES))


def is_readable_name(name: str) -> bool:
    """Return whether a file of this name in a folder or bucket is read without being asked for."""
    return is_media_name(name) or is_archive_name(name) or get_split(name) is not None


def is_excluded_folder(folder: str) -> bool:
    """Return whether a folder is left out by its name.

    It is hidden, or a system or program keeps thumbnails, previews or deleted files in it.
    """
    return folder.startswith(".") or folder.lower() in _SYSTEM_FOLDERS or folder.lower().endswith(".lrdata")


def _get_suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
