"""The networks in TensorFlow (Keras 3); `torch_models` is the same in PyTorch, file by file and line by line."""
