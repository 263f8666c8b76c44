// Tensors over memory that somebody else owns, and DLPack both ways.
#include "shim.h"

#include <ATen/DLConvertor.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

namespace {

struct Dtype {
  DLDataTypeCode code;
  uint8_t bits;
  c10::ScalarType type;
};

// Those that tch knows: what it does not must be refused before it is taken.
constexpr Dtype DTYPES[] = {
    {kDLUInt, 8, c10::ScalarType::Byte},   {kDLInt, 8, c10::ScalarType::Char},
    {kDLInt, 16, c10::ScalarType::Short},  {kDLInt, 32, c10::ScalarType::Int},
    {kDLInt, 64, c10::ScalarType::Long},   {kDLFloat, 16, c10::ScalarType::Half},
    {kDLFloat, 32, c10::ScalarType::Float}, {kDLFloat, 64, c10::ScalarType::Double},
    {kDLBool, 8, c10::ScalarType::Bool},   {kDLBfloat, 16, c10::ScalarType::BFloat16},
};

std::string code_name(uint8_t code) {
  switch (code) {
    case kDLInt: return "int";
    case kDLUInt: return "uint";
    case kDLFloat: return "float";
    case kDLBfloat: return "bfloat";
    case kDLComplex: return "complex";
    case kDLBool: return "bool";
    default: return c10::str("code ", static_cast<int>(code), " of ");
  }
}

c10::ScalarType scalar_type(const DLDataType& type) {
  require(type.lanes == 1, "lanes: found ", type.lanes, ", expected 1");
  for (const Dtype& known : DTYPES) {
    if (type.code == known.code && type.bits == known.bits) {
      return known.type;
    }
  }
  throw ArgumentRefused{c10::str("dtype: found ", code_name(type.code), static_cast<int>(type.bits),
                                 ", expected float16, float32, float64, bfloat16, int8, int16, int32, int64, uint8 or bool")};
}

c10::Device torch_device(const DLDevice& device) {
  switch (device.device_type) {
    case kDLCPU:
    case kDLCUDAHost:
      return c10::Device(c10::kCPU);
    case kDLCUDA:
    case kDLCUDAManaged:
      require(device.device_id >= 0 && device.device_id <= std::numeric_limits<c10::DeviceIndex>::max(),
              "device: found cuda:", device.device_id);
      return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device.device_id));
    default:
      throw ArgumentRefused{
          c10::str("device: found type ", static_cast<int>(device.device_type), ", expected CPU or CUDA")};
  }
}

// Row-major, which NULL strides mean.
std::vector<int64_t> strides_of(const int64_t* strides, const std::vector<int64_t>& sizes) {
  if (strides != nullptr) {
    return {strides, strides + sizes.size()};
  }
  std::vector<int64_t> dense(sizes.size(), 1);
  for (size_t i = sizes.size(); i-- > 1;) {
    const bool fits = !__builtin_mul_overflow(dense[i], std::max<int64_t>(sizes[i], 1), &dense[i - 1]);
    require(fits, "shape: found ", c10::IntArrayRef(sizes), ", which no memory holds");
  }
  return dense;
}

// libtorch computes the size of the storage where it may not throw.
void check_reach(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides, c10::ScalarType dtype) {
  int64_t count = 1, reach = 1;
  bool fits = true;
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t further = 0;
    require(sizes[i] >= 0, "shape: found a size of ", sizes[i], ", expected none below 0");
    require(strides[i] >= 0, "strides: found ", strides[i], ", expected none below 0");
    fits &= !__builtin_mul_overflow(count, sizes[i], &count);
    fits &= !__builtin_mul_overflow(std::max<int64_t>(sizes[i], 1) - 1, strides[i], &further);
    fits &= !__builtin_add_overflow(reach, further, &reach);
  }
  const auto element = static_cast<int64_t>(c10::elementSize(dtype));
  fits &= !__builtin_mul_overflow(count, element, &count) && !__builtin_mul_overflow(reach, element, &reach);
  require(fits, "shape: found ", c10::IntArrayRef(sizes), ", which no memory holds");
}

// Who is told that memory is not needed any more, once a tensor has taken it.
struct Owner {
  std::function<void()> release;
  bool taken = false;
};

void end(void* context) {
  const std::unique_ptr<Owner> owner(static_cast<Owner*>(context));
  if (owner->taken) {
    owner->release();
  }
}

// A contiguous tensor over the memory, or a copy if it lies otherwise there.
// `release` is called once, when the memory is not needed any more; never if
// this throws.
at::Tensor take(void* data, const std::vector<int64_t>& sizes, const int64_t* strides, c10::ScalarType dtype,
                c10::Device device, const std::function<void()>& release) {
  const auto places = strides_of(strides, sizes);
  check_reach(sizes, places, dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % c10::elementSize(dtype) == 0;
  require(aligned, "data: not aligned to ", c10::elementSize(dtype), " bytes");
  auto owner = std::make_unique<Owner>(Owner{release});
  bool& taken = owner->taken;
  // A context, and no deleter: of that libtorch makes a context where it may not throw.
  // The device is given, so that libtorch does not ask a driver about the pointer.
  const at::Tensor view = at::for_blob(data, sizes)
                              .strides(places)
                              .context(owner.release(), end)
                              .options(at::TensorOptions().dtype(dtype).device(device))
                              .target_device(device)
                              .make_tensor();
  if (dtype == c10::ScalarType::Bool && view.numel() > 0) {
    // Compilers take any other byte for what they like.
    const auto largest = view.view(c10::ScalarType::Byte).max().item<uint8_t>();
    require(largest <= 1, "data: found a bool that is neither 0 nor 1");
  }
  at::Tensor tensor = view.contiguous();
  taken = true;
  return tensor;
}

} // namespace

extern "C" {

ts_error* ts_tensor_borrow(
    void* data,
    const int64_t* sizes,
    const int64_t* strides,
    size_t rank,
    int dtype,
    const char* device,
    void (*release)(void* user),
    void* user,
    at::Tensor** out) {
  return guard([&] {
    const auto release_user = [release, user] {
      if (release != nullptr) {
        release(user);
      }
    };
    *out = new at::Tensor(take(data, {sizes, sizes + rank}, strides, static_cast<c10::ScalarType>(dtype),
                               c10::Device(device), release_user));
  });
}

// Takes `managed` over, unless this fails.
ts_error* ts_tensor_from_dlpack(DLManagedTensorVersioned* managed, at::Tensor** out) {
  return guard([&] {
    const DLTensor& source = managed->dl_tensor;
    require(source.ndim >= 0 && source.ndim <= 64, "ndim: found ", source.ndim, ", expected 0 to 64");
    require(source.ndim == 0 || source.shape != nullptr, "shape: found NULL");
    std::vector<int64_t> sizes(source.shape, source.shape + source.ndim);
    bool empty = false;
    for (int64_t size : sizes) {
      require(size >= 0, "shape: found a size of ", size, ", expected none below 0");
      empty |= size == 0;
    }
    require(empty || source.data != nullptr, "data: found NULL");
    void* data = source.data == nullptr ? nullptr : static_cast<char*>(source.data) + source.byte_offset;
    const auto release = [managed] {
      if (managed->deleter != nullptr) {
        managed->deleter(managed);
      }
    };
    *out = new at::Tensor(
        take(data, sizes, source.strides, scalar_type(source.dtype), torch_device(source.device), release));
  });
}

// Shares the memory. Nobody may write to it: other handles read it.
ts_error* ts_tensor_to_dlpack(const at::Tensor* tensor, DLManagedTensorVersioned** out) {
  return guard([&] {
    DLManagedTensorVersioned* managed = at::toDLPackVersioned(*tensor);
    managed->flags |= DLPACK_FLAG_BITMASK_READ_ONLY;
    *out = managed;
  });
}

} // extern "C"
