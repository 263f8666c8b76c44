// Tensors, and the process: its libtorch, devices, threads and log.

#ifndef BERTSCRIPT_TENSOR_HPP
#define BERTSCRIPT_TENSOR_HPP

#include <bertscript/error.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

namespace bertscript {
#if BERTSCRIPT_THROWS
inline namespace throwing {
#else
inline namespace returning {
#endif

namespace detail {

/// The dtype of a type of C++. Integers go by their size: `long` and `long long` are both int64.
template <typename T> constexpr bertscript_dtype dtype_of() {
    constexpr bool is_signed = std::is_integral_v<T> && std::is_signed_v<T>;
    if constexpr (std::is_same_v<T, float>) {
        return BERTSCRIPT_FLOAT32;
    } else if constexpr (std::is_same_v<T, double>) {
        return BERTSCRIPT_FLOAT64;
    } else if constexpr (std::is_same_v<T, bool>) {
        return BERTSCRIPT_BOOL;
    } else if constexpr (is_signed && sizeof(T) == 8) {
        return BERTSCRIPT_INT64;
    } else if constexpr (is_signed && sizeof(T) == 4) {
        return BERTSCRIPT_INT32;
    } else if constexpr (is_signed && sizeof(T) == 2) {
        return BERTSCRIPT_INT16;
    } else if constexpr (is_signed && sizeof(T) == 1) {
        return BERTSCRIPT_INT8;
    } else {
        static_assert(std::is_same_v<T, std::uint8_t>, "no dtype of a tensor has this type");
        return BERTSCRIPT_UINT8;
    }
}

} // namespace detail

/// An array of numbers: contiguous, row-major, unchanging. Copies share the numbers.
class Tensor
    : public detail::Shared<bertscript_tensor, bertscript_tensor_free, bertscript_tensor_clone> {
  public:
    using Shared::Shared;

#if BERTSCRIPT_THROWS
    /// A copy of values in row-major order.
    template <typename T>
    Tensor(const std::vector<std::int64_t> &shape, const std::vector<T> &values)
        : Tensor(copy_from(shape, values)) {}
#endif

    /// A copy of values in row-major order.
    template <typename T>
    static Outcome<Tensor> copy_from(const std::vector<std::int64_t> &shape, const std::vector<T> &values) {
        if constexpr (std::is_same_v<T, bool>) {
            // Bits in a vector, bytes in a tensor.
            const std::vector<std::uint8_t> bytes(values.begin(), values.end());
            return copy_from(BERTSCRIPT_BOOL, shape, bytes.data(), bytes.size());
        } else {
            return copy_from(detail::dtype_of<T>(), shape, values.data(), values.size() * sizeof(T));
        }
    }

    /// A tensor over `size` values of the caller's, in row-major order. They must live, unchanged,
    /// until `release` is called, on any thread, or until the last copy of the tensor ends. What
    /// `release` throws is dropped: it is called where nobody could catch it.
    template <typename T>
    static Outcome<Tensor> borrow(const std::vector<std::int64_t> &shape, const T *data, std::size_t size,
                                  std::function<void()> release = {}) {
        bertscript_tensor *tensor = nullptr;
        bertscript_error *error = nullptr;
        auto owned = std::make_unique<std::function<void()>>(std::move(release));
        const bertscript_status status = bertscript_tensor_borrow(
            detail::dtype_of<T>(), shape.data(), nullptr, shape.size(), const_cast<T *>(data),
            size * sizeof(T), nullptr, call_release, owned.get(), &tensor, &error);
        if (status == BERTSCRIPT_OK) {
            owned.release(); // call_release deletes it
        }
        return detail::outcome<Tensor>(status, error, [&] { return Tensor(tensor); });
    }

    /// A tensor over the memory of another framework's, which it owns from then on, if this succeeds.
    static Outcome<Tensor> from_dlpack(struct DLManagedTensorVersioned *managed) {
        bertscript_tensor *tensor = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_tensor_from_dlpack(managed, &tensor, &error);
        return detail::outcome<Tensor>(status, error, [&] { return Tensor(tensor); });
    }

    /// The same memory for another framework, which frees what it gets by its own deleter.
    Outcome<struct DLManagedTensorVersioned *> to_dlpack() const {
        struct DLManagedTensorVersioned *managed = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_tensor_to_dlpack(get(), &managed, &error);
        return detail::outcome<struct DLManagedTensorVersioned *>(status, error, [&] { return managed; });
    }

    /// The same numbers on `cpu`, `cuda` or `cuda:N`.
    Outcome<Tensor> to_device(const std::string &name) const {
        if (auto refused = detail::find_nul({{"device", name}})) {
            return detail::fail<Tensor>(*refused);
        }
        bertscript_tensor *tensor = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_tensor_to_device(get(), name.c_str(), &tensor, &error);
        return detail::outcome<Tensor>(status, error, [&] { return Tensor(tensor); });
    }

    /// The same numbers as float32, such as those of float16 and bfloat16.
    Outcome<Tensor> to_float32() const {
        bertscript_tensor *tensor = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_tensor_to_float32(get(), &tensor, &error);
        return detail::outcome<Tensor>(status, error, [&] { return Tensor(tensor); });
    }

    /// The size of each dimension.
    std::vector<std::int64_t> shape() const {
        std::size_t ndim = 0;
        const std::int64_t *sizes = bertscript_tensor_shape(get(), &ndim);
        return {sizes, sizes + ndim};
    }

    /// The type of the elements, such as BERTSCRIPT_FLOAT32.
    bertscript_dtype dtype() const noexcept { return bertscript_tensor_dtype(get()); }
    /// The number of elements.
    std::int64_t numel() const noexcept { return bertscript_tensor_numel(get()); }
    /// Their size in bytes.
    std::size_t nbytes() const noexcept { return bertscript_tensor_nbytes(get()); }
    /// Where they are: `cpu` or `cuda:N`.
    std::string device() const {
        const char *found = bertscript_tensor_device(get());
        return found == nullptr ? "" : found;
    }

    /// The elements, in host memory; they live as long as the last copy of this tensor.
    template <typename T> Outcome<const T *> data() const {
        if (dtype() != detail::dtype_of<T>()) {
            return detail::fail<const T *>(other_dtype(detail::dtype_of<T>()));
        }
        const void *found = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status = bertscript_tensor_data(get(), &found, nullptr, &error);
        return detail::outcome<const T *>(status, error, [&] { return static_cast<const T *>(found); });
    }

    /// The elements as a copy, from any device; those of float16 and bfloat16 as float.
    template <typename T> Outcome<std::vector<T>> values() const {
        const bool is_half = dtype() == BERTSCRIPT_FLOAT16 || dtype() == BERTSCRIPT_BFLOAT16;
        const bool converts = std::is_same_v<T, float> && is_half;
        if (!converts && dtype() != detail::dtype_of<T>()) {
            return detail::fail<std::vector<T>>(other_dtype(detail::dtype_of<T>()));
        }
        bertscript_tensor *converted = nullptr;
        bertscript_error *error = nullptr;
        bertscript_status status = BERTSCRIPT_OK;
        if (converts) {
            status = bertscript_tensor_to_float32(get(), &converted, &error);
        }
        const Tensor owner(converted);
        // A vector of bool has no elements to write to.
        std::vector<std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>> found(
            static_cast<std::size_t>(numel()));
        if (status == BERTSCRIPT_OK) {
            status = bertscript_tensor_copy_to(converts ? converted : get(), found.data(), found.size() * sizeof(T),
                                               nullptr, &error);
        }
        return detail::outcome<std::vector<T>>(status, error, [&] {
            if constexpr (std::is_same_v<T, bool>) {
                return std::vector<bool>(found.begin(), found.end());
            } else {
                return std::move(found);
            }
        });
    }

  private:
    static Outcome<Tensor> copy_from(bertscript_dtype dtype, const std::vector<std::int64_t> &shape, const void *data,
                                     std::size_t nbytes) {
        bertscript_tensor *tensor = nullptr;
        bertscript_error *error = nullptr;
        const bertscript_status status =
            bertscript_tensor_copy_from(dtype, shape.data(), shape.size(), data, nbytes, &tensor, &error);
        return detail::outcome<Tensor>(status, error, [&] { return Tensor(tensor); });
    }

    Error other_dtype(bertscript_dtype asked) const {
        return Error(BERTSCRIPT_INVALID_ARGUMENT, "dtype: found " + std::string(bertscript_dtype_name(dtype())) +
                                                      ", expected " + bertscript_dtype_name(asked));
    }

    static void call_release(void *user) noexcept {
        const std::unique_ptr<std::function<void()>> release(static_cast<std::function<void()> *>(user));
        if (!*release) {
            return;
        }
#if BERTSCRIPT_THROWS
        try {
            (*release)();
        } catch (...) {
        }
#else
        (*release)();
#endif
    }
};

/// Fails if what needs libtorch cannot be had: the plug-in, its libtorch, or the right version.
inline Outcome<void> runtime_check() {
    bertscript_error *error = nullptr;
    const bertscript_status status = bertscript_runtime_check(&error);
    return detail::outcome(status, error);
}

/// How many devices there are of `cpu` or `cuda`.
inline Outcome<std::size_t> device_count(const std::string &kind) {
    if (auto refused = detail::find_nul({{"kind", kind}})) {
        return detail::fail<std::size_t>(*refused);
    }
    std::size_t count = 0;
    bertscript_error *error = nullptr;
    const bertscript_status status = bertscript_device_count(kind.c_str(), &count, &error);
    return detail::outcome<std::size_t>(status, error, [&] { return count; });
}

/// Fails if a device cannot be had; the error says what is missing.
inline Outcome<void> device_available(const std::string &device) {
    if (auto refused = detail::find_nul({{"device", device}})) {
        return detail::fail<void>(*refused);
    }
    bertscript_error *error = nullptr;
    const bertscript_status status = bertscript_device_available(device.c_str(), &error);
    return detail::outcome(status, error);
}

/// What modules can run on here, as JSON; see bertscript_devices_json.
inline std::string devices_json() {
    const char *json = bertscript_devices_json();
    return json == nullptr ? "" : json;
}

/// Allows products of float32 on CUDA devices to round their inputs to TF32, in the whole process.
inline Outcome<void> set_allow_tf32(bool allowed) {
    bertscript_error *error = nullptr;
    const bertscript_status status = bertscript_set_allow_tf32(allowed ? 1 : 0, &error);
    return detail::outcome(status, error);
}

/// Sets how many threads a call may use on the CPU, and one operation of libtorch, in the whole process.
inline Outcome<void> set_num_threads(std::int32_t count) {
    bertscript_error *error = nullptr;
    const bertscript_status status = bertscript_set_num_threads(count, &error);
    return detail::outcome(status, error);
}

/// Ends the threads that the library keeps between calls; see bertscript_shutdown_threads.
inline Outcome<void> shutdown_threads() {
    bertscript_error *error = nullptr;
    const bertscript_status status = bertscript_shutdown_threads(&error);
    return detail::outcome(status, error);
}

/// Hands messages to a function, which must not throw.
inline Outcome<void> set_log_callback(bertscript_log_callback callback, void *user,
                                      bertscript_log_level level = BERTSCRIPT_LOG_WARNING) {
    bertscript_error *error = nullptr;
    const bertscript_status status = bertscript_set_log_callback(callback, user, level, &error);
    return detail::outcome(status, error);
}

} // inline namespace
} // namespace bertscript

#endif // BERTSCRIPT_TENSOR_HPP
