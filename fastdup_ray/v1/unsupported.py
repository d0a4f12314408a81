"""What of the other API is not here, and what to use instead."""

from collections.abc import Mapping
from typing import Any

from fastdup_ray.errors import ConfigError

IGNORED = frozenset(["overwrite", "license", "run_stats", "sync_s3_to_local", "data_type"])
"""Parameters of `run` without a counterpart that change nothing here: a run may always be repeated, needs no license,
always measures the images, reads buckets directly, and tells images from videos by itself."""

_PARAMETERS = {
    "embeddings": "write them with save_binary_feature, and use fastdup_ray.run with run_mode=2",
    "high_accuracy": "give the path of a larger ONNX model as model",
    "outlier_percentile": "use lower_threshold, a similarity",
    "run_advanced_stats": "img_stats has what is measured",
    "nnf_mode": "use faiss_mode",
    "find_regex": "use include or exclude, with patterns such as *.jpg",
    "augmentation_additive_margin": "use bounding_box for one box in all images",
    "augmentation_horiz": "crop the images first",
    "augmentation_vert": "crop the images first",
}
"""Parameters of `run` that are not here -> what to use instead."""

METHODS = {
    "explore": "open the report: fastdup-ray serve WORK_DIR",
    "caption": "caption the images with another tool, and pass its texts as annotations",
    "enrich": "label the images with another tool, and pass its labels as annotations",
    "feature_vectors": "use embeddings()",
    "remove_duplicates": "use fastdup_ray.make_plan, then fastdup_ray.apply_plan",
    "delete_duplicates": "use fastdup_ray.make_plan, then fastdup_ray.apply_plan",
    "report": "use result.report, the path of the report",
}
"""Methods that are not here -> what to use instead."""


def refuse_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if one of some parameters is not here."""
    for name in parameters:
        if name in _PARAMETERS:
            raise ConfigError(f"{name} is not supported: {_PARAMETERS[name]}.")
