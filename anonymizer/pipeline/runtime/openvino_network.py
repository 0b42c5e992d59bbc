"""Networks on OpenVINO, which runs small networks on a CPU two to four times as fast as torch."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import threading
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    import onnx
    import openvino

__all__ = ["OpenVinoNetwork", "cache_folder"]

log = logging.getLogger(__name__)

#: The most calls of one network that run side by side: each has memory of its own for what it computes.
_MOST_STREAMS = 8


class _Requests(threading.local):
    """What runs the network in each thread.

    Attributes:
        of_thread: by number of streams, the request.
    """

    def __init__(self) -> None:
        self.of_thread: dict[int, openvino.InferRequest] = {}


class OpenVinoNetwork:
    """A network compiled for the CPU.

    Several threads may run it at once. It takes inputs of any size: the first input of a size takes about twice as long
    as the next. The number of cores is that of torch's threads at the time of loading. One call uses all of them. In a
    thread for which torch has fewer threads, one call uses one core, and several calls run side by side. The stages of
    a video are such threads: their calls never wait for each other between layers.

    Args:
        model: the network, as `from_module` and `from_onnx` read it.
        exact: whether it computes in float32. Otherwise it uses bfloat16 where the CPU has it: twice as fast, and
            numbers have 8 significant bits. A network that returns coordinates in pixels needs float32.
    """

    def __init__(self, model: openvino.Model, *, exact: bool = False) -> None:
        self._model = model
        self._precision = "bf16" if has_bfloat16() and not exact else "f32"
        self._cores = torch.get_num_threads()
        self._compiling = threading.Lock()
        self._compiled: dict[int, openvino.CompiledModel] = {}
        self._free: dict[int, threading.Semaphore] = {}
        self._outputs = len(self._compile(1).outputs)
        self._requests = _Requests()

    def _compile(self, streams: int) -> openvino.CompiledModel:
        """The network for so many calls side by side; it is compiled once."""
        with self._compiling:
            if streams not in self._compiled:
                options = {
                    "INFERENCE_NUM_THREADS": self._cores,
                    "INFERENCE_PRECISION_HINT": self._precision,
                    "NUM_STREAMS": streams,
                    # pinned, the first streams of two networks would share one core while others are idle
                    "ENABLE_CPU_PINNING": False,
                }
                # further calls wait here: two on one stream were once seen to end the process inside of OpenVINO
                self._free[streams] = threading.Semaphore(streams)
                self._compiled[streams] = _core().compile_model(self._model, "CPU", options)
            return self._compiled[streams]

    @classmethod
    def from_onnx(cls, model: onnx.ModelProto, *, exact: bool = False) -> OpenVinoNetwork:
        """Read a network from an ONNX model.

        Args:
            model: the model.
            exact: as for the class.

        Raises:
            RuntimeError: the model is not such a network.
        """
        return cls(_core().read_model(model.SerializeToString(), b""), exact=exact)

    @classmethod
    def from_module(cls, module: nn.Module, *inputs: Tensor, name: str, exact: bool = False) -> OpenVinoNetwork:
        """Convert a torch module, or read the result of an earlier conversion from the cache.

        The cache is a file for the name, the weights, and the versions of OpenVINO and torch. Where it cannot be
        written, each process converts anew.

        Args:
            module: in evaluation mode, on the CPU, in float32.
            inputs: example inputs of the module; other inputs may have other sizes.
            name: of the network's class: two networks of one name have the same code.
            exact: as for the class.

        Raises:
            ValueError: a weight is not a finite number. OpenVINO may turn such results into finite ones.
        """
        if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
            raise ValueError(f"the weights of {name} hold values that are not finite numbers")
        file = cache_folder() / f"{name}-{_key(module)}.xml"
        if file.exists():
            try:
                return cls(_core().read_model(file), exact=exact)
            except RuntimeError as error:
                log.warning("%s is damaged, and is made anew (%s).", file, error)
        model = _convert(module, inputs)
        _save(model, file)
        return cls(model, exact=exact)

    def _request(self, streams: int) -> openvino.InferRequest:
        """The request of this thread: a request that runs takes no other inputs, and videos have several threads."""
        by_streams = self._requests.of_thread
        if streams not in by_streams:
            by_streams[streams] = self._compile(streams).create_infer_request()
        return by_streams[streams]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            inputs: float32 tensors on the CPU.

        Returns:
            The outputs, float32.
        """
        arrays: list[NDArray[Any]] = [tensor.contiguous().numpy() for tensor in inputs]
        streams = 1 if torch.get_num_threads() >= self._cores else min(self._cores, _MOST_STREAMS)
        request = self._request(streams)
        with self._free[streams]:
            results = request.infer(arrays, share_inputs=True)
        return tuple(torch.from_numpy(np.asarray(results[n], np.float32)) for n in range(self._outputs))


def cache_folder() -> Path:
    """The folder of converted networks: `anonymizer/openvino` in `$XDG_CACHE_HOME` or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anonymizer" / "openvino"


@functools.cache
def _core() -> openvino.Core:
    import openvino

    return openvino.Core()


@functools.cache
def has_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16 (AVX-512 BF16 or AMX)."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _key(module: nn.Module) -> str:
    """Part of a file name: the sum of the weights and of what converts them."""
    import openvino

    digest = hashlib.sha256(f"{openvino.__version__} {torch.__version__}".encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def _convert(module: nn.Module, inputs: tuple[Tensor, ...]) -> openvino.Model:
    import openvino

    with warnings.catch_warnings():
        # tracing is deprecated in torch, and what OpenVINO uses
        warnings.simplefilter("ignore")
        return openvino.convert_model(module, example_input=inputs if len(inputs) > 1 else inputs[0])


def _save(model: openvino.Model, file: Path) -> None:
    """Write a model, if that is possible. Another process that reads it sees both of its files or none."""
    import openvino

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=file.parent) as folder:
            part = Path(folder) / file.name
            openvino.save_model(model, part, compress_to_fp16=False)
            # the .xml last: it is what a reader looks for
            part.with_suffix(".bin").replace(file.with_suffix(".bin"))
            part.replace(file)
    except (OSError, RuntimeError) as error:
        log.warning("%s cannot be written (%s): each process converts the network anew.", file, error)
