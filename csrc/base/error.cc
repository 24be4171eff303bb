#include "base/error.h"

namespace pyinfer::detail {

void Part::append_to(std::string& out) const {
  switch (kind_) {
    case Kind::kText: out += text_; break;
    case Kind::kSigned: out += std::to_string(static_cast<int64_t>(integer_)); break;
    case Kind::kUnsigned: out += std::to_string(integer_); break;
    case Kind::kReal: out += std::to_string(real_); break;
    case Kind::kObject: out += object_.str(object_.at); break;
  }
}

std::string join_parts(std::initializer_list<Part> parts) {
  std::string out;
  for (const Part& part : parts) part.append_to(out);
  return out;
}

void fail_with(ErrorCode code, std::initializer_list<Part> parts) {
  throw Error(code, join_parts(parts));
}

}  // namespace pyinfer::detail
