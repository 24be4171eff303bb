// A regular file mapped into memory, read-only.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace pyinfer {

// Closes what it holds.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Shared by the tensors that borrow from it. A file that another process shortens while it is mapped
// makes reads past its new end fatal (SIGBUS): replace model files by renaming, never in place.
class MappedFile {
 public:
  // Throws Error(kIo) when `path` cannot be opened, is empty, or is not a regular file. Never blocks,
  // not even on a FIFO.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  // The same for an open file; `path` is for messages.
  static std::shared_ptr<const MappedFile> from(FileDescriptor file, const std::string& path);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  // Gives back the memory of the whole pages of [data, data + size) that lie in the file; what is read there
  // again comes from the file again.
  void release(const void* data, size_t size) const;
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::span<const std::byte> bytes, std::string path) : bytes_(bytes), path_(std::move(path)) {}

  std::span<const std::byte> bytes_;
  std::string path_;
};

// The text of the last failed system call.
std::string last_system_error();

}  // namespace pyinfer
