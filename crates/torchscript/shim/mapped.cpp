// Tensors that lie in a mapped file.
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

  // Lets go of the pages that lie in a range.
  void release(size_t offset, size_t bytes) const {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t first = (offset + page - 1) / page * page;
    const size_t last = (offset + bytes) / page * page;
    if (data != nullptr && first < last) {
      madvise(data + first, last - first, MADV_DONTNEED);
    }
  }

  // Whether the bytes stand at an offset. Pages that were compared are let go of, so
  // that not all of both are in memory.
  bool equals(size_t offset, const void* bytes, size_t count) const {
    constexpr size_t part = 1 << 20;
    const char* other = static_cast<const char*>(bytes);
    for (size_t done = 0; done < count; done += part) {
      const size_t length = std::min(part, count - done);
      if (std::memcmp(data + offset + done, other + done, length) != 0) {
        return false;
      }
      release(offset + done, length);
    }
    return true;
  }

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
    }
    *out = new ts_mapped{std::move(mapping)};
  });
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

// Gives every storage whose bytes stand in one of the ranges the file's pages, and
// frees its own. What is smaller than `least` is left alone.
ts_error* ts_module_share(
    ts_module* self,
    const ts_mapped* mapped,
    const size_t* offsets,
    const size_t* lengths,
    size_t count,
    size_t least,
    size_t* shared) {
  return guard([&] {
    const auto& mapping = mapped->mapping;
    // Storages stand in the file in about the order in which modules have them.
    size_t next = 0;
    *shared = 0;
    for (const torch::jit::Module& module : self->module.modules()) {
      for (const c10::IValue& slot : module._ivalue()->slots()) {
        // Sparse tensors have no storage.
        if (!slot.isTensor() || !slot.toTensor().is_cpu() || !slot.toTensor().has_storage()) {
          continue;
        }
        c10::StorageImpl* storage = slot.toTensor().storage().unsafeGetStorageImpl();
        const size_t bytes = storage->nbytes();
        for (size_t tried = 0; bytes >= least && tried < count; ++tried) {
          const size_t range = (next + tried) % count;
          const size_t offset = offsets[range];
          if (lengths[range] != bytes || offset > mapping->length || bytes > mapping->length - offset) {
            continue;
          }
          char* data = mapping->data + offset;
          if (reinterpret_cast<uintptr_t>(data) % alignof(std::max_align_t) != 0 || data == storage->data() ||
              !mapping->equals(offset, storage->data(), bytes)) {
            continue;
          }
          auto* owner = new std::shared_ptr<Mapping>(mapping);
          const auto release = [](void* owner) { delete static_cast<std::shared_ptr<Mapping>*>(owner); };
          storage->set_data_ptr_noswap(c10::DataPtr(data, owner, release, c10::kCPU));
          *shared += bytes;
          next = range + 1;
          break;
        }
      }
    }
  });
}

// Lets go of the pages until they are read again. A write to them is lost.
void ts_mapped_release(const ts_mapped* self) {
  self->mapping->release(0, self->mapping->length);
}

} // extern "C"
