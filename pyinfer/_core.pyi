"""The compiled extension: what the Python layer builds on. Not part of the public interface.

Arrays cross this border with the element types that NumPy has. The others travel as raw values:
bfloat16 as uint16; float8, float6 and float4 codes, uint4 and uint2 as uint8; int4 and int2 as int8.
Strings go in as object arrays of bytes in UTF-8 and come out as object arrays of str, in which bytes that
are not UTF-8 are escaped as by "surrogateescape". Sequences are lists, maps dicts, an empty optional None.

`ModelCore.run` gets every input in `feeds` (None for an optional left out). Each array is contiguous,
aligned, in native byte order and of the declared element type; it may be read-only. `outputs=[]` computes
nothing and gives []. The list it returns belongs to the caller. `threads=0` means one per core that the
process may use. `summary` gives {"operators": {name: count}, "parameters": {"count", "bytes"}, "plan":
{"steps", "arena_bytes", "flops"} or None}.

`ModelCore.profile` runs once and gives, in the order of their begin, the steps that ran: (number of the step,
label, depth, begin and end in nanoseconds, floating-point operations, bytes read, bytes written, shape of the
first output). The steps of a subgraph follow the step that holds it, one deeper.

`roofline` measures for a fraction of a second; its rates are per second: {"threads", "flops", "bandwidth":
[(bytes of the working set, reading, copying)]}.
"""

from typing import Any

class PyInferError(Exception): ...
class InvalidModel(PyInferError): ...
class UnsupportedModel(PyInferError): ...
class InvalidInput(PyInferError, ValueError): ...
class LimitExceeded(PyInferError): ...
class ModelIOError(PyInferError, OSError): ...
class InternalError(PyInferError): ...

class Limits:
    max_tensor_bytes: int
    max_initializer_bytes: int
    max_total_bytes: int
    max_string_bytes: int
    max_nodes: int
    max_parsed_bytes: int
    max_loop_trips: int
    max_nesting_depth: int
    def __init__(
        self,
        *,
        max_tensor_bytes: int = ...,
        max_initializer_bytes: int = ...,
        max_total_bytes: int = ...,
        max_string_bytes: int = ...,
        max_nodes: int = ...,
        max_parsed_bytes: int = ...,
        max_loop_trips: int = ...,
        max_nesting_depth: int = ...,
    ) -> None: ...

def load_model(
    source: str | bytes,
    *,
    threads: int,
    limits: Limits | None,
    disabled_passes: list[str],
    external_data_root: str | None,
) -> ModelCore: ...

class ModelCore:
    def __init__(self, *args: object, **kwargs: object) -> None: ...  # raises TypeError; see load_model
    @property
    def inputs(self) -> list[tuple[str, str, list[int | str | None] | None]]: ...
    @property
    def outputs(self) -> list[tuple[str, str, list[int | str | None] | None]]: ...
    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def info(self) -> dict[str, object]: ...
    @property
    def threads(self) -> int: ...
    def run(self, feeds: dict[str, object], outputs: list[str] | None) -> list[object]: ...
    def profile(
        self, feeds: dict[str, object]
    ) -> list[tuple[int, str, int, int, int, int, int, int, list[int]]]: ...
    def dump(self) -> str: ...
    def summary(self, shapes: dict[str, list[int]] | None) -> dict[str, object]: ...

def roofline(threads: int) -> dict[str, Any]: ...
def pass_names() -> list[str]: ...
def cpu_isa() -> str: ...
def allocation_count() -> int: ...
def supported_operators() -> list[tuple[str, str, int]]: ...
def build_info() -> dict[str, object]: ...
