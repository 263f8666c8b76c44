// Inference mode, versions, and libtorch_cuda at run time.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/version.h>

#include <dlfcn.h>

#include <mutex>

namespace {

// at::globalContext() resolves the CUDA hooks once. Loading libtorch_cuda.so
// after that would be too late for good, so this comes first and runs once.
std::string load_cuda() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr) {
    return "the directory of libtorch_cpu.so is unknown";
  }
  std::string path(info.dli_fname);
  const size_t slash = path.rfind('/');
  path = (slash == std::string::npos ? std::string() : path.substr(0, slash + 1)) + "libtorch_cuda.so";
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
    const char* reason = dlerror();
    return reason == nullptr ? path + " cannot be loaded" : reason;
  }
  return {};
}

} // namespace

extern "C" {

const char* ts_torch_version() {
  return TORCH_VERSION;
}

void* ts_inference_mode_new() {
  return new (std::nothrow) c10::InferenceMode(true);
}

void ts_inference_mode_free(void* guard) {
  delete static_cast<c10::InferenceMode*>(guard);
}

// Switches the graph optimiser of this thread, and returns what it was.
int ts_graph_optimizer_set(int enabled) {
  const bool before = torch::jit::getGraphExecutorOptimize();
  torch::jit::setGraphExecutorOptimize(enabled != 0);
  return before ? 1 : 0;
}

// The number of CUDA devices; `reason` says why there is none.
ts_error* ts_cuda_device_count(int64_t* count, ts_value** reason) {
  return guard([&] {
    static std::once_flag once;
    static std::string failure;
    std::call_once(once, [] { failure = load_cuda(); });
    *count = 0;
    std::string text = failure;
    if (text.empty()) {
      *count = at::detail::getCUDAHooks().deviceCount();
      if (*count == 0) {
        text = "libtorch_cuda.so is loaded, but the driver shows no CUDA device";
      }
    }
    *reason = new ts_value(text);
  });
}

} // extern "C"
