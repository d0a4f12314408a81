"""The documentation: the pages that are made from the code, and tests that all pages stay true."""
