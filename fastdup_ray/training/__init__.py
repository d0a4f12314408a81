"""How the embedded model is made; not in the wheel."""
