"""
The compiled extension: what the Python layer builds on. Not part of the public interface.

Arrays cross this border with the element types that NumPy has. The others travel as raw values:
bfloat16 as uint16; float8, float6 and float4 codes, uint4 and uint2 as uint8; int4 and int2 as int8.
Strings go in as object arrays of bytes in UTF-8 and come out as object arrays of str, in which bytes that
are not UTF-8 are escaped as by "surrogateescape". Sequences are lists, maps dicts, an empty optional None.
"""

from __future__ import annotations

import collections.abc
import typing

__all__: list[str] = [
    "InternalError",
    "InvalidInput",
    "InvalidModel",
    "LimitExceeded",
    "Limits",
    "ModelCore",
    "ModelIOError",
    "OutOfMemory",
    "PyInferError",
    "UnsupportedModel",
    "allocation_count",
    "build_info",
    "cpu_isa",
    "load_model",
    "pass_names",
    "roofline",
    "supported_operators",
]

class PyInferError(Exception):
    """Base of all errors of pyinfer."""

class InvalidModel(PyInferError):
    """The file is damaged or breaks the ONNX specification."""

class UnsupportedModel(PyInferError):
    """The model uses what this build cannot run."""

class LimitExceeded(PyInferError):
    """A limit of pyinfer.Limits would be exceeded."""

class InternalError(PyInferError):
    """A defect of pyinfer; please report it."""

class InvalidInput(PyInferError, ValueError):
    """An argument or an input does not fit. Also a ValueError."""

class OutOfMemory(PyInferError, MemoryError):
    """The system gives no more memory. Also a MemoryError."""

class ModelIOError(PyInferError, OSError):
    """A file cannot be read. Also an OSError."""

class Limits:
    """
    What a model file and its inputs may ask for; see pyinfer.load.

    Each bound is checked before the memory or the time is spent; pyinfer.LimitExceeded names the one reached.

    Parameters
    ----------
    max_tensor_bytes : int
        Bytes of any one tensor, weights and activations alike.
    max_initializer_bytes : int
        Bytes of all weights together, mapped ones and those of nodes included; and again of the forms that
        kernels read.
    max_total_bytes : int
        Bytes of one run: its arena, all values whose size depends on data and all strings; the caller's inputs
        are not among them.
    max_string_bytes : int
        Bytes of any one string.
    max_nodes : int
        Nodes, those in subgraphs included, after functions are inlined.
    max_parsed_bytes : int
        Bytes of the parsed form of a model file, weights excluded.
    max_loop_trips : int
        Trips of all Loops, Scans and SequenceMaps together in one run.
    max_nesting_depth : int
        Depth of subgraphs, function calls and nested types.

    Raises
    ------
    InvalidInput
        A field is unknown, or not an integer of 0 or more.
    """

    max_initializer_bytes: int
    max_loop_trips: int
    max_nesting_depth: int
    max_nodes: int
    max_parsed_bytes: int
    max_string_bytes: int
    max_tensor_bytes: int
    max_total_bytes: int

    def __init__(
        self,
        *,
        max_initializer_bytes: int = ...,
        max_loop_trips: int = ...,
        max_nesting_depth: int = ...,
        max_nodes: int = ...,
        max_parsed_bytes: int = ...,
        max_string_bytes: int = ...,
        max_tensor_bytes: int = ...,
        max_total_bytes: int = ...,
    ) -> None: ...

class ModelCore:
    """
    A loaded model, as load_model makes it.
    """

    def dump(self) -> str:
        """
        The graph after the passes, as text.
        """

    def profile(
        self, feeds: dict[str, typing.Any]
    ) -> list[tuple[int, str, int, int, int, int, int, int, list[int]]]:
        """
        Runs once and gives, in the order of their begin, the steps that ran.

        Each is (number of the step, label, depth, begin and end in nanoseconds, floating-point operations, bytes read,
        bytes written, shape of the first output). The steps of a subgraph follow the step that holds it, one deeper.
        """

    def run(
        self, feeds: dict[str, typing.Any], outputs: collections.abc.Sequence[str] | None
    ) -> list[typing.Any]:
        """
        Computes the named outputs, all for None; the list belongs to the caller.

        `feeds` has every input, None for an optional left out. Each array is contiguous, aligned, in native byte
        order and of the declared element type; it may be read-only.
        """

    def summary(
        self,
        shapes: collections.abc.Mapping[
            str, collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
        ]
        | None,
    ) -> dict[str, typing.Any]:
        """
        {"operators": {name: count}, "parameters": {"count", "bytes"},
        "plan": {"steps", "arena_bytes", "flops"} or None}, the plan for these shapes of inputs.
        """

    @property
    def info(self) -> dict[str, typing.Any]: ...
    @property
    def inputs(self) -> list[tuple[str, str, list[int | str | None] | None]]: ...
    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def outputs(self) -> list[tuple[str, str, list[int | str | None] | None]]: ...
    @property
    def threads(self) -> int: ...

def allocation_count() -> int:
    """
    Buffers that the core has allocated since the process started.
    """

def build_info() -> dict[str, typing.Any]:
    """
    The compiler, and the instruction sets that this build and this CPU share.
    """

def cpu_isa() -> str:
    """
    The instruction set of the kernels in use: "baseline", "avx2"... PYINFER_CPU_ISA forces one.
    """

def load_model(
    source: bytes | str,
    *,
    threads: typing.SupportsInt | typing.SupportsIndex,
    limits: Limits | None,
    disabled_passes: collections.abc.Sequence[str],
    external_data_root: str | None,
) -> ModelCore:
    """
    `source` is the file's path or its contents; `threads=0` means one per core that the process may use.
    """

def pass_names() -> list[str]:
    """
    The passes over the graph, in the order in which they run.
    """

def roofline(
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[float, list[tuple[int, float, float]]]:
    """
    What these threads can do at most, measured for a fraction of a second.

    Floating-point operations per second, and for each working set, smallest first, (its bytes, bytes per second
    of reading, of copying).
    """

def supported_operators() -> list[tuple[str, str, int]]:
    """
    All operators that can run, as (domain, name, first opset version) each.
    """
