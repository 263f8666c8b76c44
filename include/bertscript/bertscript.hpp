// bertscript for C++17: the functions of bertscript.h as classes.
//
//     bertscript::Module module("minilm.pt");
//     bertscript::Tensor embeddings = module.embed({"A man is eating pasta.", "Someone has a meal."});
//     const float *values = embeddings.data<float>();
//
// What fails throws bertscript::Error. Copies of a Module or a Tensor share what they hold; a Module
// may be used by any number of threads at once.

#ifndef BERTSCRIPT_HPP
#define BERTSCRIPT_HPP

#include <bertscript/bertscript.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bertscript {

/// What a call failed with.
class Error : public std::runtime_error {
  public:
    /// Takes an error of the C interface.
    explicit Error(bertscript_error *error)
        : std::runtime_error(bertscript_error_message(error)),
          status_(bertscript_error_status(error)), detail_(bertscript_error_detail(error)) {
        bertscript_error_free(error);
    }

    /// The status, such as BERTSCRIPT_INVALID_ARGUMENT.
    bertscript_status status() const noexcept { return status_; }
    /// The causes below, a line each.
    const std::string &detail() const noexcept { return detail_; }

  private:
    bertscript_status status_;
    std::string detail_;
};

namespace detail {

/// Calls a function whose last argument is the place of an error.
template <typename Function, typename... Arguments>
void call(Function function, Arguments... arguments) {
    bertscript_error *error = nullptr;
    if (function(arguments..., &error) != BERTSCRIPT_OK) {
        throw Error(error);
    }
}

template <typename T> struct Dtype;
template <> struct Dtype<float> { static constexpr bertscript_dtype value = BERTSCRIPT_FLOAT32; };
template <> struct Dtype<std::int64_t> { static constexpr bertscript_dtype value = BERTSCRIPT_INT64; };
template <> struct Dtype<std::int32_t> { static constexpr bertscript_dtype value = BERTSCRIPT_INT32; };

} // namespace detail

/// An array of numbers: contiguous, row-major, unchanging.
class Tensor {
  public:
    /// Adopts a handle of the C interface.
    explicit Tensor(bertscript_tensor *tensor) noexcept : tensor_(tensor) {}

    /// A copy of values in row-major order.
    template <typename T>
    Tensor(const std::vector<std::int64_t> &shape, const std::vector<T> &values) {
        bertscript_tensor *tensor = nullptr;
        detail::call(bertscript_tensor_copy_from, detail::Dtype<T>::value, shape.data(),
                     shape.size(), static_cast<const void *>(values.data()),
                     values.size() * sizeof(T), &tensor);
        tensor_.reset(tensor);
    }

    Tensor(const Tensor &other) : tensor_(bertscript_tensor_clone(other.get())) {}
    Tensor(Tensor &&) noexcept = default;
    Tensor &operator=(Tensor other) noexcept {
        tensor_ = std::move(other.tensor_);
        return *this;
    }
    ~Tensor() = default;

    /// The size of each dimension.
    std::vector<std::int64_t> shape() const {
        std::size_t ndim = 0;
        const std::int64_t *sizes = bertscript_tensor_shape(get(), &ndim);
        return {sizes, sizes + ndim};
    }

    /// The type of the elements, such as BERTSCRIPT_FLOAT32.
    bertscript_dtype dtype() const noexcept { return bertscript_tensor_dtype(get()); }

    /// The elements, in host memory; they live as long as the last copy of this tensor.
    template <typename T> const T *data() const {
        if (dtype() != detail::Dtype<T>::value) {
            throw std::invalid_argument("the tensor has elements of another type");
        }
        const void *data = nullptr;
        detail::call(bertscript_tensor_data, get(), &data, static_cast<std::size_t *>(nullptr));
        return static_cast<const T *>(data);
    }

    /// The handle of the C interface, which this object keeps.
    bertscript_tensor *get() const noexcept { return tensor_.get(); }
    /// The handle of the C interface, which the caller now frees.
    bertscript_tensor *release() noexcept { return tensor_.release(); }

  private:
    struct Free {
        void operator()(bertscript_tensor *tensor) const noexcept { bertscript_tensor_free(tensor); }
    };
    std::unique_ptr<bertscript_tensor, Free> tensor_;
};

/// A file that was exported, on one device.
class Module {
  public:
    /// Loads a file onto `cpu`, `cuda` or `cuda:N`.
    explicit Module(const std::string &path, const std::string &device = "cpu") {
        bertscript_module *module = nullptr;
        detail::call(bertscript_module_load, path.c_str(), device.c_str(), &module);
        module_.reset(module);
    }

    /// Adopts a handle of the C interface.
    explicit Module(bertscript_module *module) noexcept : module_(module) {}

    Module(const Module &other) : module_(bertscript_module_clone(other.get())) {}
    Module(Module &&) noexcept = default;
    Module &operator=(Module other) noexcept {
        module_ = std::move(other.module_);
        return *this;
    }
    ~Module() = default;

    /// The description of the file, as JSON.
    std::string metadata_json() const { return bertscript_module_metadata_json(get()); }

    /// Embeds texts: a float32 tensor [texts, dimension].
    Tensor embed(const std::vector<std::string_view> &texts) const {
        std::vector<const char *> pointers;
        std::vector<std::size_t> lengths;
        for (std::string_view text : texts) {
            // An empty view may have no place, which the C interface refuses.
            pointers.push_back(text.empty() ? "" : text.data());
            lengths.push_back(text.size());
        }
        bertscript_tensor *tensor = nullptr;
        detail::call(bertscript_module_embed, get(), pointers.data(), lengths.data(), texts.size(),
                     static_cast<const bertscript_cancel_token *>(nullptr), &tensor);
        return Tensor(tensor);
    }

    /// Runs the model on tensors under the names of its inputs; outputs come in its order.
    std::vector<Tensor> run(const std::vector<std::pair<std::string, Tensor>> &inputs) const {
        std::vector<const char *> names;
        std::vector<const bertscript_tensor *> tensors;
        for (const auto &[name, tensor] : inputs) {
            names.push_back(name.c_str());
            tensors.push_back(tensor.get());
        }
        bertscript_tensor *found[256] = {};
        std::size_t count = 0;
        detail::call(bertscript_module_run, get(), names.data(), tensors.data(), inputs.size(),
                     &found[0], std::size_t{256}, &count);
        std::vector<Tensor> outputs;
        outputs.reserve(count);
        for (std::size_t i = 0; i < count; i++) {
            outputs.emplace_back(found[i]);
        }
        return outputs;
    }

    /// The handle of the C interface, which this object keeps.
    bertscript_module *get() const noexcept { return module_.get(); }
    /// The handle of the C interface, which the caller now frees.
    bertscript_module *release() noexcept { return module_.release(); }

  private:
    struct Free {
        void operator()(bertscript_module *module) const noexcept { bertscript_module_free(module); }
    };
    std::unique_ptr<bertscript_module, Free> module_;
};

/// Exports a Hugging Face checkpoint to one TorchScript file.
inline void export_checkpoint(const std::string &checkpoint, const std::string &path) {
    detail::call(bertscript_export, checkpoint.c_str(), path.c_str(),
                 static_cast<const char *>(nullptr));
}

} // namespace bertscript

#endif // BERTSCRIPT_HPP
