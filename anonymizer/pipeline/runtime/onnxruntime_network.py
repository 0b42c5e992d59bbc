"""Networks on ONNX Runtime, on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import onnx

__all__ = ["OnnxRuntimeNetwork"]


class OnnxRuntimeNetwork:
    """A network from an ONNX model. The number of threads is torch's at the time of loading.

    Args:
        model: the model.

    Raises:
        Exception: of onnxruntime, if the model is not such a network.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
        self._inputs = [each.name for each in self._session.get_inputs()]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            inputs: float32 tensors on the CPU.

        Returns:
            The outputs, float32.
        """
        arrays = [tensor.contiguous().numpy() for tensor in inputs]
        results = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        return tuple(torch.from_numpy(np.asarray(each, np.float32)) for each in results)
