"""`fastdup_ray.v1`: a notebook that was written for the object API of fastdup runs."""

import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

import fastdup_ray
import fastdup_ray.v1 as fastdup
from fastdup_ray.errors import ConfigError, InputError
from tests.helpers.boxes import CAT, COFFEE, COPY, make_coco, save_json, save_photos
from tests.helpers.runs import PHOTOS

INLINE = {"executor": "inline", "report": False}


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> fastdup.Analysis:
    work_dir = tmp_path_factory.mktemp("v1") / "out"
    made = fastdup.create(work_dir=work_dir, input_dir=PHOTOS)
    made.run(overwrite=True, license="none needed", **INLINE)
    return made


def test_each_image_and_each_unreadable_file_has_an_index(analysis):
    counts = analysis.result.counts
    images, bad = analysis.annotations(), analysis.invalid_instances()
    assert list(images["index"]) == list(range(counts["images"]))
    assert list(bad["index"]) == list(range(counts["images"], counts["images"] + counts["bad"]))
    assert images["is_valid"].all()
    assert not bad["is_valid"].any()
    assert set(images["error_code"]) == {"VALID"}
    assert dict(zip(bad["filename"], bad["error_code"], strict=True)) == dict(
        zip(*(analysis.result.bad[name].to_pylist() for name in ("filename", "error_code")), strict=True)
    )
    assert len(analysis.annotations(valid_only=False)) == counts["entries"]
    assert analysis[3]["filename"] == images["filename"][3]


@pytest.mark.parametrize(
    ("method", "ends", "table"),
    [("similarity", ("from", "to"), "similarity"), ("outliers", ("outlier", "nearest"), "outliers")],
)
def test_pairs_are_those_of_the_run_by_index_and_by_name(analysis, method, ends, table):
    found, pairs = getattr(analysis, method)(), getattr(analysis.result, table).to_pandas()
    names = analysis.annotations()["filename"]
    for end, column in zip(ends, ("from", "to"), strict=True):
        assert list(found[f"filename_{end}"]) == list(pairs[column]) == list(names[found[end]])
    assert list(found["distance"]) == list(pairs["distance"])
    assert not any("filename" in name for name in getattr(analysis, method)(data=False))


def test_groups_have_their_images(analysis):
    members, groups = analysis.connected_components()
    grouped = analysis.connected_components_grouped()
    assert len(groups) == len(grouped) == analysis.result.counts["components"]
    assert groups["count"].sum() == len(members) == grouped["len"].sum()
    assert list(grouped["len"]) == sorted(grouped["len"], reverse=True)
    row = grouped.iloc[0]
    assert row["files"] == list(analysis.annotations()["filename"][row["files_ids"]])
    assert set(members[members["component_id"] == row["component_id"]]["filename"]) == set(row["files"])
    lowest = analysis.connected_components_grouped("distance", ascending=True)["distance"]
    assert list(lowest) == sorted(lowest)


def test_statistics_and_embeddings_are_in_the_order_of_the_images(analysis):
    statistics = analysis.img_stats()
    names, embeddings = analysis.embeddings()
    assert {"img_w", "img_h", "unique", "blur", "mean", "stdv", "file_size"} <= set(statistics)
    assert list(statistics["filename"]) == names == list(analysis.annotations()["filename"])
    assert embeddings.shape == (len(names), 576)
    assert [Path(name).stat().st_size for name in names] == list(statistics["file_size"])


def test_an_image_is_its_own_nearest_neighbor(analysis):
    name = analysis.annotations()["filename"][0]
    found = analysis.search(name, k=3)
    assert list(found.columns) == ["from", "to", "distance"]
    assert found["to"][0] == name
    assert found["distance"][0] == pytest.approx(1)


def test_annotations_choose_the_images_and_stand_beside_the_results(tmp_path):
    shutil.copytree(PHOTOS / "originals", tmp_path / "in")
    names = sorted(path.name for path in (tmp_path / "in").iterdir())[:6]
    table = pd.DataFrame({"filename": names, "label": ["a", "b", "a", "b", "a", None], "split": "train"})
    table.to_csv(tmp_path / "annotations.csv", index=False)
    made = fastdup.create(tmp_path / "out", tmp_path / "in")
    for annotations in (table, tmp_path / "annotations.csv"):
        made.run(annotations=annotations, **INLINE)
        images = made.annotations()
        assert [Path(name).name for name in images["filename"]] == names
        assert list(images["label"].fillna("")) == ["a", "b", "a", "b", "a", ""]
        assert set(images["split"]) == {"train"}
    assert "label" in fastdup.create(tmp_path / "out").annotations()


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"high_accuracy": True}, ConfigError),
        ({"outlier_percentile": 0.1}, ConfigError),
        ({"no_such": 1}, ConfigError),
        ({"annotations": pd.DataFrame({"name": ["a.jpg"], "other": [1]})}, InputError),
        ({"annotations": pd.DataFrame({"filename": ["a.jpg"], "col_x": [1]})}, ConfigError),
        ({"annotations": pd.DataFrame({"filename": ["a.jpg"], "rotated_bbox": ["1"]})}, ConfigError),
        ({"annotations": "missing.csv"}, InputError),
    ],
)
def test_what_is_not_here_is_refused_before_any_work(tmp_path, parameters, error):
    with pytest.raises(error):
        fastdup.create(tmp_path / "out", PHOTOS).run(**parameters)
    assert not (tmp_path / "out").exists()


def test_a_method_that_is_not_here_says_what_to_use(analysis):
    with pytest.raises(AttributeError, match="serve"):
        analysis.explore()
    assert not hasattr(analysis, "no_such")


def test_results_need_a_finished_run(tmp_path):
    with pytest.raises(InputError):
        fastdup.create(tmp_path / "none").similarity()


def test_the_functions_of_the_package_are_here_as_well():
    assert fastdup.run is fastdup_ray.run
    assert fastdup.load_binary_feature is fastdup_ray.load_binary_feature
    assert fastdup.create_kmeans_clusters_gallery is fastdup_ray.create_clusters_gallery


CELLS = (
    "import fastdup_ray.v1 as fastdup",
    "fd = fastdup.create(work_dir='work', input_dir='photos')\nfd.run(ccthreshold=0.9, threshold=0.8, overwrite=True)",
    "fd.summary()",
    "fd.invalid_instances()",
    "similarity = fd.similarity()\nsimilarity[similarity.distance > 0.98]",
    "df, info = fd.connected_components()\ndf.groupby('component_id').size()",
    "fd.connected_components_grouped(sort_by='comp_size')",
    "fd.outliers().iloc[0].filename_outlier",
    "stats = fd.img_stats()\nstats[stats.blur < 50]",
    "names, vectors = fd.embeddings()",
    "fd.vis.duplicates_gallery(num_images=5)",
    "fd.vis.outliers_gallery()",
    "fd.vis.component_gallery()",
    "fd.vis.similarity_gallery()",
    *(f"fd.vis.stats_gallery(metric={metric!r})" for metric in ("dark", "bright", "blur")),
)


@pytest.mark.slow
def test_a_notebook_for_the_object_api_runs(tmp_path):
    shutil.copytree(PHOTOS, tmp_path / "photos")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pages = [cell for cell in notebook.cells if ".vis." in cell.source]
    assert all(
        any("iframe" in output.get("data", {}).get("text/html", "") for output in cell.outputs) for cell in pages
    )
    written = {path.name for path in (tmp_path / "work" / "galleries").iterdir()}
    names = ("duplicates", "outliers", "components", "similarity", "dark", "bright", "blur")
    assert written == {f"{name}.html" for name in names}


def test_boxes_are_images(tmp_path):
    folder = save_photos(tmp_path / "in")
    boxes = pd.DataFrame(
        {
            "filename": [CAT, COPY, COFFEE, COFFEE],
            "col_x": [100, 100, 100, None],
            "row_y": [30, 30, 100, None],
            "width": [181, 181, 200, None],
            "height": [151, 151, 120, None],
            "label": ["cat", "dog", "cup", None],
            "annotator": ["x", "y", "z", "z"],
        }
    )
    fd = fastdup.create(tmp_path / "out", folder)
    fd.run(annotations=boxes, **INLINE)
    found = fd.annotations()
    assert sorted(found["filename"]) == sorted(
        [f"{folder}/{name}#xywh=100,30,181,151" for name in (CAT, COPY)] + [f"{folder}/{COFFEE}#xywh=100,100,200,120"]
    )
    of_box = found.set_index("filename").loc[f"{folder}/{COPY}#xywh=100,30,181,151"]
    assert (of_box["label"], of_box["annotator"], of_box["img_filename"]) == ("dog", "y", f"{folder}/{COPY}")
    pairs = fd.similarity()
    assert {("cat", "dog"), ("dog", "cat")} <= set(zip(pairs["label_from"], pairs["label_to"], strict=True))
    coco = save_json(tmp_path / "coco.json", make_coco([(CAT, [100, 30, 181, 151], "cat"), (CAT, [0, 0, 50, 50], "x")]))
    fd.run(annotations=coco, overwrite=True, **INLINE)
    assert list(fd.annotations()["label"]) == ["cat", "x"]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "cat.txt").write_text("3 0.5 0.5 0.5 0.5\n")
    fd = fastdup.create(tmp_path / "yolo", folder)
    fd.run(annotations=tmp_path / "labels", **INLINE)
    assert list(fd.annotations()["label"]) == ["3"]
