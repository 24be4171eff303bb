"""The official conformance suite of the onnx package: onnx.backend.test.BackendTest."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx.backend.test.loader import load_model_tests

import pyinfer
import pyinfer.backend

# Cases that cannot be run, each with its reason: at load, which the last test holds, or where only the data
# says so, at run.
UNSUPPORTED = {
    "test_gradient_of_": "asks for the derivative of another node; pyinfer runs models and does not train them",
    "test_image_decoder_decode_jpeg2k": "the image that is given is JPEG 2000",
    "test_image_decoder_decode_webp": "the image that is given is WebP",
}

# Cases that the suite itself judges wrongly.
MISJUDGED = {
    "test_dft_inverse_cpu": "the expected values carry the error of a float32 FFT where they should be 0",
    "test_dft_inverse_opset19_cpu": "the same",
    "test_loop16_seq_none_cpu": "the suite asks for the length of a scalar in a sequence",
    "test_attention_4d_causal_fp16_expanded_cpu": "one float16 unit, on the other side of the exact value",
}

# What these expect came from an unseeded generator; tests/ops/test_random.py judges the operator.
RANDOM = "test_bernoulli"

backend_test = onnx.backend.test.BackendTest(pyinfer.backend, __name__)
for pattern in [RANDOM, "_cuda", *UNSUPPORTED, *(f"{name}$" for name in MISJUDGED)]:
    backend_test.exclude(pattern)
globals().update(backend_test.test_cases)


CASES = load_model_tests(kind="node")


def is_unsupported(case: Any) -> bool:
    return any(case.name.startswith(prefix) for prefix in UNSUPPORTED)


def operators(model: onnx.ModelProto) -> set[str]:
    """All, with those of functions."""
    return {n.op_type for nodes in (model.graph.node, *(f.node for f in model.functions)) for n in nodes}


def compound_cases() -> list:
    """Those of several nodes, or of functions, but what is drawn at random."""
    return [
        case
        for case in CASES
        if (len(case.model.graph.node) > 1 or case.model.functions)
        and not is_unsupported(case)
        and not any("Random" in op or op == "Bernoulli" for op in operators(case.model))
    ]


def assert_close(got: Any, want: Any, tolerance: float = 2e-5) -> None:
    """Floats within `tolerance` of the largest finite one (half precision: one unit), all else equal."""
    if isinstance(want, list):
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            assert_close(g, w, tolerance)
        return
    if want is None:
        assert got is None
        return
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    if want.dtype.kind in "OUS":
        assert got.astype(str).tolist() == want.astype(str).tolist()
        return
    assert got.dtype == want.dtype
    if want.dtype.kind not in "fc" or want.size == 0:
        np.testing.assert_array_equal(got, want)
        return
    with np.errstate(invalid="ignore"):
        largest = np.abs(want[np.isfinite(want)]).max(initial=0)
    unit = 1e-3 if want.dtype.itemsize == 2 else 0
    np.testing.assert_allclose(got, want, rtol=0, atol=max(tolerance, unit) * float(largest))


def test_passes_do_not_change_the_outputs_of_models_of_several_nodes():
    cases = compound_cases()
    assert len(cases) > 300
    for case in cases:
        on, off = (pyinfer.load(case.model, disable_passes=names) for names in ([], pyinfer.pass_names()))
        for inputs, _ in case.data_sets:
            feeds = dict(zip([spec.name for spec in on.inputs], inputs, strict=False))
            try:
                for got, want in zip(on.run(feeds).values(), off.run(feeds).values(), strict=True):
                    assert_close(got, want)
            except AssertionError as error:
                raise AssertionError(f"{case.name}: {error}") from error


# Where ONNX Runtime does not give what the suite expects, as pyinfer does.
WRONG_IN_ONNXRUNTIME = {
    "test_maxunpool_export_with_output_shape": "indices are places in the output without output_shape",
    "test_resize_downsample_scales_cubic_align_corners": "the lengths of the output lose their fraction",
    "test_resize_downsample_scales_linear_align_corners": "the lengths of the output lose their fraction",
}


def older_models() -> Iterator[tuple[str, onnx.ModelProto, list[Any]]]:
    """The suite's models of one node of a standard operator, at each earlier version of it that takes them."""
    versions = defaultdict(set)
    for schema in onnx.defs.get_all_schemas_with_history():
        # The version itself, and the last one before it; ONNX Runtime begins with 7.
        versions[schema.domain, schema.name] |= {max(schema.since_version, 7), schema.since_version - 1}
    for case in CASES:
        nodes = case.model.graph.node
        if len(nodes) != 1 or case.model.functions or case.name in WRONG_IN_ONNXRUNTIME:
            continue
        newest = min(case.model.opset_import[0].version - 1, 21)
        for version in sorted(versions[nodes[0].domain, nodes[0].op_type]):
            if nodes[0].domain or nodes[0].op_type == "Bernoulli" or not 7 <= version <= newest:
                continue
            model = onnx.ModelProto.FromString(case.model.SerializeToString())
            model.opset_import[0].version = version
            model.ir_version = min(model.ir_version, 10)
            with contextlib.suppress(onnx.checker.ValidationError):
                onnx.checker.check_model(model)
                yield f"{case.name} at version {version}", model, list(case.data_sets[0][0])


def test_older_versions_of_operators_agree_with_onnxruntime():
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    compared = 0
    for name, model, inputs in older_models():
        feeds = dict(zip([value.name for value in model.graph.input], inputs, strict=False))
        try:
            expected = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)
        except Exception:  # it has no kernel for that version or type
            continue
        try:
            for got, want in zip(pyinfer.load(model).run(feeds).values(), expected, strict=True):
                assert_close(got, want, 2e-4)
        except (AssertionError, pyinfer.PyInferError) as error:
            raise AssertionError(f"{name}: {error}") from error
        compared += 1
    assert compared > 1500


@pytest.mark.parametrize("case", [c for c in CASES if is_unsupported(c)], ids=lambda c: c.name)
def test_what_is_unsupported_says_so(case):
    operator = case.model.graph.node[-1].op_type
    inputs, _ = case.data_sets[0]
    if operator == "ImageDecoder":  # only the data says what format it has
        loaded = pyinfer.backend.prepare(case.model)
        with pytest.raises(pyinfer.UnsupportedModel, match="ImageDecoder.*(JPEG 2000|WebP)"):
            loaded.run(list(inputs))
        return
    with pytest.raises(pyinfer.UnsupportedModel, match=rf"1 node cannot be run:\n.*{operator}.*opset"):
        pyinfer.backend.prepare(case.model)
