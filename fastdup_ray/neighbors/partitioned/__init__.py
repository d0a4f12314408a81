"""Search without one index: the embeddings are split into cells, workers search the cells, and the results are merged.

The modules, from the plan to the result: `partition_layout`; the steps, in `division` and `tasks`, which use `kmeans`
and `cell_knn`; the files, in `cell_files` and `neighbor_records`. The neighbors of an earlier search are updated by the
steps in `added`, with what `earlier_search` has kept of it and `embedding_digests`.
"""
