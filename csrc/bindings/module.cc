// The extension pyinfer._core. tools/generate_stub.py reads the types written here into pyinfer/_core.pyi.
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <limits>
#include <set>
#include <tuple>

#include "base/aligned.h"
#include "base/cpu_features.h"
#include "base/run_guard.h"
#include "bindings/convert.h"
#include "onnx/upgrade.h"
#include "ops/registry.h"
#include "passes/pipeline.h"
#include "runtime/model.h"
#include "runtime/profile.h"
#include "runtime/roofline.h"

namespace py = pybind11;
using namespace pyinfer;

namespace {

using OptionalDims = py::typing::Optional<py::typing::List<py::typing::Union<py::int_, py::str, py::none>>>;
using Specs = py::typing::List<py::typing::Tuple<py::str, py::str, OptionalDims>>;
using Values = py::typing::Dict<py::str, py::object>;

struct Exceptions {
  py::object base, invalid_model, unsupported, invalid_input, limit, memory, io, internal;
};
Exceptions* g_exceptions = nullptr;  // lives as long as the process

py::object make_exception(py::module_& m, const char* name, const py::tuple& bases, const char* doc) {
  const std::string full = std::string("pyinfer.") + name;
  auto type =
      py::reinterpret_steal<py::object>(PyErr_NewExceptionWithDoc(full.c_str(), doc, bases.ptr(), nullptr));
  m.attr(name) = type;
  return type;
}

void register_exceptions(py::module_& m) {
  auto* e = new Exceptions;
  const auto builtin = [](PyObject* type) { return py::reinterpret_borrow<py::object>(type); };
  e->base = make_exception(m, "PyInferError", py::make_tuple(builtin(PyExc_Exception)),
                           "Base of all errors of pyinfer.");
  const auto base = py::make_tuple(e->base);
  e->invalid_model =
      make_exception(m, "InvalidModel", base, "The file is damaged or breaks the ONNX specification.");
  e->unsupported = make_exception(m, "UnsupportedModel", base, "The model uses what this build cannot run.");
  e->invalid_input = make_exception(m, "InvalidInput", py::make_tuple(e->base, builtin(PyExc_ValueError)),
                                    "An argument or an input does not fit. Also a ValueError.");
  e->limit = make_exception(m, "LimitExceeded", base, "A limit of pyinfer.Limits would be exceeded.");
  e->memory = make_exception(m, "OutOfMemory", py::make_tuple(e->base, builtin(PyExc_MemoryError)),
                             "The system gives no more memory. Also a MemoryError.");
  e->io = make_exception(m, "ModelIOError", py::make_tuple(e->base, builtin(PyExc_OSError)),
                         "A file cannot be read. Also an OSError.");
  e->internal = make_exception(m, "InternalError", base, "A defect of pyinfer; please report it.");
  g_exceptions = e;
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error& error) {
      const Exceptions& x = *g_exceptions;
      const py::object* type = &x.internal;
      switch (error.code()) {
        case ErrorCode::kInvalidModel: type = &x.invalid_model; break;
        case ErrorCode::kUnsupported: type = &x.unsupported; break;
        case ErrorCode::kInvalidInput: type = &x.invalid_input; break;
        case ErrorCode::kLimit: type = &x.limit; break;
        case ErrorCode::kOutOfMemory: type = &x.memory; break;
        case ErrorCode::kIo: type = &x.io; break;
        case ErrorCode::kInternal: break;
      }
      // A message may quote what a file holds, whatever its bytes.
      const std::string& message = error.message();
      const auto text = py::reinterpret_steal<py::str>(
          PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()), "backslashreplace"));
      PyErr_SetObject(type->ptr(), text.ptr());
    } catch (const std::bad_alloc&) {
      py::set_error(g_exceptions->memory, "the system refuses more memory");
    }
  });
}

// `value` as a limit of type T: an integer of 0 or more. A bool is none.
template <class T>
T to_limit(const char* name, const py::handle& value) {
  constexpr long long kMost = std::numeric_limits<T>::max();
  int overflow = 0;
  const bool integer = py::isinstance<py::int_>(value) && !py::isinstance<py::bool_>(value);
  const long long number = integer ? PyLong_AsLongLongAndOverflow(value.ptr(), &overflow) : -1;
  require(overflow == 0 && number >= 0 && number <= kMost, ErrorCode::kInvalidInput, "Limits.", name,
          ": expected an integer from 0 to ", kMost, ", got ", py::repr(value).cast<std::string>());
  return static_cast<T>(number);
}

// One field of Limits as a property.
template <class T>
void def_limit(py::class_<Limits>& limits, const char* name, T Limits::*field) {
  limits.def_property(
      name, [field](const Limits& self) { return self.*field; },
      [field, name](Limits& self, const py::typing::Union<py::int_>& value) {
        self.*field = to_limit<T>(name, value);
      });
}

Limits make_limits(const py::kwargs& kwargs) {
  Limits limits;
  py::object self = py::cast(&limits, py::return_value_policy::reference);
  for (const auto& [key, value] : kwargs) {
    require(py::hasattr(self, key) && !key.cast<std::string>().starts_with("_"), ErrorCode::kInvalidInput,
            "Limits has no field '", key.cast<std::string>(), "'");
    py::setattr(self, key, value);
  }
  return limits;
}

// A name that is not UTF-8 has surrogates in Python, which the file system's encoding turns back.
std::string file_name(const py::str& path) {
  const auto encoded = py::reinterpret_steal<py::bytes>(PyUnicode_EncodeFSDefault(path.ptr()));
  if (!encoded) throw py::error_already_set();
  return encoded.cast<std::string>();
}

std::unique_ptr<Model> make_model(const std::variant<py::bytes, py::str>& source, int threads,
                                  const std::optional<Limits>& limits, std::vector<std::string> disabled,
                                  const std::optional<py::str>& root) {
  LoadOptions options;
  options.threads = threads;
  if (limits) options.limits = *limits;
  options.disabled_passes = std::move(disabled);
  if (root) options.external_data_root = file_name(*root);
  if (const auto* bytes = std::get_if<py::bytes>(&source)) {
    char* data = nullptr;
    Py_ssize_t size = 0;
    PyBytes_AsStringAndSize(bytes->ptr(), &data, &size);
    // Weights may borrow from the bytes for as long as the model lives.
    std::shared_ptr<const void> keep_alive(bytes->inc_ref().ptr(), [](void* p) {
      if (!Py_IsInitialized()) return;
      const py::gil_scoped_acquire gil;
      Py_DECREF(static_cast<PyObject*>(p));
    });
    const py::gil_scoped_release release;
    return Model::load_bytes({reinterpret_cast<const std::byte*>(data), static_cast<size_t>(size)},
                             keep_alive, options);
  }
  const std::string path = file_name(std::get<py::str>(source));
  const py::gil_scoped_release release;
  return Model::load_file(path, options);
}

Specs specs(const std::vector<ValueSpec>& list) {
  Specs out;
  for (const ValueSpec& spec : list) {
    py::object dims = py::none();
    if (spec.shape) {
      py::list l;
      for (const Dim& d : *spec.shape)
        l.append(d.value >= 0       ? py::object(py::int_(d.value))
                 : d.symbol.empty() ? py::object(py::none())
                                    : py::object(py::str(d.symbol)));
      dims = l;
    }
    out.append(py::make_tuple(spec.name, spec.type.str(), dims));
  }
  return out;
}

// One for each of the model's inputs.
std::vector<Object> input_objects(const Model& model, const Values& feeds) {
  std::vector<Object> inputs;
  for (const ValueSpec& spec : model.inputs()) {
    const bool given = feeds.contains(spec.name);
    require(given || spec.type.optional, ErrorCode::kInvalidInput, "input '", spec.name, "' is missing");
    inputs.push_back(
        given ? bindings::to_object(feeds[py::str(spec.name)], spec.type, join("input '", spec.name, "'"))
              : Object());
  }
  return inputs;
}

unsigned long g_import_thread = 0;  // taken for the main thread

void poll_signals() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// Python runs signal handlers on its main thread alone; there, Ctrl-C ends a long run.
RunGuard::Poll poll_here() {
  return PyThread_get_thread_ident() == g_import_thread ? &poll_signals : nullptr;
}

py::typing::List<py::object> run(Model& model, const Values& feeds,
                                 const std::optional<std::vector<std::string>>& names) {
  std::vector<size_t> wanted;
  for (size_t i = 0; !names && i < model.outputs().size(); ++i) wanted.push_back(i);
  if (names)
    for (const std::string& name : *names) {
      size_t i = 0;
      while (i < model.outputs().size() && model.outputs()[i].name != name) ++i;
      require(i < model.outputs().size(), ErrorCode::kInvalidInput, "no output is named '", name, "'");
      wanted.push_back(i);
    }
  py::typing::List<py::object> results;
  if (wanted.empty()) return results;
  const std::vector<Object> inputs = input_objects(model, feeds);
  std::vector<Object> outputs;
  {
    const RunGuard::Poll poll = poll_here();
    const py::gil_scoped_release release;
    model.run(inputs, outputs, poll);
  }
  for (size_t k = 0; k < wanted.size(); ++k) {
    Object& o = outputs[wanted[k]];
    const bool again = std::find(wanted.begin() + static_cast<std::ptrdiff_t>(k) + 1, wanted.end(),
                                 wanted[k]) != wanted.end();
    results.append(bindings::to_python(again ? o : std::move(o)));
  }
  return results;
}

// One step that ran: its number, label, depth, begin and end in nanoseconds, floating-point operations, bytes
// read, bytes written, and the shape of its first output.
using Record =
    std::tuple<size_t, std::string, int, int64_t, int64_t, int64_t, int64_t, int64_t, std::vector<int64_t>>;

std::vector<Record> profile(Model& model, const Values& feeds) {
  const std::vector<Object> inputs = input_objects(model, feeds);
  std::vector<Object> outputs;
  Profile profile;
  {
    const RunGuard::Poll poll = poll_here();
    const py::gil_scoped_release release;
    const ProfileScope scope(profile);
    model.run(inputs, outputs, poll);
  }
  std::map<const std::string*, size_t> steps;  // numbered as they are met
  std::vector<Record> records;
  for (const StepRecord& r : profile.records()) {
    const size_t step = steps.try_emplace(r.label, steps.size()).first->second;
    const std::span<const int64_t> dims = r.shape.dims();
    records.emplace_back(step, *r.label, r.depth, r.begin_ns, r.end_ns, r.flops, r.read_bytes,
                         r.written_bytes, std::vector<int64_t>(dims.begin(), dims.end()));
  }
  return records;
}

using Rates = std::tuple<double, std::vector<std::tuple<int64_t, double, double>>>;

Rates roofline(int threads) {
  require(threads >= 1, ErrorCode::kInvalidInput, "threads: expected at least 1, got ", threads);
  Roofline found;
  {
    const py::gil_scoped_release release;
    found = measure_roofline(threads);
  }
  Rates rates{found.flops, {}};
  for (const Bandwidth& b : found.bandwidth) std::get<1>(rates).emplace_back(b.bytes, b.read, b.copy);
  return rates;
}

Values info(const Model& model) {
  const ModelInfo& i = model.info();
  Values d;
  d["ir_version"] = i.ir_version;
  d["model_version"] = i.model_version;
  d["producer_name"] = i.producer_name;
  d["producer_version"] = i.producer_version;
  d["domain"] = i.domain;
  d["doc_string"] = i.doc_string;
  d["graph_name"] = i.graph_name;
  d["opset_imports"] = i.opset_imports;
  return d;
}

Values summary(Model& model, const std::optional<std::map<std::string, std::vector<int64_t>>>& shapes) {
  const ModelSummary s = model.summary();
  py::dict parameters;
  parameters["count"] = s.parameters;
  parameters["bytes"] = s.parameter_bytes;
  Values d;
  d["operators"] = s.operators;
  d["parameters"] = parameters;
  d["plan"] = py::none();
  if (const auto p = model.plan_summary(shapes.value_or(std::map<std::string, std::vector<int64_t>>{}))) {
    py::dict plan;
    plan["steps"] = p->steps;
    plan["arena_bytes"] = p->arena_bytes;
    plan["flops"] = p->flops;
    d["plan"] = plan;
  }
  return d;
}

constexpr const char* kModuleDoc =
    R"(The compiled extension: what the Python layer builds on. Not part of the public interface.

Arrays cross this border with the element types that NumPy has. The others travel as raw values:
bfloat16 as uint16; float8, float6 and float4 codes, uint4 and uint2 as uint8; int4 and int2 as int8.
Strings go in as object arrays of bytes in UTF-8 and come out as object arrays of str, in which bytes that
are not UTF-8 are escaped as by "surrogateescape". Sequences are lists, maps dicts, an empty optional None.
)";

constexpr const char* kLimitsDoc = R"(What a model file and its inputs may ask for; see pyinfer.load.

Each bound is checked before the memory or the time is spent; pyinfer.LimitExceeded names the one reached.

Parameters
----------
max_tensor_bytes : int
    Bytes of any one tensor, weights and activations alike.
max_initializer_bytes : int
    Bytes of all weights together, mapped ones and those of nodes included; and again of the forms that
    kernels read.
max_total_bytes : int
    Bytes of one run: its arena, all values whose size depends on data and all strings; the caller's inputs
    are not among them.
max_string_bytes : int
    Bytes of any one string.
max_nodes : int
    Nodes, those in subgraphs included, after functions are inlined.
max_parsed_bytes : int
    Bytes of the parsed form of a model file, weights excluded.
max_loop_trips : int
    Trips of all Loops, Scans and SequenceMaps together in one run.
max_nesting_depth : int
    Depth of subgraphs, function calls and nested types.

Raises
------
InvalidInput
    A field is unknown, or not an integer of 0 or more.
)";

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = kModuleDoc;
  register_exceptions(m);
  g_import_thread = PyThread_get_thread_ident();

  py::class_<Limits> limits(m, "Limits", kLimitsDoc);
  limits.def(py::init(&make_limits));
  def_limit(limits, "max_tensor_bytes", &Limits::max_tensor_bytes);
  def_limit(limits, "max_initializer_bytes", &Limits::max_initializer_bytes);
  def_limit(limits, "max_total_bytes", &Limits::max_total_bytes);
  def_limit(limits, "max_string_bytes", &Limits::max_string_bytes);
  def_limit(limits, "max_nodes", &Limits::max_nodes);
  def_limit(limits, "max_parsed_bytes", &Limits::max_parsed_bytes);
  def_limit(limits, "max_loop_trips", &Limits::max_loop_trips);
  def_limit(limits, "max_nesting_depth", &Limits::max_nesting_depth);

  py::class_<Model> model(m, "ModelCore", "A loaded model, as load_model makes it.");
  // Only load_model makes one: __new__ alone would give an object without a model.
  reinterpret_cast<PyTypeObject*>(model.ptr())->tp_new = nullptr;
  model.def_property_readonly("inputs", [](const Model& self) { return specs(self.inputs()); })
      .def_property_readonly("outputs", [](const Model& self) { return specs(self.outputs()); })
      .def_property_readonly("metadata", [](const Model& self) { return self.info().metadata; })
      .def_property_readonly("info", &info)
      .def_property_readonly("threads", &Model::threads)
      .def("run", &run, py::arg("feeds"), py::arg("outputs"),
           R"(Computes the named outputs, all for None; the list belongs to the caller.

`feeds` has every input, None for an optional left out. Each array is contiguous, aligned, in native byte
order and of the declared element type; it may be read-only.)")
      .def("profile", &profile, py::arg("feeds"),
           R"(Runs once and gives, in the order of their begin, the steps that ran.

Each is (number of the step, label, depth, begin and end in nanoseconds, floating-point operations, bytes read,
bytes written, shape of the first output). The steps of a subgraph follow the step that holds it, one deeper.)")
      .def("dump", &Model::dump, "The graph after the passes, as text.")
      .def("summary", &summary, py::arg("shapes"),
           R"({"operators": {name: count}, "parameters": {"count", "bytes"},
"plan": {"steps", "arena_bytes", "flops"} or None}, the plan for these shapes of inputs.)");

  m.def("load_model", &make_model, py::arg("source"), py::kw_only(), py::arg("threads"), py::arg("limits"),
        py::arg("disabled_passes"), py::arg("external_data_root"),
        "`source` is the file's path or its contents; `threads=0` means one per core that the process may "
        "use.");

  m.def(
      "cpu_isa", [] { return std::string(isa_name(selected_isa())); },
      "The instruction set of the kernels in use: \"baseline\", \"avx2\"... PYINFER_CPU_ISA forces one.");
  m.def("allocation_count", &allocation_count,
        "Buffers that the core has allocated since the process started.");
  m.def("roofline", &roofline, py::arg("threads"),
        R"(What these threads can do at most, measured for a fraction of a second.

Floating-point operations per second, and for each working set, smallest first, (its bytes, bytes per second
of reading, of copying).)");
  m.def("pass_names", &pass_names, "The passes over the graph, in the order in which they run.");
  m.def(
      "supported_operators",
      [] {
        std::set<std::tuple<std::string_view, std::string_view, int>> operators;
        for (const OpDef& def : all_ops()) operators.emplace(def.domain, def.name, def.since_version);
        for (const auto& [domain, name] : onnx::imported_operators())
          if (find_op(domain, name, kNewestOpset) == nullptr) operators.emplace(domain, name, 1);
        py::typing::List<py::typing::Tuple<py::str, py::str, py::int_>> list;
        for (const auto& [domain, name, version] : operators)
          list.append(py::make_tuple(domain, name, version));
        return list;
      },
      "All operators that can run, as (domain, name, first opset version) each.");
  m.def(
      "build_info",
      [] {
        Values d;
        d["compiler"] = __VERSION__;
        py::list isas;
        for (Isa isa : available_isas()) isas.append(std::string(isa_name(isa)));
        d["available_isas"] = isas;
        return d;
      },
      "The compiler, and the instruction sets that this build and this CPU share.");
}
