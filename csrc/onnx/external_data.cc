#include "onnx/external_data.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/sha1.h"

namespace pyinfer::onnx {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW;

[[noreturn]] void reject(std::string_view location, std::string_view why) {
  fail(ErrorCode::kInvalidModel, "external data '", location, "' ", why);
}

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
  }
  return parts;
}

// "a//./b" to "a/b". Throws for a path that could lead out of its folder.
std::string normalize(std::string_view location) {
  if (location.empty()) reject(location, "has no location");
  if (location.find('\0') != std::string_view::npos) reject("...", "contains a zero byte");
  if (location.front() == '/') reject(location, "is an absolute path; it must be relative to the model");
  std::string out;
  for (const std::string& part : split(location)) {
    if (part == "..") reject(location, "contains '..'; it must stay in the model's folder");
    if (!out.empty()) out += '/';
    out += part;
  }
  if (out.empty()) reject(location, "names no file");
  return out;
}

uint64_t parse_size(std::string_view text, std::string_view key, std::string_view location) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size())
    reject(location, join("has ", key, " '", text, "', expected a number of bytes below 2^64"));
  return value;
}

// The path without symbolic links, or nothing when it does not exist.
std::optional<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  if (real == nullptr) return std::nullopt;
  return std::string(real.get());
}

// Both absolute and without links.
bool is_inside(const std::string& path, const std::string& root) {
  if (root == "/" || path == root) return true;
  return path.size() > root.size() && path.compare(0, root.size(), root) == 0 && path[root.size()] == '/';
}

bool same_digest(std::string_view a, std::string_view lower_hex) {
  if (a.size() != lower_hex.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if ((a[i] >= 'A' && a[i] <= 'F' ? a[i] - 'A' + 'a' : a[i]) != lower_hex[i]) return false;
  return true;
}

}  // namespace

struct ExternalData::Entry {
  std::string_view location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
  std::string_view checksum;
};

ExternalData::ExternalData(std::string model_folder, std::string root) : base_(std::move(model_folder)) {
  if (root.empty()) return;
  require(root.find('\0') == std::string::npos, ErrorCode::kIo, "external_data_root contains a zero byte");
  const auto real = real_path(root);
  if (!real) fail(ErrorCode::kIo, "cannot open external_data_root '", root, "': ", last_system_error());
  root_ = *real;
  const auto real_base = base_.empty() ? std::nullopt : real_path(base_);
  base_ = real_base && is_inside(*real_base, root_) ? *real_base : root_;
}

std::string ExternalData::folder_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

ExternalData::Entry ExternalData::parse(const TensorProto& tensor) {
  Entry entry;
  std::optional<std::string_view> location, offset, length, checksum;
  for (const auto& [key, value] : tensor.external_data) {
    auto* slot = key == "location"   ? &location
                 : key == "offset"   ? &offset
                 : key == "length"   ? &length
                 : key == "checksum" ? &checksum
                                     : nullptr;
    if (slot == nullptr) continue;  // keys of one engine only
    require(!slot->has_value(), ErrorCode::kInvalidModel, "tensor '", tensor.name,
            "': external data has two values for ", key);
    *slot = value;
  }
  require(location.has_value(), ErrorCode::kInvalidModel, "tensor '", tensor.name,
          "': external data has no location");
  entry.location = *location;
  if (offset) entry.offset = parse_size(*offset, "offset", *location);
  if (length) entry.length = parse_size(*length, "length", *location);
  if (checksum) entry.checksum = *checksum;
  return entry;
}

ExternalData::Slice ExternalData::read(const TensorProto& tensor, size_t size) {
  const Entry entry = parse(tensor);
  if (entry.length && *entry.length != size)
    fail(ErrorCode::kInvalidModel, "tensor '", tensor.name, "': external data '", entry.location,
         "' has length ", *entry.length, ", expected ", size);
  if (size == 0) {  // nothing to read, not even from an empty file
    normalize(entry.location);
    return {};
  }
  File& f = file(entry.location);
  const auto all = f.mapping->bytes();
  if (entry.offset > all.size() || size > all.size() - entry.offset)
    fail(ErrorCode::kInvalidModel, "tensor '", tensor.name, "': external data '", entry.location,
         "' ends at byte ", all.size(), ", expected ", size, " bytes from offset ", entry.offset);
  if (!entry.checksum.empty()) {
    if (f.sha1.empty()) f.sha1 = sha1_hex(all);
    if (!same_digest(entry.checksum, f.sha1))
      reject(entry.location, join("has SHA-1 ", f.sha1, ", expected ", entry.checksum));
  }
  return {all.subspan(static_cast<size_t>(entry.offset), size), f.mapping};
}

ExternalData::File& ExternalData::file(std::string_view location) {
  if (base_.empty())
    reject(location, "cannot be found: the model was not read from a file; give external_data_root");
  const std::string relative = normalize(location);
  const auto found = files_.find(relative);
  if (found != files_.end()) return found->second;
  // With a root, links are resolved first, and the result, free of links, is opened below the root
  // as any other path: what changes in between cannot lead out.
  auto mapping = root_.empty() ? open_below(base_, relative) : open_below(root_, resolve(relative));
  return files_.emplace(relative, File{std::move(mapping), {}}).first->second;
}

// The path below root_ that `relative`, seen from base_, ends at.
std::string ExternalData::resolve(const std::string& relative) const {
  const std::string path = base_ + '/' + relative;
  const auto real = real_path(path);
  if (!real) fail(ErrorCode::kIo, "cannot open external data '", path, "': ", last_system_error());
  if (!is_inside(*real, root_)) reject(relative, join("leads to '", *real, "', outside of '", root_, "'"));
  return real->substr(root_ == "/" ? 0 : root_.size());
}

std::shared_ptr<const MappedFile> ExternalData::open_below(const std::string& folder,
                                                           const std::string& relative) const {
  const std::string path = folder + '/' + relative;
  const auto check = [&](const FileDescriptor& fd) {
    if (fd.valid()) return;
    if (errno == ELOOP || errno == EMLINK)
      reject(relative, "is reached through a symbolic link; give external_data_root to allow it");
    fail(ErrorCode::kIo, "cannot open external data '", path, "': ", last_system_error());
  };
  FileDescriptor at(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  check(at);
  const std::vector<std::string> parts = split(relative);
  require(!parts.empty(), ErrorCode::kIo, "external data '", path, "' is not a regular file");
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    struct stat info {};
    // O_DIRECTORY hides the reason: a link that is not followed reads as "not a directory".
    if (::fstatat(at.get(), parts[i].c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode))
      reject(relative, "is reached through a symbolic link; give external_data_root to allow it");
    FileDescriptor next(::openat(at.get(), parts[i].c_str(), kOpenFlags | O_DIRECTORY));
    check(next);
    at = std::move(next);
  }
  FileDescriptor file(::openat(at.get(), parts.back().c_str(), kOpenFlags | O_NONBLOCK | O_NOCTTY));
  check(file);
  struct stat info {};
  if (::fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink > 1 && root_.empty())
    reject(relative, "has more than one hard link; give external_data_root to allow it");
  return MappedFile::from(std::move(file), path);
}

void ExternalData::release(const void* data, size_t size) const {
  for (const auto& [location, file] : files_)
    if (file.mapping) file.mapping->release(data, size);
}

void ExternalData::release() const {
  for (const auto& [location, file] : files_)
    if (file.mapping) file.mapping->release(file.mapping->bytes().data(), file.mapping->bytes().size());
}

}  // namespace pyinfer::onnx
