"""pyinfer as a backend of the `onnx` package (`onnx.backend.base`), for its test suite and its users.

Needs the extra `onnx`. The module itself serves as the backend, as is usual:

>>> import pyinfer.backend as backend
>>> backend.prepare(model).run([x])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TypeProto, ValueInfoProto, defs, helper, shape_inference
from onnx.backend.base import Backend, BackendRep

import pyinfer

__all__ = ["PyinferBackend", "PyinferRep", "prepare", "run_model", "run_node", "supports_device"]

_LOAD_OPTIONS = ("threads", "limits", "passes", "disable_passes", "external_data_root")


class PyinferRep(BackendRep):  # type: ignore[misc,unused-ignore]
    """A loaded model."""

    def __init__(self, model: pyinfer.Model):
        self.model = model

    def run(self, inputs: Any, **_kwargs: Any) -> tuple[Any, ...]:
        """Run the model.

        Parameters
        ----------
        inputs : sequence, mapping or array
            The inputs in the model's order, or by name, or the only one.

        Returns
        -------
        tuple
            The outputs in the model's order.

        Raises
        ------
        pyinfer.InvalidInput
            An input does not fit the model.
        """
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        if not isinstance(inputs, Mapping):
            specs = self.model.inputs
            if len(inputs) > len(specs):
                raise pyinfer.InvalidInput(f"expected at most {len(specs)} inputs, got {len(inputs)}")
            inputs = {spec.name: value for spec, value in zip(specs, inputs, strict=False)}
        return tuple(self.model.run(inputs).values())


class PyinferBackend(Backend):  # type: ignore[misc,unused-ignore]
    """Runs models with `pyinfer.load`."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can run on `device`, as "CPU" or "CPU:0"."""
        return device.partition(":")[0].upper() == "CPU"

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> PyinferRep:
        """Load `model`.

        Parameters
        ----------
        model : onnx.ModelProto
        device : str
            "CPU".
        **kwargs
            Options of `pyinfer.load` are passed to it; others are for other backends.

        Returns
        -------
        PyinferRep

        Raises
        ------
        pyinfer.PyInferError
            As `pyinfer.load`.
        """
        if not cls.supports_device(device):
            raise pyinfer.InvalidInput(f"device: expected 'CPU', got {device!r}")
        options = {name: value for name, value in kwargs.items() if name in _LOAD_OPTIONS}
        return PyinferRep(pyinfer.load(model, **options))

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Load `model` and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, Sequence[int]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one operator.

        Parameters
        ----------
        node : onnx.NodeProto
        inputs : sequence or mapping of arrays
            One for each named input of the node.
        device : str
            "CPU".
        outputs_info : sequence of (dtype, shape), optional
            The outputs' types; inferred without it.
        **kwargs
            `opset_version` (default: the newest that `onnx` has), and options of `prepare`.

        Returns
        -------
        tuple
            The node's outputs.

        Raises
        ------
        pyinfer.PyInferError
            As `pyinfer.load` and `Model.run`.
        """
        version = int(kwargs.pop("opset_version", 0)) or _newest_opset(node.domain)
        model = _model_of_node(node, inputs, outputs_info, version)
        return cls.run_model(model, inputs, device, **kwargs)


def _newest_opset(domain: str) -> int:
    versions = [schema.since_version for schema in defs.get_all_schemas() if schema.domain == domain]
    return defs.onnx_opset_version() if domain in ("", "ai.onnx") else max(versions, default=1)


def _model_of_node(
    node: NodeProto, inputs: Any, outputs_info: Sequence[tuple[Any, Sequence[int]]] | None, version: int
) -> ModelProto:
    names = list(dict.fromkeys(name for name in node.input if name))
    values = inputs if isinstance(inputs, Mapping) else dict(zip(names, inputs, strict=True))
    given = [_array_info(name, np.asarray(values[name])) for name in names]
    outputs = [name for name in node.output if name]
    if outputs_info is None:
        results = [helper.make_value_info(name, TypeProto()) for name in outputs]
    else:
        results = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, (dtype, shape) in zip(outputs, outputs_info, strict=True)
        ]
    graph = helper.make_graph([node], "node", given, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)])
    return shape_inference.infer_shapes(model) if outputs_info is None else model


def _array_info(name: str, array: np.ndarray[Any, Any]) -> ValueInfoProto:
    if array.dtype.kind in "OUS":
        element = helper.np_dtype_to_tensor_dtype(np.dtype(object))
    else:
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, element, array.shape)


prepare = PyinferBackend.prepare
run_model = PyinferBackend.run_model
run_node = PyinferBackend.run_node
supports_device = PyinferBackend.supports_device
