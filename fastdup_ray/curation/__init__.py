"""From looking to acting: which picture of a group is kept, a plan, and ways to carry it out and to take it back."""
