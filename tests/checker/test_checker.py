"""The checker finds a hand-made work_dir in order, and each fault that is put into it."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.checker import check

faiss = pytest.importorskip("faiss")

CONFIG = {
    "nn_provider": "faiss",
    "nnmodel": "brute_force",
    "faiss_mode": "Flat",
    "distance": "cosine",
    "nearest_neighbors_k": 2,
    "threshold": 0.85,
    "lower_threshold": 0.3,
    "ccthreshold": 0.96,
    "run_cc": True,
    "run_pagerank": True,
    "run_degree": True,
    "report": True,
}
PAGERANK = [f"{value:.6f}" for value in (1.4, 1.3, 1.2, 0.7, 0.7, 0.7)]


def features() -> np.ndarray:
    """Six rows: two alike, one close to them, two that resemble one another, one on its own."""
    rows = np.zeros((6, 576))
    rows[0, 0] = rows[1, 0] = 1
    rows[2, :2] = 0.97, (1 - 0.97**2) ** 0.5
    rows[3, [0, 2]] = 0.5, 0.75**0.5
    rows[4], rows[4, 3] = 0.9 * rows[3], (1 - 0.9**2) ** 0.5
    rows[5, [2, 4]] = 0.2, (1 - 0.2**2) ** 0.5
    return rows.astype("<f4")


STATISTICS = "brightness contrast blur unique_colors unseen taken"


def write_csv(path: Path, header: str, rows: list) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header.split(","), *rows])


def printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_work_dir(out: Path, photos: Path) -> None:
    """What a run over six good pictures, two of them copies on disk, and a bad one would leave."""
    out.mkdir()
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"same")
    (photos / "b, copy.jpg").write_bytes(b"same")
    names = [f"{photos}/{name}" for name in ("a.jpg", "b, copy.jpg", "c.jpg", 'd"\n.jpg', "e\udcff.jpg", "f<b>.jpg")]
    rows = features()
    rows.tofile(out / "features.dat")
    write_csv(out / "features.dat.csv", "index,filename", list(enumerate(names)))
    bad = f"{photos}/broken.jpg"
    for name in ("features.bad.csv", "features.dat.bad"):
        write_csv(out / name, "filename,error_code,message", [(bad, "ZERO_SIZE", "The file is empty.")])

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    faiss.write_index(index, str(out / "faiss.index"))

    pairs = [(0, 1), (1, 0), (0, 2), (1, 2), (2, 0), (2, 1), (3, 4), (4, 3)]
    named = [(names[a], names[b], f"{rows[a] @ rows[b]:.6f}") for a, b in pairs]
    write_csv(out / "similarity.csv", "from,to,distance", named)
    write_csv(out / "outliers.csv", "from,to,distance", [(names[5], names[3], f"{rows[5] @ rows[3]:.6f}")])
    columns = {"from": [printable(a) for a, _, _ in named], "to": [printable(b) for _, b, _ in named]}
    pq.write_table(pa.table(columns | {"distance": [float(v) for _, _, v in named]}), out / "similarity.parquet")

    header = "__id,component_id,pagerank,degree,count,min_distance"
    component, degree, count = [0, 0, 0, 1, 2, 3], [2, 2, 2, 0, 0, 0], [3, 3, 3, 1, 1, 1]
    least = ["0.970000"] * 3 + [""] * 3
    cells = zip(range(6), component, PAGERANK, degree, count, least, strict=True)
    write_csv(out / "connected_components.csv", header, cells)
    values = [range(6), component, map(float, PAGERANK), degree, count, [float(v) if v else None for v in least]]
    pq.write_table(pa.table([pa.array(list(v)) for v in values], header.split(",")), out / "components.parquet")
    info = [(0, 3, "0.980000", "0.970000", "1.000000"), *((i, 1, "", "", "") for i in (1, 2, 3))]
    write_csv(out / "components_info.csv", "component_id,count,mean,min,max", info)

    sha256 = [hashlib.sha256(content).hexdigest() for content in (b"same", b"same", b"2", b"3", b"4", b"5", b"")]
    shared = {"mtime_or_etag": ["1"] * 7, "sha256": sha256, "width": [4] * 6 + [None], "height": [3] * 6 + [None]}
    shared |= {"size": [4, 4, 1, 1, 1, 1, 0], "format": ["JPEG"] * 6 + [None]}
    shared |= {"brightness": [99.5] * 6 + [None], "contrast": [10.0] * 6 + [None], "blur": [0.25] * 6 + [None]}
    shared |= {"unique_colors": [12] * 6 + [None], "unseen": ["", "frames", "channels,margin", *[""] * 3, None]}
    shared |= {"taken": ["2019-05-04 12:30:00", *[None] * 6]}
    manifest = shared | {"uri": [printable(name) for name in [*names, bad]], "first_row": [*range(6), None]}
    manifest |= {"rows": [1] * 6 + [0], "error_code": [None] * 6 + ["ZERO_SIZE"]}
    manifest |= {"error_message": [None] * 6 + ["The file is empty."], "decoder": pa.nulls(7, pa.string())}
    manifest["fps"] = pa.nulls(7, pa.float64())
    order = "uri size mtime_or_etag sha256 width height format first_row rows fps decoder error_code error_message"
    order = f"{order} {STATISTICS}"
    pq.write_table(pa.table(manifest).select(order.split()), out / "manifest.parquet")
    images = {name: values[:6] for name, values in shared.items()}
    images |= {"index": list(range(6)), "filename": manifest["uri"][:6]}
    order = f"index filename size mtime_or_etag sha256 width height format {STATISTICS}"
    pq.write_table(pa.table(images).select(order.split()), out / "images.parquet")

    write_csv(out / "exact_copies.csv", "filename,copy_of,kind", [(names[1], names[0], "bytes")])

    (out / "config.json").write_text(json.dumps(CONFIG))
    counts = {"images": 6, "bad": 1, "pairs": 8, "outliers": 1, "components": 1}
    counts |= {"exact_copies": 1, "same_bytes": 1, "same_pixels": 0}
    counts |= {"duplicates": 2, "safe_to_drop": 1, "safe_bytes": 4, "to_review": 1}
    neighbors = {"index": "Flat", "why": "faiss_mode=Flat", "metric": "cosine", "k": 2, "recall": 1.0}
    (out / "summary.json").write_text(json.dumps({"counts": counts, "neighbors": neighbors}))
    (out / "report").mkdir()
    (out / "report/index.html").write_text('<!doctype html><p>f&lt;b&gt;.jpg <a href="https://example.org/">more</a>\n')


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    write_work_dir(tmp_path / "out", tmp_path / "photos")
    return tmp_path / "out"


@pytest.fixture
def incremental(work_dir: Path) -> Path:
    """As if c.jpg had joined the group of the first two since the last run, and old.jpg had gone."""
    with open(work_dir / "similarity.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        new = [row for row in csv.reader(file) if row[0].endswith("c.jpg")]
    name, gone = new[0][0], new[0][0].replace("c.jpg", "old.jpg")
    rows = [("image_added", "", name, "", ""), ("image_removed", "", gone, "", "")]
    rows += [("new_pair", "", *row) for row in new] + [("group_grew", 0, name, "", ""), ("group_gone", 4, gone, "", "")]
    write_csv(work_dir / "changes.csv", "change,component_id,from,to,distance", rows)
    summary = json.loads((work_dir / "summary.json").read_text())
    changes = {"images_added": 1, "images_changed": 0, "images_removed": 1, "new_pairs": 2}
    changes |= {"groups_new": 0, "groups_grew": 1, "groups_shrank": 0, "groups_gone": 1}
    (work_dir / "summary.json").write_text(json.dumps(summary | {"changes": changes}))
    return work_dir


@pytest.fixture
def verified(work_dir: Path) -> Path:
    """As if pairs had been compared in full detail: one of them, of a.jpg and d.jpg, is below the threshold."""
    configure(verify="candidates")(work_dir)
    names = [f"{work_dir.parent}/photos/{name}" for name in ("a.jpg", "b, copy.jpg", "c.jpg", 'd"\n.jpg')]
    digest = pq.read_table(work_dir / "images.parquet")["sha256"].to_pylist()
    rows = []
    for first, second, relation in ((0, 2, "cropped"), (0, 3, "padded"), (3, 4, "same")):
        a, b = sorted((first, second), key=lambda row: digest[row])
        evidence = {"relation": relation, "cover_from": 0.5, "cover_to": 0.5, "difference": 0.25}
        places = dict.fromkeys(("left", "top", "right", "bottom", "m00", "m01", "m02", "m10", "m11", "m12"), 0.5)
        ends = {"from": a, "to": b, "similarity": float(features()[a] @ features()[b])}
        losses = {"lost_from": None, "lost_to": "noise" if relation == "same" else None}
        rows.append(ends | evidence | places | {"contents": f"recipe {digest[a][:32]} {digest[b][:32]}"} | losses)
    pq.write_table(
        pa.Table.from_pylist(sorted(rows, key=lambda row: (row["from"], row["to"]))),
        work_dir / "verified_pairs.parquet",
    )
    header = "from,to,distance,relation,cover_from,cover_to,difference"
    told = [(names[0], names[3], "0.500000", "padded", "0.500000", "0.500000", "0.250000")]
    write_csv(work_dir / "verified_pairs.csv", header, told)
    known = {(0, 2): "cropped", (1, 2): "cropped", (3, 4): "same"}
    pairs = [(0, 1), (1, 0), (0, 2), (1, 2), (2, 0), (2, 1), (3, 4), (4, 3)]
    relations = [known.get((min(pair), max(pair)), "same") for pair in pairs]
    same = [{*pair} == {0, 1} for pair in pairs]
    columns = {
        "relation": relations,
        **{f"cover_{end}": [1.0 if equal else 0.5 for equal in same] for end in ("from", "to")},
        "difference": [0.0 if equal else 0.25 for equal in same],
    }
    table = pq.read_table(work_dir / "similarity.parquet")
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, work_dir / "similarity.parquet")
    summary = json.loads((work_dir / "summary.json").read_text())
    counts = {"verified": {"cropped": 1, "padded": 1, "same": 1}}
    (work_dir / "summary.json").write_text(json.dumps(summary | counts))
    return work_dir


def replace(name: str, old: str, new: str):
    """A damage: in file `name`, the first `old` becomes `new`."""

    def damage(out: Path) -> None:
        data = (out / name).read_bytes()
        assert old.encode() in data
        (out / name).write_bytes(data.replace(old.encode(), new.encode(), 1))

    return damage


def claimed_pixels(out: Path) -> None:
    """Two pictures that are said to show the same, and do not."""
    with open(out / "features.dat.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        names = [row[1] for row in csv.reader(file)][1:4]
    for name, colour in zip(names[1:], ("red", "blue"), strict=True):
        Image.new("RGB", (4, 3), colour).save(name, "PNG")
    with open(out / "exact_copies.csv", "a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow([names[2], names[1], "pixels"])


def change_lines(name: str, change):
    """A damage: the list of lines of file `name`, header first, through `change`."""

    def damage(out: Path) -> None:
        lines = (out / name).read_bytes().splitlines(keepends=True)
        (out / name).write_bytes(b"".join(change(lines)))

    return damage


def change_rows(change):
    def damage(out: Path) -> None:
        rows = features()
        change(rows)
        rows.tofile(out / "features.dat")

    return damage


def change_column(name: str, column: str, row: int, value):
    """A damage: one cell of a parquet file."""

    def damage(out: Path) -> None:
        table = pq.read_table(out / name)
        values = table[column].to_pylist()
        values[row] = value
        place = table.column_names.index(column)
        pq.write_table(table.set_column(place, column, pa.array(values, table[column].type)), out / name)

    return damage


def configure(**changes):
    return lambda out: (out / "config.json").write_text(json.dumps(CONFIG | changes))


def not_in_index(out: Path) -> None:
    index = faiss.IndexFlatIP(576)
    index.add(features()[::-1].copy())
    faiss.write_index(index, str(out / "faiss.index"))


def lose_recall(out: Path) -> None:
    index = faiss.IndexHNSWFlat(576, 32, faiss.METRIC_INNER_PRODUCT)
    index.add(features())
    faiss.write_index(index, str(out / "faiss.index"))
    configure(faiss_mode="HNSW32")(out)
    change_lines("similarity.csv", lambda lines: [lines[0], *lines[3:]])(out)


def add_shards(out: Path) -> None:
    (out / "shards").mkdir()


def test_a_consistent_work_dir_has_no_problem(work_dir: Path):
    assert check(work_dir) == []
    assert check(work_dir, work_dir.parent / "photos") == []


@pytest.mark.parametrize("provider", [{"nn_provider": "turi"}, {"faiss_mode": "HNSW32"}, {"faiss_mode": None}])
def test_other_searches(work_dir: Path, provider: dict):
    configure(**provider)(work_dir)
    assert check(work_dir) == []


def test_without_components(work_dir: Path):
    configure(run_cc=False)(work_dir)
    for name in ("connected_components.csv", "components_info.csv", "components.parquet"):
        (work_dir / name).unlink()
    assert check(work_dir) == []


CELL = "connected_components.csv"
INFO = "components_info.csv"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda out: (out / "outliers.csv").unlink(), "outliers.csv: missing"),
        (lambda out: shutil.rmtree(out / "report"), "report/index.html: missing"),
        (add_shards, "shards: still there"),
        (lambda out: (out / ".tmp-1-features.dat").touch(), "temporary"),
        (configure(run_cc=False), "in spite of run_cc=0"),
        (lambda out: (out / "config.json").write_text("{"), "JSONDecodeError"),
        (change_rows(lambda rows: rows.__imul__(2)), "unit length"),
        (change_rows(lambda rows: rows[3].fill(np.nan)), "unit length"),
        (lambda out: (out / "features.dat").write_bytes(bytes(100)), "not 6 rows of float32"),
        (lambda out: features()[:, :500].copy().tofile(out / "features.dat"), "rows of 500 numbers"),
        (replace("features.dat.csv", "index,filename", "index,name"), "header"),
        (replace("features.dat.csv", "0,/", "0,x,/"), "3 columns, not 2"),
        (replace("features.dat.csv", "\n1,", "\n7,"), "indices out of place"),
        (replace("features.dat.csv", "0,/", "0,"), "neither an absolute path"),
        (replace("features.dat.csv", "\n", "\r\n"), "not RFC 4180"),
        (replace("features.dat.csv", '"', ""), "features.dat.csv: not RFC 4180"),
        (replace("features.bad.csv", "ZERO_SIZE", "EMPTY"), "unknown codes"),
        (replace("features.dat.bad", "empty", "Empty"), "differs from features.bad.csv"),
        (replace("features.bad.csv", "broken.jpg", "c.jpg"), "good as well"),
        (replace("features.bad.csv", "The file is empty.", ""), "not one line of reason"),
        (replace("similarity.csv", "c.jpg", "x.jpg"), "names that are not in features.dat.csv"),
        (replace("similarity.csv", "0.970000", "0.97"), "6 decimals"),
        (replace("similarity.csv", "0.970000", "0.970900"), "not those of the rows"),
        (change_lines("similarity.csv", lambda lines: [lines[0], lines[2], lines[1], *lines[3:]]), "out of order"),
        (change_lines("similarity.csv", lambda lines: [*lines[:2], *lines[1:]]), "stand there twice"),
        (change_lines("similarity.csv", lambda lines: lines[:4] + lines[5:]), "not the closest neighbours"),
        (configure(threshold=0.9), "not above 0.9"),
        (configure(threshold=0.4), "not the closest neighbours"),
        (lose_recall, "recall 0.750"),
        (configure(nearest_neighbors_k=1), "more than 1 neighbours"),
        (configure(lower_threshold=0.1), "not below 0.1"),
        (change_lines("outliers.csv", lambda lines: lines[:1]), "outliers that are not there"),
        (configure(distance="euclidean"), "not those of the rows"),
        (replace(CELL, "\n2,0,", "\n2,4,"), "two components"),
        (replace(CELL, "\n3,1,", "\n3,2,"), "the edges make 4"),
        (replace(CELL, "\n3,1,", "\n3,5,"), "by first image"),
        (replace(CELL, "\n5,", "\n6,"), "not one row for each image"),
        (replace(CELL, ",2,3,0.97", ",2,2,0.97"), "count is not"),
        (replace(CELL, ",2,3,0.97", ",1,3,0.97"), "degree is not"),
        (replace(CELL, "0.970000", "0.980000"), "min_distance"),
        (replace(CELL, "1.400000", "2.400000"), "pagerank has mean"),
        (configure(run_pagerank=False), "pagerank is not empty"),
        (configure(run_degree=False), "degree is not empty"),
        (replace(INFO, "\n0,3,", "\n0,4,"), "ids and counts"),
        (change_lines(INFO, lambda lines: [lines[0], *lines[:0:-1]]), "largest first"),
        (replace(INFO, "\n1,1,,", "\n1,1,0.5,"), "single image"),
        (replace(INFO, "0.980000", "0.960000"), "min <= mean <= max"),
        (replace(INFO, "0.980000,0.970000", "0.980000,0.965000"), "do not fit the edges"),
        (change_column("manifest.parquet", "sha256", 0, "0" * 64), "sha256 is not that of the file"),
        (change_column("manifest.parquet", "sha256", 4, hashlib.sha256(b"same").hexdigest()), "two components"),
        (change_column("manifest.parquet", "first_row", 1, 2), "do not fit features.dat.csv"),
        (change_column("manifest.parquet", "rows", 6, 1), "neither good nor bad"),
        (change_column("manifest.parquet", "fps", 1, 1.0), "do not fit features.dat.csv"),
        (change_column("manifest.parquet", "fps", 1, 1.0), "images.parquet: sha256"),
        (change_column("manifest.parquet", "error_code", 6, "CORRUPT"), "bad entries are not"),
        (change_column("manifest.parquet", "width", 2, None), "good without width"),
        (change_column("images.parquet", "filename", 4, "x"), "images.parquet: index and filename"),
        (change_column("images.parquet", "height", 4, 9), "images.parquet: height"),
        (change_column("manifest.parquet", "brightness", 2, 256.0), "impossible brightness"),
        (change_column("manifest.parquet", "blur", 2, float("nan")), "impossible blur"),
        (change_column("manifest.parquet", "unique_colors", 2, 0), "impossible unique_colors"),
        (change_column("manifest.parquet", "contrast", 6, 1.0), "bad with contrast"),
        (change_column("manifest.parquet", "unseen", 2, "much"), "impossible unseen"),
        (change_column("manifest.parquet", "unseen", 6, ""), "bad with unseen"),
        (change_column("manifest.parquet", "taken", 0, "2019:05:04 12:30:00"), "impossible taken"),
        (change_column("manifest.parquet", "taken", 6, "2019-05-04 12:30:00"), "bad with taken"),
        (change_column("similarity.parquet", "to", 1, "x"), "similarity.parquet: names"),
        (change_column("similarity.parquet", "distance", 1, 0.99), "similarity.parquet: distances"),
        (change_column("components.parquet", "degree", 1, 7), "components.parquet: degree"),
        (replace("summary.json", '"bad": 1', '"bad": 2'), "counts.bad is 2"),
        (replace("summary.json", '"to_review": 1', '"to_review": 0'), "contradict each other"),
        (replace("summary.json", '"duplicates": 2', '"duplicates": 0'), "less than the exact copies"),
        (replace("summary.json", '"pairs"', '"edges"'), "counts.pairs is None"),
        (replace("exact_copies.csv", ",bytes", ",pixels"), "not the 1 files with the bytes"),
        (replace("exact_copies.csv", ",bytes", ",looks"), "unknown kinds"),
        (change_lines("exact_copies.csv", lambda lines: lines[:1]), "not the 1 files with the bytes"),
        (change_lines("exact_copies.csv", lambda lines: [*lines, lines[1]]), "or twice"),
        (replace("summary.json", '"same_pixels": 0', '"same_pixels": 1'), "counts.same_pixels is 1"),
        (claimed_pixels, "other pixels"),
        (not_in_index, "faiss.index: rows are not"),
        (lambda out: faiss.write_index(faiss.IndexFlatIP(576), str(out / "faiss.index")), "faiss.index: 0 rows"),
        (replace("report/index.html", "<p>", '<script src="https://example.org/x.js"></script>'), "from the network"),
        (replace("report/index.html", "<p>", '<link rel="icon" href="//example.org/x.png">'), "from the network"),
        (replace("report/index.html", "<p>", '<p style="background: url(http://example.org/)">'), "from the network"),
        (replace("report/index.html", "&lt;b&gt;", "<b>"), "not escaped"),
    ],
)
def test_a_fault_is_named(work_dir: Path, damage, expected: str):
    damage(work_dir)
    assert expected in "\n".join(check(work_dir))


def test_consistent_changes_have_no_problem(incremental: Path):
    assert check(incremental) == []


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda out: (out / "changes.csv").unlink(), "changes.csv"),
        (replace("changes.csv", "image_added", "image_made"), "unknown changes"),
        (replace("changes.csv", "image_added", "image_changed"), "changes.images_added is 1, changes.csv has 0"),
        (replace("changes.csv", "old.jpg", "a.jpg"), "removed, and in features.dat.csv"),
        (replace("changes.csv", "c.jpg", "x.jpg"), "names that are not in features.dat.csv"),
        (replace("changes.csv", "0.970000", "0.960000"), "not a pair of similarity.csv"),
        (change_lines("changes.csv", lambda lines: [*lines[:3], *lines[4:]]), "pairs of a new picture"),
        (change_lines("changes.csv", lambda lines: [*lines[:4], *lines[3:]]), "stands there twice"),
        (replace("changes.csv", "group_grew,0", "group_grew,1"), "group_grew: not of that component"),
        (replace("changes.csv", "group_grew", "group_new"), "not all of its members"),
        (replace("changes.csv", "group_grew", "group_shrank"), "still of that component"),
    ],
)
def test_a_fault_in_the_changes_is_named(incremental: Path, damage, expected: str):
    damage(incremental)
    assert expected in "\n".join(check(incremental))


def test_consistent_verified_pairs_have_no_problem(verified: Path):
    assert check(verified) == []


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (configure(), "in spite of verify=off"),
        (lambda out: (out / "verified_pairs.csv").unlink(), "verified_pairs.csv"),
        (change_column("verified_pairs.parquet", "relation", 0, "alike"), "unknown relations"),
        (change_column("verified_pairs.parquet", "relation", 0, "unsure"), "verified_pairs.parquet has {"),
        (change_column("verified_pairs.parquet", "similarity", 0, 0.7), "similarities are not those of the rows"),
        (change_column("verified_pairs.parquet", "cover_to", 0, 1.5), "cover_to not from 0 to 1"),
        (change_column("verified_pairs.parquet", "from", 0, 1), "not the first with its bytes"),
        (change_column("verified_pairs.parquet", "lost_to", 0, "weight"), "lost_to is unknown"),
        (change_column("verified_pairs.parquet", "lost_to", 0, "noise"), "though they are not the same"),
        (change_column("verified_pairs.parquet", "contents", 0, "x y"), "contents are not the beginnings"),
        (change_column("similarity.parquet", "relation", 2, "same"), "relations are not those of verified_pairs"),
        (change_column("similarity.parquet", "relation", 2, None), "similarity.parquet: not compared"),
        (change_lines("verified_pairs.csv", lambda lines: lines[:1]), "not the 1 confirmed pairs"),
        (replace("verified_pairs.csv", "padded", "cropped"), "the relation of (0, 3)"),
        (replace("verified_pairs.csv", "0.500000,padded", "0.600000,padded"), "distances are not those of the rows"),
    ],
)
def test_a_fault_in_the_verified_pairs_is_named(verified: Path, damage, expected: str):
    damage(verified)
    assert expected in "\n".join(check(verified))


def test_a_picture_of_the_input_that_was_forgotten(work_dir: Path):
    photos = work_dir.parent / "photos"
    (photos / "new.png").write_bytes(b"new")
    assert "new.png" in "\n".join(check(work_dir, photos))
