// Records a Rust closure as a method of a module.
#include "shim.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/frontend/tracer.h>

extern "C" {

// The closure receives tensors that it owns and, on success, stores one value.
typedef int (*ts_traced_fn)(void* user, at::Tensor** inputs, size_t count, ts_value** out);

ts_error* ts_module_trace(
    ts_module* self,
    const char* method,
    const at::Tensor* const* inputs,
    const char* const* names,
    size_t count,
    ts_traced_fn traced,
    void* user) {
  return guard([&] {
    namespace tracer = torch::jit::tracer;
    TORCH_CHECK(!tracer::isTracing(), "this thread is tracing already");
    TORCH_CHECK(!self->module.find_method(method), "a method named ", method, " exists already");

    torch::jit::Stack stack;
    for (size_t i = 0; i < count; ++i) {
      stack.emplace_back(*inputs[i]);
    }
    const auto call = [&](torch::jit::Stack values) -> torch::jit::Stack {
      std::vector<at::Tensor*> owned;
      owned.reserve(values.size());
      for (const c10::IValue& value : values) {
        owned.push_back(new at::Tensor(value.toTensor()));
      }
      ts_value* result = nullptr;
      if (traced(user, owned.data(), owned.size(), &result) != 0) {
        throw CallbackFailed{};
      }
      std::unique_ptr<ts_value> holder(result);
      return {*holder};
    };
    const auto no_name = [](const at::Tensor&) { return std::string(); };

    at::NoGradGuard no_grad;
    // torch abandons the trace on every throw, so the thread is left clean.
    const auto traced_state = tracer::trace(
        std::move(stack), call, no_name, /*strict=*/true, /*force_outplace=*/false,
        &self->module, std::vector<std::string>(names, names + count));
    const auto& graph = traced_state.first->graph;
    auto* function = self->module._ivalue()->compilation_unit()->create_function(
        c10::QualifiedName(*self->module.type()->name(), method), graph);
    self->module.type()->addMethod(function);
  });
}

int ts_is_tracing() {
  return torch::jit::tracer::isTracing() ? 1 : 0;
}

} // extern "C"
