"""pyinfer loads an ONNX graph and runs it, inside the application that imports it.

>>> import pyinfer
>>> model = pyinfer.load("model.onnx")
>>> y = model(x)
"""

from pyinfer._core import (
    InternalError,
    InvalidInput,
    InvalidModel,
    LimitExceeded,
    Limits,
    ModelIOError,
    OutOfMemory,
    PyInferError,
    UnsupportedModel,
    build_info,
    cpu_isa,
    pass_names,
    supported_operators,
)
from pyinfer._types import TensorSpec
from pyinfer.model import Model, load

__version__ = "0.1.0"

__all__ = [
    "InternalError",
    "InvalidInput",
    "InvalidModel",
    "LimitExceeded",
    "Limits",
    "Model",
    "ModelIOError",
    "OutOfMemory",
    "PyInferError",
    "TensorSpec",
    "UnsupportedModel",
    "__version__",
    "build_info",
    "cpu_isa",
    "load",
    "pass_names",
    "supported_operators",
]
