"""What runs a network: torch, OpenVINO or ONNX Runtime."""
