"""HEIC and HEIF, where pillow-heif is installed."""

from functools import cache

FORMAT = "HEIF"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@cache
def heif_decoder() -> str | None:
    """Has Pillow open HEIC; what its pixels depend on beside the file. None where pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    return f"pillow-heif {pillow_heif.__version__}, libheif {pillow_heif.libheif_version()}"
