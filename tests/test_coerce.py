"""What callers may pass, and how it reaches the extension."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyinfer import InvalidInput
from pyinfer._coerce import check_shape, from_core, to_core
from pyinfer._types import ELEMENTS, TensorSpec, parse_type

NUMBERS = [name for name in ELEMENTS if name != "string"]
EXTENDED = [name for name, element in ELEMENTS.items() if not element.native]


def tensor(value, element="float"):
    result = to_core(value, parse_type(f"tensor({element})"), "input 'x'")
    assert isinstance(result, np.ndarray)
    assert result.flags.c_contiguous
    assert result.flags.aligned
    assert result.dtype.isnative
    assert result.dtype == ELEMENTS[element].carrier
    return result


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


MASKED = np.ma.masked_array([[1.0, 2.0]], mask=[[False, True]], dtype=np.float32)


@pytest.mark.parametrize(
    ("value", "element"),
    [
        (MASKED, "float"),
        (MASKED[0, 1], "float"),
        ([0.5, np.ma.masked], "float"),
        ([[0.5, 1.5], MASKED[0]], "float"),
        (np.ma.masked_array(["a", "b"], mask=[True, False]), "string"),
    ],
)
def test_masked_elements_are_refused(value, element):
    with pytest.raises(InvalidInput, match=r"input 'x': masked elements.*\.filled\("):
        tensor(value, element)


def test_a_masked_array_without_masked_elements_is_an_array():
    np.testing.assert_array_equal(tensor(MASKED[:, :1]), [[1]])
    np.testing.assert_array_equal(tensor(MASKED.filled(7)), [[1, 7]])


@given(
    array=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        elements=st.floats(width=32),
    ),
    data=st.data(),
)
def test_any_layout_gives_the_same_values(array, data):
    axes = data.draw(st.permutations(range(array.ndim)))
    steps = tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))) for _ in range(array.ndim))
    view = array.transpose(axes)[steps]
    assert tensor(view).tobytes() == np.array(view).tobytes()
    assert tensor(view).shape == view.shape


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(a.dtype.newbyteorder()),
        np.asfortranarray,
        misaligned,
        lambda a: np.broadcast_to(a[0], (7, *a[0].shape)),
        lambda a: a[::-1, ::2],
        lambda a: a[:0],
        lambda a: a[1, 2, 3],
    ],
)
@pytest.mark.parametrize("element", ["float", "int64", "float16", "complex64", "bool"])
def test_byte_order_alignment_and_strides(element, change):
    array = np.random.default_rng(0).integers(0, 2, (4, 5, 6)).astype(ELEMENTS[element].carrier)
    given_array = change(array)
    given_array = np.asarray(given_array)
    before = given_array.copy()
    np.testing.assert_array_equal(tensor(given_array, element), before)
    np.testing.assert_array_equal(given_array, before)


def test_a_fitting_array_is_not_copied():
    array = np.zeros((2, 3), np.float32)
    array.flags.writeable = False
    assert tensor(array) is array


@pytest.mark.parametrize("element", NUMBERS)
def test_an_array_of_another_type_is_refused(element):
    carrier = ELEMENTS[element].carrier
    wrong = np.zeros(3, np.int32 if carrier != np.int32 else np.int64)
    with pytest.raises(InvalidInput, match="'x'.*expected dtype .*got int.*astype"):
        tensor(wrong, element)
    with pytest.raises(InvalidInput, match="expected dtype"):
        tensor(wrong[0], element)


@pytest.mark.parametrize(
    ("element", "value", "want"),
    [
        ("float", 2, 2.0),
        ("float", True, 1.0),
        ("float", [[1, 2.5], [3, 4]], [[1, 2.5], [3, 4]]),
        ("double", (1, 2), [1, 2]),
        ("float", [np.float64(0.1)], [np.float32(0.1)]),
        ("float", [float("inf"), float("nan")], [np.inf, np.nan]),
        ("int64", 7, 7),
        ("uint8", [0, 255], [0, 255]),
        ("int8", [-128, 127], [-128, 127]),
        ("uint64", [2**64 - 1], [2**64 - 1]),
        ("bool", [True, False], [True, False]),
        ("complex64", [1, 2j], [1, 2j]),
        ("int32", [], []),
        ("float", [[], []], [[], []]),
    ],
)
def test_python_numbers_take_the_declared_type(element, value, want):
    want = np.array(want, ELEMENTS[element].carrier)
    got = tensor(value, element)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("element", "value", "reason"),
    [
        ("int64", 1.5, "expected values of dtype int64, got floats"),
        ("int64", [2.0], "got floats"),
        ("bool", [1, 0], "expected values of dtype bool, got integers"),
        ("float", [1j], "got complex numbers"),
        ("uint8", [256], "256 does not fit into uint8"),
        ("uint8", [-1], "-1 does not fit into uint8"),
        ("int8", 128, "128 does not fit"),
        ("int32", [2**31], "does not fit into int32"),
        ("int64", [2**70], "cannot be read as an array of numbers"),
        ("float16", [70000.0], "outside the range of float16"),
        ("float", [1e300], "outside the range of float32"),
        ("float", [[1, 2], [3]], "cannot be read as an array"),
        ("float", ["1"], "expected values of dtype float32, got"),
        ("float", None, "NoneType cannot be read as an array"),
        ("float", object(), "object cannot be read as an array"),
        ("int4", [8], "8 does not fit into int4"),
        ("uint2", [4], "4 does not fit into uint2"),
    ],
)
def test_python_values_that_do_not_fit_are_refused(element, value, reason):
    with pytest.raises(InvalidInput, match=reason):
        tensor(value, element)


@pytest.mark.parametrize("element", EXTENDED)
def test_ml_dtypes_arrays_go_in_and_come_out(element):
    type_ = parse_type(f"tensor({element})")
    target = ELEMENTS[element].extended
    assert target is not None
    assert target.name == ELEMENTS[element].name
    codes = np.arange(256 if ELEMENTS[element].bits >= 8 else 1 << ELEMENTS[element].bits, dtype=np.uint8)
    array = codes.view(target) if target.itemsize == 1 else codes.astype(np.uint16).view(target)
    for given_array in (array, array[::-1], array.reshape(2, -1).T):
        carried = tensor(given_array, element)
        back = from_core(carried, type_)
        assert isinstance(back, np.ndarray)
        assert back.dtype == target
        assert back.tobytes() == given_array.tobytes()
        raw = tensor(carried[::1], element)
        np.testing.assert_array_equal(raw, carried)


def test_int4_reaches_the_extension_with_its_sign():
    np.testing.assert_array_equal(tensor(np.array([-8, 7, -1], ml_dtypes.int4), "int4"), [-8, 7, -1])
    np.testing.assert_array_equal(tensor([-8, 7], "int4"), [-8, 7])
    np.testing.assert_array_equal(tensor(np.array([-2, 1], ml_dtypes.int2), "int2"), [-2, 1])


def test_python_floats_become_bfloat16():
    want = np.array([1.0, -2.5], ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(tensor([1.0, -2.5], "bfloat16"), want)


@pytest.mark.parametrize(("element", "codes"), [("uint4", [16]), ("float4e2m1", [3, 200]), ("uint2", [4])])
def test_raw_codes_out_of_range_are_refused(element, codes):
    with pytest.raises(InvalidInput, match="raw values"):
        tensor(np.array(codes, np.uint8), element)


def test_signed_raw_codes_out_of_range_are_refused():
    with pytest.raises(InvalidInput, match=r"raw values of int4 lie in -8\.\.7, got -9\.\.0"):
        tensor(np.array([-9, 0], np.int8), "int4")


@pytest.mark.parametrize(
    "value",
    [
        np.array([["a", "ä\0"], ["", "c"]], object),
        [["a", "ä\0"], ["", "c"]],
        [[b"a", "ä\0".encode()], ["", "c"]],
        np.array([["", "ä\0"], ["c", "a"]], object)[::-1, :],
    ],
)
def test_strings(value):
    got = tensor(value, "string")
    assert sorted(got.reshape(-1)) == [b"", b"a", b"c", "ä\0".encode()]
    assert got.shape == (2, 2)


@pytest.mark.parametrize("value", ["abc", b"abc", np.str_("abc"), np.bytes_(b"abc")])
def test_a_single_string(value):
    got = tensor(value, "string")
    assert got.shape == ()
    assert got.item() == b"abc"
    assert type(got.item()) is bytes


def test_bytes_that_are_no_utf8_survive():
    assert list(tensor([b"\xff", b"\xff".decode("utf-8", "surrogateescape")], "string")) == [b"\xff", b"\xff"]


@pytest.mark.parametrize("value", [np.array(["a", "bc"]), np.array([b"a", b"bc"])])
def test_fixed_width_strings(value):
    assert list(tensor(value, "string")) == [b"a", b"bc"]


@pytest.mark.parametrize("value", [[1], np.zeros(2), [["a"], ["b", "c"]], [None], ["\ud800"], 3])
def test_what_is_no_string_is_refused(value):
    with pytest.raises(InvalidInput, match="'x'"):
        tensor(value, "string")


def test_sequences_optionals_and_maps():
    sequence = parse_type("seq(tensor(int64))")
    got = to_core([[1, 2], np.array(3, np.int64)], sequence, "input 's'")
    assert [item.tolist() for item in got] == [[1, 2], 3]
    with pytest.raises(InvalidInput, match=r"'s'\[1\]: expected dtype int64, got float32"):
        to_core([[1], np.zeros(1, np.float32)], sequence, "input 's'")
    for wrong in (np.zeros((2, 2), np.int64), "ab", 5, {}):
        with pytest.raises(InvalidInput, match="expected a list"):
            to_core(wrong, sequence, "input 's'")
    optional = parse_type("optional(seq(tensor(float)))")
    assert to_core(None, optional, "o") is None
    assert to_core([[1.0]], optional, "o")[0].dtype == np.float32
    mapping = parse_type("map(string,tensor(float))")
    assert to_core({"a": 1.0}, mapping, "m") == {"a": 1.0}
    with pytest.raises(InvalidInput, match="expected a dict"):
        to_core([1], mapping, "m")


def test_nested_outputs_are_converted():
    raw = np.array([1.0, 2.0], ml_dtypes.bfloat16).view(np.uint16)
    got = from_core([raw, raw], parse_type("optional(seq(tensor(bfloat16)))"))
    assert [item.dtype.name for item in got] == ["bfloat16", "bfloat16"]
    assert from_core(None, parse_type("optional(tensor(bfloat16))")) is None


@pytest.mark.parametrize(
    ("shape", "array", "reason"),
    [
        (("n", 3), np.zeros((2, 3)), None),
        ((None, 3), np.zeros((0, 3)), None),
        ((), np.zeros(()), None),
        (None, np.zeros((1, 2)), None),
        (("n", 3), np.zeros((2, 4)), r"expected shape \[n, 3\], got \[2, 4\]"),
        ((None, 3), np.zeros(3), r"expected shape \[\?, 3\], got \[3\] \(rank 2 expected, 1 given\)"),
        ((), np.zeros(1), "rank 0 expected, 1 given"),
        ((0,), np.zeros(1), r"expected shape \[0\], got \[1\]"),
    ],
)
def test_shapes(shape, array, reason):
    spec = TensorSpec("x", "float64", shape)
    if reason is None:
        check_shape(array.shape, spec, "input 'x'")
    else:
        with pytest.raises(InvalidInput, match=reason):
            check_shape(array.shape, spec, "input 'x'")


@pytest.mark.parametrize(
    "text", ["", "tensor", "tensor()", "tensor(foo)", "seq(float", "map(int64)", "list(float)"]
)
def test_what_is_no_type_is_refused(text):
    with pytest.raises(ValueError, match="not an ONNX type"):
        parse_type(text)


def test_types_know_what_they_hold():
    assert parse_type("seq(map(string, float))").leaf is ELEMENTS["float"]
    assert parse_type("optional(tensor(int4))").leaf is ELEMENTS["int4"]
    assert TensorSpec("x", "bfloat16", (1,)).numpy_dtype == ml_dtypes.bfloat16
    assert TensorSpec("x", "string", (1,)).numpy_dtype == np.dtype(object)
    with pytest.raises(TypeError, match="no NumPy type"):
        _ = TensorSpec("x", "seq(tensor(float))", None).numpy_dtype
    assert str(TensorSpec("x", "int64", ("n", None, 3))) == "x: int64[n, ?, 3]"


def test_bytes_other_than_0_and_1_are_true():
    array = np.array([0, 1, 2, 255], np.uint8).view(bool)
    taken = to_core(array, parse_type("tensor(bool)"), "input 'x'")
    np.testing.assert_array_equal(taken.view(np.uint8), [0, 1, 1, 1])
