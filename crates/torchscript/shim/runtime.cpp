// Inference mode, versions and warnings.
#include "shim.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/version.h>

namespace {

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

} // extern "C"
