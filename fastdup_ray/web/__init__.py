"""Images of web servers, by their https:// addresses."""
