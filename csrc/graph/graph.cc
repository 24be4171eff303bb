#include "graph/graph.h"

#include <queue>

#include "base/error.h"

namespace pyinfer {

std::string Node::str() const {
  std::string s = domain.empty() ? op_type : join(domain, ".", op_type);
  if (!name.empty()) s += join(" '", name, "'");
  return s;
}

std::vector<Graph*> subgraphs(const Node& node) {
  std::vector<Graph*> graphs;
  for (const auto& [name, attribute] : node.attributes)
    if (const auto* g = std::get_if<std::shared_ptr<Graph>>(&attribute.value)) graphs.push_back(g->get());
  return graphs;
}

std::vector<ValueId> all_inputs(const Node& node) {
  std::vector<ValueId> ids = node.inputs;
  for (const Graph* g : subgraphs(node))
    for (const Capture& c : g->captures) ids.push_back(c.outer);
  return ids;
}

void sort_nodes(Graph& graph) {
  const size_t n = graph.nodes.size();
  std::vector<int> producer(graph.values.size(), -1);
  for (size_t i = 0; i < n; ++i)
    for (ValueId id : graph.nodes[i].outputs)
      if (id != kNoValue) producer[static_cast<size_t>(id)] = static_cast<int>(i);
  std::vector<std::vector<size_t>> consumers(n);
  std::vector<int> missing(n, 0);
  for (size_t i = 0; i < n; ++i)
    for (ValueId id : all_inputs(graph.nodes[i])) {
      const int p = id == kNoValue ? -1 : producer[static_cast<size_t>(id)];
      if (p < 0) continue;
      consumers[static_cast<size_t>(p)].push_back(i);
      ++missing[i];
    }
  // The smallest index first keeps the file's order wherever it is already right.
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < n; ++i)
    if (missing[i] == 0) ready.push(i);
  std::vector<Node> sorted;
  sorted.reserve(n);
  while (!ready.empty()) {
    const size_t i = ready.top();
    ready.pop();
    sorted.push_back(std::move(graph.nodes[i]));
    for (size_t c : consumers[i])
      if (--missing[c] == 0) ready.push(c);
  }
  require(sorted.size() == n, ErrorCode::kInvalidModel, "graph '", graph.name, "' has a cycle of nodes");
  graph.nodes = std::move(sorted);
}

namespace {

std::string value_str(const Graph& graph, ValueId id) {
  if (id == kNoValue) return "_";
  const Value& v = graph.value(id);
  std::string s = join("%", v.name.empty() ? join("#", id) : v.name);
  if (!v.constant.empty()) s += join("=", dtype_name(v.constant.dtype()), v.constant.shape());
  return s;
}

std::string list_str(const Graph& graph, const std::vector<ValueId>& ids) {
  std::string s;
  for (ValueId id : ids) s += join(s.empty() ? "" : ", ", value_str(graph, id));
  return s;
}

std::string declared_str(const Graph& graph, ValueId id) {
  const Value& v = graph.value(id);
  std::string s = join(value_str(graph, id), ": ", v.type);
  if (!v.shape) return s;
  s += " [";
  for (size_t i = 0; i < v.shape->size(); ++i) {
    const Dim& d = (*v.shape)[i];
    s += i ? ", " : "";
    s += d.value >= 0 ? std::to_string(d.value) : d.symbol.empty() ? "?" : d.symbol;
  }
  return s + "]";
}

struct AttributeStr {
  std::string operator()(std::monostate) const { return "?"; }
  std::string operator()(int64_t v) const { return std::to_string(v); }
  std::string operator()(float v) const { return std::to_string(v); }
  std::string operator()(const std::string& v) const { return join("\"", v, "\""); }
  std::string operator()(const Tensor& v) const { return join(dtype_name(v.dtype()), v.shape()); }
  std::string operator()(const ValueType& v) const { return v.str(); }
  std::string operator()(const std::shared_ptr<Graph>& v) const { return join("graph '", v->name, "'"); }
  template <class T>
  std::string operator()(const std::vector<T>& v) const {
    std::string s = "[";
    for (size_t i = 0; i < v.size(); ++i) s += join(i ? ", " : "", (*this)(v[i]));
    return s + "]";
  }
};

void dump_into(const Graph& graph, const std::string& indent, std::string& out) {
  out += join(indent, "graph '", graph.name, "'\n");
  for (ValueId id : graph.inputs) out += join(indent, "  input ", declared_str(graph, id), "\n");
  for (const Capture& c : graph.captures) out += join(indent, "  capture ", value_str(graph, c.inner), "\n");
  for (const Node& node : graph.nodes) {
    out += join(indent, "  ", list_str(graph, node.outputs), " = ", node, "(", list_str(graph, node.inputs),
                ")");
    for (const auto& [name, attribute] : node.attributes)
      out += join(" ", name, "=", std::visit(AttributeStr{}, attribute.value));
    out += "\n";
    for (const Graph* g : subgraphs(node)) dump_into(*g, indent + "    ", out);
  }
  for (ValueId id : graph.outputs) out += join(indent, "  output ", declared_str(graph, id), "\n");
}

}  // namespace

std::string dump(const Graph& graph) {
  std::string out;
  dump_into(graph, "", out);
  return out;
}

ValueId Graph::add_value(Value value) {
  values.push_back(std::move(value));
  return static_cast<ValueId>(values.size() - 1);
}

}  // namespace pyinfer
