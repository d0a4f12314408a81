"""Writes results.ipynb and executes it: `python -m tests.data.make_notebook`. Needs the extra `test`."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

FOLDER = Path(__file__).parent
NOTEBOOK = FOLDER / "results.ipynb"

CELLS = (
    """# What a run hands back
De-duplicates the pictures beside this notebook, and looks at the results as tables.""",
    """from pathlib import Path
from tempfile import mkdtemp

import fastdup_ray as fastdup

work_dir = mkdtemp()
config = fastdup.RunConfig.of(input_dir="photos", work_dir=work_dir, executor="inline")
result = fastdup.deduplicate(config)
result.counts""",
    """One row an image: its size, its statistics, what it is a copy of, and its group. `to_arrow()` is the same without
pandas.""",
    """images = result.to_pandas()
images["name"] = images["filename"].map(lambda path: Path(path).name)
images[["name", "width", "height", "format", "blur", "copy_kind", "component_id", "count"]].head()""",
    "The groups of copies, the largest first:",
    """groups = images[images["count"] > 1].groupby("component_id")
names = groups["name"].agg(", ".join).rename("pictures")
sizes = groups["size"].agg(lambda size: size.sum() - size.max()).rename("bytes to reclaim")
names.to_frame().join(sizes).sort_values("bytes to reclaim", ascending=False)""",
    "What could not be used, and why:",
    """bad = result.bad.to_pandas()
bad["filename"] = bad["filename"].map(lambda path: Path(path).name)
bad""",
    """Every table is an Arrow table, for polars, duckdb and the like: `similarity`, `outliers`, `components`,
`exact_copies`, `bad`, `images`.""",
    "result.similarity.schema",
    "What is left without the copies, as a list that another run takes; and the same in FiftyOne's format.",
    """keep, samples = (fastdup.export(work_dir, format) for format in ("keep-list", "fiftyone"))
f"{keep.count} of {result.counts['images']} pictures to keep, {samples.count} samples\"""",
    "A finished run is opened again at any time:",
    """fastdup.RunResult.open(work_dir).counts == result.counts""",
)


def make() -> nbformat.NotebookNode:
    """Not executed."""
    cells = [new_code_cell(text) if place % 2 else new_markdown_cell(text) for place, text in enumerate(CELLS)]
    for place, cell in enumerate(cells):
        cell["id"] = f"cell-{place}"
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """With its outputs; raises `CellExecutionError` where a cell does."""
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]  # progress
    notebook.metadata.pop("language_info", None)
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(make()), NOTEBOOK)
