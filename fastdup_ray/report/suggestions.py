"""What the default plan of a run says of the images of a page."""

from typing import Any

from fastdup_ray.curation.suggest import SuggestedPlan
from fastdup_ray.report.image_table import ImageTable

NOT_DROPPED = -1
"""Stands for the keeper of an image that the plan keeps."""


def list_suggestions(plan: SuggestedPlan, images: ImageTable) -> dict[str, list[Any]]:
    """Return the column `suggestion` of the numbered images. Keepers that are not on the page yet get numbers, too.

    Args:
        plan: The default plan.
        images: The images of the page.

    Returns:
        For each image the number of its keeper, or `NOT_DROPPED`, similarity, rule, reason and group, as in the file
        that `plan` writes; None for an image that is not in the plan.
    """
    for keeper in plan.choice.find_keepers(images.rows).tolist():
        if keeper >= 0:
            images.number(keeper)
    indices = images.rows
    names = {plan.run.name(index): index for index in indices.tolist() if index < len(plan.run.names)}
    suggestions: dict[int, list[Any]] = {}
    for row in plan.rows(indices):
        keeper = images.number(names[row.keeper]) if row.is_dropped else NOT_DROPPED
        suggestions[names[row.filename]] = [keeper, row.similarity, row.rule, row.reason, row.group]
    return {"suggestion": [suggestions.get(index) for index in indices.tolist()]}
