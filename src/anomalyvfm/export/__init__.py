"""A fitted model as one graph that onnxruntime or OpenVINO run anywhere, compared before it is kept."""
