// Weights beside the model: which files a model may name, and their mappings.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/mapped_file.h"
#include "onnx/proto.h"

namespace pyinfer::onnx {

// The model file chooses the location, so it is not trusted: relative, without `..`, to a regular file.
//
// Without a root, files must lie in the model's folder or below, and neither they nor the folders on the
// way may be symbolic links; a file with several hard links may be another one in disguise and is
// rejected too. A root, given by the caller, vouches for everything in it: links may be followed as
// long as they end inside. Locations are relative to the model's folder if that lies in the root (a
// Hugging Face snapshot, with the cache as the root), else to the root itself.
//
// Used by one thread at a time.
class ExternalData {
 public:
  // `model_folder` is empty for a model that was not read from a file; `root` is empty when not given.
  // Throws Error(kIo) when a root is given and cannot be opened.
  ExternalData(std::string model_folder, std::string root);

  // The folder of a path, as written: "." for a bare name.
  static std::string folder_of(std::string_view path);

  struct Slice {
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> keep_alive;
  };
  // The `size` bytes that `tensor` keeps outside of the model. Each file is mapped once.
  Slice read(const TensorProto& tensor, size_t size);
  // MappedFile::release in whichever file holds the bytes.
  void release(const void* data, size_t size) const;
  // All of all files.
  void release() const;

 private:
  struct Entry;
  struct File {
    std::shared_ptr<const MappedFile> mapping;
    std::string sha1;  // empty until a checksum asks for it
  };

  static Entry parse(const TensorProto& tensor);
  File& file(std::string_view location);
  std::string resolve(const std::string& relative) const;
  std::shared_ptr<const MappedFile> open_below(const std::string& folder, const std::string& relative) const;

  std::string base_;                             // what locations are relative to
  std::string root_;                             // absolute, without links; empty when the caller gave none
  std::unordered_map<std::string, File> files_;  // by normalized location
};

}  // namespace pyinfer::onnx
