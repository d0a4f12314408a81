"""Photos with boxes, and COCO files of them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.helpers.runs import PHOTOS

CAT, COPY, COFFEE, FLOWERS = "cat.jpg", "more photos/cat copy.png", "coffee.jpg", "daffodils.jpg"


def save_photos(folder: Path) -> Path:
    """Save real photos: three, and a copy of the first one with the same pixels in another format."""
    (folder / "more photos").mkdir(parents=True)
    for name in (CAT, COFFEE, FLOWERS):
        shutil.copy(PHOTOS / "originals" / name, folder / name)
    with Image.open(folder / CAT) as image:
        image.save(folder / COPY)
    return folder


def make_coco(boxes: Sequence[tuple[str, object, str]], **more: Any) -> dict[str, Any]:
    """Return a COCO file of some boxes: file_name, bbox and category. Ids are odd on purpose."""
    names, categories = (sorted({box[column] for box in boxes}) for column in (0, 2))
    return {
        "info": {"description": 'a test, "quoted" [1, 2}'},
        "images": [
            {"id": 1000 + number, "file_name": name, "width": 640, "license": 3} for number, name in enumerate(names)
        ],
        "annotations": [
            {
                "id": 7 * number,
                "image_id": 1000 + names.index(name),
                "category_id": 10 * categories.index(category),
                "bbox": box,
                "segmentation": [[1.50, 2.0, 3e2]],
                "iscrowd": 0,
                "own": {"key": number},
            }
            for number, (name, box, category) in enumerate(boxes)
        ],
        "categories": [{"id": 10 * number, "name": name} for number, name in enumerate(categories)],
        **more,
    }


def save_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
