// The extension pyinfer._core; pyinfer/_core.pyi describes it.
#include <pybind11/stl.h>

#include <climits>

#include "base/aligned.h"
#include "base/cpu_features.h"
#include "base/run_guard.h"
#include "bindings/convert.h"
#include "ops/registry.h"
#include "passes/pipeline.h"
#include "runtime/model.h"
#include "runtime/profile.h"
#include "runtime/roofline.h"

namespace py = pybind11;
using namespace pyinfer;

namespace {

struct Exceptions {
  py::object base, invalid_model, unsupported, invalid_input, limit, io, internal;
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
        case ErrorCode::kIo: type = &x.io; break;
        case ErrorCode::kCancelled:
        case ErrorCode::kInternal: break;
      }
      py::set_error(*type, error.what());
    }
  });
}

Limits make_limits(const py::kwargs& kwargs) {
  Limits limits;
  py::object self = py::cast(&limits, py::return_value_policy::reference);
  for (const auto& [key, value] : kwargs) {
    require(py::hasattr(self, key) && !key.cast<std::string>().starts_with("_"), ErrorCode::kInvalidInput,
            "Limits has no field '", key.cast<std::string>(), "'");
    require(py::isinstance<py::int_>(value), ErrorCode::kInvalidInput, "Limits.", key.cast<std::string>(),
            ": expected an integer");
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    const bool is_int = key.cast<std::string>() == "max_nesting_depth";
    const long long most = is_int ? INT_MAX : LLONG_MAX;
    require(overflow == 0 && number >= 0 && number <= most, ErrorCode::kInvalidInput, "Limits.",
            key.cast<std::string>(), ": expected 0 to ", most);
    py::setattr(self, key, value);
  }
  return limits;
}

// A name that is not UTF-8 has surrogates in Python, which the file system's encoding turns back.
std::string file_name(const py::object& path) {
  const auto encoded = py::reinterpret_steal<py::bytes>(PyUnicode_EncodeFSDefault(path.ptr()));
  if (!encoded) throw py::error_already_set();
  return encoded.cast<std::string>();
}

std::unique_ptr<Model> make_model(const py::object& source, int threads, const Limits* limits,
                                  std::vector<std::string> disabled, const std::optional<py::str>& root) {
  LoadOptions options;
  options.threads = threads;
  if (limits) options.limits = *limits;
  options.disabled_passes = std::move(disabled);
  if (root) options.external_data_root = file_name(*root);
  if (py::isinstance<py::bytes>(source)) {
    char* data = nullptr;
    Py_ssize_t size = 0;
    PyBytes_AsStringAndSize(source.ptr(), &data, &size);
    // Weights may borrow from the bytes for as long as the model lives.
    std::shared_ptr<const void> keep_alive(source.inc_ref().ptr(), [](void* p) {
      if (!Py_IsInitialized()) return;
      const py::gil_scoped_acquire gil;
      Py_DECREF(static_cast<PyObject*>(p));
    });
    const py::gil_scoped_release release;
    return Model::load_bytes({reinterpret_cast<const std::byte*>(data), static_cast<size_t>(size)},
                             keep_alive, options);
  }
  const std::string path = file_name(source);
  const py::gil_scoped_release release;
  return Model::load_file(path, options);
}

py::list specs(const std::vector<ValueSpec>& list) {
  py::list out;
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
std::vector<Object> input_objects(const Model& model, const py::dict& feeds) {
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

py::list run(Model& model, const py::dict& feeds, const std::optional<std::vector<std::string>>& names) {
  std::vector<size_t> wanted;
  for (size_t i = 0; !names && i < model.outputs().size(); ++i) wanted.push_back(i);
  if (names)
    for (const std::string& name : *names) {
      size_t i = 0;
      while (i < model.outputs().size() && model.outputs()[i].name != name) ++i;
      require(i < model.outputs().size(), ErrorCode::kInvalidInput, "no output is named '", name, "'");
      wanted.push_back(i);
    }
  py::list results;
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

py::list profile(Model& model, const py::dict& feeds) {
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
  py::list list;
  for (const StepRecord& r : profile.records()) {
    const size_t step = steps.try_emplace(r.label, steps.size()).first->second;
    const std::span<const int64_t> dims = r.shape.dims();
    list.append(py::make_tuple(step, *r.label, r.depth, r.begin_ns, r.end_ns, r.flops, r.read_bytes,
                               r.written_bytes, std::vector<int64_t>(dims.begin(), dims.end())));
  }
  return list;
}

py::dict roofline(int threads) {
  require(threads >= 1, ErrorCode::kInvalidInput, "threads: expected at least 1, got ", threads);
  Roofline found;
  {
    const py::gil_scoped_release release;
    found = measure_roofline(threads);
  }
  py::list bandwidth;
  for (const Bandwidth& b : found.bandwidth) bandwidth.append(py::make_tuple(b.bytes, b.read, b.copy));
  py::dict d;
  d["threads"] = threads;
  d["flops"] = found.flops;
  d["bandwidth"] = bandwidth;
  return d;
}

py::dict info(const Model& model) {
  const ModelInfo& i = model.info();
  py::dict d;
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

py::dict summary(Model& model, const std::optional<std::map<std::string, std::vector<int64_t>>>& shapes) {
  const ModelSummary s = model.summary();
  py::dict parameters;
  parameters["count"] = s.parameters;
  parameters["bytes"] = s.parameter_bytes;
  py::dict d;
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

constexpr const char* kLimitsDoc = R"(What a model file and its inputs may ask for; see pyinfer.load.

Each bound is checked before the memory or the time is spent; pyinfer.LimitExceeded names the one reached.

Parameters
----------
max_tensor_bytes : int
    Bytes of any one tensor, weights and activations alike.
max_initializer_bytes : int
    Bytes of all weights together, mapped ones included.
max_total_bytes : int
    Bytes of one run: its arena and all values whose size depends on data.
max_string_bytes : int
    Bytes of any one string.
max_nodes : int
    Nodes, those in subgraphs included, after functions are inlined.
max_parsed_bytes : int
    Bytes of the parsed form of a model file, weights excluded.
max_loop_trips : int
    Trips of all Loops and Scans together in one run.
max_nesting_depth : int
    Depth of subgraphs, function calls and nested types.

Raises
------
InvalidInput
    A field is unknown, or not an integer of 0 or more.
)";

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  register_exceptions(m);
  g_import_thread = PyThread_get_thread_ident();

  py::class_<Limits>(m, "Limits", kLimitsDoc)
      .def(py::init(&make_limits))
      .def_readwrite("max_tensor_bytes", &Limits::max_tensor_bytes)
      .def_readwrite("max_initializer_bytes", &Limits::max_initializer_bytes)
      .def_readwrite("max_total_bytes", &Limits::max_total_bytes)
      .def_readwrite("max_string_bytes", &Limits::max_string_bytes)
      .def_readwrite("max_nodes", &Limits::max_nodes)
      .def_readwrite("max_parsed_bytes", &Limits::max_parsed_bytes)
      .def_readwrite("max_loop_trips", &Limits::max_loop_trips)
      .def_readwrite("max_nesting_depth", &Limits::max_nesting_depth);

  py::class_<Model> model(m, "ModelCore");
  // Only load_model makes one: __new__ alone would give an object without a model.
  reinterpret_cast<PyTypeObject*>(model.ptr())->tp_new = nullptr;
  model.def_property_readonly("inputs", [](const Model& self) { return specs(self.inputs()); })
      .def_property_readonly("outputs", [](const Model& self) { return specs(self.outputs()); })
      .def_property_readonly("metadata", [](const Model& self) { return self.info().metadata; })
      .def_property_readonly("info", &info)
      .def_property_readonly("threads", &Model::threads)
      .def("run", &run, py::arg("feeds"), py::arg("outputs").none(true))
      .def("profile", &profile, py::arg("feeds"))
      .def("dump", &Model::dump)
      .def("summary", &summary, py::arg("shapes").none(true));

  m.def("load_model", &make_model, py::arg("source"), py::kw_only(), py::arg("threads"),
        py::arg("limits").none(true), py::arg("disabled_passes"), py::arg("external_data_root").none(true));

  m.def(
      "cpu_isa", [] { return std::string(isa_name(selected_isa())); },
      "The instruction set of the kernels in use: \"baseline\", \"avx2\"... PYINFER_CPU_ISA forces one.");
  m.def("allocation_count", &allocation_count);
  m.def("roofline", &roofline, py::arg("threads"));
  m.def("pass_names", &pass_names);
  m.def(
      "supported_operators",
      [] {
        py::list list;
        for (const OpDef& def : all_ops())
          list.append(py::make_tuple(def.domain, def.name, def.since_version));
        return list;
      },
      "All operators that can run, as (domain, name, first opset version) each.");
  m.def(
      "build_info",
      [] {
        py::dict d;
        d["compiler"] = __VERSION__;
        py::list isas;
        for (Isa isa : available_isas()) isas.append(std::string(isa_name(isa)));
        d["available_isas"] = isas;
        return d;
      },
      "The compiler, and the instruction sets that this build and this CPU share.");
}
