"""Writes results.ipynb and executes it: `python -m tests.data.make_notebook`. Needs the extra `test`."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

FOLDER = Path(__file__).parent
NOTEBOOK = FOLDER / "results.ipynb"

CELLS = (
    """# What a run hands back
Finds the duplicates among the images beside this notebook, and looks at the results as tables.""",
    """import os
from pathlib import Path
from tempfile import mkdtemp

import fastdup_ray as fastdup

photos = Path("photos").resolve()
os.chdir(mkdtemp())  # all that this notebook writes goes there
result = fastdup.deduplicate(photos, work_dir="out", executor="inline")
result""",
    """One row for each duplicate: the image that it repeats, and how. `plan` suggests to drop those that are safe to
drop; the others need an eye.""",
    """def shorten(table, *columns):
    frame = table.to_pandas()
    for column in columns:
        frame[column] = frame[column].map(lambda path: Path(path).name)
    return frame

shorten(result.duplicates, "filename", "keeper").drop(columns="similarity")""",
    "Their groups, the largest first:",
    """result.groups.to_pandas().drop(columns="lowest_similarity")""",
    """Any image can be looked up in a finished run. `verify=True` compares what is found in full detail.""",
    """shorten(result.search(photos / "phone" / "IMG_0005.jpg", k=3, verify=True), "filename").round(1)""",
    """One row for each image: its size, its statistics, what it is a duplicate of, and its group. `to_arrow()` is the
same without pandas.""",
    """images = result.to_pandas()
images["name"] = images["filename"].map(lambda path: Path(path).name)
images[["name", "width", "height", "format", "blur", "copy_kind", "component_id", "count"]].head()""",
    "What could not be used, and why:",
    """shorten(result.bad, "filename")""",
    """Every table is an Arrow table, for polars, duckdb and the like: `similarity`, `outliers`, `components`,
`exact_copies`, `bad`, `images`.""",
    "result.similarity.schema",
    "What is left without the duplicates, as a list that another run takes; and the same in FiftyOne's format.",
    """keep, samples = (fastdup.export("out", format) for format in ("keep-list", "fiftyone"))
f"{keep.count} of {result.counts['images']} images to keep, {samples.count} samples\"""",
    "A finished run is opened again at any time:",
    """fastdup.RunResult.open("out").counts == result.counts""",
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
