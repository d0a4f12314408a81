"""Search without one index: the embeddings are split into cells, workers search the cells, and the results are merged.

The modules, from the plan to the result: `partition_layout`, `tasks` (the steps), `kmeans`, `cell_knn`, `files`.
"""
