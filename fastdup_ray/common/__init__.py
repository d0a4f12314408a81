"""What all packages share: records, file names, names as text, formatting, events."""
