"""Loading a model and running it."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, SupportsIndex

import numpy as np

from pyinfer._coerce import check_shape, checked_shape, output_converter, to_core
from pyinfer._core import InvalidInput, InvalidModel, Limits, ModelCore, load_model, pass_names
from pyinfer._types import TensorSpec, Type, parse_type

_MOST_THREADS = 1024


class SupportsSerialize(Protocol):
    """What pyinfer needs of an `onnx.ModelProto`."""

    def SerializeToString(self) -> bytes:
        """The model in the protobuf wire format."""
        ...


ModelSource = str | os.PathLike[str] | bytes | bytearray | memoryview | SupportsSerialize


def load(
    model: ModelSource,
    *,
    device: str = "cpu",
    threads: int | None = None,
    limits: Limits | None = None,
    passes: Mapping[str, bool] | None = None,
    disable_passes: Iterable[str] = (),
    external_data_root: str | os.PathLike[str] | None = None,
) -> Model:
    """Load an ONNX model and make it ready to run.

    Parameters
    ----------
    model : path, bytes-like or onnx.ModelProto
        A file's path, a file's contents, or the object that the `onnx` package makes. A file is mapped
        into memory, and must not change while the model is in use.
    device : str
        Where to run. This version knows "cpu".
    threads : int, optional
        How many threads one run uses at most, the calling one included. Default: one per core that the
        process may use. The outputs have the same bits for every number.
    limits : Limits, optional
        What a model may ask for: bytes, nodes, loop trips. Default: `Limits()`.
    passes : mapping of str to bool, optional
        Switches optimisation passes off by name: `{"fold_constants": False}`. Meant for debugging: the
        outputs agree with each pass on and off.
    disable_passes : iterable of str
        The same, as a list of names. The environment variable PYINFER_DISABLE_PASSES (names, separated
        by commas) adds to both.
    external_data_root : path, optional
        The folder that weights kept in files of their own may be read from. Default: the model's folder.
        Nothing outside it is read.

    Returns
    -------
    Model

    Raises
    ------
    InvalidModel
        The file is damaged or breaks the ONNX specification.
    UnsupportedModel
        The model uses what this version cannot run; the message lists every such node.
    LimitExceeded
        The model asks for more than `limits` grants.
    ModelIOError
        A file cannot be read. Also an `OSError`.
    InvalidInput
        An argument is wrong: an unknown device or pass, a number of threads outside 1 to 1024. Also a
        `ValueError`.
    """
    if not isinstance(device, str) or device != "cpu":
        raise InvalidInput(f"device: expected one of 'cpu', got {device!r}")
    if limits is not None and not isinstance(limits, Limits):
        raise InvalidInput(f"limits: expected a pyinfer.Limits or None, got {type(limits).__name__}")
    root = None if external_data_root is None else _path(external_data_root, "external_data_root")
    source, origin = _source(model)
    core = load_model(
        source,
        threads=_threads(threads),
        limits=limits,
        disabled_passes=_disabled_passes(passes, disable_passes),
        external_data_root=root,
    )
    return Model(core, origin)


def _threads(threads: int | None) -> int:
    """What the extension takes: 0 for one per core."""
    if threads is None:
        return 0
    if isinstance(threads, bool) or not isinstance(threads, SupportsIndex):
        raise InvalidInput(f"threads: expected an integer or None, got {threads!r}")
    count = operator.index(threads)
    if not 1 <= count <= _MOST_THREADS:
        raise InvalidInput(f"threads: expected 1 to {_MOST_THREADS}, or None for one per core, got {count}")
    return count


def _disabled_passes(passes: Mapping[str, bool] | None, disable_passes: Iterable[str]) -> list[str]:
    """The passes to leave out, by both arguments and the environment."""
    if passes is not None and not isinstance(passes, Mapping):
        raise InvalidInput(f"passes: expected a mapping of names to bool, got {type(passes).__name__}")
    if isinstance(disable_passes, str) or not isinstance(disable_passes, Iterable):
        raise InvalidInput(f"disable_passes: expected a list of names, got {disable_passes!r}")
    by_user = os.environ.get("PYINFER_DISABLE_PASSES", "").split(",")
    disabled = [*disable_passes, *(name.strip() for name in by_user if name.strip())]
    switched = passes or {}
    known = pass_names()
    for name in (*disabled, *switched):
        if not isinstance(name, str) or name not in known:
            raise InvalidInput(f"no pass is named {name!r}; the passes are: {', '.join(known)}")
    for name, on in switched.items():
        if not isinstance(on, (bool, np.bool_)):
            raise InvalidInput(f"passes[{name!r}]: expected True or False, got {on!r}")
    return sorted({*disabled, *(name for name, on in switched.items() if not on)})


def _path(path: object, what: str) -> str:
    """What the extension takes: names that are not UTF-8 have surrogates in Python, which it turns back."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise InvalidInput(f"{what}: expected a path or None, got {type(path).__name__}")
    try:
        name = os.fsdecode(path)
        os.fsencode(name)
    except (TypeError, UnicodeError) as error:
        raise InvalidInput(
            f"{what}: {path!r} is no file's name ({error}); pass a str that the file system can encode, or a "
            "pathlib.Path"
        ) from error
    return name


def _source(model: ModelSource) -> tuple[str | bytes, str]:
    """What the extension reads, and what to call it."""
    if isinstance(model, (str, os.PathLike)):
        path = _path(model, "model")
        return path, path
    if isinstance(model, bytes):
        return model, f"<{len(model)} bytes>"
    if isinstance(model, (bytearray, memoryview)):
        return bytes(model), f"<{len(model)} bytes>"
    serialize = getattr(model, "SerializeToString", None)
    if serialize is None or isinstance(model, type):
        found = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise InvalidInput(f"model: expected a path, bytes or an onnx.ModelProto, got {found}")
    try:
        data = serialize()
    except Exception as error:
        raise InvalidModel(
            f"the {type(model).__name__} cannot be serialised ({error}); a model of 2 GB or more must be "
            "saved with external data and loaded by its path"
        ) from error
    if not isinstance(data, bytes):
        raise InvalidInput(
            f"model: {type(model).__name__}.SerializeToString() gives {type(data).__name__}; expected bytes"
        )
    return data, f"<{type(model).__name__}>"


class Model:
    """A loaded model. Made by `load`; immutable, and safe to run from several threads at once."""

    def __init__(self, core: ModelCore, origin: str):
        self._core = core
        self._origin = origin
        self._inputs, self._input_types = _specs(core.inputs)
        self._outputs, self._output_types = _specs(core.outputs)
        self._by_name = {
            spec.name: (spec, type_, f"input {spec.name!r}")
            for spec, type_ in zip(self._inputs, self._input_types, strict=True)
        }
        self._output_names = [spec.name for spec in self._outputs]
        converters = (output_converter(type_) for type_ in self._output_types)
        self._converters = {
            name: convert
            for name, convert in zip(self._output_names, converters, strict=True)
            if convert is not None
        }

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes, in the order of positional arguments.

        An input for which the file holds a default value (an initializer of that name) is a constant here.
        """
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model gives, in the order of `__call__`'s tuple."""
        return self._outputs

    @property
    def metadata(self) -> dict[str, str]:
        """The model's own key-value pairs (ONNX's `metadata_props`)."""
        return dict(self._core.metadata)

    @property
    def info(self) -> dict[str, object]:
        """Where the model comes from.

        Keys: producer_name, producer_version, domain, model_version, doc_string, graph_name,
        ir_version, opset_imports.
        """
        return dict(self._core.info)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Run the model on inputs given by position, by name, or both.

        Parameters
        ----------
        *args, **kwargs
            The inputs: arrays of the declared element type, or Python numbers or lists of them. See `run`.

        Returns
        -------
        np.ndarray or tuple
            The output, or a tuple of them where the model has several.

        Raises
        ------
        InvalidInput, LimitExceeded
            As in `run`.
        """
        if len(args) > len(self._inputs):
            raise InvalidInput(
                f"expected at most {len(self._inputs)} inputs ({self._known(self._inputs)}), got {len(args)}"
            )
        feeds: dict[str, object] = {spec.name: value for spec, value in zip(self._inputs, args, strict=False)}
        for name, value in kwargs.items():
            if name in feeds:
                raise InvalidInput(f"input {name!r} is given by position and by name")
            feeds[name] = value
        values = self._run(feeds, None)
        return values[0] if len(values) == 1 else tuple(values)

    def run(self, inputs: Mapping[str, object], outputs: Iterable[str] | None = None) -> dict[str, Any]:
        """Run the model.

        Parameters
        ----------
        inputs : mapping of str to array-like
            A value for each input. An array must have the declared element type (`Model.inputs`); its
            memory layout, byte order and writability do not matter, and it is not changed. Python numbers
            and lists of them take the declared type where they fit into it. Sequences are lists, maps
            dicts, an absent optional None.
        outputs : iterable of str, optional
            The outputs to compute. Default: all.

        Returns
        -------
        dict of str to value
            The outputs by name, in the order asked for: new arrays, owned by the caller; lists for
            sequences, dicts for maps, None for an empty optional.

        Raises
        ------
        InvalidInput
            A name, element type or shape is wrong; the message says what was expected. Also a `ValueError`.
        LimitExceeded
            The run needs more than the model's limits grant.
        OutOfMemory
            The system does not give what the run needs. Also a `MemoryError`.

        Notes
        -----
        The interpreter lock is released while the model runs.
        """
        if not isinstance(inputs, Mapping):
            raise InvalidInput(
                f"expected a mapping of input names to values, got {type(inputs).__name__}; "
                "pass positional inputs to the model itself: model(x)"
            )
        names = None
        if outputs is not None:
            if not isinstance(outputs, Iterable):
                raise InvalidInput(f"outputs: expected a list of names, got {outputs!r}")
            names = [outputs] if isinstance(outputs, str) else list(outputs)
            for name in names:
                if not isinstance(name, str) or name not in self._output_names:
                    raise InvalidInput(f"unknown output {name!r}; the model has {self._known(self._outputs)}")
        values = self._run(inputs, names)
        return dict(zip(self._output_names if names is None else names, values, strict=True))

    def dump(self) -> str:
        """The optimised graph as text, one line per node."""
        return self._core.dump()

    def summary(self, shapes: Mapping[str, Iterable[int]] | None = None) -> dict[str, Any]:
        """What the model consists of and what a run of it takes.

        Parameters
        ----------
        shapes : mapping of str to iterable of int, optional
            The shapes of inputs that have dynamic lengths. A length that is not given counts as 1.

        Returns
        -------
        dict
            "operators": operator name to number of nodes; "parameters": {"count", "bytes"};
            "plan": {"steps", "arena_bytes", "flops"}, or None where it depends on more than shapes, or
            where the model cannot take a length of 1.

        Raises
        ------
        InvalidInput
            A name or shape does not fit the model.
        """
        checked: dict[str, list[int]] | None = None
        if shapes is not None:
            if not isinstance(shapes, Mapping):
                raise InvalidInput(
                    f"expected a mapping of input names to shapes, got {type(shapes).__name__}"
                )
            checked = {}
            for name, dims in shapes.items():
                if name not in self._by_name:
                    raise InvalidInput(f"unknown input {name!r}; the model has {self._known(self._inputs)}")
                spec, _, where = self._by_name[name]
                checked[name] = checked_shape(dims, spec, where)
        return self._core.summary(checked)

    def __repr__(self) -> str:
        inputs = ", ".join(str(spec) for spec in self._inputs)
        outputs = ", ".join(str(spec) for spec in self._outputs)
        return f"<pyinfer.Model {self._origin}: ({inputs}) -> ({outputs})>"

    def _run(self, inputs: Mapping[str, object], outputs: list[str] | None) -> list[Any]:
        values = self._core.run(self._feeds(inputs), outputs)
        if self._converters:
            names = self._output_names if outputs is None else outputs
            for i, name in enumerate(names):
                convert = self._converters.get(name)
                if convert is not None:
                    values[i] = convert(values[i])
        return values

    def _feeds(self, inputs: Mapping[str, object]) -> dict[str, object]:
        """What the core takes: every input, checked and converted."""
        feeds: dict[str, object] = {}
        for name, value in inputs.items():
            known = self._by_name.get(name)
            if known is None:
                raise InvalidInput(f"unknown input {name!r}; the model has {self._known(self._inputs)}")
            spec, type_, where = known
            converted = to_core(value, type_, where)
            if isinstance(converted, np.ndarray):
                check_shape(converted.shape, spec, where)
            feeds[name] = converted
        if len(feeds) < len(self._by_name):
            self._complete(feeds)
        return feeds

    def _complete(self, feeds: dict[str, object]) -> None:
        """Add the optionals that `feeds` leaves out; raise InvalidInput where other inputs are missing."""
        absent = [spec for spec in self._inputs if spec.name not in feeds]
        missing = [spec for spec in absent if self._by_name[spec.name][1].kind != "optional"]
        if missing:
            names = ", ".join(repr(spec.name) for spec in missing)
            raise InvalidInput(f"missing input {names}; the model has {self._known(self._inputs)}")
        feeds.update((spec.name, None) for spec in absent)

    @staticmethod
    def _known(specs: tuple[TensorSpec, ...]) -> str:
        return ", ".join(str(spec) for spec in specs) or "none"


def _specs(
    described: list[tuple[str, str, list[int | str | None] | None]],
) -> tuple[tuple[TensorSpec, ...], tuple[Type, ...]]:
    specs, types = [], []
    for name, text, dims in described:
        type_ = parse_type(text)
        is_tensor = type_.kind == "tensor" and type_.element is not None
        dtype = type_.element.name if type_.element is not None and is_tensor else text
        specs.append(TensorSpec(name, dtype, tuple(dims) if is_tensor and dims is not None else None))
        types.append(type_)
    return tuple(specs), tuple(types)
