"""The memory that commands on a finished run take for each of its images.

python -m tests.bench.command_memory [--rows 200000 400000] [--commands serve export-coco …] [--scratch DIR]

The run is planted, see `tests.bench.outputs`: four in five images are in a group. No file of it exists, so pages have
no thumbnails. `apply`, `undo` and `serve-plan` have a plan with a row for each image, which drops every second one:
`apply` refuses each move, `--link` each image, and `undo` finds none of the files that its journal names. Each command
has a separate process.
"""

import argparse
import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from fastdup_ray.common.arrays import split_array
from fastdup_ray.curation.apply import apply_plan
from fastdup_ray.curation.dataset import build_dataset
from fastdup_ray.curation.finished_run import FinishedRun, read_finished_run
from fastdup_ray.curation.journal import Move, Quarantine
from fastdup_ray.curation.make_plan import make_plan
from fastdup_ray.curation.moves import make_identity
from fastdup_ray.curation.plan_file import dump_rows
from fastdup_ray.curation.plan_row import DROP, KEEP, PlanRow
from fastdup_ray.curation.report_service import ReportService
from fastdup_ray.curation.undo import undo
from fastdup_ray.evaluation.evaluate import evaluate
from fastdup_ray.export import FORMATS, export
from fastdup_ray.export.clusters import cluster_images
from fastdup_ray.export.split import split_dataset
from fastdup_ray.export.subset import select_subset
from fastdup_ray.outputs.changes import set_earlier_aside, write_changes
from fastdup_ray.report.cluster_gallery import create_clusters_gallery
from fastdup_ray.report.galleries import create_components_gallery, create_duplicates_gallery, create_outliers_gallery
from fastdup_ray.report.image_galleries import create_similarity_gallery, create_stats_gallery
from fastdup_ray.result import RunResult
from fastdup_ray.storage import open_store
from tests.bench.outputs import Watch, measure, prepare

LABELED = 2_000
"""Images of the truth file for `evaluate`, which compares all pairs of these."""


def serve(work_dir: Path) -> None:
    service = ReportService(work_dir)
    service.render_page()
    plan = service.read_plan()
    service.save_plan(plan.file, plan.tag)


def serve_plan(work_dir: Path) -> None:
    shutil.copy(work_dir.parent / "rows.csv", work_dir / "plan.csv")
    try:
        serve(work_dir)
    finally:
        (work_dir / "plan.csv").unlink()


def apply(work_dir: Path) -> None:
    assert apply_plan(work_dir.parent / "rows.csv", work_dir.parent / "quarantine", work_dir=work_dir).refused


def undo_moves(work_dir: Path) -> None:
    assert undo(work_dir.parent / "moved").lost


def link(work_dir: Path) -> None:
    assert build_dataset(work_dir.parent / "rows.csv", work_dir.parent / "clean", "hard", work_dir).refused


def find_changes(work_dir: Path) -> None:
    store = open_store(work_dir)
    set_earlier_aside(store)
    write_changes(store)


def evaluate_some(work_dir: Path) -> None:
    truth = work_dir.parent / "truth.csv"
    rows = [f"/pictures/{row // 1000:06d}/{row:09d}.jpg,{row // 4}" for row in range(LABELED)]
    truth.write_text("\n".join(["path,group", *rows]) + "\n")
    evaluate(work_dir, truth)


COMMANDS: dict[str, Callable[[Path], object]] = {
    "(read)": lambda work_dir: read_finished_run(open_store(work_dir)),
    "duplicates": create_duplicates_gallery,
    "outliers": create_outliers_gallery,
    "components": create_components_gallery,
    "stats": create_stats_gallery,
    "similarity": create_similarity_gallery,
    "clusters": cluster_images,
    "clusters-gallery": create_clusters_gallery,
    "serve": serve,
    "serve-plan": serve_plan,
    **{f"export-{name}": lambda work_dir, name=name: export(work_dir, name) for name in FORMATS if name != "yolo"},
    "split": split_dataset,
    "subset": lambda work_dir: select_subset(work_dir, 100),
    "evaluate": evaluate_some,
    **{
        f"result.{name}": lambda work_dir, name=name: getattr(RunResult.open(work_dir), name)
        for name in ("images", "similarity", "components", "components_info", "exact_copies", "duplicates", "groups")
    },
    "result.to_arrow": lambda work_dir: RunResult.open(work_dir).to_arrow(),
    "changes": find_changes,
    "plan": lambda work_dir: make_plan(work_dir, work_dir.parent / "plan.csv"),
    "apply": apply,
    "apply-link": link,
    "undo": undo_moves,
}


def plant(work_dir: Path, n: int) -> None:
    """Plant a finished run, and beside it plans, and a quarantine with a journal of moves but without files."""
    work_dir.mkdir(parents=True)
    prepare(work_dir, n)
    measure(work_dir, n)
    make_plan(work_dir, work_dir.parent / "plan.csv")
    run, quarantine = read_finished_run(open_store(work_dir)), Quarantine(work_dir.parent / "moved")
    with open(work_dir.parent / "rows.csv", "wb") as file:
        dump_rows(file, plan_all(run), as_json=False)
    dropped = [row for row in plan_all(run) if row.is_dropped]
    quarantine.write(
        [Move(row.filename, quarantine.get_target(row.filename), make_identity(row), row.keeper) for row in dropped]
    )


def plan_all(run: FinishedRun) -> Iterator[PlanRow]:
    """Yield a row for each image of a run; every second one is dropped for the one before."""
    for rows in split_array(np.arange(len(run.names)), 1 << 14):
        for row, facts in zip(rows.tolist(), run.facts(rows), strict=True):
            name, keeper = run.name(row), run.name(row - 1) if row % 2 else ""
            reason = "same image as its keeper, which has more pixels: 480 × 480 against 240 × 240"
            action, similarity = (DROP, 0.998) if keeper else (KEEP, None)
            yield PlanRow(name, action, row // 2, keeper, similarity, "resolution", reason, **facts)


def measure_commands(work_dir: Path, names: Sequence[str]) -> None:
    """Print a line for each command, with its most memory in MB at the end; nothing else runs in this process."""
    watch = Watch()
    for name in names:
        with contextlib.redirect_stdout(io.StringIO()):
            COMMANDS[name](work_dir)
        watch.lap(name)


def run(step: Callable[..., None], *arguments: object) -> str:
    """Run a step in a process of its own; return what it prints."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_capture, (step, *arguments))


def _capture(step: Callable[..., None], *arguments: object) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        step(*arguments)
    return text.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 400_000])
    parser.add_argument("--commands", choices=COMMANDS, nargs="+", default=[*COMMANDS])
    parser.add_argument("--scratch", type=Path, help="a folder for what is made, four kilobytes a row")
    args = parser.parse_args()
    print("command\trows\tseconds\tCPU\tMB\tbytes an image more", flush=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folders = {n: Path(scratch) / str(n) / "out" for n in args.rows}
        for n, work_dir in folders.items():
            run(plant, work_dir, n)
        for name in args.commands:
            before = None
            for n, work_dir in folders.items():
                _, *times, most = run(measure_commands, work_dir, [name]).split()
                more = "" if before is None else f"{1e6 * (int(most) - before[1]) / (n - before[0]):.0f}"
                print(name, f"{n:,}", *times, most, more, sep="\t", flush=True)
                before = n, int(most)


if __name__ == "__main__":
    main()
