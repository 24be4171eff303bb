// What LSTM, GRU and RNN share: attributes, activations, and weights packed for the matrix product.
#pragma once

#include <array>
#include <vector>

#include "base/aligned.h"
#include "kernels/elementwise.h"
#include "ops/op.h"
#include "ops/panels.h"
#include "ops/work.h"

namespace pyinfer {

enum class Cell : uint8_t { kRnn, kGru, kLstm };

constexpr int gate_count(Cell cell) {
  return cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 3 : 4;
}

// y = outer * f(inner * x); the factors are those of ScaledTanh, 1 for the others.
struct CellActivation {
  UnaryKind kind = UnaryKind::kTanh;
  UnaryParams params;
  float inner = 1.0f, outer = 1.0f;

  template <class C>
  void apply(const C* x, C* y, int64_t n) const;
};

struct RecurrentAttributes {
  Cell cell = Cell::kRnn;
  int64_t hidden = 0;  // 0: not given
  int directions = 1;
  bool reverse = false;      // of a single direction
  bool batch_first = false;  // layout 1
  bool linear_before_reset = false;
  bool coupled = false;  // input_forget
  float clip = 0.0f;     // 0: none
  std::array<std::array<CellActivation, 3>, 2> activations;
};

RecurrentAttributes read_recurrent_attributes(const NodeContext& ctx, Cell cell);

// The weights of all directions in the compute type C (float or double), as run() reads them. W and R are
// packed in panels (ops/panels.h); `bias` is what is added to the input's product, `hidden_bias` what GRU
// with linear_before_reset adds to the hidden gate's recurrent product.
template <class C>
struct RecurrentWeights {
  int64_t input = 0, hidden = 0;
  int gates = 0, directions = 0;
  bool split = false;  // GRU: the hidden gate's recurrent product waits for the reset gate

  RecurrentWeights() = default;
  // Throws Error(kInvalidInput) unless the shapes fit each other; b and p may be nullptr.
  RecurrentWeights(const RecurrentAttributes& a, const Shape& w, const Shape& r, const Shape* b,
                   const Shape* p);

  int64_t width() const { return gates * hidden; }
  int64_t first_width() const { return split ? 2 * hidden : width(); }
  int64_t direction_size() const;
  // Elements of all directions; of the buffer that build() needs.
  int64_t size() const { return directions * direction_size(); }
  int64_t buffer_size() const { return width() * std::max(input, hidden); }

  // Writes the weights to `to`. b and p may be nullptr.
  void build(const TensorView& w, const TensorView& r, const TensorView* b, const TensorView* p, C* to,
             C* buffer) const;

  const C* w(const C* base, int d) const { return base + d * direction_size(); }
  const C* r(const C* base, int d) const { return w(base, d) + packed_b_size(input, width()); }
  const C* r_hidden(const C* base, int d) const { return r(base, d) + packed_b_size(hidden, first_width()); }
  const C* bias(const C* base, int d) const {
    return r_hidden(base, d) + (split ? packed_b_size(hidden, hidden) : 0);
  }
  const C* hidden_bias(const C* base, int d) const { return bias(base, d) + width(); }
  const C* peephole(const C* base, int d) const { return hidden_bias(base, d) + hidden; }
};

}  // namespace pyinfer
