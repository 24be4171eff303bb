#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/mapped_file.h"
#include "base/sha1.h"
#include "onnx/external_data.h"
#include "onnx/tensor_decode.h"
#include "proto_writer.h"

namespace pyinfer::test {
namespace {

namespace fs = std::filesystem;
using namespace onnx;

// outside.bin, and model/ with weights.bin (the bytes 0 to 255), sub/more.bin, and traps.
class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "pyinfer_test_XXXXXX").string();
    root = ::mkdtemp(pattern.data());
    model = root / "model";
    fs::create_directories(model / "sub");
    std::string bytes;
    for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
    write(root / "outside.bin", bytes);
    write(model / "weights.bin", bytes);
    write(model / "sub" / "more.bin", bytes);
    write(model / "empty.bin", "");
    fs::create_symlink("weights.bin", model / "link.bin");
    fs::create_symlink("../outside.bin", model / "escape.bin");
    fs::create_symlink("sub", model / "linked_folder");
    fs::create_symlink("..", model / "up");
    fs::create_hard_link(root / "outside.bin", model / "hard.bin");
    ::mkfifo((model / "fifo").c_str(), 0600);
  }
  ~Folder() { fs::remove_all(root); }

  static void write(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  fs::path root, model;
};

TensorProto tensor(std::string_view location, std::string_view offset = "", std::string_view length = "") {
  TensorProto t;
  t.name = "w";
  t.external = true;
  t.external_data.emplace_back("location", location);
  if (!offset.empty()) t.external_data.emplace_back("offset", offset);
  if (!length.empty()) t.external_data.emplace_back("length", length);
  return t;
}

int first_byte(ExternalData& data, const TensorProto& t, size_t size) {
  return std::to_integer<int>(data.read(t, size).bytes[0]);
}

}  // namespace

TEST(mapped_file) {
  const Folder f;
  const auto file = MappedFile::open((f.model / "link.bin").string());  // the caller's own path may be a link
  CHECK_EQ(file->bytes().size(), size_t{256});
  CHECK_EQ(std::to_integer<int>(file->bytes()[200]), 200);
  CHECK_ERROR(kIo, MappedFile::open((f.model / "missing").string()));
  CHECK_ERROR(kIo, MappedFile::open((f.model / "empty.bin").string()));
  CHECK_ERROR(kIo, MappedFile::open(f.model.string()));
  CHECK_ERROR(kIo, MappedFile::open((f.model / "fifo").string()));
  CHECK_ERROR(kIo, MappedFile::open("/dev/zero"));
  CHECK_ERROR(kIo, MappedFile::open("/proc/self/status"));  // claims to be empty
  CHECK_ERROR(kIo, MappedFile::open((f.model / "weights.bin").string() + '\0' + "x"));
  CHECK_ERROR(kIo, MappedFile::open(""));
}

TEST(external_data_reads_ranges) {
  const Folder f;
  ExternalData data(f.model.string(), "");
  CHECK_EQ(first_byte(data, tensor("weights.bin"), 256), 0);
  CHECK_EQ(first_byte(data, tensor("weights.bin", "16", "4"), 4), 16);
  CHECK_EQ(first_byte(data, tensor("./sub//more.bin", "255"), 1), 255);
  CHECK(data.read(tensor("weights.bin"), 0).bytes.empty());
  CHECK(data.read(tensor("empty.bin", "0", "0"), 0).bytes.empty());
  const auto a = data.read(tensor("weights.bin", "1"), 1), b = data.read(tensor("./weights.bin", "2"), 1);
  CHECK_EQ(a.keep_alive, b.keep_alive);  // mapped once
  CHECK_EQ(b.bytes.data() - a.bytes.data(), 1);
}

TEST(external_data_rejects_ranges) {
  const Folder f;
  ExternalData data(f.model.string(), "");
  CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin"), 257));
  CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin", "256"), 1));
  CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin", "257"), 1));
  CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin", "18446744073709551615"), 2));  // wraps to 1
  CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin", "18446744073709551616"), 2));
  for (const char* bad : {"-1", "+1", " 1", "1 ", "0x10", "1.0", "1e3", "ten"}) {
    CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin", bad), 1));
    CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin", "0", bad), 1));
  }
  CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin", "0", "5"), 4));
  CHECK_ERROR(kInvalidModel, data.read(tensor("weights.bin", "0", "3"), 4));
  TensorProto t = tensor("weights.bin");
  t.external_data.emplace_back("location", "sub/more.bin");
  CHECK_ERROR(kInvalidModel, data.read(t, 1));
  t.external_data.clear();
  CHECK_ERROR(kInvalidModel, data.read(t, 1));
}

TEST(external_data_stays_in_the_folder) {
  const Folder f;
  ExternalData data(f.model.string(), "");
  const std::string absolute = (f.model / "weights.bin").string();
  for (const std::string& bad :
       {std::string("../outside.bin"), std::string("sub/../weights.bin"), std::string(".."),
        std::string("sub/.."), absolute, std::string("/etc/passwd"), std::string(""), std::string("."),
        std::string("./"), std::string("link.bin"), std::string("escape.bin"), std::string("hard.bin"),
        std::string("linked_folder/more.bin"), std::string("up/outside.bin"),
        std::string("weights.bin\0.txt", 16)})
    CHECK_ERROR(kInvalidModel, data.read(tensor(bad), 1));
  for (const std::string& bad :
       {std::string("missing"), std::string("fifo"), std::string("sub"), std::string("weights.bin/x"),
        std::string("empty.bin"), std::string(5000, 'a')})
    CHECK_ERROR(kIo, data.read(tensor(bad), 1));
  CHECK_ERROR(kInvalidModel, data.read(tensor("../outside.bin"), 0));  // nothing to read, still refused
  ExternalData nowhere("", "");
  CHECK_ERROR(kInvalidModel, nowhere.read(tensor("weights.bin"), 1));
}

TEST(external_data_root_allows_links_inside) {
  const Folder f;
  ExternalData data(f.model.string(), f.model.string());
  CHECK_EQ(first_byte(data, tensor("link.bin", "3"), 1), 3);
  CHECK_EQ(first_byte(data, tensor("hard.bin", "3"), 1), 3);
  CHECK_EQ(first_byte(data, tensor("linked_folder/more.bin", "3"), 1), 3);
  CHECK_ERROR(kInvalidModel, data.read(tensor("escape.bin"), 1));
  CHECK_ERROR(kInvalidModel, data.read(tensor("up/outside.bin"), 1));
  CHECK_ERROR(kInvalidModel, data.read(tensor("../outside.bin"), 1));
  CHECK_ERROR(kInvalidModel, data.read(tensor("/etc/passwd"), 1));
  CHECK_ERROR(kIo, data.read(tensor("fifo"), 1));
  CHECK_ERROR(kIo, data.read(tensor("sub"), 1));
  CHECK_ERROR(kIo, data.read(tensor("missing"), 1));

  // A cache: the model's folder is inside the root, its links lead elsewhere in the root.
  ExternalData cache(f.model.string(), f.root.string());
  CHECK_EQ(first_byte(cache, tensor("escape.bin", "3"), 1), 3);
  CHECK_EQ(first_byte(cache, tensor("weights.bin", "4"), 1), 4);
  // A root elsewhere, or a model without a folder: locations are relative to the root.
  ExternalData elsewhere("/", (f.model / "sub").string());
  CHECK_EQ(first_byte(elsewhere, tensor("more.bin", "5"), 1), 5);
  ExternalData from_bytes("", f.model.string());
  CHECK_EQ(first_byte(from_bytes, tensor("weights.bin", "6"), 1), 6);
  CHECK_ERROR(kIo, ExternalData("", (f.root / "none").string()));

  // A sibling whose name starts with the root's is not inside it.
  fs::create_directories(f.root / "model2");
  Folder::write(f.root / "model2" / "w.bin", "abc");
  fs::create_symlink("../model2/w.bin", f.model / "sibling.bin");
  CHECK_ERROR(kInvalidModel, data.read(tensor("sibling.bin"), 1));
}

TEST(external_data_checks_checksums) {
  const Folder f;
  const auto hex = [](const std::string& s) { return sha1_hex(as_bytes(s)); };
  CHECK_EQ(hex(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  CHECK_EQ(hex("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK_EQ(hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
           "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  CHECK_EQ(hex(std::string(1'000'000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");

  ExternalData data(f.model.string(), "");
  TensorProto t = tensor("weights.bin", "3");
  t.external_data.emplace_back("checksum", "4916D6BDB7F78E6803698CAB32D1586EA457DFC8");
  CHECK_EQ(first_byte(data, t, 1), 3);
  t.external_data.back().second = "4916d6bdb7f78e6803698cab32d1586ea457dfc9";
  CHECK_ERROR(kInvalidModel, data.read(t, 1));
  t.external_data.back().second = "junk";
  CHECK_ERROR(kInvalidModel, data.read(t, 1));
}

TEST(external_data_is_borrowed_by_tensors) {
  const Folder f;
  const Limits limits;
  Tensor aligned, shifted;
  {
    ExternalData data(f.model.string(), "");
    const DataSource source{limits, nullptr, &data};
    TensorProto t = tensor("weights.bin", "4", "8");
    t.dims = {2};
    t.data_type = static_cast<int32_t>(DType::kInt32);
    aligned = decode_tensor(t, source);
    CHECK_EQ(static_cast<const void*>(aligned.as<int32_t>()), data.read(t, 8).bytes.data());
    t = tensor("weights.bin", "5", "8");
    t.dims = {2};
    t.data_type = static_cast<int32_t>(DType::kInt32);
    shifted = decode_tensor(t, source);
    t.dims = {3};
    CHECK_ERROR(kInvalidModel, decode_tensor(t, source));
    t.dims = {int64_t{1} << 40};
    CHECK_ERROR(kLimit, decode_tensor(t, source));
    t.dims = {2};
    t.data_type = static_cast<int32_t>(DType::kString);
    CHECK_ERROR(kInvalidModel, decode_tensor(t, source));
  }
  CHECK_EQ(aligned.as<int32_t>()[1], 0x0b0a0908);  // the mapping outlives its cache
  CHECK_EQ(shifted.as<int32_t>()[0], 0x08070605);
}

}  // namespace pyinfer::test
