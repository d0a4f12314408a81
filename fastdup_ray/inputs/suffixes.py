"""Which files are taken from folders, archives and buckets, by their names. What they are, their content decides."""

import os

IMAGE_SUFFIXES = frozenset(
    [
        *(".apng", ".avif", ".avifs", ".bmp", ".cur", ".dib", ".gif", ".heic", ".heics", ".heif", ".heifs", ".hif"),
        *(".icns", ".ico", ".j2c", ".j2k", ".jfi", ".jfif", ".jif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg"),
        *(".jps", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".pns", ".ppm", ".psd", ".qoi"),
        *(".tif", ".tiff", ".webp"),
        *(".blp", ".dcx", ".dds", ".icb", ".pcd", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".vda", ".xbm", ".xpm"),
    ]
)
"""Formats that people keep images in and Pillow, or pillow-heif, decodes.

Left out, although Pillow knows them: programs and drawings (.eps .ps .pdf .wmf .emf); scientific data, most of it
without anything to look at (.fit .fits .grib .bufr .h5 .hdf .spi); suffixes that mostly mean something else (.bw:
BigWig, .msp: Windows Installer, .vst: Visio and audio plugins, .im, .iim); brushes, textures and animations of a few
old programs (.gbr .pxr .ftc .ftu .fli .flc); what it writes and cannot read (.palm).
"""

VIDEO_SUFFIXES = frozenset(
    [
        *(".3g2", ".3gp", ".3gpp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gifv", ".insv", ".m1v", ".m2t", ".m2ts"),
        *(".m2v", ".m4v", ".mj2", ".mk3d", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf"),
        *(".ogm", ".ogv", ".qt", ".tod", ".vob", ".webm", ".wm", ".wmv"),
    ]
)
"""Suffixes of the containers that `extract.video` opens. `.ts` is none of them: in a folder it is TypeScript as often;
`.lrv` neither: a camera's small copy of the video beside it."""

RAW_SUFFIXES = frozenset(
    [
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos"),
        *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    ]
)
"""Raw files of cameras."""

SIDECAR_SUFFIXES = RAW_SUFFIXES | {
    *(".aae", ".caption", ".captions", ".dop", ".json", ".npy", ".npz", ".pp3", ".tags", ".thm"),
    *(".txt", ".xml", ".xmp", ".yaml", ".yml"),
}
"""What may stand beside an image under its name: captions, labels, arrays, edits, and the camera's raw file."""

ARCHIVE_SUFFIXES = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".zip"),
    *(".cbt", ".cbz"),  # comics: a tar, or zip, of pages
)

_NEVER_MISSED = SIDECAR_SUFFIXES - RAW_SUFFIXES | {".csv", ".tsv", ".html", ".htm", ".ini", ".db", ".lrv"}
"""Text and data beside images, and what systems write there (`Thumbs.db`, `desktop.ini`): nobody looks for images in
them."""

_SYSTEM_FOLDERS = frozenset(
    [
        *("@eadir", "__macosx"),  # thumbnails of a Synology, metadata of a Mac
        *("$recycle.bin", "#recycle", "@recycle", "system volume information", "lost+found"),
    ]
)


def is_image_name(name: str) -> bool:
    return _get_suffix(name) in IMAGE_SUFFIXES


def is_video_name(name: str) -> bool:
    return _get_suffix(name) in VIDEO_SUFFIXES


def is_archive_name(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def is_readable_name(name: str) -> bool:
    """Whether a file of this name is taken from a folder or a bucket."""
    return is_image_name(name) or is_video_name(name) or is_archive_name(name)


def may_be_missed(name: str) -> bool:
    """Whether somebody may have expected that a file of this name, which is not taken, is."""
    return _get_suffix(name) not in _NEVER_MISSED


def is_excluded_folder(folder: str) -> bool:
    """Whether a folder of this name is hidden, or holds what a system or a program keeps for itself: thumbnails,
    previews, deleted files.
    """
    return folder.startswith(".") or folder.lower() in _SYSTEM_FOLDERS or folder.lower().endswith(".lrdata")


def _get_suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
