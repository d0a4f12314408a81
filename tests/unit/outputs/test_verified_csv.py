"""verified_pairs.csv is sorted in limited memory as in memory."""

import csv
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from fastdup_ray.analysis import sorting
from fastdup_ray.analysis.verified_pairs import VERIFIED, VerifiedPairs
from fastdup_ray.common import layout
from fastdup_ray.inputs.manifest import ENTRIES
from fastdup_ray.outputs.images import Images
from fastdup_ray.outputs.verified_csv import write_verified_csv
from fastdup_ray.storage import open_store
from fastdup_ray.storage.tables import encode_names

THRESHOLD = 0.85


@pytest.mark.parametrize("numbers", [1, 7, 1 << 20])
@pytest.mark.parametrize("in_order", [True, False])
def test_the_most_similar_come_first_and_then_the_first_by_name(tmp_path, monkeypatch, numbers, in_order):
    monkeypatch.setattr(sorting, "NUMBERS_PER_RUN", numbers)
    monkeypatch.setattr(sorting, "NUMBERS_PER_BLOCK", numbers)
    drawn = np.random.default_rng(0)
    names = [f"{number:02}.jpg" for number in range(20)]
    names = names if in_order else drawn.permutation(names).tolist()
    ends = np.array([pair if drawn.random() < 0.5 else pair[::-1] for pair in combinations(range(len(names)), 2)])
    similarity = drawn.choice([0.7, 0.700001, THRESHOLD, 0.9], len(ends))
    relation = drawn.choice(["same", "cropped", "different", "unsure"], len(ends))
    nulls = pa.nulls(len(ends), pa.float64())
    columns = {"from": ends[:, 0], "to": ends[:, 1], "similarity": similarity, "relation": relation.tolist()}
    columns |= {"contents": pa.nulls(len(ends), pa.large_string()).fill_null("")}
    table = pa.table([columns.get(field.name, nulls.cast(field.type)) for field in VERIFIED.schema], VERIFIED.schema)
    table = table.sort_by([("from", "ascending"), ("to", "ascending")])
    each = np.arange(len(names))
    entries = pa.table({field.name: pa.nulls(len(names), field.type) for field in ENTRIES}, ENTRIES)
    features = drawn.standard_normal((len(names), 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)

    store = open_store(tmp_path)
    verified = VerifiedPairs(table, each, each)
    write_verified_csv(store, Images(encode_names(names), entries), features, "cosine", verified, THRESHOLD)

    expected = [
        (-pair["similarity"], *sorted([names[pair["from"]], names[pair["to"]]]), pair["relation"])
        for pair in table.to_pylist()
        if pair["similarity"] <= THRESHOLD and pair["relation"] in ("same", "cropped")
    ]
    with open(tmp_path / layout.VERIFIED_CSV, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["from"], row["to"], row["relation"]) for row in rows] == [row[1:] for row in sorted(expected)]
    row = rows[0]
    cosine = features[names.index(row["from"])] @ features[names.index(row["to"])]
    assert float(row["distance"]) == pytest.approx(cosine, abs=1e-6)
