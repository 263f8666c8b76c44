// Tensors in a mapped file, or in a copy of one.
#include "shim.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

namespace {

struct Mapping {
  char* data = nullptr;
  size_t length = 0;
  // Otherwise a copy in anonymous memory, whose pages nothing would bring back.
  bool is_file = false;

  ~Mapping() {
    if (data != nullptr) {
      munmap(data, length);
    }
  }
};

} // namespace

struct ts_mapped {
  std::shared_ptr<Mapping> mapping;
};

extern "C" {

// The mapping is private: a write to a tensor never reaches the file.
ts_error* ts_mapped_open(int fd, size_t length, ts_mapped** out) {
  return guard([&] {
    auto mapping = std::make_shared<Mapping>();
    if (length > 0) {
      void* data = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
      if (data == MAP_FAILED) {
        throw SystemFailed{"map the file", errno};
      }
      mapping->data = static_cast<char*>(data);
      mapping->length = length;
      mapping->is_file = true;
    }
    *out = new ts_mapped{std::move(mapping)};
  });
}

// A copy of bytes, aligned as a mapped file is.
ts_error* ts_mapped_copy(const void* bytes, size_t length, ts_mapped** out) {
  return guard([&] {
    auto mapping = std::make_shared<Mapping>();
    if (length > 0) {
      void* data = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (data == MAP_FAILED) {
        throw SystemFailed{"copy the archive", errno};
      }
      mapping->data = static_cast<char*>(data);
      mapping->length = length;
      std::memcpy(mapping->data, bytes, length);
    }
    *out = new ts_mapped{std::move(mapping)};
  });
}

const void* ts_mapped_data(const ts_mapped* self) {
  return self->mapping->data;
}

void ts_mapped_free(ts_mapped* self) {
  delete self;
}

// A contiguous tensor at `offset`, with a storage of its own that keeps the
// mapping alive. Bounds are checked here; misaligned data is copied.
ts_error* ts_mapped_tensor(
    const ts_mapped* self,
    size_t offset,
    const int64_t* shape,
    size_t rank,
    int dtype,
    at::Tensor** out) {
  return guard([&] {
    const auto options = at::TensorOptions().dtype(static_cast<c10::ScalarType>(dtype));
    const at::IntArrayRef sizes(shape, rank);
    size_t bytes = options.dtype().itemsize();
    const size_t item = bytes;
    for (int64_t size : sizes) {
      TORCH_CHECK(size >= 0, "negative size ", size);
      TORCH_CHECK(!__builtin_mul_overflow(bytes, static_cast<size_t>(size), &bytes), "the size overflows");
    }
    const auto& mapping = self->mapping;
    TORCH_CHECK(
        offset <= mapping->length && bytes <= mapping->length - offset,
        "a tensor of ", bytes, " bytes at ", offset, " leaves the file of ", mapping->length, " bytes");
    char* data = mapping->data + offset;
    if (bytes == 0 || reinterpret_cast<uintptr_t>(data) % item != 0) {
      at::Tensor copy = at::empty(sizes, options);
      if (bytes > 0) {
        std::memcpy(copy.data_ptr(), data, bytes);
      }
      *out = new at::Tensor(std::move(copy));
      return;
    }
    *out = new at::Tensor(at::from_blob(data, sizes, [mapping](void*) {}, options));
  });
}

// Drops the pages until they are read again. A write to them is lost.
void ts_mapped_release(const ts_mapped* self) {
  const Mapping& mapping = *self->mapping;
  if (mapping.is_file) {
    madvise(mapping.data, mapping.length, MADV_DONTNEED);
  }
}

} // extern "C"
