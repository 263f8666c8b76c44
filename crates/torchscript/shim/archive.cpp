// TorchScript archives: writing, loading, and reading records without loading.
#include "shim.h"

#include <caffe2/serialize/file_adapter.h>
#include <caffe2/serialize/in_memory_adapter.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/export.h>
#include <torch/csrc/jit/serialization/import.h>

using caffe2::serialize::FileAdapter;
using caffe2::serialize::MemoryReadAdapter;
using caffe2::serialize::PyTorchStreamReader;
using caffe2::serialize::ReadAdapterInterface;

struct ts_reader {
  std::shared_ptr<ReadAdapterInterface> source;
  PyTorchStreamReader reader;
};

namespace {

// A path, or the bytes of an archive when `path` is NULL.
std::shared_ptr<ReadAdapterInterface> open_source(const char* path, const void* data, size_t length) {
  if (path != nullptr) {
    return std::make_shared<FileAdapter>(path);
  }
  return std::make_shared<MemoryReadAdapter>(data, static_cast<off_t>(length));
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
    *out = new ts_module{torch::jit::load(open_source(path, data, length), target)};
  });
}

ts_error* ts_reader_open(const char* path, const void* data, size_t length, ts_reader** out) {
  return guard([&] {
    auto source = open_source(path, data, length);
    *out = new ts_reader{source, PyTorchStreamReader(source)};
  });
}

void ts_reader_free(ts_reader* self) {
  delete self;
}

ts_error* ts_reader_records(ts_reader* self, ts_value** out) {
  return guard([&] {
    c10::impl::GenericList names(c10::AnyType::get());
    for (const std::string& name : self->reader.getAllRecords()) {
      names.push_back(name);
    }
    *out = new ts_value(names);
  });
}

ts_error* ts_reader_size(ts_reader* self, const char* name, size_t* out) {
  return guard([&] { *out = self->reader.getRecordSize(name); });
}

ts_error* ts_reader_read(ts_reader* self, const char* name, void* data, size_t length) {
  return guard([&] {
    const size_t read = self->reader.getRecord(name, data, length);
    TORCH_CHECK(read == length, "record ", name, " has ", read, " bytes, expected ", length);
  });
}

} // extern "C"
