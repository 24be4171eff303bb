// What a model file or an input may demand of the machine. One struct, shared by the reader, shape
// inference, planning and run; each bound is checked BEFORE the memory or the time is spent.
#pragma once

#include <cstdint>

namespace pyinfer {

struct Limits {
  // Bytes in memory of any one tensor, weights and activations alike.
  int64_t max_tensor_bytes = int64_t{16} << 30;
  // Bytes in memory of all weights of a model together, mapped ones and those of nodes included; and again of
  // the forms that kernels read.
  int64_t max_initializer_bytes = int64_t{256} << 30;
  // Bytes of one run: its arena, all values of data-dependent size and all strings together. What the caller
  // gives is the caller's.
  int64_t max_total_bytes = int64_t{64} << 30;
  // Bytes of any one string: a name, a doc string, an element of a string tensor.
  int64_t max_string_bytes = int64_t{64} << 20;
  // Nodes of a model, those in subgraphs and functions included, and after functions are inlined.
  int64_t max_nodes = 1'000'000;
  // Bytes of the parsed form of a model file, weights excluded: an empty message takes two bytes in
  // the file and a few hundred in memory.
  int64_t max_parsed_bytes = int64_t{4} << 30;
  // Trips of all Loops, Scans and SequenceMaps together in one run: nested ones multiply.
  int64_t max_loop_trips = 100'000'000;
  // Depth of subgraphs within subgraphs, of function calls within functions, and of nested types.
  int max_nesting_depth = 64;
};

}  // namespace pyinfer
