"""changes.csv of an incremental run, as far as what the run itself left can confirm it."""

from collections import Counter
from collections.abc import Iterator

from .checks import some
from .run import Run

CHANGES = ("change", "component_id", "from", "to", "distance")
COUNTED = {
    "image_added": "images_added",
    "image_changed": "images_changed",
    "image_removed": "images_removed",
    "new_pair": "new_pairs",
}
GROUPS = {"group_new": "groups_new", "group_grew": "groups_grew", "group_shrank": "groups_shrank"}
GROUPS |= {"group_gone": "groups_gone"}
LEFT = ("image_removed", "group_shrank", "group_gone")
"""Changes whose pictures may be there no more."""


def check_changes(run: Run) -> Iterator[str]:
    told = run.summary.get("changes")
    if told is None:
        return
    file, rows = "changes.csv", run.csv("changes.csv", CHANGES)
    kinds = {kind: [row for row in rows if row[0] == kind] for kind in (*COUNTED, *GROUPS)}
    yield from some(file, "unknown changes", {row[0] for row in rows} - {*kinds})
    counts = {name: len(kinds[kind]) for kind, name in COUNTED.items()}
    counts |= {name: len({row[1] for row in kinds[kind]}) for kind, name in GROUPS.items()}
    for name, count in counts.items():
        if told.get(name) != count:
            yield f"summary.json: changes.{name} is {told.get(name)}, {file} has {count}"
    unknown = [row for row in rows if row[0] not in LEFT and row[2] not in run.row_of]
    yield from some(file, "names that are not in features.dat.csv", unknown)
    there = [row[2] for row in kinds["image_removed"] if row[2] in run.row_of]
    yield from some(file, "removed, and in features.dat.csv", there)
    yield from _pairs(run, kinds)
    if run.config["run_cc"]:
        yield from _groups(run, kinds)


def _pairs(run: Run, kinds: dict[str, list[list[str]]]) -> Iterator[str]:
    file = "changes.csv"
    value = dict(zip(run.similar.names, run.similar.text, strict=True))
    new = {frozenset(row[2:4]) for row in kinds["new_pair"]}
    if len(new) < len(kinds["new_pair"]):
        yield f"{file}: a pair stands there twice, whichever of the two is first"
    yield from some(
        file, "not a pair of similarity.csv", [r for r in kinds["new_pair"] if value.get((r[2], r[3])) != r[4]]
    )
    fresh = {row[2] for kind in ("image_added", "image_changed") for row in kinds[kind]}
    missing = [pair for pair in run.similar.names if fresh.intersection(pair) and frozenset(pair) not in new]
    yield from some(file, "pairs of a new picture that are not there", missing)


def _groups(run: Run, kinds: dict[str, list[list[str]]]) -> Iterator[str]:
    file = "changes.csv"
    of = {name: str(run.component_id[row]) for name, row in run.row_of.items()}
    size = Counter(of.values())
    for kind in ("group_new", "group_grew"):
        strange = [row for row in kinds[kind] if of.get(row[2]) != row[1] or size[row[1]] < 2]
        yield from some(file, f"{kind}: not of that component", strange)
    whole = Counter(row[1] for row in kinds["group_new"])
    yield from some(file, "group_new: not all of its members", [i for i, count in whole.items() if count != size[i]])
    stayed = [row for row in kinds["group_shrank"] if of.get(row[2]) == row[1]]
    yield from some(file, "group_shrank: still of that component", stayed)
