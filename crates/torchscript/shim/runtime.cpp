// Inference mode, versions, warnings, and libtorch_cuda at run time.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
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

// Hands a warning on, instead of writing it to stderr.
struct Forward : c10::WarningHandler {
  using Sink = void (*)(const char* text, size_t length);

  explicit Forward(Sink sink) : sink(sink) {}

  void process(const c10::Warning& warning) override {
    const std::string& text = warning.msg();
    sink(text.data(), text.size());
  }

  Sink sink;
};

// The handler must outlive the guard, which is a thread's own.
struct Redirected {
  explicit Redirected(Forward::Sink sink) : handler(sink), guard(&handler) {}

  Forward handler;
  c10::WarningUtils::WarningHandlerGuard guard;
};

} // namespace

extern "C" {

const char* ts_torch_version() {
  return TORCH_VERSION;
}

// The version of the libtorch that is loaded: major, minor and patch in the
// three highest bytes.
uint64_t ts_loaded_torch_version() {
  return aoti_torch_abi_version();
}

void* ts_warnings_redirect(void (*sink)(const char* text, size_t length)) {
  return new (std::nothrow) Redirected(sink);
}

void ts_warnings_restore(void* redirected) {
  delete static_cast<Redirected*>(redirected);
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
