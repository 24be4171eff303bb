"""If, Loop and Scan, with bodies written in ONNX's text form, against plain Python loops."""

import os
import signal
import threading

import numpy as np
import onnx.parser
import pytest

import pyinfer

RNG = np.random.default_rng(3)


def load(text, *, opset=21, **options):
    header = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    return pyinfer.load(onnx.parser.parse_model(header + text), **options)


def i64(*values):
    return np.array(values, np.int64)


def scalar(value, dtype=np.int64):
    return np.array(value, dtype)


IF = """
g (bool c, float[N] x, float[M] w) => (float[K] y, float[K] z) {
  y, z = If (c) <
    then_branch = t () => (float[A] ty, float[A] tz) { ty = Neg (x)  tz = Add (x, x) },
    else_branch = e () => (float[B] ey, float[B] ez) { ey = Mul (w, w)  ez = Identity (w) }
  >
}
"""


@pytest.mark.parametrize("lengths", [(3, 3), (2, 5), (0, 4), (1, 0)])
def test_if_gives_the_outputs_of_one_branch(lengths):
    model = load(IF)
    x, w = (RNG.standard_normal(n).astype(np.float32) for n in lengths)
    for c, y, z in [(True, -x, x + x), (False, w * w, w)]:
        got = model.run({"c": scalar(c, bool), "x": x, "w": w})
        np.testing.assert_array_equal(got["y"], y)
        np.testing.assert_array_equal(got["z"], z)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_outputs_of_an_if_that_have_one_shape_are_planned(n):
    # A capture itself, one value twice, a constant, strings; c of the last output has no shape of its own.
    model = load("""
    g (bool c, float[N] x, string[N] s, int64[1] k) => (float[N] y, float[N] z, string[N] t, float[2] w, float[M] r) {
      h = Neg (x)  u = Identity (s)
      a, b, v, d, e = If (c) <
        then_branch = t () => (float[N] ta, float[N] tb, string[N] tv, float[2] td, float[M] te) {
          ta = Identity (h)  tb = Add (h, h)  tv = Identity (u)
          td = Constant <value_floats = [1.0, 2.0]> ()  te = Expand (h, k) },
        else_branch = e () => (float[N] ea, float[N] ea, string[N] ev, float[2] ed, float[M] ee) {
          ea = Mul (h, h)  ev = Identity (s)
          ed = Constant <value_floats = [3.0, 4.0]> ()  ee = Identity (h) }
      >
      y = Abs (a)  z = Exp (b)  t = Identity (v)  w = Neg (d)  r = Neg (e)
    }""")
    x = RNG.standard_normal(n).astype(np.float32)
    s = np.array([f"s{i}" for i in range(n)], object)
    for c in (True, False, True):
        got = model.run({"c": scalar(c, bool), "x": x, "s": s, "k": i64(1)})
        np.testing.assert_array_equal(got["y"], np.abs(x) if c else x * x)
        np.testing.assert_allclose(got["z"], np.exp(-2 * x if c else x * x), rtol=1e-6)
        assert got["t"].tolist() == s.tolist()
        np.testing.assert_array_equal(got["w"], [-1, -2] if c else [-3, -4])
        np.testing.assert_array_equal(got["r"], x)


def test_a_plan_goes_on_after_an_if_whose_branches_agree():
    text = """
    g (bool c, float[N] x) => (float[M] y) {
      a = If (c) <then_branch = t () => (float[A] ta) { ta = Neg (x) },
                  else_branch = e () => (float[B] ea) { BRANCH }>
      b = Exp (a)  y = Abs (b)
    }"""
    agree, differ = (
        load(text.replace("BRANCH", "ea = Abs (x)")),
        load(text.replace("BRANCH", "ea = Concat <axis = 0> (x, x)")),
    )
    assert agree._core.summary({"c": [], "x": [4]})["plan"]["steps"] == 3
    assert differ._core.summary({"c": [], "x": [4]})["plan"] is None
    x = np.float32([1, -2])
    for c in (True, False):
        np.testing.assert_allclose(
            agree.run({"c": scalar(c, bool), "x": x})["y"], np.exp(-x if c else np.abs(x)), rtol=1e-6
        )
        want = -x if c else np.concatenate([x, x])
        np.testing.assert_allclose(differ.run({"c": scalar(c, bool), "x": x})["y"], np.exp(want), rtol=1e-6)


def test_a_branch_that_does_not_fit_the_shapes_may_not_run():
    model = load("""
    g (bool c, float[N] x, float[M] w) => (float[K] y) {
      a = If (c) <then_branch = t () => (float[A] ta) { ta = Add (x, w) },
                  else_branch = e () => (float[A] ea) { ea = Neg (x) }>
      y = Abs (a)
    }""")
    x, w = np.float32([1, 2]), np.float32([3, 4, 5])
    np.testing.assert_array_equal(model.run({"c": scalar(False, bool), "x": x, "w": w})["y"], x)
    with pytest.raises(pyinfer.InvalidInput, match="Add"):
        model.run({"c": scalar(True, bool), "x": x, "w": w})


def test_if_takes_a_condition_of_one_element_only():
    model = load(IF.replace("bool c", "bool[C] c"))
    x = np.ones(2, np.float32)
    np.testing.assert_array_equal(model.run({"c": np.array([True]), "x": x, "w": x})["y"], -x)
    with pytest.raises(pyinfer.InvalidInput, match="one element"):
        model.run({"c": np.array([True, False]), "x": x, "w": x})


def test_if_nests_and_captures_through_two_levels():
    model = load("""
    g (bool a, bool b, float[N] x) => (float[N] y) {
      two = Constant <value_float = 2.0> ()
      y = If (a) <
        then_branch = t () => (float[N] r) {
          r = If (b) <
            then_branch = tt () => (float[N] p) { p = Mul (x, two) },
            else_branch = te () => (float[N] q) { q = Identity (x) }
          >
        },
        else_branch = e () => (float[N] s) { s = Neg (x) }
      >
    }""")
    x = RNG.standard_normal(4).astype(np.float32)
    for a, b, want in [(True, True, x * 2), (True, False, x), (False, True, -x)]:
        got = model.run({"a": scalar(a, bool), "b": scalar(b, bool), "x": x})["y"]
        np.testing.assert_array_equal(got, want)


def test_if_branches_must_agree_in_types():
    with pytest.raises(pyinfer.InvalidModel, match=r"tensor\(float\).*tensor\(int64\)"):
        load("""
        g (bool c, float[N] x) => (float[N] y) {
          y = If (c) <
            then_branch = t () => (float[N] p) { p = Identity (x) },
            else_branch = e () => (int64[K] q) { q = Shape (x) }
          >
        }""")


def test_errors_name_the_node_of_the_branch():
    with pytest.raises(pyinfer.UnsupportedModel, match="NoSuchOperator"):
        load("""
        g (bool c, float[N] x) => (float[N] y) {
          y = If (c) <
            then_branch = t () => (float[N] p) { p = Identity (x) },
            else_branch = e () => (float[N] q) { q = NoSuchOperator (x) }
          >
        }""")


# s = sum of x[0..trips), and every partial sum
LOOP = """
g ({inputs}float[N] x) => (float s, float[K] partial, int64[K] index) {{
  zero = Constant <value_float = 0.0> ()
  s, partial, index = Loop ({m}, {cond}, zero) <
    body = b (int64 i, bool c, float s_in) => (bool c_out, float s_out, float p, int64 j) {{
      e = Gather (x, i)
      s_out = Add (s_in, e)
      p = Identity (s_out)
      j = Identity (i)
      limit = Constant <value_float = 10.0> ()
      c_out = Less (s_out, limit)
    }}
  >
}}
"""


@pytest.mark.parametrize("trips", [0, 1, 5])
def test_loop_with_a_trip_count_ignores_the_condition_of_the_body(trips):
    model = load(LOOP.format(inputs="int64 m, ", m="m", cond=""))
    x = np.arange(4, 11, dtype=np.float32)
    got = model.run({"m": scalar(trips), "x": x})
    np.testing.assert_array_equal(got["s"], x[:trips].sum())
    np.testing.assert_array_equal(got["partial"], np.cumsum(x[:trips]))
    np.testing.assert_array_equal(got["index"], np.arange(trips))
    assert got["partial"].shape == (trips,)


@pytest.mark.parametrize("start", [True, False])
def test_loop_with_a_condition_stops_when_it_turns_false(start):
    model = load(LOOP.format(inputs="bool c0, ", m="", cond="c0"))
    got = model.run({"c0": scalar(start, bool), "x": np.full(9, 3, np.float32)})
    assert got["s"] == (12 if start else 0)
    assert len(got["partial"]) == (4 if start else 0)


@pytest.mark.parametrize(("trips", "done"), [(2, 2), (9, 4), (-1, 0)])
def test_loop_with_both_stops_at_the_first(trips, done):
    model = load(LOOP.format(inputs="int64 m, bool c0, ", m="m", cond="c0"))
    got = model.run({"m": scalar(trips), "c0": scalar(True, bool), "x": np.full(9, 3, np.float32)})
    assert got["s"] == 3 * done
    assert len(got["index"]) == done


def test_loop_without_end_meets_the_limit():
    # Neither a count nor a condition; x has one element only, so gather it by 0.
    text = LOOP.format(inputs="", m="", cond="").replace("Gather (x, i)", "ReduceSum <keepdims = 0> (x)")
    with pytest.raises(pyinfer.LimitExceeded, match="max_loop_trips"):
        load(text, limits=pyinfer.Limits(max_loop_trips=100)).run({"x": np.ones(1, np.float32)})


NESTED = """
g (int64 m, float x) => (float y) {
  go = Constant <value = bool {1}> ()
  y = Loop (m, go, x) <body = outer (int64 i, bool c, float a) => (bool d, float b) {
    d = Identity (c)
    b = Loop (m, c, a) <body = inner (int64 j, bool e, float p) => (bool f, float q) {
      f = Identity (e)
      q = Neg (p)
    }>
  }>
}
"""


def test_nested_loops_share_the_limit_of_trips():
    model = load(NESTED, limits=pyinfer.Limits(max_loop_trips=110))
    for _ in range(3):  # each run counts anew: 10 + 10 * 10
        assert model.run({"m": scalar(10), "x": scalar(1, np.float32)})["y"] == 1
    with pytest.raises(pyinfer.LimitExceeded, match="max_loop_trips=110"):
        model.run({"m": scalar(11), "x": scalar(1, np.float32)})


def test_ctrl_c_ends_a_run():
    model = load(NESTED, limits=pyinfer.Limits(max_loop_trips=2**62))
    # A shell that starts the tests in the background has them ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            model.run({"m": scalar(10**9), "x": scalar(1, np.float32)})
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert model.run({"m": scalar(2), "x": scalar(1, np.float32)})["y"] == 1


def test_loop_outputs_of_all_trips_meet_the_memory_limit():
    model = load(
        """
        g (float[N] x) => (float[K, N] y) {
          m = Constant <value_int = 1000000> ()
          y = Loop (m, ) <
            body = b (int64 i, bool c) => (bool c_out, float[N] p) { c_out = Identity (c)  p = Neg (x) }
          >
        }""",
        limits=pyinfer.Limits(max_tensor_bytes=1 << 16),
    )
    with pytest.raises(pyinfer.LimitExceeded, match="max_tensor_bytes"):
        model.run({"x": np.ones(64, np.float32)})


def test_loop_carried_value_may_grow():
    model = load("""
    g (int64 m, float[N] x) => (float[K] y) {
      y = Loop (m, , x) <
        body = b (int64 i, bool c, float[A] v) => (bool c_out, float[B] w) {
          c_out = Identity (c)
          w = Concat <axis = 0> (v, v)
        }
      >
    }""")
    x = RNG.standard_normal(3).astype(np.float32)
    for trips in range(5):
        np.testing.assert_array_equal(model.run({"m": scalar(trips), "x": x})["y"], np.tile(x, 2**trips))


def test_loop_outputs_of_other_shapes_are_rejected():
    model = load("""
    g (int64 m, float[N] x) => (float[K] y, float[A, B] z) {
      y, z = Loop (m, , x) <
        body = b (int64 i, bool c, float[A] v) => (bool c_out, float[B] w, float[B] z) {
          c_out = Identity (c)
          w = Concat <axis = 0> (v, v)
          z = Identity (w)
        }
      >
    }""")
    with pytest.raises(pyinfer.InvalidInput, match="do not fit together"):
        model.run({"m": scalar(2), "x": np.ones(3, np.float32)})


def test_loop_without_trips_uses_declared_dimensions():
    model = load("""
    g (int64 m) => (float[K, A, B] y) {
      y = Loop (m, ) <
        body = b (int64 i, bool c) => (bool c_out, float[2, Q] p) {
          c_out = Identity (c)
          p = Constant <value = float[2, 3] {1, 2, 3, 4, 5, 6}> ()
        }
      >
    }""")
    assert model.run({"m": scalar(0)})["y"].shape == (0, 2, 0)
    assert model.run({"m": scalar(2)})["y"].shape == (2, 2, 3)


def test_nested_loops_capture_values_of_the_outer_trip():
    # y[i, j] = x[i] * j
    model = load("""
    g (int64 m, int64 n, float[N] x) => (float[A, B] y) {
      y = Loop (m, ) <
        body = b (int64 i, bool c) => (bool c_out, float[B] row) {
          c_out = Identity (c)
          xi = Gather (x, i)
          row = Loop (n, ) <
            body = bb (int64 j, bool d) => (bool d_out, float p) {
              d_out = Identity (d)
              jf = Cast <to = 1> (j)
              p = Mul (xi, jf)
            }
          >
        }
      >
    }""")
    x = RNG.standard_normal(4).astype(np.float32)
    got = model.run({"m": scalar(4), "n": scalar(5), "x": x})["y"]
    np.testing.assert_array_equal(got, x[:, None] * np.arange(5, dtype=np.float32))


def test_loop_carries_strings_and_sequences():
    model = load("""
    g (int64 m, string[N] x) => (string[N] y, seq(string[A]) s) {
      e = SequenceEmpty <dtype = 8> ()
      y, s = Loop (m, , x, e) <
        body = b (int64 i, bool c, string[N] v, seq(string[A]) t) => (bool c_out, string[N] w, seq(string[A]) u) {
          c_out = Identity (c)
          w = Identity (v)
          u = SequenceInsert (t, v)
        }
      >
    }""")
    x = np.array(["a", "long enough to live on the heap, twice over"], object)
    got = model.run({"m": scalar(3), "x": x})
    assert got["y"].tolist() == x.tolist()
    assert [t.tolist() for t in got["s"]] == [x.tolist()] * 3


def test_loop_carries_an_optional_that_starts_empty():
    model = load("""
    g (int64 m, optional(seq(float[A])) o) => (seq(float[A]) y) {
      y = Loop (m, , o) <
        body = b (int64 i, bool c, optional(seq(float[A])) v) => (bool c_out, seq(float[A]) w) {
          c_out = Identity (c)
          has = OptionalHasElement (v)
          s = If (has) <
            then_branch = t () => (seq(float[A]) p) { p = OptionalGetElement (v) },
            else_branch = e () => (seq(float[A]) q) { q = SequenceEmpty () }
          >
          x = Cast <to = 1> (i)
          w = SequenceInsert (s, x)
        }
      >
    }""")
    assert [float(v) for v in model.run({"m": scalar(3), "o": None})["y"]] == [0, 1, 2]
    given = [np.array(9, np.float32)]
    assert [float(v) for v in model.run({"m": scalar(2), "o": given})["y"]] == [9, 0, 1]


def test_loop_body_must_give_back_the_carried_type():
    with pytest.raises(pyinfer.InvalidModel, match=r"tensor\(float\).*tensor\(int64\)"):
        load("""
        g (int64 m, float x) => (float y) {
          y = Loop (m, , x) <
            body = b (int64 i, bool c, float v) => (bool c_out, int64 w) { c_out = Identity (c)  w = Identity (i) }
          >
        }""")


def test_loop_body_with_too_few_inputs_is_rejected():
    with pytest.raises(pyinfer.InvalidModel, match="expected 3"):
        load("""
        g (int64 m, float x) => (float y) {
          y = Loop (m, , x) <
            body = b (int64 i, bool c) => (bool c_out, float w) { c_out = Identity (c)  w = Cast <to = 1> (i) }
          >
        }""")


def test_random_operators_in_a_body_run_every_time():
    model = load(
        """
    g (int64 m) => (float[K] y) {
      y = Loop (m, ) <
        body = b (int64 i, bool c) => (bool c_out, float p) {
          c_out = Identity (c)
          p = RandomUniform <shape = [1]> ()
        }
      >
    }""".replace("float p)", "float[1] p)").replace("float[K] y", "float[K, L] y")
    )
    assert len(np.unique(model.run({"m": scalar(8)})["y"])) > 1


SCAN = """
g (float[A, B, C] x, float[A, B, C] w, float init) => (float last, {outputs}) {{
  last, {names} = Scan <
    num_scan_inputs = 2{attributes},
    body = b (float s, float[P, Q] xe, float[P, Q] we) => (float s_out, float[P, Q] p, float[P, Q] q) {{
      e = Mul (xe, we)
      sum = ReduceSum <keepdims = 0> (e)
      s_out = Add (s, sum)
      p = Add (xe, s_out)
      q = Sub (we, s_out)
    }}
  > (init, x, w)
}}
"""


def scan_reference(x, w, init, axes=(0, 0), directions=(0, 0), out_axes=(0, 0), out_directions=(0, 0)):
    xs = [
        np.moveaxis(a, axis, 0)[:: -1 if d else 1]
        for a, axis, d in zip((x, w), axes, directions, strict=True)
    ]
    s, p, q = np.float32(init), [], []
    for xe, we in zip(*xs, strict=True):
        s = np.float32(s + (xe * we).sum(dtype=np.float64))
        p.append(xe + s)
        q.append(we - s)
    outs = []
    for y, axis, d in zip((p, q), out_axes, out_directions, strict=True):
        outs.append(np.stack(y[:: -1 if d else 1], axis=axis))
    return [s, *outs]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"axes": (1, 1)},
        {"axes": (2, -1), "out_axes": (1, -1)},
        {"directions": (1, 0)},
        {"out_directions": (0, 1), "out_axes": (2, 0)},
        {"axes": (-2, 1), "directions": (0, 1), "out_axes": (-1, 1), "out_directions": (1, 1)},
    ],
)
def test_scan_axes_and_directions(options):
    names = {
        "axes": "scan_input_axes",
        "directions": "scan_input_directions",
        "out_axes": "scan_output_axes",
        "out_directions": "scan_output_directions",
    }
    attributes = "".join(f", {names[k]} = {list(v)}" for k, v in options.items())
    model = load(
        SCAN.format(attributes=attributes, outputs="float[D, E, F] p, float[G, H, I] q", names="p, q")
    )
    for shape in [(2, 3, 4), (1, 1, 1), (3, 2, 1)]:
        x, w = (RNG.standard_normal(shape).astype(np.float32) for _ in range(2))
        got = model.run({"x": x, "w": w, "init": scalar(0.5, np.float32)})
        for name, want in zip(("last", "p", "q"), scan_reference(x, w, 0.5, **options), strict=True):
            np.testing.assert_allclose(got[name], want, rtol=1e-5, atol=1e-5)


def test_scan_of_no_elements():
    model = load(SCAN.format(attributes="", outputs="float[D, E, F] p, float[G, H, I] q", names="p, q"))
    x = np.zeros((0, 2, 3), np.float32)
    got = model.run({"x": x, "w": x, "init": scalar(4, np.float32)})
    assert got["last"] == 4
    assert got["p"].shape[0] == 0


def test_scan_of_different_lengths_is_rejected():
    model = load(SCAN.format(attributes="", outputs="float[D, E, F] p, float[G, H, I] q", names="p, q"))
    x = np.zeros((2, 2, 3), np.float32)
    with pytest.raises(pyinfer.InvalidInput, match="2 and 3 elements"):
        model.run({"x": x, "w": np.zeros((3, 2, 3), np.float32), "init": scalar(4, np.float32)})


def test_scan_meets_the_limit_of_trips():
    text = SCAN.format(attributes="", outputs="float[D, E, F] p, float[G, H, I] q", names="p, q")
    model = load(text, limits=pyinfer.Limits(max_loop_trips=5))
    x = np.zeros((6, 1, 1), np.float32)
    with pytest.raises(pyinfer.LimitExceeded, match="max_loop_trips"):
        model.run({"x": x, "w": x, "init": scalar(4, np.float32)})


@pytest.mark.parametrize(
    "attributes",
    [
        "num_scan_inputs = 3",
        "num_scan_inputs = 0",
        "num_scan_inputs = 1, scan_input_axes = [0, 0]",
        "num_scan_inputs = 1, scan_input_directions = [2]",
        "num_scan_inputs = 1, scan_output_axes = [9]",
    ],
)
def test_scan_rejects_bad_attributes(attributes):
    text = f"""
    g (float s, float[A, B] x) => (float t, float[C, D] y) {{
      t, y = Scan <{attributes}, body = b (float s, float[P] xe) => (float t, float[P] y) {{
        t = Identity (s)  y = Identity (xe)
      }}> (s, x)
    }}"""
    with pytest.raises(pyinfer.PyInferError):
        load(text).run({"s": scalar(0, np.float32), "x": np.zeros((2, 3), np.float32)})


@pytest.mark.parametrize("lengths", [None, (3, 1), (0, 2)])
@pytest.mark.parametrize("reverse", [0, 1])
def test_scan_8_repeats_for_each_sequence_of_a_batch(lengths, reverse):
    model = load(
        f"""
        g ({"" if lengths is None else "int64[B] n, "}float[B, K] s, float[B, T, K] x) => (float[B, K] t, float[B, T, K] y) {{
          t, y = Scan <num_scan_inputs = 1, directions = [{reverse}], body = b (float[K] s, float[K] xe) => (float[K] t, float[K] y) {{
            t = Add (s, xe)  y = Identity (t)
          }}> ({"" if lengths is None else "n"}, s, x)
        }}""",
        opset=8,
    )
    s, x = np.zeros((2, 4), np.float32), RNG.standard_normal((2, 3, 4)).astype(np.float32)
    feeds = {"s": s, "x": x} | ({} if lengths is None else {"n": i64(*lengths)})
    got = model.run(feeds)
    for b in range(2):
        n = 3 if lengths is None else lengths[b]
        part = x[b, :n][:: -1 if reverse else 1]
        np.testing.assert_allclose(got["y"][b, :n], np.cumsum(part, axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got["t"][b], part.sum(0), rtol=1e-5, atol=1e-6)
