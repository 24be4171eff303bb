// The one exception type of the core. Kernels never throw; everything above them may.
#pragma once

#include <cstdint>
#include <exception>
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
inline void append(std::string& out, std::string_view s) {
  out += s;
}
inline void append(std::string& out, const std::string& s) {
  out += s;
}
inline void append(std::string& out, const char* s) {
  out += s;
}
inline void append(std::string& out, char c) {
  out += c;
}
inline void append(std::string& out, bool b) {
  out += b ? "true" : "false";
}
template <class T>
requires std::is_arithmetic_v<T>
void append(std::string& out, T v) {
  out += std::to_string(v);
}
}  // namespace detail

// Joins its arguments (strings, numbers) into one message.
template <class... Args>
std::string join(const Args&... args) {
  std::string out;
  (detail::append(out, args), ...);
  return out;
}

// Throws an Error whose message is its arguments joined.
template <class... Args>
[[noreturn]] void fail(ErrorCode code, const Args&... args) {
  throw Error(code, join(args...));
}

// Throws unless `ok`. The message is only built on failure, so its arguments must be cheap to evaluate.
template <class... Args>
inline void require(bool ok, ErrorCode code, const Args&... args) {
  if (!ok) [[unlikely]]
    fail(code, args...);
}

}  // namespace pyinfer
