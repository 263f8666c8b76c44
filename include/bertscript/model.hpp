// From a checkpoint to a module or a file.

#ifndef BERTSCRIPT_MODEL_HPP
#define BERTSCRIPT_MODEL_HPP

#include <bertscript/module.hpp>

namespace bertscript {
#if BERTSCRIPT_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

/// A model with its weights, read from a checkpoint. Copies share it.
class Model : public detail::Shared<bertscript_model, bertscript_model_free, bertscript_model_clone> {
  public:
    using Shared::Shared;

#if BERTSCRIPT_THROWS
    /// Reads a Hugging Face checkpoint as it is.
    explicit Model(const std::string &directory, const BuildOptions &options = {})
        : Model(from_pretrained(directory, options)) {}
#endif

    /// Reads a Hugging Face checkpoint as it is.
    static Outcome<Model> from_pretrained(const std::string &directory, const BuildOptions &options = {}) {
        if (auto refused = detail::find_nul({{"directory", directory}})) {
            return detail::fail<Model>(*refused);
        }
        auto filled = detail::fill(options);
        bertscript_model *model = nullptr;
        if (filled.status == BERTSCRIPT_OK) {
            filled.status = bertscript_model_from_pretrained(directory.c_str(), filled.options.get(), &model,
                                                             &filled.error);
        }
        return detail::outcome<Model>(filled, [&] { return Model(model); });
    }

    /// Traces it to a module that runs on the CPU.
    Outcome<Module> trace(const TraceOptions &options = {}) const {
        auto filled = detail::fill(options);
        bertscript_module *module = nullptr;
        if (filled.status == BERTSCRIPT_OK) {
            filled.status = bertscript_model_trace(get(), filled.options.get(), &module, &filled.error);
        }
        return detail::outcome<Module>(filled, [&] { return Module(module); });
    }

    /// Traces it and writes it to one TorchScript file.
    Outcome<void> export_file(const std::string &path, const TraceOptions &options = {}) const {
        if (auto refused = detail::find_nul({{"path", path}})) {
            return detail::fail<void>(*refused);
        }
        auto filled = detail::fill(options);
        if (filled.status == BERTSCRIPT_OK) {
            filled.status = bertscript_model_export(get(), filled.options.get(), path.c_str(), &filled.error);
        }
        return detail::outcome<void>(filled, [] {});
    }

    /// The checkpoint's `config.json`.
    std::string config_json() const { return get() ? bertscript_model_config_json(get()) : ""; }
    /// What loading found and did, as JSON.
    std::string report_json() const { return get() ? bertscript_model_report_json(get()) : ""; }
    /// The number of values in all parameters, shared ones counted once.
    std::int64_t parameter_count() const noexcept { return bertscript_model_parameter_count(get()); }
};

} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_MODEL_HPP
