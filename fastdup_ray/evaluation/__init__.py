"""Precision and recall against known duplicates, and test images that leaked into a training set."""

from fastdup_ray.evaluation.evaluate import Evaluation, evaluate, evaluate_embeddings
from fastdup_ray.evaluation.leakage import Leakage, leakage

__all__ = ["Evaluation", "Leakage", "evaluate", "evaluate_embeddings", "leakage"]
