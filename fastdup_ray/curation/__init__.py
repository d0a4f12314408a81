"""Act on a finished run: suggest what to drop, review it, move duplicates to a quarantine, and restore them."""
