// Prints a hash of each row that a model computes from fixed pseudo-random inputs, to be compared with those
// of another instruction set or processor (tools/compare_bits.py does):
//
//   pyinfer_model_bits MODEL [--batch 1,3,8] [--threads 1,2,4] [--whole] [INPUT=SHAPE[:VALUE]]...
//   pyinfer_model_bits silero_vad.onnx --batch 1,3 input=Bx512 state=2xBx128 sr=:16000
//
// SHAPE is numbers joined by x, with B where the batch is, empty for a scalar; unless given, the declared
// shape, whose open dimensions are B in front and 1 elsewhere. VALUE fills the input; else floats lie in
// [-2, 2) and integers below 200, and those of row b depend on nothing else, whatever batch it travels in.
// Each batch is computed for all rows up to the largest batch, on the first number of threads; on the others
// for the first rows. Exit status 1 when a row's bits differ between two of the batches or thread counts.
// --whole is for models that compute a row from others too: it takes each output of each batch as one.
#include <algorithm>
#include <bit>
#include <cstring>
#include <iostream>
#include <map>
#include <random>
#include <sstream>

#include "base/error.h"
#include "runtime/model.h"

using namespace pyinfer;

namespace {

constexpr int64_t kBatch = -1;

struct Feed {
  std::vector<int64_t> dims;  // kBatch where the batch is
  std::optional<double> value;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

Feed parse_feed(const std::string& text) {
  Feed feed;
  const size_t colon = text.find(':');
  for (const std::string& dim : split(text.substr(0, colon), 'x'))
    feed.dims.push_back(dim == "B" ? kBatch : std::stoll(dim));
  if (colon != std::string::npos) feed.value = std::stod(text.substr(colon + 1));
  return feed;
}

Feed declared_feed(const ValueSpec& spec) {
  require(spec.shape.has_value(), ErrorCode::kInvalidInput, "input ", spec.name, " needs a shape");
  Feed feed;
  for (const Dim& d : *spec.shape)
    feed.dims.push_back(d.value >= 0 ? d.value : feed.dims.empty() ? kBatch : 1);
  return feed;
}

// A tensor seen as [outer, batch, inner]; without a batch it is one row.
struct Rows {
  int64_t outer = 1, batch = 1, inner = 1;
  Rows(const Shape& shape, int axis) {
    for (int i = 0; i < shape.rank(); ++i) (i < axis ? outer : i == axis ? batch : inner) *= shape[i];
    if (axis < 0) outer = 1;
  }
  // f(index) for the elements of row b, in order.
  template <class F>
  void each(int64_t b, F f) const {
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i) f((o * batch + b) * inner + i);
  }
};

template <class T>
void fill_as(const Tensor& t, const Rows& rows, uint32_t seed, int64_t first, std::optional<double> value) {
  for (int64_t b = 0; b < rows.batch; ++b) {
    std::mt19937 rng(seed * 1009 + static_cast<uint32_t>(first + b));
    rows.each(b, [&](int64_t i) {
      double v = value.value_or(0);
      if (!value) v = dtype_is_float(t.dtype()) ? static_cast<int32_t>(rng()) * 0x1p-30 : rng() % 200;
      t.as<T>()[i] = static_cast<T>(static_cast<float>(v));
    });
  }
}

// Rows from `first` on.
Object make_input(const ValueSpec& spec, const Feed& feed, int64_t batch, int64_t first, uint32_t seed) {
  Shape shape;
  int axis = -1;
  for (int64_t d : feed.dims) {
    if (d == kBatch) axis = shape.rank();
    shape.push_back(d == kBatch ? batch : d);
  }
  const Tensor t(spec.type.dtype, shape);
  const Rows rows(shape, axis);
  if (axis < 0) first = 0;  // every row's
  switch (spec.type.dtype) {
    case DType::kFloat32: fill_as<float>(t, rows, seed, first, feed.value); break;
    case DType::kFloat64: fill_as<double>(t, rows, seed, first, feed.value); break;
    case DType::kFloat16: fill_as<Float16>(t, rows, seed, first, feed.value); break;
    case DType::kUInt8: fill_as<uint8_t>(t, rows, seed, first, feed.value); break;
    case DType::kInt32: fill_as<int32_t>(t, rows, seed, first, feed.value); break;
    case DType::kInt64: fill_as<int64_t>(t, rows, seed, first, feed.value); break;
    case DType::kBool: fill_as<bool>(t, rows, seed, first, feed.value); break;
    default: fail(ErrorCode::kInvalidInput, "input ", spec.name, " is of type ", dtype_name(spec.type.dtype));
  }
  return Object::of(t);
}

// FNV-1a over bytes; NaN counts as NaN whatever its payload.
uint64_t hash_row(const Tensor& t, const Rows& rows, int64_t b) {
  uint64_t hash = 0xcbf29ce484222325u;
  const size_t size = dtype_size(t.dtype());
  const auto* bytes = static_cast<const unsigned char*>(t.view().data);
  rows.each(b, [&](int64_t i) {
    unsigned char element[16];
    std::memcpy(element, bytes + static_cast<size_t>(i) * size, size);
    if (t.dtype() == DType::kFloat32 && t.as<float>()[i] != t.as<float>()[i])
      std::memset(element, 0xff, size);
    for (size_t k = 0; k < size; ++k) hash = (hash ^ element[k]) * 0x100000001b3u;
  });
  return hash;
}

// "OUTPUT[ROW]", or "OUTPUT/BATCH" if `whole`, and its hash; the batch of an output is its first dimension of
// that length.
void collect(const std::string& name, const Object& value, int64_t batch, int64_t first, bool whole,
             std::map<std::string, uint64_t>& found) {
  require(value.kind == Object::Kind::kTensor && value.tensor.dtype() != DType::kString,
          ErrorCode::kInvalidInput, "output ", name, " is no tensor of numbers");
  const Shape& shape = value.tensor.shape();
  int axis = -1;
  for (int i = shape.rank() - 1; i >= 0 && !whole; --i)
    if (shape[i] == batch) axis = i;
  const Rows rows(shape, axis);
  if (whole) {
    found[name + "/" + std::to_string(batch)] = hash_row(value.tensor, rows, 0);
    return;
  }
  for (int64_t b = 0; b < rows.batch; ++b)
    found[name + "[" + std::to_string(first + b) + "]"] = hash_row(value.tensor, rows, b);
}

int run(const std::string& path, const std::vector<int64_t>& batches, const std::vector<int64_t>& threads,
        bool whole, const std::map<std::string, Feed>& feeds) {
  std::map<std::string, uint64_t> all;
  int differing = 0;
  for (int64_t thread_count : threads) {
    LoadOptions options;
    options.threads = static_cast<int>(thread_count);
    const auto model = Model::load_file(path, options);
    for (int64_t batch : batches) {
      // On the first number of threads each row in each batch, alone too; then what other threads may change.
      const bool all_rows = thread_count == threads.front() && !whole;
      const int64_t rows = all_rows ? *std::max_element(batches.begin(), batches.end()) : batch;
      for (int64_t first = 0; first + batch <= rows; first += batch) {
        std::vector<Object> inputs, outputs;
        for (const ValueSpec& spec : model->inputs()) {
          const auto given = feeds.find(spec.name);
          inputs.push_back(make_input(spec, given != feeds.end() ? given->second : declared_feed(spec), batch,
                                      first, static_cast<uint32_t>(inputs.size())));
        }
        model->run(inputs, outputs);
        std::map<std::string, uint64_t> found;
        for (size_t i = 0; i < outputs.size(); ++i)
          collect(model->outputs()[i].name, outputs[i], batch, first, whole, found);
        for (const auto& [row, hash] : found) {
          if (all.try_emplace(row, hash).first->second == hash) continue;
          std::cerr << row << " differs at batch " << batch << " on " << thread_count << " threads\n";
          ++differing;
        }
      }
    }
  }
  for (const auto& [row, hash] : all)
    std::cout << "bits " << row << " " << std::hex << hash << std::dec << "\n";
  return differing > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) try {
  require(argc > 1, ErrorCode::kInvalidInput, "expected a model file");
  std::vector<int64_t> batches{1}, threads{1};
  std::map<std::string, Feed> feeds;
  bool whole = false;
  for (int i = 2; i < argc; ++i) {
    const std::string arg = argv[i];
    if ((arg == "--batch" || arg == "--threads") && i + 1 < argc) {
      std::vector<int64_t>& list = arg == "--batch" ? batches : threads;
      list.clear();
      for (const std::string& n : split(argv[++i], ',')) list.push_back(std::stoll(n));
      continue;
    }
    if (arg == "--whole") {
      whole = true;
      continue;
    }
    const size_t equals = arg.find('=');
    require(equals != std::string::npos, ErrorCode::kInvalidInput, "expected INPUT=SHAPE[:VALUE], not ", arg);
    feeds[arg.substr(0, equals)] = parse_feed(arg.substr(equals + 1));
  }
  return run(argv[1], batches, threads, whole, feeds);
} catch (const std::exception& e) {
  std::cerr << e.what() << "\n";
  return 1;
}
