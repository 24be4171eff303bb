// Attention operators of com.microsoft, written as the standard ones: projections and biases become products
// and sums, masks become terms that are added to the scores.
#include "onnx/upgrade_attention.h"

#include "onnx/upgrade_vectors.h"

namespace pyinfer::onnx {
namespace {

// What a mask is laid over: the scores of `rows` queries against `keys` keys, for `batch` sequences.
struct Scores {
  ValueId batch, rows, keys;  // vectors of one element
};

// [batch, 1, 1, keys], true where starts(b) <= j < ends(b), from a vector that holds ends [batch], ends and
// starts [2 * batch], or ends and what only packed batches need [3 * batch + 2].
ValueId key_ranges(NodeUpgrade& n, ValueId mask, const Scores& s) {
  const ValueId size = dim(n, mask, 0), twice = n.add("Add", {s.batch, s.batch});
  const ValueId packed = n.add("Add", {n.add("Add", {twice, s.batch}), n.ints({2})});
  const ValueId with_starts = n.add("Equal", {size, twice});
  // A vector of another length cannot be reshaped to the length that this asks for.
  const ValueId fits = n.add(
      "Or", {n.add("Or", {n.add("Equal", {size, s.batch}), with_starts}), n.add("Equal", {size, packed})});
  const ValueId ends_at = n.add("Where", {fits, size, n.add("Add", {size, n.ints({1})})});
  const ValueId all = to_int64(n, n.add("Reshape", {mask, ends_at}));
  const ValueId none = n.add("Expand", {n.ints({0}), s.batch});
  const ValueId ends = slice(n, all, n.ints({0}), s.batch);
  const ValueId given = slice(n, n.add("Concat", {all, none}, {{"axis", {int64_t{0}}}}), s.batch, twice);
  const ValueId starts = n.add("Where", {with_starts, given, none});
  const ValueId keys = range(n, s.keys);
  const ValueId after = n.add("GreaterOrEqual", {keys, unsqueeze(n, starts, {1, 2, 3})});
  return n.add("And", {after, n.add("Less", {keys, unsqueeze(n, ends, {1, 2, 3})})});
}

// `mask`, true where a query sees a key, has rank 4; its last dimension is the number of keys.
ValueId over_all_keys(NodeUpgrade& n, ValueId mask, const Scores& s) {
  return n.add("Expand", {mask, n.add("Concat", {n.ints({1, 1, 1}), s.keys}, {{"axis", {int64_t{0}}}})});
}

// The mask, by its rank: [batch] and the like (above), [batch, keys], [batch, rows, keys], or
// [batch, 1, longest, longest], of which row rows - S + s of the last `rows` before `keys` counts.
ValueId visible(NodeUpgrade& n, ValueId mask, const Scores& s) {
  const int rank = n.declared_rank(mask);
  if (rank == 1) return key_ranges(n, mask, s);
  const ValueId keep = n.add("Cast", {mask}, {{"to", {static_cast<int64_t>(DType::kBool)}}});
  if (rank == 2) {
    // One column stands for no mask.
    const ValueId dummy = n.add("Equal", {dim(n, mask, 1), n.ints({1})});
    return over_all_keys(n, unsqueeze(n, n.add("Or", {keep, dummy}), {1, 2}), s);
  }
  if (rank == 3) return over_all_keys(n, unsqueeze(n, keep, {1}), s);
  require(rank == 4, ErrorCode::kUnsupported, "a mask that has not 1 to 4 dimensions, known at load");
  const ValueId begin = n.add("Sub", {s.keys, s.rows});
  const ValueId rows = n.add("Slice", {keep, begin, s.keys, n.ints({2})});
  return over_all_keys(n, n.add("Slice", {rows, n.ints({0}), s.keys, n.ints({3})}), s);
}

// What is added to the scores: 0 or `filter` by the mask, plus a bias; kNoValue for neither.
ValueId score_term(NodeUpgrade& n, ValueId mask, ValueId bias, const Scores& s, ValueId like, float filter) {
  if (mask == kNoValue) return bias;
  const ValueId term =
      n.add("Where", {visible(n, mask, s), n.scalar_like(like, 0.0f), n.scalar_like(like, filter)});
  return bias == kNoValue ? term : n.add("Add", {term, bias});
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

ValueId sum_of(NodeUpgrade& n, ValueId a, ValueId b) {
  return b == kNoValue ? a : n.add("Add", {a, b});
}

// Part `index` of x, [batch, rows, heads, parts, size], as [batch, rows, heads * size].
ValueId packed_part(NodeUpgrade& n, ValueId x, int64_t index) {
  return n.add("Reshape",
               {n.add("Gather", {x, n.scalar(index)}, {{"axis", {int64_t{3}}}}), n.ints({0, 0, -1})});
}

// `all` is [batch, rows, all of Q, K and V]. `past` and the present output hold keys and values together.
bool self_attention(NodeUpgrade& n, ValueId all, ValueId q_end, ValueId k_end, ValueId mask, ValueId past,
                    ValueId bias, ValueId like) {
  const float filter = n.take_float("mask_filter_value").value_or(-10000.0f);
  const auto part = [&](ValueId begin, ValueId end) {
    return n.add("Slice", {all, begin, end, n.ints({2})});
  };
  const ValueId q = part(n.ints({0}), q_end), k = part(q_end, k_end), v = part(k_end, n.ints({INT64_MAX}));
  ValueId past_key = kNoValue, past_value = kNoValue;
  Scores s{dim(n, all, 0), dim(n, all, 1), dim(n, all, 1)};
  if (past != kNoValue) {
    past_key = n.add("Gather", {past, n.scalar(int64_t{0})});
    past_value = n.add("Gather", {past, n.scalar(int64_t{1})});
    s.keys = n.add("Add", {s.keys, dim(n, past, 3)});
  }
  const ValueId present = n.output(1);
  n.become("Attention", {q, k, v, score_term(n, mask, bias, s, like, filter), past_key, past_value},
           attention_attributes(n));
  if (present != kNoValue) n.stack_outputs(1, 2, present);
  return true;
}

void reject_buffer_sharing(NodeUpgrade& n) {
  require(n.take_int("past_present_share_buffer").value_or(0) == 0, ErrorCode::kUnsupported,
          "past_present_share_buffer; export the model with growing caches");
  require(n.take_int("do_rotary").value_or(0) == 0, ErrorCode::kUnsupported,
          "do_rotary; write the rotation as RotaryEmbedding in front of MultiHeadAttention");
}

}  // namespace

bool multi_head_attention(NodeUpgrade& n) {
  ValueId q = n.required(0), k = n.input(1), v = n.input(2);
  const ValueId bias = n.input(3), mask = n.input(4), past_key = n.input(6), past_value = n.input(7);
  require(n.input(8) == kNoValue && n.input(9) == kNoValue && n.output(3) == kNoValue,
          ErrorCode::kUnsupported,
          "buffer sharing (past_sequence_length), cache_indirection and the output qk");
  const float filter = n.take_float("mask_filter_value").value_or(-10000.0f);
  const ValueId like = q;
  // Keys and values of a cross attention may come as [batch, heads, keys, size].
  const bool heads_apart = k != kNoValue && n.declared_rank(k) == 4;
  if (k == kNoValue) {
    const ValueId all = q;
    q = packed_part(n, all, 0);
    k = packed_part(n, all, 1);
    v = packed_part(n, all, 2);
  } else if (v == kNoValue) {
    v = packed_part(n, k, 1);
    k = packed_part(n, k, 0);
  }
  if (bias != kNoValue) {
    const ValueId q_size = dim(n, q, 2), k_end = n.add("Add", {q_size, q_size});
    q = n.add("Add", {q, slice(n, bias, n.ints({0}), q_size)});
    // Keys and values that come head by head have theirs already.
    if (!heads_apart) {
      k = n.add("Add", {k, slice(n, bias, q_size, k_end)});
      v = n.add("Add", {v, slice(n, bias, k_end, n.ints({INT64_MAX}))});
    }
  }
  Scores s{dim(n, q, 0), dim(n, q, 1), dim(n, k, heads_apart ? 2 : 1)};
  if (past_key != kNoValue) s.keys = n.add("Add", {s.keys, dim(n, past_key, 2)});
  Attributes attributes = attention_attributes(n);
  const ValueId term = score_term(n, mask, n.input(5), s, like, filter);
  if (heads_apart) {
    const auto heads = std::get<int64_t>(attributes["q_num_heads"].value);
    require(heads > 0, ErrorCode::kInvalidModel, "num_heads is ", heads);
    q = heads_first(n, q, heads);
  }
  n.become("Attention", {q, k, v, term, past_key, past_value}, std::move(attributes));
  if (heads_apart) join_heads(n, 0);
  return true;
}

bool attention(NodeUpgrade& n) {
  const ValueId input = n.required(0), weights = n.required(1);
  reject_buffer_sharing(n);
  const std::vector<int64_t> sizes = n.take_ints("qkv_hidden_sizes").value_or(std::vector<int64_t>());
  require(sizes.empty() || sizes.size() == 3, ErrorCode::kInvalidModel, "qkv_hidden_sizes has ", sizes.size(),
          " values, expected 3");
  for (int64_t size : sizes)
    require(size > 0 && size <= INT32_MAX, ErrorCode::kInvalidModel, "qkv_hidden_sizes holds ", size);
  const ValueId all = sum_of(n, n.add("MatMul", {input, weights}), n.input(2));
  ValueId q_end, k_end;
  if (sizes.empty()) {
    q_end = n.add("Div", {dim(n, weights, 1), n.ints({3})});
    k_end = n.add("Add", {q_end, q_end});
  } else {
    q_end = n.ints({sizes[0]});
    k_end = n.ints({sizes[0] + sizes[1]});
  }
  return self_attention(n, all, q_end, k_end, n.input(3), n.input(4), n.input(5), input);
}

// Attention of 8-bit input and weights; the products are exact.
bool quantized_attention(NodeUpgrade& n) {
  reject_buffer_sharing(n);
  const ValueId weights = n.required(1), scale = n.required(3);
  const ValueId all = n.add_contrib("MatMulIntegerToFloat", {n.required(0), weights, scale, n.required(4),
                                                             n.input(6), n.input(7), n.input(2)});
  const ValueId q_end = n.add("Div", {dim(n, weights, 1), n.ints({3})});
  return self_attention(n, all, q_end, n.add("Add", {q_end, q_end}), n.input(5), n.input(8), kNoValue, scale);
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

}  // namespace pyinfer::onnx
