// TorchScript archives: writing and loading.
#include "shim.h"

#include <caffe2/serialize/file_adapter.h>
#include <torch/csrc/jit/serialization/export.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <cstring>

using caffe2::serialize::FileAdapter;
using caffe2::serialize::ReadAdapterInterface;

namespace {

// The bytes of an archive. That of libtorch 2.11.0 trusts the archive's own
// directory, and reads beyond the end of one that was cut off.
class MemoryAdapter final : public ReadAdapterInterface {
 public:
  MemoryAdapter(const void* data, size_t size) : data_(static_cast<const char*>(data)), size_(size) {}

  size_t size() const override {
    return size_;
  }

  size_t read(uint64_t position, void* buffer, size_t length, const char* = "") const override {
    if (position >= size_) {
      return 0;
    }
    length = std::min(length, size_ - static_cast<size_t>(position));
    std::memcpy(buffer, data_ + position, length);
    return length;
  }

 private:
  const char* data_;
  size_t size_;
};

// A path, or the bytes of an archive when `path` is NULL.
std::shared_ptr<ReadAdapterInterface> open_source(const char* path, const void* data, size_t length) {
  if (path != nullptr) {
    return std::make_shared<FileAdapter>(path);
  }
  return std::make_shared<MemoryAdapter>(data, length);
}

} // namespace

extern "C" {

// Returns how many bytes it took; fewer than given means failure.
typedef size_t (*ts_write_fn)(void* user, const void* data, size_t length);

ts_error* ts_module_save(
    const ts_module* self,
    const char* const* names,
    const char* const* contents,
    const size_t* lengths,
    size_t count,
    ts_write_fn write,
    void* user) {
  return guard([&] {
    torch::jit::ExtraFilesMap extra_files;
    for (size_t i = 0; i < count; ++i) {
      extra_files.emplace(names[i], std::string(contents[i], lengths[i]));
    }
    bool failed = false;
    const auto forward = [&](const void* data, size_t length) -> size_t {
      const size_t written = failed ? 0 : write(user, data, length);
      failed = failed || written != length;
      // torch would go on writing and report the zip's state: the first
      // failure is the reason that helps, and Rust has kept it.
      return length;
    };
    torch::jit::ExportModule(self->module, forward, extra_files);
    if (failed) {
      throw CallbackFailed{};
    }
  });
}

ts_error* ts_module_load(const char* path, const void* data, size_t length, const char* device, ts_module** out) {
  return guard([&] {
    std::optional<c10::Device> target;
    if (device != nullptr) {
      target = c10::Device(device);
    }
    auto unit = std::make_shared<torch::jit::CompilationUnit>();
    torch::jit::ExtraFilesMap none;
    try {
      *out = new ts_module{torch::jit::import_ir_module(unit, open_source(path, data, length), target, none)};
    } catch (...) {
      // A function that was not compiled yet holds the importer, and that the
      // unit that holds the function: nothing of it would ever be freed.
      unit->drop_all_functions();
      throw;
    }
  });
}

} // extern "C"
