// transformers' BertTokenizer.

#ifndef BERTSCRIPT_TOKENIZER_HPP
#define BERTSCRIPT_TOKENIZER_HPP

#include <bertscript/options.hpp>
#include <bertscript/tensor.hpp>

namespace bertscript {
#if BERTSCRIPT_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

/// Texts as token ids: a row for each text, or for each of its windows. Views live as long as this.
class Encoding : public detail::Unique<bertscript_encoding, bertscript_encoding_free> {
  public:
    using Ids = Span<const std::int64_t>;
    /// Start and end in turn.
    using Offsets = Span<const std::size_t>;
    using Unique::Unique;

    std::size_t rows() const noexcept { return bertscript_encoding_rows(get()); }
    /// How many tokens a row has, padding included.
    std::size_t length(std::size_t row) const noexcept { return bertscript_encoding_length(get(), row); }
    /// The number of the text that a row comes from.
    std::size_t sample(std::size_t row) const noexcept { return bertscript_encoding_sample(get(), row); }
    /// Whether tokens are missing in a row that no further row has.
    bool truncated(std::size_t row) const noexcept { return bertscript_encoding_truncated(get(), row) != 0; }

    Ids input_ids(std::size_t row) const { return ids(bertscript_encoding_input_ids(get(), row), row); }
    Ids token_type_ids(std::size_t row) const { return ids(bertscript_encoding_token_type_ids(get(), row), row); }
    Ids attention_mask(std::size_t row) const { return ids(bertscript_encoding_attention_mask(get(), row), row); }
    Ids special_tokens_mask(std::size_t row) const {
        return ids(bertscript_encoding_special_tokens_mask(get(), row), row);
    }
    /// -1 of special tokens.
    Ids word_ids(std::size_t row) const { return ids(bertscript_encoding_word_ids(get(), row), row); }
    /// 0 or 1; -1 of special tokens.
    Ids sequence_ids(std::size_t row) const { return ids(bertscript_encoding_sequence_ids(get(), row), row); }
    /// Where each token stands in its text, in bytes.
    Offsets offsets(std::size_t row) const { return pairs(bertscript_encoding_offsets(get(), row), row); }
    /// Where each token stands in its text, in characters.
    Offsets char_offsets(std::size_t row) const { return pairs(bertscript_encoding_char_offsets(get(), row), row); }
    /// A token of a row, as text.
    std::string_view token(std::size_t row, std::size_t index) const {
        const char *token = bertscript_encoding_token(get(), row, index);
        return token == nullptr ? std::string_view() : token;
    }

    /// input_ids, attention_mask and token_type_ids as tensors `[rows, length]`.
    struct Tensors {
        Tensor input_ids, attention_mask, token_type_ids;
    };
    Outcome<Tensors> tensors() const {
        bertscript_tensor *input_ids = nullptr, *mask = nullptr, *types = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_encoding_tensors(get(), &input_ids, &mask, &types, &error);
        return detail::outcome<Tensors>(
            status, error, [&] { return Tensors{Tensor(input_ids), Tensor(mask), Tensor(types)}; });
    }

  private:
    Ids ids(const std::int64_t *values, std::size_t row) const { return {values, values ? length(row) : 0}; }
    Offsets pairs(const std::size_t *values, std::size_t row) const { return {values, values ? 2 * length(row) : 0}; }
};

/// A tokenizer. Copies share it; any number of threads may use it at once.
class Tokenizer : public detail::Shared<bertscript_tokenizer, bertscript_tokenizer_free,
                                        bertscript_tokenizer_clone> {
  public:
    using Shared::Shared;

#if BERTSCRIPT_THROWS
    /// Reads the tokenizer of a directory, a `tokenizer.json` or a `vocab.txt`.
    explicit Tokenizer(const std::string &path) : Tokenizer(load(path)) {}
#endif

    /// Reads the tokenizer of a directory, a `tokenizer.json` or a `vocab.txt`.
    static Outcome<Tokenizer> load(const std::string &path) {
        if (auto refused = detail::find_nul({{"path", path}})) {
            return detail::fail<Tokenizer>(*refused);
        }
        bertscript_tokenizer *tokenizer = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_tokenizer_load(path.c_str(), &tokenizer, &error);
        return detail::outcome<Tokenizer>(status, error, [&] { return Tokenizer(tokenizer); });
    }

    /// Encodes texts.
    Outcome<Encoding> encode(const Texts &texts, const EncodeOptions &options = {}) const {
        return encode(texts, nullptr, options);
    }

    /// Encodes pairs of texts, as many first ones as second ones.
    Outcome<Encoding> encode_pairs(const Texts &texts, const Texts &pairs, const EncodeOptions &options = {}) const {
        if (texts.size() != pairs.size()) {
            return detail::fail<Encoding>(Error(BERTSCRIPT_INVALID_ARGUMENT, "pairs: not as many as texts"));
        }
        return encode(texts, &pairs, options);
    }

    /// The text of ids.
    Outcome<std::string> decode(const std::vector<std::int64_t> &ids, bool skip_special_tokens = true) const {
        return text([&](char *room, std::size_t capacity, std::size_t *length, bertscript_error **error) {
            return bertscript_tokenizer_decode(get(), ids.data(), ids.size(), skip_special_tokens ? 1 : 0, room,
                                               capacity, length, error);
        });
    }

    /// Number of ids, those of added tokens included.
    std::size_t vocab_size() const noexcept { return bertscript_tokenizer_vocab_size(get()); }
    /// The maximum length of a sequence, special tokens included.
    std::size_t max_length() const noexcept { return bertscript_tokenizer_max_length(get()); }

    /// The id of a token of the vocabulary.
    std::optional<std::int64_t> token_to_id(const std::string &token) const {
        // No token has a NUL; C would take what stands before it for the token.
        const bool cut = token.find('\0') != std::string::npos;
        const std::int64_t id = cut ? -1 : bertscript_tokenizer_token_to_id(get(), token.c_str());
        return id < 0 ? std::nullopt : std::optional(id);
    }

    /// The token of an id.
    Outcome<std::string> id_to_token(std::int64_t id) const {
        return text([&](char *room, std::size_t capacity, std::size_t *length, bertscript_error **error) {
            return bertscript_tokenizer_id_to_token(get(), id, room, capacity, length, error);
        });
    }

  private:
    Outcome<Encoding> encode(const Texts &texts, const Texts *pairs, const EncodeOptions &options) const {
        auto filled = detail::fill(options);
        bertscript_encoding *encoding = nullptr;
        if (filled.status == BERTSCRIPT_OK) {
            filled.status = bertscript_tokenizer_encode(
                get(), texts.pointers(), texts.lengths(), pairs ? pairs->pointers() : nullptr,
                pairs ? pairs->lengths() : nullptr, texts.size(), filled.options.get(), &encoding, &filled.error);
        }
        return detail::outcome<Encoding>(filled, [&] { return Encoding(encoding); });
    }

    /// A text that C writes to our room: asked for its length first.
    template <typename Give> static Outcome<std::string> text(Give give) {
        std::string room(64, '\0');
        std::size_t length = 0;
        bertscript_error *error = nullptr;
        bertscript_status status = give(&room[0], room.size(), &length, &error);
        if (status == BERTSCRIPT_BUFFER_TOO_SMALL) {
            bertscript_error_free(error);
            error = nullptr;
            room.resize(length + 1);
            status = give(&room[0], room.size(), &length, &error);
        }
        return detail::outcome<std::string>(status, error, [&] { return room.substr(0, length); });
    }
};

} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_TOKENIZER_HPP
