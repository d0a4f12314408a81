"""How well the cosines tell copies from others, by pictures of which somebody knows the truth; what two sets share."""

from fastdup_ray.evaluation.evaluate import Evaluation, evaluate, evaluate_embeddings
from fastdup_ray.evaluation.leakage import Leakage, leakage

__all__ = ["Evaluation", "Leakage", "evaluate", "evaluate_embeddings", "leakage"]
