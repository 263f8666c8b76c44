// TorchScript archives: writing and loading.
#include "shim.h"

#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/serialization/export.h>
#include <torch/csrc/jit/serialization/import.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

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

// An open file. That of libtorch 2.11.0 does not tell one that cannot be read from one
// that is damaged. Code that is not compiled yet may be read after the call that loads.
class FileAdapter final : public ReadAdapterInterface {
 public:
  explicit FileAdapter(int descriptor) : descriptor_(fcntl(descriptor, F_DUPFD_CLOEXEC, 0)) {
    struct stat status{};
    if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
      const int code = errno;
      close_file();
      throw SystemFailed{"read the file", code};
    }
    size_ = static_cast<size_t>(status.st_size);
  }
  FileAdapter(const FileAdapter&) = delete;
  FileAdapter& operator=(const FileAdapter&) = delete;

  ~FileAdapter() override {
    close_file();
  }

  size_t size() const override {
    return size_;
  }

  // Fewer bytes than asked for is a failure to libtorch, whose C code none may throw through.
  size_t read(uint64_t position, void* buffer, size_t length, const char* = "") const override {
    if (position >= size_) {
      return 0;
    }
    length = std::min(length, size_ - static_cast<size_t>(position));
    size_t done = 0;
    while (done < length) {
      const ssize_t count =
          pread(descriptor_, static_cast<char*>(buffer) + done, length - done, static_cast<off_t>(position + done));
      if (count < 0 && errno == EINTR) {
        continue;
      }
      if (count < 0) {
        code_ = errno;
      }
      if (count <= 0) {
        break;
      }
      done += static_cast<size_t>(count);
    }
    return done;
  }

  // What the system said when it could not read, or 0.
  int code() const {
    return code_;
  }

 private:
  void close_file() {
    if (descriptor_ >= 0) {
      close(descriptor_);
    }
  }

  int descriptor_;
  size_t size_ = 0;
  mutable std::atomic<int> code_{0};
};

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

// From an open file, or from memory when `descriptor` is negative.
ts_error* ts_module_load(int descriptor, const void* data, size_t length, const char* device, ts_module** out) {
  return guard([&] {
    std::optional<c10::Device> target;
    if (device != nullptr) {
      target = c10::Device(device);
    }
    auto unit = std::make_shared<torch::jit::CompilationUnit>();
    torch::jit::ExtraFilesMap none;
    const auto file = descriptor < 0 ? nullptr : std::make_shared<FileAdapter>(descriptor);
    std::shared_ptr<ReadAdapterInterface> source = file;
    if (file == nullptr) {
      source = std::make_shared<MemoryAdapter>(data, length);
    }
    try {
      *out = new ts_module{torch::jit::import_ir_module(unit, source, target, none)};
    } catch (...) {
      // A function that was not compiled yet holds the importer, and that the
      // unit that holds the function: nothing of it would ever be freed.
      unit->drop_all_functions();
      if (file != nullptr && file->code() != 0) {
        throw SystemFailed{"read the file", file->code()};
      }
      throw;
    }
  });
}

} // extern "C"
