"""A second look: two images at full detail, and what their relation is."""
