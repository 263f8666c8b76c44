// Options: what is not set is as transformers and sentence-transformers have it.

#ifndef BERTSCRIPT_OPTIONS_HPP
#define BERTSCRIPT_OPTIONS_HPP

#include <bertscript/error.hpp>

#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bertscript {
#if BERTSCRIPT_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

/// Views of texts, as tasks take them: `{"a", "b"}`, or any range of std::string, std::string_view or
/// `const char *`. The texts must outlive it.
class Texts {
  public:
    Texts() = default;
    Texts(std::initializer_list<std::string_view> texts) { add(texts); }
    template <typename Range, typename Element = decltype(*std::begin(std::declval<const Range &>())),
              typename = std::enable_if_t<std::is_convertible_v<Element, std::string_view> &&
                                          // A string that the range makes anew would be gone.
                                          (std::is_lvalue_reference_v<Element> ||
                                           std::is_trivially_destructible_v<Element>)>>
    Texts(const Range &texts) {
        add(texts);
    }

    std::size_t size() const noexcept { return pointers_.size(); }
    const char *const *pointers() const noexcept { return pointers_.data(); }
    const std::size_t *lengths() const noexcept { return lengths_.data(); }

  private:
    template <typename Range> void add(const Range &texts) {
        for (std::string_view text : texts) {
            // An empty view may have no address, which the C interface refuses.
            pointers_.push_back(text.data() == nullptr ? "" : text.data());
            lengths_.push_back(text.size());
        }
    }

    std::vector<const char *> pointers_;
    std::vector<std::size_t> lengths_;
};

/// Stops tasks and runs from another thread. Copies belong together.
class CancelToken : public detail::Shared<bertscript_cancel_token, bertscript_cancel_token_free,
                                          bertscript_cancel_token_clone> {
  public:
    using Shared::Shared;
    CancelToken() : Shared(bertscript_cancel_token_new()) {}

    /// Asks for it.
    void cancel() const noexcept { bertscript_cancel_token_cancel(get()); }
    /// Whether it was asked for.
    bool is_cancelled() const noexcept { return bertscript_cancel_token_is_cancelled(get()) != 0; }
};

/// How a model is built from a checkpoint: see bertscript_build_options_set_architecture and so on.
struct BuildOptions {
    std::optional<std::string> architecture, dtype, attention;
    std::optional<bool> keep_tied, hidden_states, attentions;
    std::optional<std::uint64_t> random_init;
};

/// How a model is traced: for every shape, or for those that are given, such as `1x128`.
struct TraceOptions {
    std::vector<std::string> fixed_shapes;
};

/// How a task treats its texts: see bertscript_task_options_set_top_k and so on. To set what a task
/// does not have is an error.
struct TaskOptions {
    std::optional<CancelToken> cancel_token;
    std::optional<std::size_t> batch_tokens, max_length, top_k, truncate_dim, max_active_dims, stride;
    std::optional<std::size_t> max_answer_len, max_seq_len, doc_stride;
    std::optional<std::string> long_texts, prompt, prompt_name, function_to_apply, aggregation_strategy;
    std::optional<std::string> embedding_precision, hypothesis_template;
    std::optional<bool> split_special_tokens, normalize, handle_impossible_answer, align_to_words, multi_label;
    std::optional<std::vector<std::string>> pooling, ignore_labels, targets;
    /// The min of each dimension, then the max of each: see bertscript_embedding_ranges.
    std::optional<std::vector<float>> ranges;
};

/// How texts are encoded: see bertscript_encode_options_set_truncation and so on.
struct EncodeOptions {
    std::optional<bool> add_special_tokens, split_special_tokens, return_overflowing_tokens, details;
    std::optional<std::string> truncation, padding;
    std::optional<std::size_t> max_length, stride, pad_to_multiple_of;
};

namespace detail {

/// Options of the C interface, being filled; the first that is refused ends it.
template <typename T, auto Free> struct Filled {
    explicit Filled(T *handle) : options(handle) {}

    template <typename Value, typename Setter> void set(const std::optional<Value> &value, Setter setter) {
        if (!value || status != BERTSCRIPT_OK) {
            return;
        }
        if constexpr (std::is_same_v<Value, std::string>) {
            if (!refuses(*value)) {
                status = setter(options.get(), value->c_str(), &error);
            }
        } else if constexpr (std::is_same_v<Value, CancelToken>) {
            status = setter(options.get(), value->get(), &error);
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
            for (const std::string &string : *value) {
                if (refuses(string)) {
                    return;
                }
            }
            status = setter(options.get(), Texts(*value).pointers(), value->size(), &error);
        } else if constexpr (std::is_same_v<Value, std::vector<float>>) {
            status = setter(options.get(), value->data(), value->size(), &error);
        } else {
            status = setter(options.get(), *value, &error);
        }
    }

    bool refuses(const std::string &string) {
        refused = find_nul({{"options", string}});
        status = refused ? refused->status() : status;
        return refused.has_value();
    }

    Unique<T, Free> options;
    bertscript_status status = BERTSCRIPT_OK;
    bertscript_error *error = nullptr;
    /// What C was not asked for.
    std::optional<Error> refused;
};

/// What `make` makes, if options were taken and the call with them succeeded.
template <typename T, typename Options, typename Make> Outcome<T> outcome(const Options &filled, Make make) {
    if (filled.refused) {
        return fail<T>(*filled.refused);
    }
    return outcome<T>(filled.status, filled.error, make);
}

using FilledBuild = Filled<bertscript_build_options, bertscript_build_options_free>;
using FilledTrace = Filled<bertscript_trace_options, bertscript_trace_options_free>;
using FilledTask = Filled<bertscript_task_options, bertscript_task_options_free>;
using FilledEncode = Filled<bertscript_encode_options, bertscript_encode_options_free>;

inline FilledBuild fill(const BuildOptions &chosen) {
    FilledBuild filled(bertscript_build_options_new());
    filled.set(chosen.architecture, bertscript_build_options_set_architecture);
    filled.set(chosen.dtype, bertscript_build_options_set_dtype);
    filled.set(chosen.attention, bertscript_build_options_set_attention);
    filled.set(chosen.keep_tied, bertscript_build_options_set_keep_tied);
    filled.set(chosen.hidden_states, bertscript_build_options_set_hidden_states);
    filled.set(chosen.attentions, bertscript_build_options_set_attentions);
    filled.set(chosen.random_init, bertscript_build_options_set_random_init);
    return filled;
}

inline FilledTrace fill(const TraceOptions &chosen) {
    FilledTrace filled(bertscript_trace_options_new());
    for (const std::string &shape : chosen.fixed_shapes) {
        filled.set(std::optional(shape), bertscript_trace_options_add_fixed_shape);
    }
    return filled;
}

inline FilledTask fill(const TaskOptions &chosen) {
    FilledTask filled(bertscript_task_options_new());
    filled.set(chosen.cancel_token, bertscript_task_options_set_cancel_token);
    filled.set(chosen.batch_tokens, bertscript_task_options_set_batch_tokens);
    filled.set(chosen.long_texts, bertscript_task_options_set_long_texts);
    filled.set(chosen.split_special_tokens, bertscript_task_options_set_split_special_tokens);
    filled.set(chosen.max_length, bertscript_task_options_set_max_length);
    filled.set(chosen.top_k, bertscript_task_options_set_top_k);
    filled.set(chosen.pooling, bertscript_task_options_set_pooling);
    filled.set(chosen.normalize, bertscript_task_options_set_normalize);
    filled.set(chosen.prompt, bertscript_task_options_set_prompt);
    filled.set(chosen.prompt_name, bertscript_task_options_set_prompt_name);
    filled.set(chosen.truncate_dim, bertscript_task_options_set_truncate_dim);
    filled.set(chosen.max_active_dims, bertscript_task_options_set_max_active_dims);
    filled.set(chosen.embedding_precision, bertscript_task_options_set_embedding_precision);
    filled.set(chosen.ranges, bertscript_task_options_set_ranges);
    filled.set(chosen.hypothesis_template, bertscript_task_options_set_hypothesis_template);
    filled.set(chosen.multi_label, bertscript_task_options_set_multi_label);
    filled.set(chosen.function_to_apply, bertscript_task_options_set_function_to_apply);
    filled.set(chosen.aggregation_strategy, bertscript_task_options_set_aggregation_strategy);
    filled.set(chosen.ignore_labels, bertscript_task_options_set_ignore_labels);
    filled.set(chosen.stride, bertscript_task_options_set_stride);
    filled.set(chosen.max_answer_len, bertscript_task_options_set_max_answer_len);
    filled.set(chosen.max_seq_len, bertscript_task_options_set_max_seq_len);
    filled.set(chosen.doc_stride, bertscript_task_options_set_doc_stride);
    filled.set(chosen.handle_impossible_answer, bertscript_task_options_set_handle_impossible_answer);
    filled.set(chosen.align_to_words, bertscript_task_options_set_align_to_words);
    filled.set(chosen.targets, bertscript_task_options_set_targets);
    return filled;
}

inline FilledEncode fill(const EncodeOptions &chosen) {
    FilledEncode filled(bertscript_encode_options_new());
    filled.set(chosen.add_special_tokens, bertscript_encode_options_set_add_special_tokens);
    filled.set(chosen.split_special_tokens, bertscript_encode_options_set_split_special_tokens);
    filled.set(chosen.return_overflowing_tokens, bertscript_encode_options_set_return_overflowing_tokens);
    filled.set(chosen.details, bertscript_encode_options_set_details);
    filled.set(chosen.truncation, bertscript_encode_options_set_truncation);
    filled.set(chosen.padding, bertscript_encode_options_set_padding);
    filled.set(chosen.max_length, bertscript_encode_options_set_max_length);
    filled.set(chosen.stride, bertscript_encode_options_set_stride);
    filled.set(chosen.pad_to_multiple_of, bertscript_encode_options_set_pad_to_multiple_of);
    return filled;
}

} // namespace detail
} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_OPTIONS_HPP
