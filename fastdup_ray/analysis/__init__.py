"""Analysis of the neighbors: pairs, outliers, components, keepers. Functions over arrays, without files."""
