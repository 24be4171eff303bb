// The one exception type of the core. Kernels never throw; everything above them may.
#pragma once

#include <cstdint>
#include <exception>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace pyinfer {

enum class ErrorCode {
  kInvalidModel,  // the file is malformed or breaks the ONNX specification
  kUnsupported,   // the model is valid, but uses something this build cannot run
  kInvalidInput,  // the caller's inputs do not fit the model, or a value makes an operator's result undefined
  kLimit,         // a configured limit would be exceeded
  kOutOfMemory,   // the system gives no more memory
  kIo,            // the file cannot be read
  kInternal,      // a defect of pyinfer
};

class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
};

namespace detail {
// One of the arguments below, without its type: what they are put together by is compiled once, not for each
// combination of types and lengths of literals.
class Part {
 public:
  Part(std::string_view s) : text_(s) {}
  Part(const std::string& s) : text_(s) {}
  Part(const char* s) : text_(s) {}
  Part(const char& c) : text_(&c, 1) {}
  Part(bool b) : text_(b ? "true" : "false") {}
  template <class T>
  requires std::is_integral_v<T> Part(T v)
      : kind_(std::is_signed_v<T> ? Kind::kSigned : Kind::kUnsigned), integer_(static_cast<uint64_t>(v)) {}
  Part(double v) : kind_(Kind::kReal), real_(v) {}
  // Whatever says itself: asked only when the message is built.
  template <class T>
  requires requires(const T& v) { std::string(v.str()); }
  Part(const T& v)
      : kind_(Kind::kObject), object_{&v, [](const void* p) { return static_cast<const T*>(p)->str(); }} {}

  void append_to(std::string& out) const;

 private:
  enum class Kind : uint8_t { kText, kSigned, kUnsigned, kReal, kObject };
  Kind kind_ = Kind::kText;
  union {
    std::string_view text_;
    uint64_t integer_;
    double real_;
    struct {
      const void* at;
      std::string (*str)(const void*);
    } object_;
  };
};

std::string join_parts(std::initializer_list<Part> parts);
[[noreturn]] void fail_with(ErrorCode code, std::initializer_list<Part> parts);
}  // namespace detail

// Joins its arguments (strings, numbers, objects with a method str()) into one message.
template <class... Args>
inline std::string join(const Args&... args) {
  return detail::join_parts({detail::Part(args)...});
}

// Throws an Error whose message is its arguments joined.
template <class... Args>
[[noreturn]] inline void fail(ErrorCode code, const Args&... args) {
  detail::fail_with(code, {detail::Part(args)...});
}

// Throws unless `ok`. The message is built on failure only, its arguments are evaluated always: pass a Shape
// itself, not its str().
template <class... Args>
inline void require(bool ok, ErrorCode code, const Args&... args) {
  if (!ok) [[unlikely]]
    detail::fail_with(code, {detail::Part(args)...});
}

}  // namespace pyinfer
