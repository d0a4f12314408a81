"""One small function for each promise; each yields a line for what it finds broken."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from html.parser import HTMLParser
from itertools import groupby, pairwise

import numpy as np
from PIL import Image, ImageChops, ImageOps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .run import COMPONENTS, EXACT_COPIES, PAIRS, Run, box_of, parts, printable, raw

WIDTH = 576
ALWAYS = (
    *("features.dat", "features.dat.csv", "features.bad.csv", "features.dat.bad", "similarity.csv", "outliers.csv"),
    *("faiss.index", "manifest.parquet", "images.parquet", "similarity.parquet", "config.json", "summary.json"),
    "exact_copies.csv",
)
COMPONENT_FILES = ("components_info.csv", "connected_components.csv", "components.parquet")
STATISTICS = {
    "brightness": (0, 255),
    "contrast": (0, 127.5),
    "blur": (0, 1040400),
    "unique_colors": (1, float("inf")),
}
"""Column -> the least and the most that it can be."""
IMAGES = ("index", "filename", "size", "mtime_or_etag", "sha256", "width", "height", "format", *STATISTICS)
IMAGES += ("unseen", "taken")
UNSEEN = {"frames", "video", "channels", "transparency", "values", "aspect_ratio", "margin", "crop"}
CODES = {
    *("ZERO_SIZE", "NOT_AN_IMAGE", "TRUNCATED", "CORRUPT", "TOO_LARGE", "TOO_SMALL", "UNREADABLE", "MISSING"),
    *("CHANGED", "READ_FAILED", "BOUNDING_BOX_OUTSIDE", "TIMEOUT", "OUT_OF_MEMORY", "CRASHED", "UNSUPPORTED"),
}
DUPLICATE_COUNTS = ("duplicates", "safe_to_drop", "safe_bytes", "to_review")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

UNIT = 1e-5
"""A row's length may be off by so much."""
DISTANCE = 1e-4
"""A written distance may differ by so much from that of the rows."""
TIE = 1e-5
"""Neighbours as close as that to one another can stand for one another."""
ROUNDING = 1e-6
MIN_RECALL = 0.95
SAMPLE = 200

WITHIN = re.compile(r"(?<=!/).*|#t=\d+\.\d{3}$", re.DOTALL)
"""What a name has beyond that of its file: members stand in the order of the archive, frames in that of time."""

NUMBER = re.compile(r"-?\d+\.\d{6}")
TEMPORARY = re.compile(r"^\.(?!.*lock$)|\.(tmp|part|partial)\b|~$")


def some(file: str, what: str, found: Iterable) -> Iterator[str]:
    """One line that counts what was found and shows the first three; none where nothing was."""
    found = [item.tolist() if isinstance(item, np.ndarray | np.generic) else item for item in found]
    if found:
        yield f"{file}: {what}: {len(found)}, such as {', '.join(map(ascii, found[:3]))}"


def check_files(run: Run) -> Iterator[str]:
    if (run.path / "shards").exists():
        yield "shards: still there"
    for folder in (run.path, run.path / "report"):
        yield from some(str(folder), "temporary files", [p.name for p in folder.glob("*") if TEMPORARY.search(p.name)])
    yield from (f"{name}: missing" for name in ALWAYS if not (run.path / name).is_file())
    by_config = ["report/index.html"] if run.config["report"] else []
    if run.config["run_cc"]:
        by_config += COMPONENT_FILES
    else:
        yield from (f"{name}: there, in spite of run_cc=0" for name in COMPONENT_FILES if (run.path / name).exists())
    yield from (f"{name}: missing" for name in by_config if not (run.path / name).is_file())


def check_features(run: Run) -> Iterator[str]:
    if run.n == 0:
        yield "features.dat.csv: no image"
        return
    misplaced = [index for row, (index, _) in enumerate(run.listing) if index != str(row)]
    yield from some("features.dat.csv", "indices out of place", misplaced)
    relative = [name for name in run.names if not os.path.isabs(name) and "://" not in name]
    yield from some("features.dat.csv", "neither an absolute path nor a URI", relative)
    if len(run.row_of) < run.n:
        yield "features.dat.csv: a name stands there twice"
    if run.config.get("model_path") is None and run.features.shape[1] != WIDTH:
        yield f"features.dat: rows of {run.features.shape[1]} numbers, not {WIDTH}"
    for part in parts(run.n, 65_536):
        length = np.linalg.norm(run.features[part].astype(np.float64), axis=1)
        wrong = part.start + np.flatnonzero(~(np.abs(length - 1) <= UNIT))  # not finite is wrong, too
        yield from some("features.dat", "rows not of unit length", wrong)


def check_bad_list(run: Run) -> Iterator[str]:
    if run.file("features.bad.csv").read_bytes() != run.file("features.dat.bad").read_bytes():
        yield "features.dat.bad: differs from features.bad.csv"
    yield from some("features.bad.csv", "unknown codes", {code for _, code, _ in run.bad} - CODES)
    unexplained = [name for name, _, message in run.bad if len(message.splitlines()) != 1]
    yield from some("features.bad.csv", "not one line of reason", unexplained)
    yield from some("features.bad.csv", "good as well", [name for name, _, _ in run.bad if name in run.row_of])


def check_manifest(run: Run) -> Iterator[str]:
    entries = run.manifest
    file, uris, rows, codes = "manifest.parquet", entries["uri"], np.array(entries["rows"]), entries["error_code"]
    good = rows > 0
    if len(set(uris)) < len(uris):
        yield f"{file}: an entry stands there twice"
    undecided = [uri for uri, is_good, code in zip(uris, good, codes, strict=True) if is_good == bool(code)]
    yield from some(file, "neither good nor bad, or both", undecided)
    if rows.sum() != run.n:
        yield f"{file}: {rows.sum()} rows, features.dat has {run.n}"
        return
    first = np.cumsum(rows) - rows
    wrong = [i for i in np.flatnonzero(good) if entries["first_row"][i] != first[i]]
    named = [
        [printable(name) for name in run.names[start : start + count]] for start, count in zip(first, rows, strict=True)
    ]
    wrong += [i for i in np.flatnonzero(good) if named[i] != run.names_of(i)]
    yield from some(file, "entries that do not fit features.dat.csv", wrong)
    for column in ("size", "sha256", "width", "height", "format"):
        without = [uris[i] for i in np.flatnonzero(good) if not entries[column][i]]
        yield from some(file, f"good without {column}", without)
    for column, (low, high) in STATISTICS.items():
        values = entries[column]
        wrong = [uris[i] for i in np.flatnonzero(good) if values[i] is not None and not low <= values[i] <= high]
        yield from some(file, f"impossible {column}", wrong)
        yield from some(file, f"bad with {column}", [uris[i] for i in np.flatnonzero(~good) if values[i] is not None])
    unseen = entries["unseen"]
    wrong = [uris[i] for i in np.flatnonzero(good) if not set(filter(None, (unseen[i] or "").split(","))) <= UNSEEN]
    yield from some(file, "impossible unseen", wrong)
    yield from some(file, "bad with unseen", [uris[i] for i in np.flatnonzero(~good) if unseen[i] is not None])
    taken = {uri: date for uri, date in zip(uris, entries["taken"], strict=True) if date is not None}
    yield from some(file, "impossible taken", [uri for uri, date in taken.items() if not is_date(date)])
    yield from some(file, "bad with taken", [uris[i] for i in np.flatnonzero(~good) if uris[i] in taken])
    told = [(u, c, m) for u, c, m in zip(uris, codes, entries["error_message"], strict=True) if c]
    if sorted(told) != sorted((printable(name), code, printable(message)) for name, code, message in run.bad):
        yield f"{file}: its {len(told)} bad entries are not the {len(run.bad)} of features.bad.csv"


def is_date(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).isoformat(" ") == text
    except ValueError:
        return False


def check_sha256(run: Run) -> Iterator[str]:
    """Of some of the files that still exist."""
    names = {printable(name): name for name in [*run.names, *(name for name, _, _ in run.bad)]}
    wrong = []
    for i in np.unique(np.linspace(0, len(run.manifest["uri"]) - 1, SAMPLE).astype(int)):
        name, sha256 = names.get(run.manifest["uri"][i]), run.manifest["sha256"][i]
        if not name or not sha256:
            continue
        photo, box = box_of(name) or (name, None)
        if os.path.isfile(raw(photo)):
            with open(raw(photo), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if box is not None:
                digest = hashlib.sha256(f"{digest}#xywh={box.text}".encode()).hexdigest()
            if digest != sha256:
                wrong.append(name)
    yield from some("manifest.parquet", "sha256 is not that of the file", wrong)


def check_input(run: Run) -> Iterator[str]:
    """Each picture of the input folder is in the manifest, under one of its names, in the order of the bytes; boxes of
    one photo stand together."""
    if run.input_dir is None:
        return
    if run.config.get("annotations"):
        photos = [photo for photo, _ in groupby((box_of(name) or (name,))[0] for name in run.names)]
        yield from some("features.dat.csv", "photos whose boxes are apart", {p for p in photos if photos.count(p) > 1})
        return
    names = [*run.names, *(name for name, _, _ in run.bad)]
    listed = {os.stat(raw(name)).st_ino for name in names if os.path.exists(raw(name))}
    missing = []
    for folder, folders, files in os.walk(run.input_dir):
        work_dir = os.path.abspath(run.path)
        folders[:] = [f for f in folders if not f.startswith(".") and os.path.join(folder, f) != work_dir]
        for name in files:
            path = os.path.join(folder, name)
            is_picture = os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
            if is_picture and os.path.exists(path) and os.stat(path).st_ino not in listed:
                missing.append(path)
    yield from some("manifest.parquet", "pictures of the input that are not there", missing)
    files = [WITHIN.sub("", name) for name in run.names]
    if any(raw(a) > raw(b) for a, b in pairwise(files)):
        yield "features.dat.csv: not in the order of the bytes of the paths"


def check_pairs_as_written(run: Run) -> Iterator[str]:
    """Names, numbers, distances and order of both tables of pairs."""
    for file, pairs, closest_first in (("similarity.csv", run.similar, True), ("outliers.csv", run.outliers, False)):
        unknown = np.minimum(pairs.source, pairs.target) < 0
        yield from some(file, "names that are not in features.dat.csv", pairs.where(unknown))
        yield from some(file, "not a number with 6 decimals", [t for t in pairs.text if not NUMBER.fullmatch(t)])
        yield from some(file, "an image with itself", [a for a, b in pairs.names if a == b])
        yield from some(file, "pairs that stand there twice", {*_repeated(pairs.names)})
        off = np.abs(run.values(pairs.source, pairs.target, run.config["distance"]) - pairs.value)
        yield from some(file, "distances are not those of the rows", pairs.where(~(off <= DISTANCE)))
        rank = pairs.value if closest_first == (run.config["distance"] != "cosine") else -pairs.value
        keys = [(value, raw(a), raw(b)) for value, (a, b) in zip(rank.tolist(), pairs.names, strict=True)]
        yield from some(file, "rows out of order, after", [i for i, (a, b) in enumerate(pairwise(keys)) if a > b])


def _repeated(items: list) -> Iterator:
    return (a for a, b in pairwise(sorted(items)) if a == b)


def check_similarity(run: Run) -> Iterator[str]:
    k, threshold, pairs = run.config["nearest_neighbors_k"], run.config["threshold"], run.similar
    yield from some("similarity.csv", f"not above {threshold}", pairs.where(~(run.cosines(pairs) > threshold)))
    source, count = np.unique(pairs.source, return_counts=True)
    yield from some("similarity.csv", f"more than {k} neighbours", [run.names[i] for i in source[count > k]])


def check_neighbours(run: Run) -> Iterator[str]:
    """similarity.csv against an exact search; images whose neighbours lie at the threshold are left out."""
    if run.nearest is None:
        return
    threshold, nearest = run.config["threshold"], run.nearest
    clear = (np.abs(nearest.cosine - threshold) > TIE).all(1)
    expected = -np.sort(-np.where(nearest.cosine > threshold, nearest.closeness, -np.inf), axis=1)
    found = _closeness_found(run, expected.shape)
    if run.is_exact():
        wrong = clear & ~np.isclose(expected, found, rtol=0, atol=TIE).all(1)
        yield from some("similarity.csv", "not the closest neighbours", run.where(wrong))
        return
    least = np.where(np.isfinite(expected), expected, np.inf).min(1)
    hits = (found[clear] >= least[clear, None] - TIE).sum()
    wanted = np.isfinite(expected[clear]).sum()
    if hits < MIN_RECALL * wanted:
        yield f"similarity.csv: recall {hits / wanted:.3f}, not {MIN_RECALL}"


def _closeness_found(run: Run, shape: tuple[int, int]) -> np.ndarray:
    """Of the neighbours in similarity.csv, the closest first, -inf where an image has fewer."""
    source = run.similar.source
    closeness = run.closeness(source, run.similar.target)
    order = np.lexsort((-closeness, source))
    source, closeness = source[order], closeness[order]
    place = np.arange(len(source)) - np.searchsorted(source, source)
    table = np.full(shape, -np.inf)
    fits = place < shape[1]
    table[source[fits], place[fits]] = closeness[fits]
    return table


def check_outliers(run: Run) -> Iterator[str]:
    limit, pairs = run.config["lower_threshold"], run.outliers
    cosines = run.cosines(pairs)
    yield from some("outliers.csv", f"not below {limit}", pairs.where(~(cosines < limit)))
    yield from some("outliers.csv", "images that stand there twice", {*_repeated([a for a, _ in pairs.names])})
    if run.nearest is None:
        return
    closest = run.nearest.cosine[:, 0]
    missing = np.setdiff1d(np.flatnonzero(closest < limit - TIE), pairs.source)
    yield from some("outliers.csv", "outliers that are not there", [run.names[i] for i in missing])
    if run.is_exact():
        wrong = np.abs(closest[pairs.source] - cosines) > TIE
        yield from some("outliers.csv", "not the closest neighbour", pairs.where(wrong))


def check_components(run: Run) -> Iterator[str]:
    """Component ids against the edges of similarity.csv and the byte-identical files."""
    if not run.config["run_cc"]:
        return
    file, ids = "connected_components.csv", run.component_id
    if run.components["__id"] != [str(row) for row in range(run.n)]:
        yield f"{file}: not one row for each image, in order"
        return
    distinct, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    if not np.array_equal(distinct, np.arange(len(distinct))) or (np.diff(first) < 0).any():
        yield f"{file}: ids are not 0, 1, 2, … by first image"
    if run.components["count"] != np.bincount(inverse)[inverse].astype(str).tolist():
        yield f"{file}: count is not the number of images in the component"
    twins = [pair for same in run.twins for pair in pairwise(same)]
    joined = np.concatenate([run.edges, np.array(twins, np.int64).reshape(-1, 2).T], axis=1)
    apart = joined[:, ids[joined[0]] != ids[joined[1]]]
    yield from some(file, "joined by an edge or identical, but in two components", apart.T)
    graph = coo_array((np.ones(joined.shape[1]), joined), shape=(run.n, run.n))
    number = connected_components(graph, directed=False)[0]
    if run.all_edges_visible() and number > len(distinct):
        yield f"{file}: {len(distinct)} components, the edges make {number}"


def check_degree_and_pagerank(run: Run) -> Iterator[str]:
    if not run.config["run_cc"]:
        return
    file = "connected_components.csv"
    for column in ("degree", "pagerank"):
        if not run.config[f"run_{column}"] and any(run.components[column]):
            yield f"{file}: {column} is not empty, in spite of run_{column}=0"
    if run.config["run_degree"]:
        degree = np.array(run.components["degree"], np.float64)
        visible = np.bincount(run.edges.ravel(), minlength=run.n)
        unsure = np.isin(np.arange(run.n), [row for same in run.twins for row in same]) | (not run.all_edges_visible())
        size = np.array(run.components["count"], np.int64)
        wrong = (degree < visible) | (degree > size - 1) | (~unsure & (degree != visible))
        yield from some(file, "degree is not the number of neighbours, row", np.flatnonzero(wrong))
    if run.config["run_pagerank"]:
        unwritten = [text for text in run.components["pagerank"] if not NUMBER.fullmatch(text)]
        yield from some(file, "not a number with 6 decimals", unwritten)
        pagerank = np.array(run.components["pagerank"], np.float64)
        if not abs(pagerank.mean() - 1) < 1e-3 or pagerank.min() <= 0:
            yield f"{file}: pagerank has mean {pagerank.mean():.4f} and least {pagerank.min():.4f}, not 1 and above 0"


def check_components_info(run: Run) -> Iterator[str]:
    if not run.config["run_cc"]:
        return
    file, rows = "components_info.csv", run.components_info
    counts = {int(row[0]): int(row[1]) for row in rows}
    if len(counts) < len(rows) or counts != dict(zip(*np.unique(run.component_id, return_counts=True), strict=True)):
        yield f"{file}: ids and counts are not those of connected_components.csv"
    if [int(row[0]) for row in rows] != sorted(counts, key=lambda i: (-counts[i], i)):
        yield f"{file}: not the largest first, then by id"
    yield from some(file, "similarities of a single image", [r for r in rows if r[1] == "1" and any(r[2:])])
    several = [row for row in rows if row[1] != "1"]
    unwritten = [row for row in several if not all(map(NUMBER.fullmatch, row[2:]))]
    yield from some(file, "not numbers with 6 decimals", unwritten)
    if unwritten:
        return
    bounds = {int(i): (float(low), float(mean), float(high)) for i, _, mean, low, high in several}
    limit = min(run.config["ccthreshold"], 1 - ROUNDING)  # identical files are joined even at ccthreshold=1
    wrong = [i for i, (low, mean, high) in bounds.items() if not limit < low <= mean <= high <= 1 + ROUNDING]
    yield from some(file, "not ccthreshold < min <= mean <= max <= 1", wrong)
    least = {int(row[0]): row[3] for row in rows}
    written = run.components["min_distance"]
    wrong = [row for row, i in enumerate(run.component_id.tolist()) if written[row] != least[i]]
    yield from some("connected_components.csv", "min_distance is not min of the component, row", wrong)
    yield from some(file, "min or max do not fit the edges", _edges_out_of_bounds(run, bounds))


def _edges_out_of_bounds(run: Run, bounds: dict[int, tuple[float, float, float]]) -> list[int]:
    """Components with an edge outside [min, max], or, where all edges are seen, whose min is no edge's."""
    cosine = run.cosines(run.similar)
    above = cosine > run.config["ccthreshold"]
    component, cosine = run.component_id[run.similar.source[above]], cosine[above]
    size = run.component_id.max() + 1
    low, high = np.full(size, 1.0), np.full(size, -1.0)
    np.minimum.at(low, component, cosine)
    np.maximum.at(high, component, cosine)
    slack = ROUNDING / 2
    return [
        i
        for i, (least, _, most) in bounds.items()
        if least > low[i] + slack or most < high[i] - slack or (run.all_edges_visible() and least < low[i] - slack)
    ]


def check_parquet(run: Run) -> Iterator[str]:
    """images, similarity and components hold what the CSV files hold."""
    images = run.parquet("images.parquet", IMAGES + ("label",) * run.has_labels)
    if images["index"] != list(range(run.n)) or images["filename"] != [printable(name) for name in run.names]:
        yield "images.parquet: index and filename are not those of features.dat.csv"
    entry = np.repeat(np.arange(len(run.manifest["rows"])), run.manifest["rows"])
    for column in IMAGES[2:]:
        expected = run.digests if column == "sha256" else [run.manifest[column][i] for i in entry]
        if images[column] != expected:
            yield f"images.parquet: {column} is not that of manifest.parquet"
    similar = run.parquet("similarity.parquet", run.pair_columns)
    if list(zip(similar["from"], similar["to"], strict=True)) != [tuple(map(printable, p)) for p in run.similar.names]:
        yield "similarity.parquet: names are not those of similarity.csv"
    elif not np.allclose(np.array(similar["distance"], np.float64), run.similar.value, rtol=0, atol=ROUNDING):
        yield "similarity.parquet: distances are not those of similarity.csv"
    if run.config["run_cc"]:
        components = run.parquet("components.parquet", COMPONENTS)
        for column in COMPONENTS:
            table = np.array(components[column], np.float64)  # None becomes nan
            written = np.array([value or "nan" for value in run.components[column]], np.float64)
            if len(table) != len(written) or not np.allclose(table, written, rtol=0, atol=ROUNDING, equal_nan=True):
                yield f"components.parquet: {column} is not that of connected_components.csv"


def check_summary(run: Run) -> Iterator[str]:
    counts = {"images": run.n, "bad": len(run.bad), "pairs": len(run.similar.text), "outliers": len(run.outliers.text)}
    if run.config["run_cc"]:
        counts["components"] = sum(row[1] != "1" for row in run.components_info)  # of two images or more
    for name, count in counts.items():
        told = run.summary.get("counts", {}).get(name)
        if told != count:
            yield f"summary.json: counts.{name} is {told}, the files have {count}"
    yield from check_duplicate_counts(run.n, run.summary.get("counts", {}))
    neighbors = run.summary.get("neighbors", {})
    if not neighbors.get("index") or not neighbors.get("why") or not 0 <= neighbors.get("recall", -1) <= 1:
        yield f"summary.json: neighbors does not say which index was used, why, and what it found: {neighbors}"


def check_duplicate_counts(n: int, counts: dict) -> Iterator[str]:
    duplicates, safe, size, rest = (counts.get(name, -1) for name in DUPLICATE_COUNTS)
    if not (0 <= safe <= duplicates < n and duplicates == safe + rest and (size == 0 or 0 < safe <= size)):
        told = {name: counts.get(name) for name in DUPLICATE_COUNTS}
        yield f"summary.json: these counts contradict each other: {told}"
    if duplicates < counts.get("exact_copies", 0):
        yield f"summary.json: counts.duplicates is {duplicates}, less than the exact copies"


def check_exact_copies(run: Run) -> Iterator[str]:
    """Byte for byte by the digests, all of them; pixel for pixel by decoding some of those that still exist."""
    file, rows = "exact_copies.csv", run.csv("exact_copies.csv", EXACT_COPIES)
    first = {same[0]: same for same in run.twins}
    by_bytes = [[run.names[row], run.names[same[0]]] for same in first.values() for row in same[1:]]
    if sorted(row[:2] for row in rows if row[2] == "bytes") != sorted(by_bytes):
        yield f"{file}: not the {len(by_bytes)} files with the bytes of an earlier one"
    yield from some(file, "unknown kinds", {kind for _, _, kind in rows} - {"bytes", "pixels"})
    place = [(run.row_of.get(copy, -1), run.row_of.get(of, -1)) for copy, of, _ in rows]
    yield from some(file, "not of an earlier image", [rows[i] for i, (a, b) in enumerate(place) if not 0 <= b < a])
    if [a for a, _ in place] != sorted({a for a, _ in place}):
        yield f"{file}: not in the order of features.dat.csv, or twice"
    by_pixels = [(copy, of) for copy, of, kind in rows if kind == "pixels"]
    yield from some(file, "other pixels", [pair for pair in by_pixels[:SAMPLE] if same_pixels(*pair) is False])
    counts = {"exact_copies": len(rows), "same_bytes": len(by_bytes), "same_pixels": len(by_pixels)}
    for name, count in counts.items():
        if run.summary.get("counts", {}).get(name) != count:
            yield f"summary.json: counts.{name} is {run.summary.get('counts', {}).get(name)}, {file} has {count}"
    content = dict(by_pixels) | dict(by_bytes)
    missing = [pair for pair in _same_size(run)[:SAMPLE] if root(content, pair[0]) != root(content, pair[1])]
    yield from some(file, "same pixels, and not there", [pair for pair in missing if same_pixels(*pair)])


def root(content: dict[str, str], name: str) -> str:
    """The image that stands for all with the same content."""
    while name in content:
        name = content[name]
    return name


def _same_size(run: Run) -> list[tuple[str, str]]:
    """Pairs of similarity.csv with one size and a cosine above 0.999, the closest first."""
    entry = np.repeat(np.arange(len(run.manifest["rows"])), run.manifest["rows"])
    size = [(run.manifest["width"][i], run.manifest["height"][i], run.manifest["fps"][i]) for i in entry]
    close = run.cosines(run.similar) > 0.999
    ends = zip(run.similar.source[close].tolist(), run.similar.target[close].tolist(), strict=True)
    return [(run.names[a], run.names[b]) for a, b in ends if a < b and size[a] == size[b] and size[a][2] is None]


def same_pixels(first: str, second: str) -> bool | None:
    """Whether two files of one picture each show the same; None where that cannot be told."""
    shown = []
    for name in (first, second):
        photo, box = box_of(name) or (name, None)
        try:
            with Image.open(raw(photo)) as image:
                if getattr(image, "n_frames", 1) > 1 or image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
                    return None
                bits = getattr(image, "tag_v2", {}).get(258, (8,))[0]
                if image.format in ("ICO", "CUR", "ICNS", "SGI") or bits > 8 or _is_png_of_16_bits(photo):
                    return None  # with more than is seen here
                upright = ImageOps.exif_transpose(image).convert("RGBA")
                if box is not None:
                    left, top, right, bottom = box.of(upright.size)
                    upright = upright.crop((left, top, min(right, upright.width), min(bottom, upright.height)))
                shown.append(upright)
        except OSError:
            return None
    return shown[0].size == shown[1].size and ImageChops.difference(*shown).getbbox(alpha_only=False) is None


def _is_png_of_16_bits(name: str) -> bool:
    with open(raw(name), "rb") as file:
        head = file.read(25)
    return head.startswith(b"\x89PNG") and head[24:] == b"\x10"


FAISS_METRIC = {"cosine": 0, "euclidean": 1, "squared_euclidean": 1, "manhattan": 2}
"""The numbers that faiss gives to the inner product, L2 and L1."""


def check_label_conflicts(run: Run) -> Iterator[str]:
    """label_conflicts.csv has the rows of similarity.csv whose labels differ, and no other."""
    if not run.has_labels:
        if run.file("label_conflicts.csv").exists():
            yield "label_conflicts.csv: there, without labels"
        return
    label = dict(zip(run.names, run.parquet("images.parquet", (*IMAGES, "label"))["label"], strict=True))
    yield from conflicts(run, label, label)


def conflicts(run: Run, label_from: dict[str, str | None], label_to: dict[str, str | None]) -> Iterator[str]:
    expected = [
        [a, b, text, label_from[a], label_to[b]]
        for (a, b), text in zip(run.similar.names, run.similar.text, strict=True)
        if label_from[a] and label_to[b] and label_from[a] != label_to[b]
    ]
    if run.csv("label_conflicts.csv", (*PAIRS, "label_from", "label_to")) != expected:
        yield f"label_conflicts.csv: not the {len(expected)} pairs of similarity.csv whose labels differ"


def check_index(run: Run) -> Iterator[str]:
    index = run.index
    if index is None:
        return
    if (index.ntotal, index.d) != run.features.shape:
        yield f"faiss.index: {index.ntotal} rows of {index.d}, features.dat has {run.features.shape}"
    elif type(index).__name__.startswith("IndexFlat") and index.metric_type != FAISS_METRIC[run.config["distance"]]:
        yield f"faiss.index: its metric {index.metric_type} is not that of {run.config['distance']}"
    elif run.config["nn_provider"] == "turi" and not type(index).__name__.startswith("IndexFlat"):
        yield f"faiss.index: {type(index).__name__}, where turi leaves a Flat one"
    elif type(index).__name__ in ("IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexHNSWFlat"):
        rows = np.unique(np.linspace(0, run.n - 1, SAMPLE).astype(int))
        indexed = np.stack([index.reconstruct(row) for row in rows.tolist()])
        wrong = rows[~np.isclose(indexed, run.features[rows], rtol=0, atol=UNIT).all(1)]
        yield from some("faiss.index", "rows are not those of features.dat", wrong)


class _Loads(HTMLParser):
    """Collects what a page would fetch from the network; links to click on are none of it."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            loads = name in ("src", "srcset", "poster", "data", "action") or (name == "href" and tag != "a")
            if loads and value and re.match(r"\s*(https?:)?//", value, re.IGNORECASE):
                self.found.append(f"<{tag} {name}={value[:80]}>")


def check_report(run: Run) -> Iterator[str]:
    if not run.config["report"]:
        return
    page = (run.path / "report/index.html").read_text(encoding="utf-8")
    loads = _Loads()
    loads.feed(page)
    loads.found += re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]{0,80}|@import[^;]{0,80}", page)
    yield from some("report/index.html", "loads from the network", loads.found)
    markup = re.sub(r"<(script|style)\b.*?</\1\s*>", "", page, flags=re.DOTALL | re.IGNORECASE)
    names = {os.path.basename(name) for name in [*run.names, *(name for name, _, _ in run.bad)]}
    yield from some("report/index.html", "not escaped", [n for n in names if re.search("[<&]", n) and n in markup])
    yield from some("report/index.html", "not escaped in a script", [n for n in names if "<" in n and n in page])


CHECKS = (
    check_files,
    check_features,
    check_bad_list,
    check_manifest,
    check_sha256,
    check_input,
    check_pairs_as_written,
    check_similarity,
    check_neighbours,
    check_outliers,
    check_components,
    check_degree_and_pagerank,
    check_components_info,
    check_parquet,
    check_summary,
    check_exact_copies,
    check_label_conflicts,
    check_index,
    check_report,
)
