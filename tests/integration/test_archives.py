"""Runs on archives."""

import hashlib
from pathlib import Path

from tests.helpers.archives import KINDS, pack
from tests.helpers.images import cloudy, encode, save_cloudy
from tests.helpers.runs import csv_rows, run_inline


def test_a_run_over_archives_is_that_over_their_files(tmp_path):
    paths = save_cloudy(tmp_path / "plain", 6)
    for kind in (".tgz", ".zip"):
        pack(tmp_path / f"a{kind}", {path.name: path.read_bytes() for path in paths})
    plain = run_inline(tmp_path / "plain", tmp_path / "out-plain")
    features = (tmp_path / "out-plain" / "features.dat").read_bytes()
    for kind in (".tgz", ".zip"):
        out = tmp_path / f"out{kind}"
        run_inline(tmp_path / f"a{kind}", out, shard_size=2)
        assert (out / "features.dat").read_bytes() == features
        rows = csv_rows(out / "features.dat.csv")[1:]
        assert [name for _, name in rows] == [f"{tmp_path}/a{kind}!/{path.name}" for path in paths]
        assert "does not exist" not in (out / "report" / "index.html").read_text()
        again = run_inline(tmp_path / f"a{kind}", out)
        assert again.summary["read"] == 0
    digests = plain.images["sha256"].to_pylist()
    assert digests == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    both = run_inline([str(tmp_path / "plain"), str(tmp_path / "a.zip")], tmp_path / "both")
    assert both.counts["exact_copies"] == 6


def test_a_run_over_damaged_archives_tells_of_each_and_goes_on(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    jpegs = {f"{seed}.jpg": encode(cloudy(seed), "JPEG") for seed in range(3)}
    for kind in KINDS:
        data = pack(folder / f"a{kind}", jpegs).read_bytes()
        (folder / f"a{kind}").write_bytes(data[: len(data) // 3])
    save_cloudy(folder, 1)
    result = run_inline(folder, tmp_path / "out")
    bad = {row[0]: row[1] for row in csv_rows(tmp_path / "out" / "features.bad.csv")[1:]}
    assert {str(folder / f"a{kind}") for kind in KINDS} <= bad.keys()
    assert result.counts["images"] >= 1
    again = run_inline(folder, tmp_path / "out")
    assert again.counts == result.counts


def test_a_gallery_shows_members_of_archives(tmp_path):
    from fastdup_ray import create_duplicates_gallery

    data = encode(cloudy(0), "JPEG")
    pack(tmp_path / "a.zip", {"x.jpg": data, "y.jpg": data})
    run_inline(tmp_path / "a.zip", tmp_path / "out", report=False)
    page = Path(create_duplicates_gallery(tmp_path / "out" / "similarity.csv")).read_text()
    assert page.count("data:image/") == 2
