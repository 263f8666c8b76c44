// Work of our own on libtorch's threads.
#include "shim.h"
#include "symbols.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#ifdef __SANITIZE_THREAD__
extern "C" void __tsan_release(void* address);
extern "C" void __tsan_acquire(void* address);
#endif

namespace {

using WorkFn = void (*)(void* user, int thread);

// The OpenMP that libtorch runs on. There may be others in the process, and libbertscript is linked to none; so
// it is asked of libtorch itself. Compilers call this interface, and both GNU's and LLVM's library have it.
struct OpenMP {
  void (*parallel)(void (*work)(void*), void* data, unsigned threads, unsigned flags) = nullptr;
  int (*thread)() = nullptr;
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
    thread = find_function<decltype(thread)>(libtorch, "omp_get_thread_num");
    if (thread != nullptr) {
      parallel = find_function<decltype(parallel)>(libtorch, "GOMP_parallel");
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

struct Work {
  WorkFn work;
  void* user;
  // What a thread has of its own and an operator reads.
  bool inference;
  bool grad;
  c10::WarningHandler* warnings;
};

// OpenMP's threads wait for each other in a way that the sanitizer of races does not see. It is told that whatever comes
// before `release` happened when `acquire` returns.
void release([[maybe_unused]] void* place) {
#ifdef __SANITIZE_THREAD__
  __tsan_release(place);
#endif
}

void acquire([[maybe_unused]] void* place) {
#ifdef __SANITIZE_THREAD__
  __tsan_acquire(place);
#endif
}

// Runs on every thread. Nothing in here allocates: an exception must not leave OpenMP's region, and libtorch's own
// guard of a thread's whole state may throw where it ends.
void run(void* data) {
  const auto& work = *static_cast<const Work*>(data);
  const int thread = openmp().thread();
  if (thread == 0) {
    // The caller's.
    work.work(work.user, thread);
    return;
  }
  const c10::AutoGradMode grad(work.grad);
  const c10::WarningUtils::WarningHandlerGuard warnings(work.warnings);
  if (work.inference) {
    const c10::InferenceMode inference(true);
    work.work(work.user, thread);
  } else {
    work.work(work.user, thread);
  }
}

void run_after_caller(void* data) {
  acquire(data);
  run(data);
  release(data);
}

} // namespace

extern "C" {

// Calls `work`, which throws nothing, once on each thread that libtorch would use for an operator here. On those
// threads operators use no others. Without several threads, or inside of such work, it is called once.
ts_error* ts_on_threads(WorkFn work, void* user) {
  return guard([&] {
    at::internal::lazy_init_num_threads();
    if (openmp().parallel == nullptr || at::get_num_threads() < 2 || at::in_parallel_region()) {
      work(user, 0);
      return;
    }
    Work shared{
        work,
        user,
        c10::InferenceMode::is_enabled(),
        c10::GradMode::is_enabled(),
        c10::WarningUtils::get_warning_handler()};
    // As many threads as an operator would have: 0 leaves the number to OpenMP.
    release(&shared);
    openmp().parallel(run_after_caller, &shared, 0, 0);
    acquire(&shared);
  });
}

// Whether operators called here use this thread only.
int ts_in_parallel_region() {
  return at::in_parallel_region() ? 1 : 0;
}

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
