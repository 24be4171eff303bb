// Attention operators of com.microsoft, written as the standard ones: projections and biases become products
// and sums, masks become terms that are added to the scores.
#include "onnx/upgrade_attention.h"

#include <cmath>

namespace pyinfer::onnx {
namespace {

// Dimension `axis` of x, as a vector of one element.
ValueId dim(NodeUpgrade& n, ValueId x, int64_t axis) {
  return n.add("Slice", {n.add("Shape", {x}), n.ints({axis}), n.ints({axis + 1})});
}

// Elements [begin, end) of a vector.
ValueId slice(NodeUpgrade& n, ValueId x, ValueId begin, ValueId end) {
  return n.add("Slice", {x, begin, end, n.ints({0})});
}

ValueId unsqueeze(NodeUpgrade& n, ValueId x, std::initializer_list<int64_t> axes) {
  return n.add("Unsqueeze", {x, n.ints(axes)});
}

// A term of the scores: `filter` where `mask` (an integer tensor that broadcasts to them) is 0, else 0.
ValueId mask_term(NodeUpgrade& n, ValueId mask, ValueId like, float filter) {
  const ValueId keep = n.add("Cast", {mask}, {{"to", {static_cast<int64_t>(DType::kBool)}}});
  return n.add("Where", {keep, n.scalar_like(like, 0.0f), n.scalar_like(like, filter)});
}

// The mask of keys by its rank: [batch, keys] or [batch, queries, keys]; kNoValue when it has another form.
ValueId raw_mask(NodeUpgrade& n, ValueId mask, ValueId like, float filter) {
  switch (n.rank(mask)) {
    case 2: return mask_term(n, unsqueeze(n, mask, {1, 2}), like, filter);
    case 3: return mask_term(n, unsqueeze(n, mask, {1}), like, filter);
    default: fail(ErrorCode::kUnsupported, "a mask that has not 2 or 3 dimensions, known at load");
  }
}

ValueId sum_terms(NodeUpgrade& n, ValueId a, ValueId b) {
  return a == kNoValue ? b : b == kNoValue ? a : n.add("Add", {a, b});
}

Attributes attention_attributes(NodeUpgrade& n) {
  Attributes a;
  const int64_t heads = n.take_int("num_heads").value_or(0);
  a["q_num_heads"] = {heads};
  a["kv_num_heads"] = {heads};
  if (n.take_int("unidirectional").value_or(0) != 0) a["is_causal"] = {int64_t{1}};
  // 0 stands for the default.
  if (const auto scale = n.take_float("scale"); scale && *scale != 0.0f) a["scale"] = {*scale};
  return a;
}

}  // namespace

bool multi_head_attention(NodeUpgrade& n) {
  const ValueId query = n.required(0), key = n.input(1), value = n.input(2), bias = n.input(3),
                mask = n.input(4);
  const ValueId scores_bias = n.input(5), past_key = n.input(6), past_value = n.input(7);
  require(n.input(8) == kNoValue && n.input(9) == kNoValue && n.output(3) == kNoValue,
          ErrorCode::kUnsupported, "buffer sharing, cache_indirection and the output qk");
  require(key != kNoValue && value != kNoValue && n.rank(key) == 3 && n.rank(value) == 3,
          ErrorCode::kUnsupported, "key and value must be given with 3 dimensions each, known at load");
  const float filter = n.take_float("mask_filter_value").value_or(-10000.0f);
  ValueId q = query, k = key, v = value;
  if (bias != kNoValue) {
    const ValueId q_size = dim(n, query, 2), k_end = n.add("Add", {q_size, dim(n, key, 2)});
    q = n.add("Add", {q, slice(n, bias, n.ints({0}), q_size)});
    k = n.add("Add", {k, slice(n, bias, q_size, k_end)});
    v = n.add("Add", {v, slice(n, bias, k_end, n.ints({INT64_MAX}))});
  }
  ValueId term = scores_bias;
  if (mask != kNoValue) term = sum_terms(n, term, raw_mask(n, mask, query, filter));
  n.become("Attention", {q, k, v, term, past_key, past_value}, attention_attributes(n));
  return true;
}

bool attention(NodeUpgrade& n) {
  const ValueId input = n.required(0), weights = n.required(1), bias = n.input(2), mask = n.input(3);
  const ValueId past = n.input(4), scores_bias = n.input(5);
  require(n.input(6) == kNoValue && n.take_int("past_present_share_buffer").value_or(0) == 0 &&
              n.take_int("do_rotary").value_or(0) == 0,
          ErrorCode::kUnsupported, "buffer sharing and do_rotary");
  const float filter = n.take_float("mask_filter_value").value_or(-10000.0f);
  const std::vector<int64_t> sizes = n.take_ints("qkv_hidden_sizes").value_or(std::vector<int64_t>());
  require(sizes.empty() || sizes.size() == 3, ErrorCode::kInvalidModel, "qkv_hidden_sizes has ", sizes.size(),
          " values, expected 3");
  for (int64_t size : sizes)
    require(size > 0 && size <= INT32_MAX, ErrorCode::kInvalidModel, "qkv_hidden_sizes holds ", size);
  ValueId all = n.add("MatMul", {input, weights});
  if (bias != kNoValue) all = n.add("Add", {all, bias});
  ValueId q_end, k_end;
  if (sizes.empty()) {
    q_end = n.add("Div", {dim(n, weights, 1), n.ints({3})});
    k_end = n.add("Add", {q_end, q_end});
  } else {
    q_end = n.ints({sizes[0]});
    k_end = n.ints({sizes[0] + sizes[1]});
  }
  const auto part = [&](ValueId begin, ValueId end) {
    return n.add("Slice", {all, begin, end, n.ints({2})});
  };
  const ValueId q = part(n.ints({0}), q_end), k = part(q_end, k_end), v = part(k_end, n.ints({INT64_MAX}));
  ValueId term = scores_bias;
  if (mask != kNoValue) term = sum_terms(n, term, raw_mask(n, mask, input, filter));
  ValueId past_key = kNoValue, past_value = kNoValue;
  if (past != kNoValue) {
    past_key = n.add("Gather", {past, n.scalar(int64_t{0})});
    past_value = n.add("Gather", {past, n.scalar(int64_t{1})});
  }
  const ValueId present = n.output(1);
  n.become("Attention", {q, k, v, term, past_key, past_value}, attention_attributes(n));
  if (present != kNoValue) n.stack_outputs(1, 2, present);
  return true;
}

bool rotary_embedding(NodeUpgrade& n) {
  require(n.take_int("is_packed_batching").value_or(0) == 0 && n.take_float("scale").value_or(1.0f) == 1.0f,
          ErrorCode::kUnsupported, "packed batches and a scale");
  const ValueId x = n.required(0), position = n.required(1), cos = n.required(2), sin = n.required(3);
  ValueId ids = position;
  if (n.rank(position) != 2) {
    // One position, that of the first row: the others follow.
    require(n.rank(position) == 1 && n.rank(x) >= 3, ErrorCode::kUnsupported,
            "the ranks of the input and of position_ids must be known at load");
    const ValueId rows = dim(n, x, n.rank(x) == 3 ? 1 : 2);
    const ValueId count =
        n.add("Range", {n.scalar(int64_t{0}), n.add("Squeeze", {rows}), n.scalar(int64_t{1})});
    const ValueId shape = n.add("Concat", {dim(n, x, 0), rows}, {{"axis", {int64_t{0}}}});
    ids = n.add("Expand", {n.add("Add", {n.add("Reshape", {position, n.ints({1})}), count}), shape});
  }
  n.rename("RotaryEmbedding");
  for (size_t i = 0; ValueId id : {x, cos, sin, ids}) n.set_input(i++, id);
  return true;
}

namespace {

// [batch, rows, heads * size] as [batch, heads, rows, size].
ValueId heads_first(NodeUpgrade& n, ValueId x, int64_t heads) {
  const ValueId split = n.add("Reshape", {x, n.ints({0, 0, heads, -1})});
  return n.add("Transpose", {split}, {{"perm", {std::vector<int64_t>{0, 2, 1, 3}}}});
}

ValueId range(NodeUpgrade& n, ValueId count) {
  return n.add("Range", {n.scalar(int64_t{0}), n.add("Squeeze", {count}), n.scalar(int64_t{1})});
}

// The cache `past`, as long as `total` asks, with the new rows at `at`.
ValueId grow_cache(NodeUpgrade& n, ValueId past, ValueId rows, ValueId at, ValueId total) {
  const ValueId more = n.add("Max", {n.add("Sub", {total, dim(n, past, 2)}), n.ints({0})});
  const ValueId longer = n.add(
      "Pad", {past, n.add("Concat", {n.ints({0}), more}, {{"axis", {int64_t{0}}}}), kNoValue, n.ints({2})});
  return n.add("TensorScatter", {longer, rows, at}, {{"axis", {int64_t{2}}}});
}

}  // namespace

// Query s of sequence b stands at p = past(b) + s, past(b) = max(0, seqlens_k(b) + 1 - S), and sees the keys
// j <= p that are less than a window away.
bool group_query_attention(NodeUpgrade& n) {
  for (size_t i = 11; i < n.num_inputs(); ++i)
    require(n.input(i) == kNoValue, ErrorCode::kUnsupported, "input ", i);
  require(n.output(3) == kNoValue && n.take_int("smooth_softmax").value_or(0) <= 0 &&
              n.take_int("sliding_window_cache").value_or(0) == 0 && n.take_int("causal").value_or(1) == 1,
          ErrorCode::kUnsupported, "smooth_softmax, sliding_window_cache, causal=0 and the output qk");
  const int64_t heads = n.take_int("num_heads").value_or(0),
                kv_heads = n.take_int("kv_num_heads").value_or(0);
  require(heads > 0 && kv_heads > 0 && heads <= INT32_MAX && heads % kv_heads == 0, ErrorCode::kInvalidModel,
          heads, " query heads for ", kv_heads, " key heads");
  ValueId q = n.required(0), k = n.input(1), v = n.input(2);
  const ValueId past_key = n.required(3), past_value = n.required(4), bias = n.input(10);
  const ValueId rows = dim(n, q, 1);
  if (k == kNoValue) {
    // Heads of queries, keys and values side by side.
    const ValueId size = n.add("Div", {dim(n, q, 2), n.ints({heads + 2 * kv_heads})});
    const ValueId q_end = n.add("Mul", {size, n.ints({heads})});
    const ValueId k_end = n.add("Mul", {size, n.ints({heads + kv_heads})});
    const auto part = [&, all = q](ValueId begin, ValueId end) {
      return n.add("Slice", {all, begin, end, n.ints({2})});
    };
    k = part(q_end, k_end);
    v = part(k_end, n.ints({INT64_MAX}));
    q = part(n.ints({0}), q_end);
  }
  const Attributes to_int64{{"to", {static_cast<int64_t>(DType::kInt64)}}};
  const ValueId one = n.ints({1});
  const ValueId last = n.add("Reshape", {n.add("Cast", {n.required(5)}, to_int64), n.ints({-1})});
  const ValueId total = n.add("Reshape", {n.add("Cast", {n.required(6)}, to_int64), one});
  const ValueId past = n.add("Max", {n.add("Sub", {n.add("Add", {last, one}), rows}), n.ints({0})});
  const ValueId positions = n.add("Add", {unsqueeze(n, past, {1}), range(n, rows)});
  q = heads_first(n, q, heads);
  k = heads_first(n, k, kv_heads);
  v = heads_first(n, v, kv_heads);
  if (n.take_int("do_rotary").value_or(0) != 0) {
    const Attributes interleaved{{"interleaved", {n.take_int("rotary_interleaved").value_or(0)}}};
    for (ValueId* x : {&q, &k})
      *x = n.add("RotaryEmbedding", {*x, n.required(7), n.required(8), positions}, interleaved);
  }
  const ValueId place = unsqueeze(n, positions, {1, 3}), keys = range(n, total);
  ValueId sees = n.add("LessOrEqual", {keys, place});
  if (const int64_t window = n.take_int("local_window_size").value_or(-1); window >= 0)
    sees = n.add("And", {sees, n.add("Greater", {keys, n.add("Sub", {place, n.scalar(window)})})});
  if (bias != kNoValue) sees = n.add("Where", {sees, bias, n.scalar_like(bias, -INFINITY)});
  const ValueId present_key = grow_cache(n, past_key, k, past, total);
  const ValueId present_value = grow_cache(n, past_value, v, past, total);
  Attributes a;
  if (const auto scale = n.take_float("scale"); scale && *scale != 0.0f) a["scale"] = {*scale};
  if (const auto cap = n.take_float("softcap")) a["softcap"] = {*cap};
  const ValueId present[] = {n.output(1), n.output(2)};
  n.set_output(2, kNoValue);
  n.set_output(1, kNoValue);
  n.pass_on(present_key, present[0]);
  n.pass_on(present_value, present[1]);
  n.become("Attention", {q, present_key, present_value, sees}, std::move(a));
  n.then(0, "Reshape", {n.ints({0, 0, -1})});
  n.then(0, "Transpose", {}, {{"perm", {std::vector<int64_t>{0, 2, 1, 3}}}});
  return true;
}

}  // namespace pyinfer::onnx
