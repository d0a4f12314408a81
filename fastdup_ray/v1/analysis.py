"""A run and its results as one object, as fastdup 1 and 2 have it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastdup_ray.api import deduplicate
from fastdup_ray.common.arrays import FloatArray
from fastdup_ray.common.locations import is_remote
from fastdup_ray.common.paths import StrPath, accept_paths
from fastdup_ray.errors import ConfigError, InputError
from fastdup_ray.features import load_binary_feature
from fastdup_ray.result import RunResult
from fastdup_ray.v1 import frames
from fastdup_ray.v1.annotation_files import has_boxes, is_of_run, write_boxes, write_labels
from fastdup_ray.v1.galleries import Galleries
from fastdup_ray.v1.unsupported import IGNORED, METHODS, refuse_parameters

if TYPE_CHECKING:
    import pandas as pd

WORK_DIR = "work_dir"
"""Where outputs are written if nothing is said."""


def create(work_dir: StrPath | None = None, input_dir: Any = None) -> "Analysis":
    """Return an analysis of some images.

    Args:
        work_dir: Where outputs are written; default: work_dir. If a run has finished there, its results can be read.
        input_dir: The images, in any form that `fastdup_ray.run` takes.
    """
    return Analysis(work_dir or WORK_DIR, input_dir)


class Analysis:
    """A run, and its results as data frames and galleries.

    An image is named by its path and by its index, which counts the images of the run from 0, and then the unreadable
    files. Methods raise `InputError` before a run has finished.

    Attributes:
        work_dir: Where outputs are written.
        input_dir: The images.
    """

    @accept_paths("work_dir")
    def __init__(self, work_dir: StrPath = WORK_DIR, input_dir: Any = None) -> None:
        self.work_dir, self.input_dir = os.fspath(work_dir), input_dir
        self._annotations: pd.DataFrame | None = None

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            raise AttributeError(f"{name} is not supported: {METHODS[name]}.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def run(
        self,
        input_dir: Any = None,
        annotations: "pd.DataFrame | StrPath | None" = None,
        *,
        subset: Any = None,
        threshold: float = 0.9,
        cc_threshold: float | None = None,
        **parameters: Any,
    ) -> RunResult:
        """Find the duplicates, groups, outliers and unreadable files.

        Embeddings that are in the work_dir are reused, so a run may be repeated at any time.

        Args:
            input_dir: The images; default: those that `create` was given.
            annotations: A data frame, or a CSV, with the column filename, relative to `input_dir`, and possibly label
                and other columns, which the data frames of the results then have. Only these images are used. With the
                columns col_x, row_y, width and height, each row is a box, which is an image of its own. Or the path of
                a COCO file, whose name ends in .json.
            subset: A list of images to use instead of all of `input_dir`.
            threshold: Similarity above which two images are a pair.
            cc_threshold: Similarity above which two images are in one group; default: 0.96.
            **parameters: Any other parameter of `fastdup_ray.run`, such as distance, nearest_neighbors_k, num_images.

        Returns:
            The result, which has more than the methods of this class.

        Raises:
            FastdupError: With one line that says what is wrong; a parameter that is not supported says what to use.
        """
        refuse_parameters(parameters)
        self.input_dir = self.input_dir if input_dir is None else input_dir
        parameters = {name: value for name, value in parameters.items() if name not in IGNORED and value is not None}
        if cc_threshold is not None:
            parameters["ccthreshold"] = cc_threshold
        images, self._annotations = self.input_dir if subset is None else subset, None
        with self._use_annotations(annotations, images) as more:
            result = deduplicate(work_dir=self.work_dir, threshold=threshold, **parameters | more)
        self.__dict__.pop("result", None)
        return result

    @cached_property
    def result(self) -> RunResult:
        """The result of the last run in the work_dir."""
        return RunResult.open(self.work_dir)

    @property
    def config(self) -> dict[str, Any]:
        """The parameters of the last run."""
        return frames.read_parameters(self.result)

    @property
    def vis(self) -> Galleries:
        """Galleries of the results."""
        return Galleries(self.work_dir)

    def summary(self, *, verbose: bool = True) -> list[str]:
        """Return what was found, in sentences, and print them if `verbose`."""
        lines = frames.describe(self.result)
        if verbose:
            print("\n".join(lines))
        return lines

    def annotations(self, *, valid_only: bool = True) -> "pd.DataFrame":
        """Return one row for each image: filename, index, error_code, is_valid, and the columns of the annotations.

        Args:
            valid_only: Leave out unreadable files.
        """
        images = frames.list_images(self.result, self._annotations)
        return images[images["is_valid"]].reset_index(drop=True) if valid_only else images

    def invalid_instances(self) -> "pd.DataFrame":
        """Return one row for each unreadable file: filename, index, error_code, is_valid, message."""
        images = frames.list_images(self.result, self._annotations)
        messages = self.result.bad.select(["filename", "message"]).to_pandas()
        return images[~images["is_valid"]].merge(messages, on="filename")

    def similarity(self, *, data: bool = True) -> "pd.DataFrame":
        """Return one row for each pair: from, to, distance, and the relation if the two were compared.

        Args:
            data: Add the columns of `annotations` of both images, such as filename_from and filename_to.
        """
        return self._list_pairs(self.result.similarity, ("from", "to"), data=data)

    def outliers(self, *, data: bool = True) -> "pd.DataFrame":
        """Return one row for each outlier: outlier, nearest, distance, the farthest first.

        Args:
            data: Add the columns of `annotations` of both images, such as filename_outlier and filename_nearest.
        """
        return self._list_pairs(self.result.outliers, ("outlier", "nearest"), data=data)

    def connected_components(self, *, data: bool = True) -> "tuple[pd.DataFrame, pd.DataFrame]":
        """Return the images that are in a group, and the groups.

        Args:
            data: Add the columns of `annotations`.

        Returns:
            One row for each image: index, component_id, count, mean_distance, min_distance, max_distance. And one row
            for each group of two images or more, with the same columns without index.
        """
        groups = frames.list_groups(self.result)
        members = frames.list_members(self.result).merge(groups, on="component_id")
        if data:
            members = members.merge(frames.list_images(self.result, self._annotations), on="index")
        return members, groups

    def connected_components_grouped(self, sort_by: str = "comp_size", *, ascending: bool = False) -> "pd.DataFrame":
        """Return one row for each group: component_id, files, files_ids, distance (the lowest), len.

        Args:
            sort_by: comp_size, or distance.
            ascending: Whether the smallest groups, or the lowest distances, come first.
        """
        columns = {"comp_size": "len", "distance": "distance"}
        if sort_by not in columns:
            raise ConfigError(f"Invalid value for sort_by: {sort_by!r} (must be one of {', '.join(columns)}).")
        members, _ = self.connected_components()
        grouped = members.groupby("component_id").agg(
            files=("filename", list),
            files_ids=("index", list),
            distance=("min_distance", "first"),
            len=("index", "size"),
        )
        return grouped.reset_index().sort_values(
            [columns[sort_by], "component_id"], ascending=[ascending, True], ignore_index=True
        )

    def img_stats(self, *, data: bool = True) -> "pd.DataFrame":
        """Return one row for each image: index, img_w, img_h, unique, blur, mean, stdv, file_size.

        Args:
            data: Add the columns of `annotations`.
        """
        statistics = frames.list_statistics(self.result)
        return statistics.merge(frames.list_images(self.result, self._annotations), on="index") if data else statistics

    def embeddings(self) -> tuple[list[str], FloatArray]:
        """Return the n filenames and the (n, d) float32 embeddings."""
        return load_binary_feature(self.result.work_dir)

    def search(self, filename: Any, k: int = 10) -> "pd.DataFrame":
        """Return the images that are most similar to one image: from, to, distance.

        Args:
            filename: The image, as `RunResult.search` takes it.
            k: Number of images.
        """
        found = self.result.search(filename, k).to_pandas()
        found = found.rename(columns={"filename": "to", "similarity": "distance"})
        found.insert(0, "from", filename if isinstance(filename, (str, Path)) else "image")
        return found

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the row of `annotations` of an image."""
        images = frames.list_images(self.result, self._annotations)
        if not 0 <= index < len(images):
            raise IndexError(f"There is no image {index}: the run has {len(images)}.")
        row: dict[str, Any] = images.iloc[index].to_dict()
        return row

    def _list_pairs(self, pairs: Any, ends: tuple[str, str], *, data: bool) -> "pd.DataFrame":
        images = frames.list_images(self.result, self._annotations)
        table = frames.number_ends(pairs, images, ends)
        if data:
            for end in ends:
                own = images.add_suffix(f"_{end}")
                table = table.merge(own, left_on=end, right_on=f"index_{end}").drop(columns=f"index_{end}")
        return table

    @contextmanager
    def _use_annotations(self, annotations: "pd.DataFrame | StrPath | None", images: Any) -> Iterator[dict[str, Any]]:
        """Yield the parameters of a run: input_dir, and the file with what the annotations say."""
        if annotations is None:
            yield {"input_dir": images}
        elif isinstance(annotations, (str, os.PathLike)) and is_of_run(os.fspath(annotations)):
            yield {"input_dir": images, "annotations": annotations}
        elif has_boxes(table := self._read_annotations(annotations)):
            if not isinstance(images, (str, os.PathLike)):
                raise ConfigError("Annotations with boxes need one input_dir, the folder of the photos.")
            with write_boxes(table, os.fspath(images)) as (path, self._annotations):
                yield {"input_dir": images, "annotations": path}
        else:
            self._annotations = table
            with write_labels(table) as path:
                yield {"input_dir": list(table["filename"]), **({"labels": path} if path else {})}

    def _read_annotations(self, annotations: "pd.DataFrame | StrPath") -> "pd.DataFrame":
        """Return annotations with absolute filenames."""
        table = frames.read_table(annotations)
        if "filename" not in table:
            table = table.rename(columns={"img_filename": "filename"})  # as in fastdup 0.9
        if "filename" not in table:
            columns = ", ".join(map(str, table.columns))
            raise InputError(f"The annotations have no column filename; they have {columns}.")
        return table.assign(filename=[self._locate(str(name)) for name in table["filename"]])

    def _locate(self, name: str) -> str:
        folder = self.input_dir
        if "://" in name or os.path.isabs(name) or not isinstance(folder, (str, os.PathLike)):
            return name
        folder = os.fspath(folder)
        return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.abspath(os.path.join(folder, name))
