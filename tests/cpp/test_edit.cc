// GraphEdit on small graphs, checked node by node.
#include "check.h"
#include "graph/edit.h"

namespace pyinfer {
namespace {

Node make(std::string op, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  Node n;
  n.op_type = std::move(op);
  n.inputs = std::move(inputs);
  n.outputs = std::move(outputs);
  return n;
}

// x -> A -> a -> B -> b -> C(b, w) -> y; value ids in that order, w last.
struct Chain {
  Graph g;
  ValueId x, a, b, y, w;
  Chain() {
    for (ValueId* id : {&x, &a, &b, &y, &w}) *id = g.add_value({});
    g.inputs = {x};
    g.outputs = {y};
    g.value(w).constant = Tensor::scalar_i64(7);
    g.nodes = {make("A", {x}, {a}), make("B", {a}, {b}), make("C", {b, w}, {y})};
  }
};

std::string order(const Graph& g) {
  std::string s;
  for (const Node& n : g.nodes) s += n.op_type;
  return s;
}

TEST(edit_knows_producers_and_readers) {
  Chain c;
  GraphEdit edit(c.g);
  CHECK_EQ(edit.producer(c.a), 0);
  CHECK_EQ(edit.producer(c.x), kNoNode);
  CHECK_EQ(edit.only_reader(c.a), 1);
  CHECK_EQ(edit.only_reader(c.y), kNoNode);
  CHECK(edit.is_output(c.y));
  CHECK(edit.readers(c.y).empty());
}

TEST(edit_puts_new_nodes_before_their_readers) {
  Chain c;
  GraphEdit edit(c.g);
  const ValueId d = edit.add(edit.node(1), "D", {c.a});
  edit.set_input(1, 0, d);
  // And one behind C, which keeps the name of the output.
  const ValueId before = edit.add_value();
  edit.set_output(2, 0, before);
  edit.add_node(make("E", {before}, {c.y}));
  edit.finish();
  CHECK_EQ(order(c.g), "ADBCE");
  CHECK_EQ(c.g.nodes[4].outputs[0], c.g.outputs[0]);
}

TEST(edit_moves_every_output_that_it_replaces) {
  Chain c;
  c.g.outputs = {c.y, c.a, c.y, kNoValue};
  GraphEdit edit(c.g);
  edit.replace_uses(c.y, c.b);
  CHECK(!edit.is_output(c.y));
  CHECK(edit.is_output(c.b));
  edit.replace_uses(c.b, c.a);
  CHECK(!edit.is_output(c.b));
  CHECK(c.g.outputs == std::vector<ValueId>({c.a, c.a, c.a, kNoValue}));
}

TEST(edit_replaces_uses_and_removes_what_is_unused) {
  Chain c;
  GraphEdit edit(c.g);
  edit.replace_uses(c.b, c.x);
  edit.remove_unused();
  CHECK(edit.removed(0));
  CHECK(edit.removed(1));
  edit.finish();
  CHECK_EQ(order(c.g), "C");
  CHECK_EQ(c.g.nodes[0].inputs[0], c.x);
  CHECK(c.g.is_constant(c.w));
}

TEST(edit_replaces_outputs_and_drops_weights) {
  Chain c;
  GraphEdit edit(c.g);
  edit.replace_uses(c.y, c.b);
  edit.remove_unused();
  edit.finish();
  CHECK_EQ(order(c.g), "AB");
  CHECK_EQ(c.g.outputs[0], c.b);
  CHECK(!c.g.is_constant(c.w));
}

TEST(edit_follows_captures) {
  Chain c;
  // Two levels: the subgraph of C captures b, and its node's subgraph captures that.
  const auto inner = std::make_shared<Graph>(), outer = std::make_shared<Graph>();
  const ValueId ib = inner->add_value({}), ob = outer->add_value({});
  inner->captures = {{ob, ib}};
  inner->nodes = {make("I", {ib}, {inner->add_value({})})};
  inner->outputs = {1};
  outer->captures = {{c.b, ob}};
  outer->nodes = {make("O", {}, {outer->add_value({})})};
  outer->nodes[0].attributes["body"].value = inner;
  outer->outputs = {1};
  c.g.nodes[2].inputs = {c.w};
  c.g.nodes[2].attributes["body"].value = outer;

  GraphEdit edit(c.g);
  CHECK_EQ(edit.readers(c.b).size(), size_t{1});
  CHECK_EQ(edit.only_reader(c.b), kNoNode);  // a capture is no input
  edit.replace_uses(c.b, c.a);
  CHECK_EQ(outer->captures[0].outer, c.a);
  CHECK_EQ(edit.readers(c.a).size(), size_t{2});
  edit.set_constant(c.a, Tensor::scalar_i64(3));
  CHECK(outer->captures.empty());
  CHECK(inner->captures.empty());
  CHECK_EQ(inner->value(ib).constant.as<int64_t>()[0], int64_t{3});
  edit.remove_unused();
  edit.finish();
  CHECK_EQ(order(c.g), "C");
  CHECK(!c.g.is_constant(c.a));
}

TEST(edit_drops_captures_that_nothing_reads) {
  Graph g;
  const ValueId captured = g.add_value({}), out = g.add_value({});
  g.captures = {{0, captured}};
  g.nodes = {make("A", {}, {out})};
  g.outputs = {out};
  GraphEdit(g).finish();
  CHECK(g.captures.empty());
}

}  // namespace
}  // namespace pyinfer
