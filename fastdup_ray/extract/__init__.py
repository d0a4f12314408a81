"""From pictures to rows of features: read, decode, model."""
