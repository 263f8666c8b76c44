// Embeddings as they are stored.

#ifndef BERTSCRIPT_QUANTIZE_HPP
#define BERTSCRIPT_QUANTIZE_HPP

#include <bertscript/error.hpp>

#include <string>
#include <vector>

namespace bertscript {
#if BERTSCRIPT_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

/// The range of each dimension of `count` embeddings, for `ranges` of TaskOptions: see
/// bertscript_embedding_ranges.
inline Outcome<std::vector<float>> embedding_ranges(const float *embeddings, std::size_t count, std::size_t dim) {
    std::vector<float> ranges(2 * dim);
    bertscript_error *error = nullptr;
    const bertscript_status status =
        bertscript_embedding_ranges(embeddings, count, dim, ranges.data(), ranges.size(), &error);
    return detail::outcome<std::vector<float>>(status, error, [&] { return std::move(ranges); });
}

/// Writes `count` embeddings to `capacity` bytes at `destination` as they are stored; `ranges` are empty but for
/// `int8` and `uint8`. The number of bytes written. See bertscript_quantize_embeddings.
inline Outcome<std::size_t> quantize_embeddings(const float *embeddings, std::size_t count, std::size_t dim,
                                                const std::string &embedding_precision,
                                                const std::vector<float> &ranges, void *destination,
                                                std::size_t row_stride, std::size_t capacity) {
    if (auto refused = detail::find_nul({{"embedding_precision", embedding_precision}})) {
        return detail::fail<std::size_t>(*refused);
    }
    if (!ranges.empty() && ranges.size() != 2 * dim) {
        return detail::fail<std::size_t>(Error(BERTSCRIPT_INVALID_ARGUMENT,
                                               "ranges: found " + std::to_string(ranges.size()) +
                                                   " numbers, expected two for each dimension"));
    }
    std::size_t written = 0;
    bertscript_error *error = nullptr;
    const bertscript_status status = bertscript_quantize_embeddings(
        embeddings, count, dim, embedding_precision.c_str(), ranges.empty() ? nullptr : ranges.data(), destination,
        row_stride, capacity, &written, &error);
    return detail::outcome<std::size_t>(status, error, [&] { return written; });
}

} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_QUANTIZE_HPP
