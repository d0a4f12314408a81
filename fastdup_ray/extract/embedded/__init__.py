"""Data of the embedded model: the ONNX file and its card."""
