"""A second look: two images in full detail, and what their relation is."""
