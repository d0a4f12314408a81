"""How well the cosines tell copies from others, by pictures of which somebody knows the truth."""

from fastdup_ray.evaluation.evaluate import Evaluation, evaluate, evaluate_rows

__all__ = ["Evaluation", "evaluate", "evaluate_rows"]
