"""From bytes to embeddings: decode images and videos, and run the model."""
