"""Download the packages with the images that the model is trained and measured with, to DIR/<package>/.

    python -m fastdup_ray.training.fetch DIR

Needs apt-get (after `apt-get update`) and dpkg of Debian 12, and 8 GB of disk; installs nothing. All packages are of
the main section, so under free licenses; each has its own in DIR/<package>/usr/share/doc/<package>/copyright.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path
from zipfile import ZipFile

from fastdup_ray.training.photos import SUFFIXES

PHOTOGRAPHS = """
    breeze cimg-doc deepin-image-viewer desktop-base fotoxx-common games-thumbnails gcompris-qt-data gimp-help-en
    gnome-backgrounds hugin-data imagemagick-6-doc kodi-data kphotoalbum kstars-data labelme-examples labplot-data
    libdlib19.1 libjs-jquery-backstretch libjxl-testdata libvisp-doc lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    lxqt-themes marble-data mate-backgrounds mrpt-common opencv-doc openshot-qt openuniverse-common palapeli-data
    plasma-workspace-wallpapers povray-examples propaganda-debian pysatellites pysiogame python-skimage-doc
    python3-pattern python3-skimage python3-sklearn scratch stellarium-data sway-backgrounds tuxpaint-stamps-default
    ukui-wallpapers wand-doc wordpress-theme-twentytwentyone xfdesktop4-data
"""
GAMES_AND_ART = """
    berusky2-data blobandconquer-data boswars-data btanks-data bzflag-data castle-game-engine-doc
    colobot-common-textures cube2-data doomsday-data endless-sky-high-dpi extremetuxracer-data flare-game
    flightgear-data-ai foobillardplus-data freecol freedroidrpg-data freeorion-data gigalomania-data gltron
    hedgewars-data krank krita-data lincity-ng-data mandelbulber2-data marsshooter-data megaglest-data naev-data
    neverball-data nexuiz-textures openarena-081-textures openarena-085-data openarena-088-data openarena-data
    openclipart-png pingus-data plee-the-bear-data powermanga-data redeclipse-data scorched3d-data starfighter-data
    supertux-data supertuxkart-data torcs-data trackballs-data trigger-rally-data ufoai-textures warmux-data
    wesnoth-1.16-data widelands-data xracer zaz-data
"""
ARCHIVES = {".pk3", ".zip"}


def fetch(package: str, folder: Path) -> None:
    """Download and unpack a package, and the images of the archives in it.

    Raises:
        CalledProcessError: There is no such package.
    """
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o777)  # apt-get downloads as another user
        subprocess.run(["apt-get", "download", "-qq", package], cwd=scratch, check=True)
        unpacked = Path(scratch, "unpacked")
        for file in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "-x", file, unpacked], check=True)
        for archive in [path for path in unpacked.rglob("*") if path.suffix in ARCHIVES and path.is_file()]:
            with ZipFile(archive) as opened:
                names = [name for name in opened.namelist() if Path(name).suffix.lower() in SUFFIXES]
                opened.extractall(archive.with_name(f"{archive.name}.d"), names)
            archive.unlink()
        shutil.copytree(unpacked, folder, symlinks=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for package in (PHOTOGRAPHS + GAMES_AND_ART).split():
        if not (args.folder / package).exists():
            fetch(package, args.folder / package)
        print(package, flush=True)


if __name__ == "__main__":
    main()
