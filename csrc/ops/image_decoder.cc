// ImageDecoder: y[h, w, c] = the pixels of an encoded image file; no pixels when the file is damaged.
#include <algorithm>
#include <cstring>

#include "ops/image_formats.h"
#include "ops/op.h"

namespace pyinfer {
namespace {

enum class PixelFormat { kRgb, kBgr, kGray };

bool starts_with(Bytes file, std::string_view signature, size_t at = 0) {
  return file.size() >= at + signature.size() &&
         std::memcmp(file.data() + at, signature.data(), signature.size()) == 0;
}

RgbImage decode(Bytes file, int64_t max_bytes) {
  using namespace std::string_view_literals;
  if (starts_with(file, "BM")) return decode_bmp(file, max_bytes);
  if (starts_with(file, "\x89PNG\r\n\x1a\n"sv)) return decode_png(file, max_bytes);
  if (starts_with(file, "\xff\xd8\xff"sv)) return decode_jpeg(file, max_bytes);
  if (starts_with(file, "II*\0"sv) || starts_with(file, "MM\0*"sv)) return decode_tiff(file, max_bytes);
  if (file.size() > 2 && file[0] == 'P' && file[1] >= '1' && file[1] <= '6')
    return decode_pnm(file, max_bytes);
  if (starts_with(file, "RIFF") && starts_with(file, "WEBP", 8))
    fail(ErrorCode::kUnsupported, "WebP images are not supported; decode them before the model");
  if (starts_with(file, "\0\0\0\x0cjP  "sv) || starts_with(file, "\xff\x4f\xff\x51"sv))
    fail(ErrorCode::kUnsupported, "JPEG 2000 images are not supported; decode them before the model");
  return {};
}

class ImageDecoder final : public Op {
 public:
  explicit ImageDecoder(PixelFormat format) : format_(format) {}

  void plan(PlanContext& ctx) const override {
    require(ctx.shape(0).rank() == 1, ErrorCode::kInvalidInput, "expected a stream of bytes of rank 1, got ",
            ctx.shape(0));
    ctx.output_dynamic(0);
  }

  void run(RunContext& ctx) const override {
    const RgbImage image = decode(ctx.in(0).span<const uint8_t>(), ctx.limits().max_tensor_bytes);
    const int64_t channels = format_ == PixelFormat::kGray ? 1 : 3;
    auto* y = ctx.allocate(0, DType::kUInt8, {image.height, image.width, channels}).as<uint8_t>();
    const uint8_t* p = image.pixels.data();
    for (int64_t i = 0, n = image.height * image.width; i < n; ++i, p += 3, y += channels) {
      if (format_ == PixelFormat::kGray) {
        // ITU-R 601 luma in 16-bit fixed point.
        y[0] = static_cast<uint8_t>((19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 0x8000) >> 16);
      } else {
        const bool swap = format_ == PixelFormat::kBgr;
        y[0] = p[swap ? 2 : 0];
        y[1] = p[1];
        y[2] = p[swap ? 0 : 2];
      }
    }
  }

 private:
  PixelFormat format_;
};

std::unique_ptr<Op> make_image_decoder(NodeContext& ctx) {
  ctx.expect_inputs(1, 1);
  ctx.expect_dtype(0, {DType::kUInt8});
  ctx.output(0, DType::kUInt8);
  const std::string format = ctx.attr_string("pixel_format", "RGB");
  if (format == "RGB") return std::make_unique<ImageDecoder>(PixelFormat::kRgb);
  if (format == "BGR") return std::make_unique<ImageDecoder>(PixelFormat::kBgr);
  require(format == "Grayscale", ErrorCode::kInvalidModel, "pixel_format=", format,
          " is none of RGB, BGR and Grayscale");
  return std::make_unique<ImageDecoder>(PixelFormat::kGray);
}

}  // namespace

std::span<const OpDef> image_decoder_ops() {
  static constexpr OpDef kOps[] = {{"", "ImageDecoder", 1, make_image_decoder}};
  return kOps;
}

}  // namespace pyinfer
