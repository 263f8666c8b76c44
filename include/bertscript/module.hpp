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

#if BERTSCRIPT_THROWS
    /// Loads a file onto `cpu`, `cuda` or `cuda:N`.
    explicit Module(const std::string &path, const std::string &device = "cpu") : Module(load(path, device)) {}
#endif

    /// Loads a file onto `cpu`, `cuda` or `cuda:N`.
    static Outcome<Module> load(const std::string &path, const std::string &device = "cpu") {
        return make({{"path", path}, {"device", device}}, [&](bertscript_module **out, bertscript_error **error) {
            return bertscript_module_load(path.c_str(), device.c_str(), out, error);
        });
    }

    /// Loads a file in memory.
    static Outcome<Module> load_memory(const void *data, std::size_t size, const std::string &device = "cpu") {
        return make({{"device", device}}, [&](bertscript_module **out, bertscript_error **error) {
            return bertscript_module_load_memory(data, size, device.c_str(), out, error);
        });
    }

    /// Writes it to a file, whole or not at all. Engine and precision are no properties of an archive.
    Outcome<void> save(const std::string &path) const {
        if (auto refused = detail::find_nul({{"path", path}})) {
            return detail::fail<void>(*refused);
        }
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_module_save(get(), path.c_str(), &error);
        return detail::outcome(status, error);
    }

    /// The same module elsewhere, or in another dtype; what is there already is shared. It keeps an engine that
    /// was chosen and the precision `int8`, and is refused if it cannot.
    Outcome<Module> to(const std::optional<std::string> &device,
                       const std::optional<std::string> &dtype = std::nullopt) const {
        const std::string_view device_text = device ? std::string_view(*device) : std::string_view();
        const std::string_view dtype_text = dtype ? std::string_view(*dtype) : std::string_view();
        return make({{"device", device_text}, {"dtype", dtype_text}}, [&](bertscript_module **out, bertscript_error **error) {
            return bertscript_module_to(get(), device ? device->c_str() : nullptr, dtype ? dtype->c_str() : nullptr,
                                        out, error);
        });
    }

    /// The same module executed by another engine (`auto`, `native`, `varlen` or `torchscript`), in another
    /// precision (`f32`, `bf16`, `f16` or `int8`); what does not change is shared. See
    /// bertscript_module_with_engine.
    Outcome<Module> with_engine(const std::optional<std::string> &engine,
                                const std::optional<std::string> &precision = std::nullopt) const {
        const std::string_view engine_text = engine ? std::string_view(*engine) : std::string_view();
        const std::string_view precision_text = precision ? std::string_view(*precision) : std::string_view();
        return make({{"engine", engine_text}, {"precision", precision_text}},
                    [&](bertscript_module **out, bertscript_error **error) {
                        return bertscript_module_with_engine(get(), engine ? engine->c_str() : nullptr,
                                                             precision ? precision->c_str() : nullptr, out, error);
                    });
    }

    /// What executes it: `native`, `varlen` or `torchscript`.
    std::string engine() const { return text(bertscript_module_engine(get())); }

    /// The number format it computes in: `f32`, `bf16`, `f16` or `int8`.
    std::string precision() const { return text(bertscript_module_precision(get())); }

    /// Old: use with_engine. See bertscript_module_with_plan.
    Outcome<Module> with_plan(const std::string &name) const {
        return make({{"plan", name}}, [&](bertscript_module **out, bertscript_error **error) {
            return bertscript_module_with_plan(get(), name.c_str(), out, error);
        });
    }

    /// Old: use engine and precision. Returns `packed`, `packed-int8` or `scripted`.
    std::string plan() const { return text(bertscript_module_plan(get())); }

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
        bertscript_tokenizer *found = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_tokenizer_from_module(get(), &found, &error);
        return detail::outcome<Tokenizer>(status, error, [&] { return Tokenizer(found); });
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
    /// whether it was truncated.
    Outcome<Tensor> embed(const Texts &texts, const TaskOptions &options = {},
                          std::vector<bool> *truncated = nullptr) const {
        std::vector<std::int32_t> cut(texts.size());
        const auto call = [&](auto chosen, auto out, auto error) {
            return bertscript_module_embed(get(), texts.pointers(), texts.lengths(), texts.size(), chosen, out,
                                           cut.data(), error);
        };
        return with_options<Tensor, bertscript_tensor *>(options, call, [&](bertscript_tensor *found) {
            give(cut, truncated);
            return Tensor(found);
        });
    }

    /// Embeds texts to `capacity` floats at `room`, row after row, the same numbers as `embed`; the number of
    /// floats written.
    Outcome<std::size_t> embed_into(const Texts &texts, float *room, std::size_t capacity,
                                    const TaskOptions &options = {}, std::vector<bool> *truncated = nullptr) const {
        std::vector<std::int32_t> cut(texts.size());
        const auto call = [&](auto chosen, auto written, auto error) {
            return bertscript_module_embed_into(get(), texts.pointers(), texts.lengths(), texts.size(), chosen, room,
                                                capacity, written, cut.data(), error);
        };
        return with_options<std::size_t, std::size_t>(options, call, [&](std::size_t written) {
            give(cut, truncated);
            return written;
        });
    }

    /// The dimension of the embeddings that `embed` makes by the same options.
    Outcome<std::size_t> embedding_dim(const TaskOptions &options = {}) const {
        const auto call = [&](auto chosen, auto dim, auto error) {
            return bertscript_module_embedding_dim(get(), chosen, dim, error);
        };
        return with_options<std::size_t, std::size_t>(options, call, [](std::size_t dim) { return dim; });
    }

    /// Embeds texts sparsely: of each, the values that are not zero.
    Outcome<std::vector<SparseEmbedding>> embed_sparse(const Texts &texts, const TaskOptions &options = {}) const {
        return results<SparseEmbedding, bertscript_sparse_embeddings>(
            options, [&](auto chosen, auto out, auto error) {
                return bertscript_module_embed_sparse(get(), texts.pointers(), texts.lengths(), texts.size(), chosen,
                                                      out, error);
            });
    }

    /// Embeds texts to `capacity` bytes at `destination` as `embedding_precision` of the options has them, a row
    /// every `row_stride` bytes, or one after the other of 0; the number of bytes written.
    Outcome<std::size_t> embed_quantized(const Texts &texts, void *destination, std::size_t row_stride,
                                         std::size_t capacity, const TaskOptions &options = {},
                                         std::vector<bool> *truncated = nullptr) const {
        std::vector<std::int32_t> cut(texts.size());
        const auto call = [&](auto chosen, auto written, auto error) {
            return bertscript_module_embed_quantized(get(), texts.pointers(), texts.lengths(), texts.size(), chosen,
                                                     destination, row_stride, capacity, written, cut.data(), error);
        };
        return with_options<std::size_t, std::size_t>(options, call, [&](std::size_t written) {
            give(cut, truncated);
            return written;
        });
    }

    /// The bytes of a row that `embed_quantized` writes by the same options.
    Outcome<std::size_t> embedding_bytes(const TaskOptions &options = {}) const {
        const auto call = [&](auto chosen, auto bytes, auto error) {
            return bertscript_module_embedding_bytes(get(), chosen, bytes, error);
        };
        return with_options<std::size_t, std::size_t>(options, call, [](std::size_t bytes) { return bytes; });
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
            return bertscript_module_classify(get(), texts.pointers(), texts.lengths(), nullptr, nullptr,
                                              texts.size(), chosen, out, error);
        });
    }

    /// Scores the labels of pairs of texts, as cross-encoders take them.
    Outcome<std::vector<Classification>> classify_pairs(const Texts &texts, const Texts &pairs,
                                                        const TaskOptions &options = {}) const {
        return of_pairs<Classification, bertscript_classifications>(bertscript_module_classify, texts, pairs, options);
    }

    /// Ranks texts by how well they answer a query, by descending score.
    Outcome<std::vector<RankedText>> rank(const std::string &query, const Texts &texts,
                                          const TaskOptions &options = {}) const {
        if (auto refused = detail::find_nul({{"query", query}})) {
            return detail::fail<std::vector<RankedText>>(*refused);
        }
        return results<RankedText, bertscript_ranking>(options, [&](auto chosen, auto out, auto error) {
            return bertscript_module_rank(get(), query.c_str(), texts.pointers(), texts.lengths(), texts.size(),
                                          chosen, out, error);
        });
    }

    /// Scores how well labels that are given suit texts, by a model of natural language inference.
    Outcome<std::vector<Classification>> zero_shot(const Texts &texts, const std::vector<std::string> &candidate_labels,
                                                   const TaskOptions &options = {}) const {
        for (const std::string &label : candidate_labels) {
            if (auto refused = detail::find_nul({{"candidate_labels", label}})) {
                return detail::fail<std::vector<Classification>>(*refused);
            }
        }
        const Texts labels(candidate_labels);
        return results<Classification, bertscript_classifications>(options, [&](auto chosen, auto out, auto error) {
            return bertscript_module_zero_shot(get(), texts.pointers(), texts.lengths(), texts.size(),
                                               labels.pointers(), labels.size(), chosen, out, error);
        });
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
            return bertscript_module_entities(get(), texts.pointers(), texts.lengths(), texts.size(), chosen, out,
                                              error);
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
            return bertscript_module_fill_mask(get(), texts.pointers(), texts.lengths(), texts.size(), chosen, out,
                                               error);
        });
    }

  private:
    Outcome<std::vector<Tensor>> run(const std::vector<std::pair<std::string, Tensor>> &inputs,
                                     const std::optional<CancelToken> &cancel,
                                     const std::optional<void *> &stream) const {
        std::vector<const char *> names;
        std::vector<const bertscript_tensor *> tensors;
        for (const auto &[name, tensor] : inputs) {
            if (auto refused = detail::find_nul({{"names", name}})) {
                return detail::fail<std::vector<Tensor>>(*refused);
            }
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

    /// Calls C with strings of the caller's, under their parameters' names.
    template <typename Call>
    static Outcome<Module> make(std::initializer_list<std::pair<const char *, std::string_view>> strings, Call call) {
        if (auto refused = detail::find_nul(strings)) {
            return detail::fail<Module>(*refused);
        }
        bertscript_module *module = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = call(&module, &error);
        return detail::outcome<Module>(status, error, [&] { return Module(module); });
    }

    /// Calls a task with options of C, and converts its output.
    template <typename T, typename Output, typename Call, typename Convert>
    static Outcome<T> with_options(const TaskOptions &options, Call call, Convert convert) {
        auto filled = detail::fill(options);
        Output found = {};
        if (filled.status == BERTSCRIPT_OK) {
            filled.status = call(filled.options.get(), &found, &filled.error);
        }
        return detail::outcome<T>(filled, [&] { return convert(found); });
    }

    template <typename T, typename Handle, typename Call>
    static Outcome<std::vector<T>> results(const TaskOptions &options, Call call) {
        return with_options<std::vector<T>, Handle *>(options, call, [](Handle *found) { return detail::copy(found); });
    }

    static void give(const std::vector<std::int32_t> &cut, std::vector<bool> *truncated) {
        if (truncated != nullptr) {
            truncated->assign(cut.begin(), cut.end());
        }
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
            return function(get(), texts.pointers(), texts.lengths(), pairs.pointers(), pairs.lengths(), texts.size(),
                            chosen, out, error);
        });
    }

    static std::string text(const char *found) { return found == nullptr ? "" : found; }

    template <typename Name> std::vector<std::string> names(std::size_t count, Name name) const {
        std::vector<std::string> found;
        for (std::size_t i = 0; i < count; i++) {
            found.push_back(text(name(get(), i)));
        }
        return found;
    }
};

} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_MODULE_HPP
