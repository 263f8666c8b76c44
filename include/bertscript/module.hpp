// A file that was exported, on one device: tensors or texts in, answers out.

#ifndef BERTSCRIPT_MODULE_HPP
#define BERTSCRIPT_MODULE_HPP

#include <bertscript/results.hpp>
#include <bertscript/tokenizer.hpp>

#include <algorithm>

namespace bertscript {
#if BERTSCRIPT_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

/// A file that was exported, on one device. Copies share it; any number of threads may use it at
/// once.
class Module : public detail::Shared<bertscript_module, bertscript_module_free, bertscript_module_clone> {
  public:
    using Shared::Shared;
    using Texts = std::vector<std::string_view>;

#if BERTSCRIPT_THROWS
    /// Loads a file onto `cpu`, `cuda` or `cuda:N`.
    explicit Module(const std::string &path, const std::string &device = "cpu") : Module(load(path, device)) {}
#endif

    /// Loads a file onto `cpu`, `cuda` or `cuda:N`.
    static Outcome<Module> load(const std::string &path, const std::string &device = "cpu") {
        return make([&](bertscript_module **out, bertscript_error **error) {
            return bertscript_module_load(path.c_str(), device.c_str(), out, error);
        });
    }

    /// Loads a file in memory.
    static Outcome<Module> load_memory(const void *data, std::size_t size, const std::string &device = "cpu") {
        return make([&](bertscript_module **out, bertscript_error **error) {
            return bertscript_module_load_memory(data, size, device.c_str(), out, error);
        });
    }

    /// Writes it to a file, whole or not at all.
    Outcome<void> save(const std::string &path) const {
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_module_save(get(), path.c_str(), &error);
        return detail::outcome(status, error);
    }

    /// The same module elsewhere, or in another dtype; what is there already is shared.
    Outcome<Module> to(const std::optional<std::string> &device,
                       const std::optional<std::string> &dtype = std::nullopt) const {
        return make([&](bertscript_module **out, bertscript_error **error) {
            return bertscript_module_to(get(), device ? device->c_str() : nullptr, dtype ? dtype->c_str() : nullptr,
                                        out, error);
        });
    }

    /// The same module, computed as `packed` or `scripted`; everything is shared.
    Outcome<Module> with_plan(const std::string &plan) const {
        return make([&](bertscript_module **out, bertscript_error **error) {
            return bertscript_module_with_plan(get(), plan.c_str(), out, error);
        });
    }

    /// How it computes: `packed` or `scripted`.
    std::string plan() const {
        const char *plan = bertscript_module_plan(get());
        return plan ? plan : "";
    }

    /// Runs it on padding, so that what libtorch does at first calls is done.
    Outcome<void> warm_up(std::int64_t batch, std::int64_t length, std::size_t iterations = 2) const {
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_module_warm_up(get(), batch, length, iterations, &error);
        return detail::outcome(status, error);
    }

    /// The description of the file, as JSON.
    std::string metadata_json() const { return text(bertscript_module_metadata_json(get())); }
    /// Where it runs.
    std::string device() const { return text(bertscript_module_device(get())); }
    /// The names of the inputs.
    std::vector<std::string> input_names() const {
        return names(bertscript_module_input_count(get()), bertscript_module_input_name);
    }
    /// The names of the outputs, in the order in which a run returns them.
    std::vector<std::string> output_names() const {
        return names(bertscript_module_output_count(get()), bertscript_module_output_name);
    }

    /// The tokenizer that the file carries.
    Outcome<Tokenizer> tokenizer() const {
        bertscript_tokenizer *tokenizer = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_tokenizer_from_module(get(), &tokenizer, &error);
        return detail::outcome<Tokenizer>(status, error, [&] { return Tokenizer(tokenizer); });
    }

    /// Runs the model on tensors under the names of its inputs; outputs come in its order.
    Outcome<std::vector<Tensor>> run(const std::vector<std::pair<std::string, Tensor>> &inputs,
                                     const std::optional<CancelToken> &cancel = std::nullopt) const {
        return run(inputs, cancel, std::nullopt);
    }

    /// The same on a `cudaStream_t` of the module's device, nullptr for its default stream; the
    /// outputs are there when the stream is.
    Outcome<std::vector<Tensor>> run_on_stream(const std::vector<std::pair<std::string, Tensor>> &inputs, void *stream,
                                               const std::optional<CancelToken> &cancel = std::nullopt) const {
        return run(inputs, cancel, stream);
    }

    /// Embeds texts: a float32 tensor [texts, dimension]. `truncated`, if given, gets for each text
    /// whether its end was cut off.
    Outcome<Tensor> embed(const Texts &texts, const TaskOptions &options = {},
                          std::vector<bool> *truncated = nullptr) const {
        std::vector<std::int32_t> cut(texts.size());
        auto made = task<Tensor, bertscript_tensor>(options, [&](auto chosen, auto out, auto error) {
            const detail::Texts given(texts);
            return bertscript_module_embed(get(), given.pointers.data(), given.lengths.data(), texts.size(), chosen,
                                           out, cut.data(), error);
        });
        if (truncated != nullptr) {
            truncated->assign(cut.begin(), cut.end());
        }
        return made;
    }

    /// How similar embeddings `[N, D]` and `[M, D]` are: `[N, M]`.
    Outcome<Tensor> similarity(const Tensor &a, const Tensor &b) const {
        bertscript_tensor *tensor = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_module_similarity(get(), a.get(), b.get(), &tensor, &error);
        return detail::outcome<Tensor>(status, error, [&] { return Tensor(tensor); });
    }

    /// Scores the labels of texts.
    Outcome<std::vector<Classification>> classify(const Texts &texts, const TaskOptions &options = {}) const {
        return results<Classification, bertscript_classifications>(options, [&](auto chosen, auto out, auto error) {
            const detail::Texts given(texts);
            return bertscript_module_classify(get(), given.pointers.data(), given.lengths.data(), nullptr, nullptr,
                                              texts.size(), chosen, out, error);
        });
    }

    /// Scores the labels of pairs of texts, as cross-encoders take them.
    Outcome<std::vector<Classification>> classify_pairs(const Texts &texts, const Texts &pairs,
                                                        const TaskOptions &options = {}) const {
        return of_pairs<Classification, bertscript_classifications>(bertscript_module_classify, texts, pairs, options);
    }

    /// Scores whether the second text of each pair follows the first.
    Outcome<std::vector<Classification>> next_sentence(const Texts &texts, const Texts &pairs,
                                                       const TaskOptions &options = {}) const {
        return of_pairs<Classification, bertscript_classifications>(bertscript_module_next_sentence, texts, pairs,
                                                                    options);
    }

    /// Finds entities in texts.
    Outcome<std::vector<Entities>> entities(const Texts &texts, const TaskOptions &options = {}) const {
        return results<Entities, bertscript_entities>(options, [&](auto chosen, auto out, auto error) {
            const detail::Texts given(texts);
            return bertscript_module_entities(get(), given.pointers.data(), given.lengths.data(), texts.size(), chosen,
                                              out, error);
        });
    }

    /// Answers questions, each from its own context.
    Outcome<std::vector<Answers>> answer(const Texts &questions, const Texts &contexts,
                                         const TaskOptions &options = {}) const {
        return of_pairs<Answers, bertscript_answers>(bertscript_module_answer, questions, contexts, options);
    }

    /// Fills the masks of texts.
    Outcome<std::vector<Fillings>> fill_mask(const Texts &texts, const TaskOptions &options = {}) const {
        return results<Fillings, bertscript_fillings>(options, [&](auto chosen, auto out, auto error) {
            const detail::Texts given(texts);
            return bertscript_module_fill_mask(get(), given.pointers.data(), given.lengths.data(), texts.size(), chosen,
                                               out, error);
        });
    }

  private:
    Outcome<std::vector<Tensor>> run(const std::vector<std::pair<std::string, Tensor>> &inputs,
                                     const std::optional<CancelToken> &cancel,
                                     const std::optional<void *> &stream) const {
        std::vector<const char *> names;
        std::vector<const bertscript_tensor *> tensors;
        for (const auto &[name, tensor] : inputs) {
            names.push_back(name.c_str());
            tensors.push_back(tensor.get());
        }
        using Options = detail::Unique<bertscript_run_options, bertscript_run_options_free>;
        const Options options(cancel || stream ? bertscript_run_options_new() : nullptr);
        bertscript_error *error = nullptr;
        bertscript_status status = BERTSCRIPT_OK;
        if (cancel) {
            status = bertscript_run_options_set_cancel_token(options.get(), cancel->get(), &error);
        }
        if (stream && status == BERTSCRIPT_OK) {
            status = bertscript_run_options_set_stream(options.get(), *stream, &error);
        }
        // Files of other programs do not say how many outputs they have.
        std::vector<bertscript_tensor *> found(std::max<std::size_t>(bertscript_module_output_count(get()), 256));
        std::size_t count = 0;
        if (status == BERTSCRIPT_OK) {
            status = bertscript_module_run(get(), names.data(), tensors.data(), inputs.size(), options.get(),
                                           found.data(), found.size(), &count, &error);
        }
        return detail::outcome<std::vector<Tensor>>(status, error, [&] {
            std::vector<Tensor> outputs;
            outputs.reserve(count);
            for (std::size_t i = 0; i < count; i++) {
                outputs.emplace_back(found[i]);
            }
            return outputs;
        });
    }

    template <typename Call> static Outcome<Module> make(Call call) {
        bertscript_module *module = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = call(&module, &error);
        return detail::outcome<Module>(status, error, [&] { return Module(module); });
    }

    /// Calls a task with options of C, and makes something of its handle.
    template <typename T, typename Handle, typename Call, typename Make>
    static Outcome<T> with_options(const TaskOptions &options, Call call, Make make) {
        auto filled = detail::fill(options);
        Handle *found = nullptr;
        if (filled.status == BERTSCRIPT_OK) {
            filled.status = call(filled.options.get(), &found, &filled.error);
        }
        return detail::outcome<T>(filled.status, filled.error, [&] { return make(found); });
    }

    template <typename T, typename Handle, typename Call>
    static Outcome<T> task(const TaskOptions &options, Call call) {
        return with_options<T, Handle>(options, call, [](Handle *found) { return T(found); });
    }

    template <typename T, typename Handle, typename Call>
    static Outcome<std::vector<T>> results(const TaskOptions &options, Call call) {
        return with_options<std::vector<T>, Handle>(options, call, [](Handle *found) { return detail::copy(found); });
    }

    template <typename T, typename Handle, typename Function>
    Outcome<std::vector<T>> of_pairs(Function function, const Texts &texts, const Texts &pairs,
                                     const TaskOptions &options) const {
        if (texts.size() != pairs.size()) {
            return detail::fail<std::vector<T>>(
                Error(BERTSCRIPT_INVALID_ARGUMENT, "found " + std::to_string(texts.size()) + " first texts and " +
                                                       std::to_string(pairs.size()) + " second ones"));
        }
        return results<T, Handle>(options, [&](auto chosen, auto out, auto error) {
            const detail::Texts first(texts), second(pairs);
            return function(get(), first.pointers.data(), first.lengths.data(), second.pointers.data(),
                            second.lengths.data(), texts.size(), chosen, out, error);
        });
    }

    static std::string text(const char *text) { return text == nullptr ? "" : text; }

    template <typename Name> std::vector<std::string> names(std::size_t count, Name name) const {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < count; i++) {
            names.push_back(text(name(get(), i)));
        }
        return names;
    }
};

} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_MODULE_HPP
