// Errors of bertscript.hpp: exceptions, or results where there are none.

#ifndef BERTSCRIPT_ERROR_HPP
#define BERTSCRIPT_ERROR_HPP

#include <bertscript/bertscript.h>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

// Whether what fails throws; otherwise the same functions return a Result.
#if defined(__cpp_exceptions) && !defined(BERTSCRIPT_NO_EXCEPTIONS)
#define BERTSCRIPT_THROWS 1
#else
#define BERTSCRIPT_THROWS 0
#endif

namespace bertscript {

// The classes differ between the two: files compiled in either way may be linked together.
#if BERTSCRIPT_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

/// What a call failed with.
class Error
#if BERTSCRIPT_THROWS
    : public std::runtime_error {
  public:
    Error(bertscript_status status, const std::string &message, std::string detail = {})
        : std::runtime_error(message), status_(status), detail_(std::move(detail)) {}
#else
{
  public:
    Error(bertscript_status status, std::string message, std::string detail = {})
        : message_(std::move(message)), status_(status), detail_(std::move(detail)) {}

    /// One line: the object concerned, what was found and what was expected.
    const char *what() const noexcept { return message_.c_str(); }
#endif

    /// Takes an error of the C interface, and frees it.
    static Error take(bertscript_status status, bertscript_error *error) {
        Error taken(status, bertscript_error_message(error), bertscript_error_detail(error));
        bertscript_error_free(error);
        return taken;
    }

    /// The status, such as BERTSCRIPT_INVALID_ARGUMENT.
    bertscript_status status() const noexcept { return status_; }
    /// Its name, such as INVALID_ARGUMENT.
    const char *status_name() const noexcept { return bertscript_status_name(status_); }
    /// The causes below, a line each.
    const std::string &detail() const noexcept { return detail_; }

  private:
#if !BERTSCRIPT_THROWS
    std::string message_;
#endif
    bertscript_status status_;
    std::string detail_;
};

/// A value, or the error that took its place. Without exceptions every function that can fail
/// returns one; to read a value that is not there ends the program.
template <typename T> class [[nodiscard]] Result {
  public:
    Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : content_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return content_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    T &value() & { return std::get<0>(content_); }
    const T &value() const & { return std::get<0>(content_); }
    T &&value() && { return std::get<0>(std::move(content_)); }
    const Error &error() const { return std::get<1>(content_); }

    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T &&operator*() && { return std::move(*this).value(); }
    T *operator->() { return &value(); }
    const T *operator->() const { return &value(); }

  private:
    std::variant<T, Error> content_;
};

template <> class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::make_unique<Error>(std::move(error))) {}

    bool has_value() const noexcept { return error_ == nullptr; }
    explicit operator bool() const noexcept { return has_value(); }
    const Error &error() const { return *error_; }

  private:
    std::unique_ptr<Error> error_;
};

/// What a function that can fail returns: the value where errors are thrown, else a Result of it.
template <typename T> using Outcome = std::conditional_t<BERTSCRIPT_THROWS, T, Result<T>>;

/// A view of values that somebody else owns.
template <typename T> class Span {
  public:
    Span() = default;
    Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}

    T *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    T *begin() const noexcept { return data_; }
    T *end() const noexcept { return data_ + size_; }
    T &operator[](std::size_t index) const { return data_[index]; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail {

/// Fails with an error.
template <typename T> Outcome<T> fail(Error error) {
#if BERTSCRIPT_THROWS
    throw error;
#else
    return Result<T>(std::move(error));
#endif
}

/// What `make` makes, if the call before succeeded.
template <typename T, typename Make>
Outcome<T> outcome(bertscript_status status, bertscript_error *error, Make make) {
    if (status != BERTSCRIPT_OK) {
        return fail<T>(Error::take(status, error));
    }
    if constexpr (std::is_void_v<T>) {
        make();
        return Outcome<T>();
    } else {
        return Outcome<T>(make());
    }
}

inline Outcome<void> outcome(bertscript_status status, bertscript_error *error) {
    return outcome<void>(status, error, [] {});
}

/// Refuses the first string that holds a NUL, at which C would cut it; each comes with its
/// parameter's name.
inline std::optional<Error> find_nul(std::initializer_list<std::pair<const char *, std::string_view>> strings) {
    for (const auto &[name, value] : strings) {
        const std::size_t at = value.find('\0');
        if (at != std::string_view::npos) {
            return Error(BERTSCRIPT_INVALID_ARGUMENT,
                         std::string(name) + ": found NUL at byte " + std::to_string(at) + ", expected none");
        }
    }
    return std::nullopt;
}

/// Owns a handle of the C interface.
template <typename T, auto Free> class Unique {
  public:
    /// Adopts a handle.
    explicit Unique(T *handle = nullptr) noexcept : handle_(handle) {}

    /// The handle, which this object keeps.
    T *get() const noexcept { return handle_.get(); }
    /// The handle, which the caller now frees.
    T *release() noexcept { return handle_.release(); }

  private:
    struct Delete {
        void operator()(T *handle) const noexcept { Free(handle); }
    };
    std::unique_ptr<T, Delete> handle_;
};

/// Owns a handle whose copies share what it stands for.
template <typename T, auto Free, auto Clone> class Shared : public Unique<T, Free> {
  public:
    using Unique<T, Free>::Unique;

    Shared(const Shared &other) noexcept : Unique<T, Free>(Clone(other.get())) {}
    Shared(Shared &&) noexcept = default;
    Shared &operator=(const Shared &other) noexcept { return *this = Shared(other); }
    Shared &operator=(Shared &&) noexcept = default;
    ~Shared() = default;
};

} // namespace detail
} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_ERROR_HPP
