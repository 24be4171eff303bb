#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "base/error.h"

namespace pyinfer {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

std::string last_system_error() {
  return std::generic_category().message(errno);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  require(path.find('\0') == std::string::npos, ErrorCode::kIo, "a path contains a zero byte");
  // O_NONBLOCK: opening a FIFO without a writer would wait for one.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.valid()) fail(ErrorCode::kIo, "cannot open '", path, "': ", last_system_error());
  return from(std::move(file), path);
}

std::shared_ptr<const MappedFile> MappedFile::from(FileDescriptor file, const std::string& path) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0)
    fail(ErrorCode::kIo, "cannot stat '", path, "': ", last_system_error());
  require(S_ISREG(info.st_mode), ErrorCode::kIo, "'", path, "' is not a regular file");
  if (info.st_size <= 0) {
    // Files of /proc look like empty ones, but do not read like them.
    char byte = 0;
    const bool empty = ::pread(file.get(), &byte, 1, 0) == 0;
    fail(ErrorCode::kIo, "'", path, empty ? "' is empty" : "' is not a regular file: it has no size");
  }
  require(static_cast<uint64_t>(info.st_size) <= SIZE_MAX, ErrorCode::kIo, "'", path,
          "' is too large to map");
  const auto size = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail(ErrorCode::kIo, "cannot map '", path, "': ", last_system_error());
  return std::shared_ptr<const MappedFile>(new MappedFile({static_cast<const std::byte*>(data), size}, path));
}

void MappedFile::release(const void* data, size_t size) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(data), last = first + size;
  const auto begin = reinterpret_cast<uintptr_t>(bytes_.data()), end = begin + bytes_.size();
  if (first < begin || last > end) return;
  const uintptr_t from = (first + page - 1) / page * page, to = last == end ? last : last / page * page;
  // The pages of a private mapping that was never written are those of the file. Advice: failing is no error.
  if (from < to) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace pyinfer
