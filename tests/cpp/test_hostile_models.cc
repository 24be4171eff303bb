// Broken and mutated model files: an Error, whatever they hold. CI runs this under ASan and UBSan.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "check.h"
#include "runtime/model.h"

using namespace pyinfer;

namespace {

std::vector<std::byte> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string s((std::istreambuf_iterator<char>(in)), {});
  const auto* p = reinterpret_cast<const std::byte*>(s.data());
  return {p, p + s.size()};
}

LoadOptions tight() {
  LoadOptions options;
  options.threads = 2;
  options.limits.max_loop_trips = 1000;
  options.limits.max_tensor_bytes = int64_t{1} << 26;
  options.limits.max_total_bytes = int64_t{1} << 28;
  return options;
}

// Zeros of the declared shapes, open dimensions as 1.
void run_on_zeros(Model& model) {
  std::vector<Object> inputs, outputs;
  for (const ValueSpec& spec : model.inputs()) {
    if (!spec.type.is_tensor()) return;
    Shape shape;
    for (const Dim& d : spec.shape.value_or(std::vector<Dim>{})) shape.push_back(d.value >= 0 ? d.value : 1);
    if (shape.count() > (1 << 20)) return;
    Tensor t(spec.type.dtype, shape);
    if (spec.type.dtype != DType::kString) std::memset(t.view().data, 0, t.bytes());
    inputs.push_back(Object::of(std::move(t)));
  }
  model.run(inputs, outputs);
}

}  // namespace

TEST(hostile_models_raise) {
  const char* folder = std::getenv("PYINFER_HOSTILE_MODELS");
  if (folder == nullptr) {
    std::cout << "hostile_models_raise: no PYINFER_HOSTILE_MODELS, see tools/mutate_models.py\n";
    return;
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    ++files;
    bool raised = false;
    try {
      run_on_zeros(*Model::load_file(entry.path().string(), tight()));
    } catch (const Error& e) {
      raised = e.code() != ErrorCode::kInternal;
    }
    if (!raised) test::report_failure(__FILE__, __LINE__, entry.path().string());
  }
  CHECK(files > 0);
}

TEST(hostile_bytes_never_crash) {
  const auto original = read_file(std::filesystem::path(PYINFER_SOURCE_DIR) / "pyinfer/data/digits.onnx");
  CHECK(!original.empty());
  run_on_zeros(*Model::load_bytes(original, nullptr, tight()));
  std::mt19937 rng(9);
  int raised = 0;
  for (int trial = 0; trial < 300; ++trial) {
    auto bytes = original;
    for (uint32_t i = 0, n = 1 + rng() % 4; i < n; ++i) bytes[rng() % 3000] = static_cast<std::byte>(rng());
    if (rng() % 4 == 0) bytes.resize(rng() % bytes.size());
    try {
      run_on_zeros(*Model::load_bytes(bytes, nullptr, tight()));
    } catch (const Error&) {
      ++raised;
    }
  }
  CHECK(raised > 100);
}
