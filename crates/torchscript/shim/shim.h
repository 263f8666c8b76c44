// The C border of the torchscript crate. Every function catches everything and
// returns NULL, or an error that the caller frees with ts_error_free.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/jit/api/module.h>

#include <cerrno>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>

enum ts_error_kind : int {
  TS_ERROR_TORCH = 1,
  TS_ERROR_OUT_OF_MEMORY = 2,
  TS_ERROR_CALLBACK = 3,
  TS_ERROR_FOREIGN = 4,
  TS_ERROR_IO = 5,
  TS_ERROR_ARGUMENT = 6,
};

struct ts_error {
  int kind;
  std::string message;
};

struct ts_module {
  torch::jit::Module module;
};

using ts_value = c10::IValue;

// Thrown when a Rust callback reports a failure; Rust keeps the reason.
struct CallbackFailed {};

// Thrown when a call of the system on a file fails.
struct SystemFailed {
  const char* doing;
  int code;

  ts_error* error() const {
    const int kind = code == ENOMEM ? TS_ERROR_OUT_OF_MEMORY : TS_ERROR_IO;
    return new ts_error{kind, "cannot " + std::string(doing) + ": " + std::generic_category().message(code)};
  }
};

// Thrown for an argument that makes no sense, before libtorch sees it.
struct ArgumentRefused {
  std::string message;
};

template <class... Words>
void require(bool holds, const Words&... message) {
  if (!holds) {
    throw ArgumentRefused{c10::str(message...)};
  }
}

// Stands in for a report that could not be allocated; ts_error_free knows it.
inline ts_error* last_resort() noexcept {
  static ts_error error{TS_ERROR_OUT_OF_MEMORY, {}};
  return &error;
}

template <class F>
ts_error* guard(F&& body) noexcept {
  try {
    try {
      std::forward<F>(body)();
      return nullptr;
    } catch (const CallbackFailed&) {
      return new ts_error{TS_ERROR_CALLBACK, "the callback failed"};
    } catch (const SystemFailed& e) {
      return e.error();
    } catch (const ArgumentRefused& e) {
      return new ts_error{TS_ERROR_ARGUMENT, e.message};
    } catch (const c10::OutOfMemoryError& e) {
      return new ts_error{TS_ERROR_OUT_OF_MEMORY, e.what_without_backtrace()};
    } catch (const c10::Error& e) {
      return new ts_error{TS_ERROR_TORCH, e.what_without_backtrace()};
    } catch (const std::bad_alloc&) {
      return new ts_error{TS_ERROR_OUT_OF_MEMORY, "out of memory"};
    } catch (const std::exception& e) {
      return new ts_error{TS_ERROR_TORCH, e.what()};
    } catch (...) {
      return new ts_error{TS_ERROR_FOREIGN, "an exception of an unknown type"};
    }
  } catch (...) {
    // Even the report could not be allocated. The caller must still not take
    // this for success.
    return last_resort();
  }
}
