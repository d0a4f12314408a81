"""What the neighbours say of the images: pairs, outliers, components. Plain functions over arrays."""
