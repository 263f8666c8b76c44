// What tasks return, as plain values.

#ifndef BERTSCRIPT_RESULTS_HPP
#define BERTSCRIPT_RESULTS_HPP

#include <bertscript/error.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bertscript {
#if BERTSCRIPT_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

/// A label and its score.
struct Label {
    std::string label;
    float score;
};

/// The labels of a text, sorted by descending score.
struct Classification {
    std::vector<Label> labels;
    /// Whether the text was truncated.
    bool truncated;
};

/// The sparse embedding of a text: the values that are not zero.
struct SparseEmbedding {
    /// Token ids, ascending.
    std::vector<std::uint32_t> indices;
    /// As many values.
    std::vector<float> values;
    /// Whether the text was truncated.
    bool truncated;
};

/// A text of a ranking.
struct RankedText {
    /// Its number among the texts that were ranked, from 0.
    std::size_t index;
    float score;
    /// Whether it, or the query with it, was truncated.
    bool truncated;
};

/// An entity, or a token with its label; places in bytes and in characters.
struct Entity {
    std::string entity;
    float score;
    std::string word;
    std::size_t start, end, char_start, char_end;
    /// The number of the token, where tokens are not aggregated.
    std::optional<std::int64_t> index;
};

/// The entities of a text, in its order.
struct Entities {
    std::vector<Entity> entities;
    /// Whether the text was truncated.
    bool truncated;
};

/// A part of a context; places in bytes and in characters.
struct Answer {
    std::string answer;
    float score;
    std::size_t start, end, char_start, char_end;
};

/// The answers to a question, sorted by descending score.
struct Answers {
    std::vector<Answer> answers;
    /// Whether the context was truncated.
    bool truncated;
};

/// A token in the place of a mask.
struct Filling {
    /// The number of the mask in the text, from 0.
    std::size_t mask;
    float score;
    std::int64_t token;
    std::string token_str, sequence;
};

/// The fillings of a text: mask after mask, each sorted by descending score.
struct Fillings {
    std::vector<Filling> fillings;
    /// Whether the text was truncated.
    bool truncated;
};

namespace detail {

inline std::vector<Classification> copy(bertscript_classifications *found) {
    const Unique<bertscript_classifications, bertscript_classifications_free> owner(found);
    std::vector<Classification> texts(bertscript_classifications_count(found));
    for (std::size_t text = 0; text < texts.size(); text++) {
        texts[text].truncated = bertscript_classifications_truncated(found, text) != 0;
        for (std::size_t i = 0; i < bertscript_classifications_size(found, text); i++) {
            const bertscript_label *label = bertscript_classifications_get(found, text, i);
            texts[text].labels.push_back({label->label, label->score});
        }
    }
    return texts;
}

inline std::vector<SparseEmbedding> copy(bertscript_sparse_embeddings *found) {
    const Unique<bertscript_sparse_embeddings, bertscript_sparse_embeddings_free> owner(found);
    std::vector<SparseEmbedding> texts(bertscript_sparse_embeddings_count(found));
    for (std::size_t text = 0; text < texts.size(); text++) {
        const std::size_t size = bertscript_sparse_embeddings_size(found, text);
        const std::uint32_t *indices = bertscript_sparse_embeddings_indices(found, text);
        const float *values = bertscript_sparse_embeddings_values(found, text);
        texts[text].indices.assign(indices, indices + size);
        texts[text].values.assign(values, values + size);
        texts[text].truncated = bertscript_sparse_embeddings_truncated(found, text) != 0;
    }
    return texts;
}

inline std::vector<RankedText> copy(bertscript_ranking *found) {
    const Unique<bertscript_ranking, bertscript_ranking_free> owner(found);
    std::vector<RankedText> texts;
    for (std::size_t rank = 0; rank < bertscript_ranking_count(found); rank++) {
        const bertscript_ranked_text *text = bertscript_ranking_get(found, rank);
        texts.push_back({text->index, text->score, text->truncated != 0});
    }
    return texts;
}

inline std::vector<Entities> copy(bertscript_entities *found) {
    const Unique<bertscript_entities, bertscript_entities_free> owner(found);
    std::vector<Entities> texts(bertscript_entities_count(found));
    for (std::size_t text = 0; text < texts.size(); text++) {
        texts[text].truncated = bertscript_entities_truncated(found, text) != 0;
        for (std::size_t i = 0; i < bertscript_entities_size(found, text); i++) {
            const bertscript_entity *e = bertscript_entities_get(found, text, i);
            const auto index = e->index < 0 ? std::nullopt : std::optional(e->index);
            texts[text].entities.push_back(
                {e->entity, e->score, e->word, e->start, e->end, e->char_start, e->char_end, index});
        }
    }
    return texts;
}

inline std::vector<Answers> copy(bertscript_answers *found) {
    const Unique<bertscript_answers, bertscript_answers_free> owner(found);
    std::vector<Answers> questions(bertscript_answers_count(found));
    for (std::size_t question = 0; question < questions.size(); question++) {
        questions[question].truncated = bertscript_answers_truncated(found, question) != 0;
        for (std::size_t i = 0; i < bertscript_answers_size(found, question); i++) {
            const bertscript_answer *a = bertscript_answers_get(found, question, i);
            questions[question].answers.push_back(
                {a->answer, a->score, a->start, a->end, a->char_start, a->char_end});
        }
    }
    return questions;
}

inline std::vector<Fillings> copy(bertscript_fillings *found) {
    const Unique<bertscript_fillings, bertscript_fillings_free> owner(found);
    std::vector<Fillings> texts(bertscript_fillings_count(found));
    for (std::size_t text = 0; text < texts.size(); text++) {
        texts[text].truncated = bertscript_fillings_truncated(found, text) != 0;
        for (std::size_t i = 0; i < bertscript_fillings_size(found, text); i++) {
            const bertscript_filling *f = bertscript_fillings_get(found, text, i);
            texts[text].fillings.push_back({f->mask, f->score, f->token, f->token_str, f->sequence});
        }
    }
    return texts;
}

} // namespace detail
} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_RESULTS_HPP
