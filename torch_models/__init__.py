"""The networks in PyTorch; `tf_models` is the same in TensorFlow, file by file and line by line."""
