// A loaded model: what the bindings hold.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/run_guard.h"
#include "graph/graph.h"
#include "onnx/importer.h"
#include "runtime/executor.h"
#include "runtime/lower.h"
#include "runtime/thread_pool.h"

namespace pyinfer {

struct LoadOptions {
  int threads = 0;  // 0: one per processor that the process may use
  Limits limits;
  std::vector<std::string> disabled_passes;
  std::string external_data_root;
};

struct ModelInfo {
  int64_t ir_version = 0, model_version = 0;
  std::string producer_name, producer_version, domain, doc_string, graph_name;
  std::map<std::string, int64_t> opset_imports;
  std::map<std::string, std::string> metadata;
};

struct ValueSpec {
  std::string name;
  ValueType type;
  std::optional<std::vector<Dim>> shape;
};

struct ModelSummary {
  std::map<std::string, int64_t> operators;  // of the graph after the passes
  int64_t parameters = 0, parameter_bytes = 0;
};

struct PlanSummary {
  int64_t steps, arena_bytes, flops;
};

class Model {
 public:
  static std::unique_ptr<Model> load_file(const std::string& path, const LoadOptions& options);
  // `keep_alive` keeps `bytes` valid for the life of the model.
  static std::unique_ptr<Model> load_bytes(std::span<const std::byte> bytes,
                                           std::shared_ptr<const void> keep_alive,
                                           const LoadOptions& options);

  const std::vector<ValueSpec>& inputs() const { return inputs_; }
  const std::vector<ValueSpec>& outputs() const { return outputs_; }
  const ModelInfo& info() const { return info_; }
  int threads() const { return pool_.workers(); }
  // The graph after the passes, without the nodes that become `problems`. as text.
  const std::string& dump() const { return dump_; }
  const ModelSummary& summary() const { return summary_; }
  // The plan for these input shapes; dimensions that the model leaves open and `shapes` does not give are
  // taken as 1. Nothing when shapes depend on data, or when the model cannot take a dimension of 1 there.
  std::optional<PlanSummary> plan_summary(const std::map<std::string, std::vector<int64_t>>& shapes);
  Executor& executor() { return *executor_; }

  // `inputs` in the order of inputs(), of the declared types and dimensions: else Error(kInvalidInput).
  // `poll` may end the run; see RunGuard.
  void run(const std::vector<Object>& inputs, std::vector<Object>& outputs, RunGuard::Poll poll = nullptr);

 private:
  Model(const LoadOptions& options)
      : limits_(options.limits), pool_(options.threads > 0 ? options.threads : available_processors()) {}
  // The graph after the passes, without the nodes that become `problems`.
  Graph read(const onnx::ModelProto& proto, const onnx::DataSource& source, const LoadOptions& options,
             Problems& problems);
  void build(Graph graph, Problems problems, const ReleaseConstant& release);
  void check(const std::vector<Object>& inputs) const;

  Limits limits_;
  ThreadPool pool_;
  std::vector<ValueSpec> inputs_, outputs_;
  ModelInfo info_;
  ModelSummary summary_;
  std::string dump_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace pyinfer
