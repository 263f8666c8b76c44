// A script module: parameters under dotted names, scripted methods, calls.
#include "shim.h"

#include <torch/csrc/jit/passes/inliner.h>

#include <cctype>
#include <map>
#include <tuple>

namespace {

using torch::jit::Module;
using Object = c10::ivalue::Object;
using ObjectPtr = c10::intrusive_ptr<Object>;

// TorchScript class name of a submodule: `self_attention` -> `SelfAttention`;
// a numbered item of a list carries its parent's name, `layer.3` -> `Layer3`.
std::string class_atom(const std::string& parent, const std::string& name) {
  std::string atom;
  if (!name.empty() && std::isdigit(static_cast<unsigned char>(name[0]))) {
    return parent + name;
  }
  bool upper = true;
  for (char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    atom.push_back(upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c);
    upper = false;
  }
  return atom;
}

Module new_module(const c10::QualifiedName& name, std::shared_ptr<torch::jit::CompilationUnit> cu) {
  Module module(name, std::move(cu), /*shouldMangle=*/true);
  // Python's torch.jit.freeze asks every module for this attribute.
  module.register_attribute("training", c10::BoolType::get(), false);
  return module;
}

// An object of the same class over the same tensors, with submodules of its own.
ObjectPtr clone(const ObjectPtr& object, std::map<const Object*, ObjectPtr>& known) {
  auto [entry, is_new] = known.try_emplace(object.get());
  if (is_new) {
    const ObjectPtr copy = object->copy();
    entry->second = copy;
    for (size_t i = 0; i < copy->slots().size(); ++i) {
      if (copy->getSlot(i).isModule()) {
        copy->setSlot(i, clone(copy->getSlot(i).toObject(), known));
      }
    }
    return copy;
  }
  return entry->second;
}

// Walks `a.b.c` down to the module that owns `c`, creating what is missing.
std::pair<Module, std::string> descend(const Module& root, const std::string& path) {
  Module at = root;
  size_t start = 0;
  for (size_t dot; (dot = path.find('.', start)) != std::string::npos; start = dot + 1) {
    const std::string name = path.substr(start, dot - start);
    if (!at.hasattr(name)) {
      const auto& type = at.type()->name();
      c10::QualifiedName child(type->prefix(), class_atom(type->name(), name));
      at.register_module(name, new_module(child, at._ivalue()->compilation_unit()));
    }
    at = at.attr(name).toModule();
  }
  return {at, path.substr(start)};
}

c10::List<c10::IValue> named_tensors(const Module& root) {
  c10::impl::GenericList out(c10::AnyType::get());
  const std::function<void(const Module&, const std::string&)> visit =
      [&](const Module& module, const std::string& prefix) {
        const auto type = module.type();
        for (size_t i = 0; i < type->numAttributes(); ++i) {
          const c10::IValue slot = module._ivalue()->getSlot(i);
          const std::string name = prefix + type->getAttributeName(i);
          if (slot.isTensor()) {
            out.push_back(c10::ivalue::Tuple::create(
                {c10::IValue(name), slot, c10::IValue(type->is_parameter(i))}));
          }
        }
        for (size_t i = 0; i < type->numAttributes(); ++i) {
          const c10::IValue slot = module._ivalue()->getSlot(i);
          if (slot.isModule()) {
            visit(slot.toModule(), prefix + type->getAttributeName(i) + ".");
          }
        }
      };
  visit(root, "");
  return out;
}

void collect_constants(const torch::jit::Block* block, c10::impl::GenericList& out) {
  for (const torch::jit::Node* node : block->nodes()) {
    if (node->kind() == c10::prim::Constant && node->hasAttribute(c10::attr::value) &&
        node->kindOf(c10::attr::value) == torch::jit::AttributeKind::t) {
      out.push_back(node->t(c10::attr::value));
    }
    for (const torch::jit::Block* inner : node->blocks()) {
      collect_constants(inner, out);
    }
  }
}

} // namespace

extern "C" {

ts_error* ts_module_new(const char* name, ts_module** out) {
  return guard([&] {
    auto cu = std::make_shared<torch::jit::CompilationUnit>();
    *out = new ts_module{new_module(c10::QualifiedName("__torch__", name), std::move(cu))};
  });
}

void ts_module_free(ts_module* self) {
  delete self;
}

ts_error* ts_module_register(ts_module* self, const char* path, const at::Tensor* tensor, int is_parameter) {
  return guard([&] {
    auto [owner, name] = descend(self->module, path);
    TORCH_CHECK(!owner.hasattr(name), "an attribute named ", path, " exists already");
    TORCH_CHECK(!tensor->requires_grad(), path, " requires grad; a module for inference holds plain tensors");
    owner.register_parameter(name, *tensor, /*is_buffer=*/is_parameter == 0);
  });
}

ts_error* ts_module_named_tensors(const ts_module* self, ts_value** out) {
  return guard([&] { *out = new ts_value(named_tensors(self->module)); });
}

ts_error* ts_module_define(ts_module* self, const char* source) {
  return guard([&] { self->module.define(source); });
}

ts_error* ts_module_eval(ts_module* self) {
  return guard([&] { self->module.eval(); });
}

// Moves every tensor, casts the floating-point ones. Those that are the same
// part of one storage still are afterwards.
ts_error* ts_module_to(ts_module* self, const char* device, int dtype) {
  return guard([&] {
    using Part = std::tuple<c10::StorageImpl*, int64_t, std::vector<int64_t>, std::vector<int64_t>, c10::ScalarType>;
    std::map<Part, at::Tensor> moved;
    for (const Module& module : self->module.modules()) {
      const auto type = module.type();
      for (size_t i = 0; i < type->numAttributes(); ++i) {
        const c10::IValue slot = module._ivalue()->getSlot(i);
        if (!slot.isTensor()) {
          continue;
        }
        const at::Tensor& tensor = slot.toTensor();
        auto options = tensor.options();
        if (device != nullptr) {
          options = options.device(c10::Device(device));
        }
        if (dtype >= 0 && tensor.is_floating_point()) {
          options = options.dtype(static_cast<c10::ScalarType>(dtype));
        }
        // Sparse tensors have no storage.
        if (!tensor.has_storage()) {
          module._ivalue()->setSlot(i, tensor.to(options));
          continue;
        }
        auto [entry, is_new] = moved.try_emplace(Part{
            tensor.storage().unsafeGetStorageImpl(), tensor.storage_offset(),
            tensor.sizes().vec(), tensor.strides().vec(), tensor.scalar_type()});
        if (is_new) {
          entry->second = tensor.to(options);
        }
        module._ivalue()->setSlot(i, is_new ? entry->second : entry->second.detach());
      }
    }
  });
}

// A module with methods of its own, over the same tensors.
// `Module::clone` would add a class for each submodule to the unit that all clones
// share: it would grow without end, and two threads would break it.
ts_error* ts_module_clone(const ts_module* self, ts_module** out) {
  return guard([&] {
    std::map<const Object*, ObjectPtr> known;
    *out = new ts_module{Module(clone(self->module._ivalue(), known))};
  });
}

ts_error* ts_module_freeze(const ts_module* self, const char* const* preserved, size_t count, ts_module** out) {
  return guard([&] {
    std::vector<std::string> names(preserved, preserved + count);
    *out = new ts_module{torch::jit::freeze(self->module, names)};
  });
}

ts_error* ts_module_has_method(const ts_module* self, const char* name, int* out) {
  return guard([&] { *out = self->module.find_method(name).has_value() ? 1 : 0; });
}

// ([(name, type, has_default)], return type), without `self`.
ts_error* ts_module_schema(const ts_module* self, const char* method, ts_value** out) {
  return guard([&] {
    const auto& schema = self->module.get_method(method).function().getSchema();
    c10::impl::GenericList arguments(c10::AnyType::get());
    for (size_t i = 1; i < schema.arguments().size(); ++i) {
      const auto& argument = schema.arguments()[i];
      arguments.push_back(c10::ivalue::Tuple::create(
          {c10::IValue(argument.name()),
           c10::IValue(argument.type()->annotation_str()),
           c10::IValue(argument.default_value().has_value())}));
    }
    const std::string returns =
        schema.returns().empty() ? "None" : schema.returns()[0].type()->annotation_str();
    *out = new ts_value(c10::ivalue::Tuple::create({c10::IValue(arguments), c10::IValue(returns)}));
  });
}

// Every tensor constant a method can reach, through inlined calls and blocks.
ts_error* ts_module_constants(const ts_module* self, const char* method, ts_value** out) {
  return guard([&] {
    auto graph = self->module.get_method(method).graph()->copy();
    torch::jit::Inline(*graph);
    c10::impl::GenericList constants(c10::AnyType::get());
    collect_constants(graph->block(), constants);
    *out = new ts_value(constants);
  });
}

ts_error* ts_module_call(
    const ts_module* self,
    const char* method,
    const ts_value* const* arguments,
    size_t count,
    const char* const* keywords,
    const ts_value* const* keyword_values,
    size_t keyword_count,
    ts_value** out) {
  return guard([&] {
    std::vector<c10::IValue> stack;
    stack.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      stack.push_back(*arguments[i]);
    }
    torch::jit::Kwargs kwargs;
    for (size_t i = 0; i < keyword_count; ++i) {
      kwargs.emplace(keywords[i], *keyword_values[i]);
    }
    *out = new ts_value(self->module.get_method(method)(std::move(stack), kwargs));
  });
}

} // extern "C"
