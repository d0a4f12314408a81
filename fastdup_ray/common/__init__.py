"""What every other room uses: records, file names, names of files, formatting, messages."""
