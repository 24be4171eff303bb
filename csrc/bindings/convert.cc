#include "bindings/convert.h"

#include <pybind11/numpy.h>

#include <complex>

#include "base/error.h"

namespace py = pybind11;

namespace pyinfer::bindings {
namespace {

// The NumPy type in which elements of `dtype` cross; see pyinfer/_core.pyi.
py::dtype numpy_dtype(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return py::dtype::of<float>();
    case DType::kFloat64: return py::dtype::of<double>();
    case DType::kInt8:
    case DType::kInt4:
    case DType::kInt2: return py::dtype::of<int8_t>();
    case DType::kInt16: return py::dtype::of<int16_t>();
    case DType::kInt32: return py::dtype::of<int32_t>();
    case DType::kInt64: return py::dtype::of<int64_t>();
    case DType::kUInt16:
    case DType::kBFloat16: return py::dtype::of<uint16_t>();
    case DType::kUInt32: return py::dtype::of<uint32_t>();
    case DType::kUInt64: return py::dtype::of<uint64_t>();
    case DType::kBool: return py::dtype::of<bool>();
    case DType::kFloat16: return py::dtype("float16");
    case DType::kComplex64: return py::dtype::of<std::complex<float>>();
    case DType::kComplex128: return py::dtype::of<std::complex<double>>();
    case DType::kString: return py::dtype("O");
    default: return py::dtype::of<uint8_t>();
  }
}

std::string to_string(const py::handle& item, const std::string& name) {
  if (py::isinstance<py::bytes>(item)) return item.cast<std::string>();
  require(py::isinstance<py::str>(item), ErrorCode::kInvalidInput, name, ": expected strings");
  return item.cast<std::string>();
}

Tensor to_tensor(const py::handle& value, DType dtype, const std::string& name) {
  require(py::isinstance<py::array>(value), ErrorCode::kInvalidInput, name, ": expected an array");
  const auto array = py::reinterpret_borrow<py::array>(value);
  Shape shape;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) shape.push_back(array.shape(i));
  if (dtype == DType::kString) {
    Tensor t(dtype, shape);
    const py::array flat = py::reinterpret_borrow<py::array>(array.attr("ravel")());
    for (int64_t i = 0; i < t.count(); ++i) t.as<std::string>()[i] = to_string(flat[py::int_(i)], name);
    return t;
  }
  const py::dtype expected = numpy_dtype(dtype);
  const bool fits = array.dtype().equal(expected) && (array.flags() & py::array::c_style) != 0;
  require(fits, ErrorCode::kInvalidInput, name, ": expected a contiguous array of ", dtype_name(dtype));
  return {dtype, shape, array.data(), nullptr};
}

py::object string_array(const Tensor& t) {
  py::list items;
  for (const std::string& s : t.span<std::string>())
    items.append(py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(s.data(), static_cast<Py_ssize_t>(s.size()), "surrogateescape")));
  const std::vector<py::ssize_t> shape(t.shape().begin(), t.shape().end());
  py::array flat(py::dtype("O"), std::vector<py::ssize_t>{static_cast<py::ssize_t>(t.count())});
  for (int64_t i = 0; i < t.count(); ++i) flat[py::int_(i)] = items[static_cast<size_t>(i)];
  return flat.reshape(shape);
}

py::object to_array(Tensor t) {
  if (t.dtype() == DType::kString) return string_array(t);
  if (t.storage().use_count() != 1) t = Tensor::copy_of(t.view());
  const std::vector<py::ssize_t> shape(t.shape().begin(), t.shape().end());
  const py::dtype dtype = numpy_dtype(t.dtype());
  auto owner = std::make_unique<Tensor>(std::move(t));
  const void* data = owner->view().data;
  py::capsule capsule(owner.get(), [](void* p) { delete static_cast<Tensor*>(p); });
  owner.release();
  return py::array(dtype, shape, data, capsule);
}

}  // namespace

Object to_object(const py::handle& value, const ValueType& type, const std::string& name) {
  if (type.optional && value.is_none()) return {};
  if (type.sequence) {
    require(py::isinstance<py::list>(value) || py::isinstance<py::tuple>(value), ErrorCode::kInvalidInput,
            name, ": expected a list");
    ValueType element = type;
    element.sequence = element.optional = false;
    std::vector<Object> items;
    for (const py::handle& item : py::reinterpret_borrow<py::sequence>(value))
      items.push_back(to_object(item, element, name));
    return Object::sequence(std::move(items));
  }
  if (type.map_key != DType::kUndefined) {
    require(py::isinstance<py::dict>(value), ErrorCode::kInvalidInput, name, ": expected a dict");
    const auto dict = py::reinterpret_borrow<py::dict>(value);
    const Shape shape{static_cast<int64_t>(dict.size())};
    Tensor keys(type.map_key, shape), values(type.dtype, shape);
    const py::object np = py::module_::import("numpy");
    const auto fill = [&](Tensor& out, const py::object& list) {
      const py::object array = np.attr("asarray")(list, numpy_dtype(out.dtype()));
      out = to_tensor(array, out.dtype(), name);
      if (out.dtype() != DType::kString) out = Tensor::copy_of(out.view());
    };
    fill(keys, py::list(dict.attr("keys")()));
    fill(values, py::list(dict.attr("values")()));
    Object map;
    map.kind = Object::Kind::kMap;
    map.items = {Object::of(std::move(keys)), Object::of(std::move(values))};
    return map;
  }
  return Object::of(to_tensor(value, type.dtype, name));
}

py::object to_python(Object object) {
  switch (object.kind) {
    case Object::Kind::kAbsent: return py::none();
    case Object::Kind::kTensor: return to_array(std::move(object.tensor));
    case Object::Kind::kSequence: {
      py::list list;
      for (Object& item : object.items) list.append(to_python(std::move(item)));
      return list;
    }
    case Object::Kind::kMap: {
      const py::list keys = to_array(object.items[0].tensor).attr("tolist")();
      const py::list values = to_array(object.items[1].tensor).attr("tolist")();
      py::dict dict;
      for (size_t i = 0; i < keys.size(); ++i) dict[keys[i]] = values[i];
      return dict;
    }
  }
  return py::none();
}

}  // namespace pyinfer::bindings
