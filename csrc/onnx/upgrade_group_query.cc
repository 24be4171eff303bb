// GroupQueryAttention of com.microsoft as standard operators.
#include <cmath>

#include "onnx/upgrade_attention.h"
#include "onnx/upgrade_vectors.h"

namespace pyinfer::onnx {
namespace {

struct Heads {
  int64_t q, kv;
};

void reject_unsupported(NodeUpgrade& n) {
  for (size_t i : {12, 13, 16})
    require(n.input(i) == kNoValue, ErrorCode::kUnsupported,
            i == 16 ? "query_seqlens: chunks of queries that are padded"
                    : "k_scale and v_scale: quantized caches");
  for (const char* name : {"k_quant_type", "v_quant_type"})
    require(n.take_string(name).value_or("NONE") == "NONE", ErrorCode::kUnsupported, name,
            ": quantized caches");
  require(n.take_int("sliding_window_cache").value_or(0) == 0, ErrorCode::kUnsupported,
          "sliding_window_cache");
  require(n.output(3) == kNoValue, ErrorCode::kUnsupported, "the output output_qk");
}

Heads read_heads(NodeUpgrade& n) {
  const Heads h{n.take_int("num_heads").value_or(0), n.take_int("kv_num_heads").value_or(0)};
  require(h.q > 0 && h.kv > 0 && h.q <= INT32_MAX && h.q % h.kv == 0, ErrorCode::kInvalidModel, h.q,
          " query heads for ", h.kv, " key heads");
  return h;
}

// x normalised head by head by the root of its mean square, times a weight; x itself without one.
ValueId head_norm(NodeUpgrade& n, ValueId x, size_t weight, std::string_view epsilon, float otherwise) {
  const float e = n.take_float(epsilon).value_or(otherwise);
  if (n.input(weight) == kNoValue) return x;
  return n.add("RMSNormalization", {x, n.input(weight)}, {{"axis", {int64_t{-1}}}, {"epsilon", {e}}});
}

// The positions by which queries and keys are turned: those given, of which a first prompt uses only the
// first number, as ONNX Runtime's documentation says; else those in the cache.
ValueId rotary_positions(NodeUpgrade& n, ValueId positions, ValueId rows, ValueId total) {
  const ValueId ids = n.input(9);
  if (ids == kNoValue) return positions;
  const ValueId first = slice(n, n.add("Reshape", {ids, n.ints({-1})}), n.ints({0}), n.ints({1}));
  const ValueId counted = n.add("Add", {first, range(n, rows)});
  return n.add("Where", {n.add("Equal", {rows, total}), counted, ids});
}

// The cache `past` (none: empty), as long as `total` asks, with the new rows at `at`.
ValueId grow_cache(NodeUpgrade& n, ValueId past, ValueId rows, ValueId at, ValueId total) {
  if (past == kNoValue) past = n.add("Slice", {rows, n.ints({0}), n.ints({0}), n.ints({2})});
  const ValueId more = n.add("Max", {n.add("Sub", {total, dim(n, past, 2)}), n.ints({0})});
  const ValueId longer = n.add(
      "Pad", {past, n.add("Concat", {n.ints({0}), more}, {{"axis", {int64_t{0}}}}), kNoValue, n.ints({2})});
  return n.add("TensorScatter", {longer, rows, at}, {{"axis", {int64_t{2}}}});
}

// One more key for every head, a row of zeros: its score is 0, to which the mask adds the head's sink.
struct Sink {
  ValueId value = kNoValue;  // [heads]

  ValueId longer(NodeUpgrade& n, ValueId x) const {
    return n.add("Pad", {x, n.ints({0, 1}), kNoValue, n.ints({2})});
  }
  // `mask` with a column for the sink.
  ValueId column(NodeUpgrade& n, ValueId mask) const {
    const ValueId shape = n.add("Shape", {mask});
    // Heads in full, one column.
    const ValueId rest = n.add("Concat",
                               {slice(n, shape, n.ints({0}), n.ints({1})), dim(n, value, 0),
                                slice(n, shape, n.ints({2}), n.ints({3})), n.ints({1})},
                               {{"axis", {int64_t{0}}}});
    const ValueId last = n.add("Expand", {unsqueeze(n, unsqueeze(n, value, {1, 2}), {0}), rest});
    const ValueId heads =
        n.add("Concat", {n.ints({1}), dim(n, value, 0), n.ints({1, 1})}, {{"axis", {int64_t{0}}}});
    return n.add("Concat", {n.add("Expand", {mask, heads}), last}, {{"axis", {int64_t{3}}}});
  }
};

Sink read_sink(NodeUpgrade& n, ValueId like, int64_t heads) {
  const bool smooth = n.take_int("smooth_softmax").value_or(0) > 0;
  if (n.input(11) != kNoValue) return {n.input(11)};
  if (!smooth) return {};
  return {n.add("Expand", {n.scalar_like(like, 0.0f), n.ints({heads})})};
}

}  // namespace

// Query s of sequence b stands at p = past(b) + s, past(b) = max(0, seqlens_k(b) + 1 - S), and sees the keys
// j <= p that are less than a window away; without `causal`, all keys of its sequence.
bool group_query_attention(NodeUpgrade& n) {
  reject_unsupported(n);
  const Heads heads = read_heads(n);
  ValueId q = n.required(0), k = n.input(1), v = n.input(2);
  const ValueId like = q, bias = n.input(10), rows = dim(n, q, 1);
  if (k == kNoValue) {
    // Heads of queries, keys and values side by side.
    const ValueId size = n.add("Div", {dim(n, q, 2), n.ints({heads.q + 2 * heads.kv})});
    const ValueId q_end = n.add("Mul", {size, n.ints({heads.q})});
    const ValueId k_end = n.add("Mul", {size, n.ints({heads.q + heads.kv})});
    const auto part = [&, all = q](ValueId begin, ValueId end) {
      return n.add("Slice", {all, begin, end, n.ints({2})});
    };
    k = part(q_end, k_end);
    v = part(k_end, n.ints({INT64_MAX}));
    q = part(n.ints({0}), q_end);
  }
  const ValueId one = n.ints({1});
  const ValueId last = n.add("Reshape", {to_int64(n, n.required(5)), n.ints({-1})});
  const ValueId total = n.add("Reshape", {to_int64(n, n.required(6)), one});
  const ValueId length = n.add("Add", {last, one});
  const ValueId past = n.add("Max", {n.add("Sub", {length, rows}), n.ints({0})});
  const ValueId positions = n.add("Add", {unsqueeze(n, past, {1}), range(n, rows)});
  const float epsilon = n.take_float("qk_norm_epsilon").value_or(1e-6f);
  q = head_norm(n, heads_first(n, q, heads.q), 14, "q_norm_epsilon", epsilon);
  k = head_norm(n, heads_first(n, k, heads.kv), 15, "k_norm_epsilon", epsilon);
  v = heads_first(n, v, heads.kv);
  const Attributes interleaved{{"interleaved", {n.take_int("rotary_interleaved").value_or(0)}}};
  if (n.take_int("do_rotary").value_or(0) != 0) {
    const ValueId ids = rotary_positions(n, positions, rows, total);
    for (ValueId* x : {&q, &k})
      *x = n.add("RotaryEmbedding", {*x, n.required(7), n.required(8), ids}, interleaved);
  }
  const ValueId place = unsqueeze(n, positions, {1, 3}), keys = range(n, total);
  const int64_t window = n.take_int("local_window_size").value_or(-1);
  const bool causal = n.take_int("causal").value_or(1) != 0;
  require(causal || window < 0, ErrorCode::kInvalidModel, "local_window_size ", window, " without causal");
  ValueId sees = causal ? n.add("LessOrEqual", {keys, place})
                        : n.add("Less", {n.add("Add", {keys, n.add("Mul", {place, n.ints({0})})}),
                                         unsqueeze(n, length, {1, 2, 3})});
  if (window >= 0)
    sees = n.add("And", {sees, n.add("Greater", {keys, n.add("Sub", {place, n.scalar(window)})})});
  const Sink sink = read_sink(n, like, heads.q);
  if (bias != kNoValue || sink.value != kNoValue)
    sees = n.add("Where",
                 {sees, bias != kNoValue ? bias : n.scalar_like(like, 0.0f), n.scalar_like(like, -INFINITY)});
  const ValueId present_key = grow_cache(n, n.input(3), k, past, total);
  const ValueId present_value = grow_cache(n, n.input(4), v, past, total);
  Attributes a;
  if (const auto scale = n.take_float("scale"); scale && *scale != 0.0f) a["scale"] = {*scale};
  if (const auto cap = n.take_float("softcap")) a["softcap"] = {*cap};
  const ValueId present[] = {n.output(1), n.output(2)};
  n.set_output(2, kNoValue);
  n.set_output(1, kNoValue);
  n.pass_on(present_key, present[0]);
  n.pass_on(present_value, present[1]);
  if (sink.value == kNoValue)
    n.become("Attention", {q, present_key, present_value, sees}, std::move(a));
  else
    n.become("Attention",
             {q, sink.longer(n, present_key), sink.longer(n, present_value), sink.column(n, sees)},
             std::move(a));
  join_heads(n, 0);
  return true;
}

}  // namespace pyinfer::onnx
