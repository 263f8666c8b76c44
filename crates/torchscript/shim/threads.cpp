// The threads that libtorch's operators run on.
#include "shim.h"
#include "symbols.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

namespace {

// The OpenMP that libtorch runs on. There may be others in the process, and libbertscript is linked to none; so
// it is asked of libtorch itself.
struct OpenMP {
  void (*set_threads)(int threads) = nullptr;
  int (*pause)(int kind) = nullptr;
  // MKL in libtorch has a number of threads of its own.
  int (*set_mkl_threads)(int threads) = nullptr;

  OpenMP() {
    Dl_info info{};
    if (dladdr(reinterpret_cast<void*>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr) {
      return;
    }
    // Looks in libtorch's own dependencies. Never closed: libtorch stays.
    void* libtorch = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (libtorch == nullptr) {
      return;
    }
    set_threads = find_function<decltype(set_threads)>(libtorch, "omp_set_num_threads");
    pause = find_function<decltype(pause)>(libtorch, "omp_pause_resource_all");
    set_mkl_threads = find_function<decltype(set_mkl_threads)>(libtorch, "MKL_Set_Num_Threads_Local");
  }
};

const OpenMP& openmp() {
  static const OpenMP openmp;
  return openmp;
}

} // namespace

extern "C" {

// Lets operators called on this thread use no other, whatever was set before. Other threads keep theirs: that is why it
// is not at::set_num_threads, which is for those that begin later, too.
ts_error* ts_use_one_thread() {
  return guard([&] {
    at::internal::lazy_init_num_threads();
    if (openmp().set_threads != nullptr) {
      openmp().set_threads(1);
    }
    if (openmp().set_mkl_threads != nullptr) {
      openmp().set_mkl_threads(1);
    }
  });
}

// Ends the threads of this thread's pool; not inside of a parallel region.
ts_error* ts_end_pool(int* has_ended) {
  return guard([&] {
    TORCH_CHECK(openmp().pause != nullptr, "OpenMP: found no omp_pause_resource_all, expected one");
    constexpr int kHard = 2; // omp_pause_hard
    *has_ended = openmp().pause(kHard) == 0 ? 1 : 0;
  });
}

} // extern "C"
