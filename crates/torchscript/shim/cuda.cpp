// CUDA at run time: libtorch_cuda, the devices, streams. Nothing here needs the
// headers or the libraries of CUDA to be compiled, linked or started.
#include "shim.h"
#include "symbols.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/StreamGuard.h>
#include <c10/util/Exception.h>

#include <mutex>
#include <typeinfo>

namespace {

std::string last_dlerror(const char* otherwise) {
  const char* reason = dlerror();
  return reason == nullptr ? otherwise : reason;
}

// Loads libtorch_cuda.so from where libtorch_cpu.so lies. It registers itself,
// and must do so before libtorch asks for CUDA the first time.
std::string load_libtorch_cuda() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr) {
    return "the directory of libtorch_cpu.so is unknown";
  }
  std::string path(info.dli_fname);
  const size_t slash = path.rfind('/');
  path = (slash == std::string::npos ? std::string() : path.substr(0, slash + 1)) + "libtorch_cuda.so";
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
    return "libtorch_cuda.so cannot be loaded: " + last_dlerror("no reason is given");
  }
  return {};
}

// The driver's own functions, which have kept their form since CUDA 3. Its
// header comes with the toolkit, so those that are needed are declared here.
struct Driver {
  using Init = int (*)(unsigned int flags);
  using GetDevice = int (*)(int* device, int ordinal);
  using GetName = int (*)(char* name, int length, int device);
  using TotalMem = int (*)(size_t* bytes, int device);
  using GetAttribute = int (*)(int* value, int attribute, int device);

  Init init = nullptr;
  GetDevice get_device = nullptr;
  GetName get_name = nullptr;
  TotalMem total_mem = nullptr;
  GetAttribute get_attribute = nullptr;
  std::string missing;

  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      missing = "the NVIDIA driver is missing: " + last_dlerror("libcuda.so.1 cannot be loaded");
      return;
    }
    load(library, "cuInit", init);
    load(library, "cuDeviceGet", get_device);
    load(library, "cuDeviceGetName", get_name);
    load(library, "cuDeviceTotalMem_v2", total_mem);
    load(library, "cuDeviceGetAttribute", get_attribute);
  }

  template <class F>
  void load(void* library, const char* name, F& function) {
    function = find_function<F>(library, name);
    if (function == nullptr && missing.empty()) {
      missing = std::string("libcuda.so.1 is no driver that is known: it has no ") + name;
    }
  }
};

const Driver& driver() {
  static const Driver driver;
  return driver;
}

// Keeps what libtorch warns of, which is where it says why it sees no device.
struct Keep : c10::WarningHandler {
  void process(const c10::Warning& warning) override {
    text += (text.empty() ? "" : "; ") + warning.msg();
  }

  std::string text;
};

// Why there is no device; empty if there are some. The answer holds for as long
// as the process lives, as libtorch's own does.
std::string find_devices(int64_t& count) {
  count = 0;
  std::string reason = load_libtorch_cuda();
  if (!reason.empty()) {
    return reason;
  }
  if (!driver().missing.empty()) {
    return driver().missing;
  }
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  if (typeid(hooks) == typeid(at::CUDAHooksInterface)) {
    return "libtorch was asked for CUDA in this process before libtorch_cuda.so was loaded, and has "
           "settled that there is none: link or load libtorch_cuda.so first, or ask for devices first";
  }
  Keep keep;
  const c10::WarningUtils::WarningHandlerGuard guard(&keep);
  count = hooks.deviceCount();
  if (count > 0) {
    return {};
  }
  return keep.text.empty() ? "the NVIDIA driver shows no CUDA device" : keep.text;
}

void check_driver(int status, const char* function) {
  TORCH_CHECK(status == 0, function, " of the NVIDIA driver failed with ", status);
}

// Attributes of a device, by the driver's numbers.
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;

c10::Device cuda(int index) {
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

} // namespace

extern "C" {

// The number of CUDA devices; `reason` says why there is none.
ts_error* ts_cuda_device_count(int64_t* count, ts_value** reason) {
  return guard([&] {
    static std::once_flag once;
    static int64_t found = 0;
    static std::string why;
    std::call_once(once, [] { why = find_devices(found); });
    *count = found;
    *reason = new ts_value(why);
  });
}

// What a device is called, its memory in bytes, and its compute capability. The
// device was counted before.
ts_error* ts_cuda_device_get(int index, ts_value** name, uint64_t* total_memory, int* major, int* minor) {
  return guard([&] {
    TORCH_CHECK(driver().missing.empty(), driver().missing);
    check_driver(driver().init(0), "cuInit");
    int device = 0;
    check_driver(driver().get_device(&device, index), "cuDeviceGet");
    char text[256] = {};
    check_driver(driver().get_name(text, sizeof text - 1, device), "cuDeviceGetName");
    size_t bytes = 0;
    check_driver(driver().total_mem(&bytes, device), "cuDeviceTotalMem");
    check_driver(driver().get_attribute(major, kComputeCapabilityMajor, device), "cuDeviceGetAttribute");
    check_driver(driver().get_attribute(minor, kComputeCapabilityMinor, device), "cuDeviceGetAttribute");
    *total_memory = bytes;
    *name = new ts_value(std::string(text));
  });
}

// Makes a stream the current one of its device on this thread, until the guard
// is freed. libtorch 2.11 numbers streams of others by their handles, and the
// default stream 0 (c10/cuda/CUDAStream.cpp, "Note [StreamId assignment]").
ts_error* ts_cuda_stream_enter(int index, void* handle, void** out) {
  return guard([&] {
    // cudaStreamLegacy is another name of the default stream.
    const auto number = reinterpret_cast<int64_t>(handle);
    const c10::Stream stream(c10::Stream::UNSAFE, cuda(index), number == 1 ? 0 : number);
    *out = new c10::StreamGuard(stream);
  });
}

void ts_cuda_stream_leave(void* entered) {
  delete static_cast<c10::StreamGuard*>(entered);
}

// Waits until everything on this thread's current stream is done.
ts_error* ts_cuda_synchronize(int index) {
  return guard([&] {
    const c10::impl::VirtualGuardImpl devices(c10::kCUDA);
    devices.getStream(cuda(index)).synchronize();
  });
}

// Whether products of float32 may round their inputs to TF32, in this process.
ts_error* ts_cuda_allow_tf32(int allowed) {
  return guard([&] { at::globalContext().setAllowTF32CuBLAS(allowed != 0); });
}

} // extern "C"
