// What libtorch and the system may do to the library: faults FILE CHECKPOINT
//
// This program's own definitions stand before those of libtorch and of the C and C++ libraries, so
// the real libbertscript.so calls them: they fail when they are told to, and otherwise pass on.

#include <bertscript/bertscript.h>

#include <torch/script.h>

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

// libtorch has a macro of this name.
#undef CHECK
#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                    \
        }                                                                    \
    } while (0)

namespace {

enum Fault { NONE, INT, BAD_ALLOC, RUNTIME_ERROR, TORCH_ERROR, TORCH_MEMORY };
std::atomic<Fault> fault{NONE};
std::atomic<bool> no_threads{false};
// How many allocations succeed before one fails; negative for all.
thread_local long allocations = -1;
std::atomic<int> messages{0};

void strike() {
    switch (fault.exchange(NONE)) {
        case NONE: return;
        case INT: throw 42;
        case BAD_ALLOC: throw std::bad_alloc();
        case RUNTIME_ERROR: throw std::runtime_error("a fault");
        case TORCH_ERROR: TORCH_CHECK(false, "a fault");
        case TORCH_MEMORY: TORCH_CHECK_WITH(OutOfMemoryError, false, "a fault");
    }
}

void *allocate(std::size_t size) {
    if (allocations >= 0 && allocations-- == 0) {
        throw std::bad_alloc();
    }
    if (void *memory = std::malloc(size ? size : 1)) {
        return memory;
    }
    throw std::bad_alloc();
}

} // namespace

void *operator new(std::size_t size) { return allocate(size); }
void *operator new[](std::size_t size) { return allocate(size); }
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void *memory) noexcept { std::free(memory); }
void operator delete[](void *memory, std::size_t) noexcept { std::free(memory); }

extern "C" int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *user) {
    using Create = int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static const auto real = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
    return no_threads ? EAGAIN : real(thread, attributes, start, user);
}

// The call of a method, which every run goes through.
c10::IValue torch::jit::Method::operator()(std::vector<c10::IValue> stack, const Kwargs &keywords) const {
    using Call = c10::IValue (*)(const Method *, std::vector<c10::IValue>, const Kwargs &);
    static const auto real = reinterpret_cast<Call>(
        dlsym(RTLD_NEXT, "_ZNK5torch3jit6MethodclESt6vectorIN3c106IValueESaIS4_EERKSt13unordered_mapINSt7__cxx1112basic"
                         "_stringIcSt11char_traitsIcESaIcEEES4_St4hashISD_ESt8equal_toISD_ESaISt4pairIKSD_S4_EEE"));
    CHECK(real != nullptr);
    strike();
    // libtorch ends the process itself where memory runs out within it: it declares as noexcept what
    // allocates. What is ours lies around it.
    const long kept = std::exchange(allocations, -1);
    c10::IValue value = real(this, std::move(stack), keywords);
    allocations = kept;
    return value;
}

namespace {

void hear(void *, std::int32_t, const char *) noexcept { messages++; }

/// A run on three ids; its last output is copied.
bertscript_status run(const bertscript_module *module, std::vector<char> *values = nullptr,
                      bertscript_error **error = nullptr) {
    const std::int64_t ids[] = {2, 9, 3};
    bertscript_tensor *outputs[2] = {};
    std::size_t count = 0;
    const bertscript_status status =
        bertscript_module_run_ids(module, ids, nullptr, nullptr, 1, 3, nullptr, outputs, 2, &count, error);
    if (status != BERTSCRIPT_OK) {
        CHECK(outputs[0] == nullptr && outputs[1] == nullptr);
        return status;
    }
    if (values != nullptr) {
        values->resize(bertscript_tensor_nbytes(outputs[1]));
        CHECK(bertscript_tensor_copy_to(outputs[1], values->data(), values->size(), nullptr, nullptr) == BERTSCRIPT_OK);
    }
    for (bertscript_tensor *output : outputs) {
        bertscript_tensor_free(output);
    }
    return status;
}

bertscript_status embed(const bertscript_module *module) {
    const char *texts[] = {"the cat", "a dog", "who was it?"};
    bertscript_tensor *found = nullptr;
    const bertscript_status status =
        bertscript_module_embed(module, texts, nullptr, 3, nullptr, &found, nullptr, nullptr);
    bertscript_tensor_free(found);
    return status;
}

} // namespace

int main(int, char **argv) {
    bertscript_module *module = nullptr;
    bertscript_module *loaded = nullptr;
    CHECK(bertscript_module_load(argv[1], nullptr, &loaded, nullptr) == BERTSCRIPT_OK);
    // libtorch throws where the program runs; the engine native calls it for little.
    CHECK(bertscript_module_with_engine(loaded, "torchscript", nullptr, &module, nullptr) == BERTSCRIPT_OK);
    CHECK(bertscript_set_log_callback(hear, nullptr, BERTSCRIPT_LOG_WARNING, nullptr) == BERTSCRIPT_OK);
    std::vector<char> expected, found;
    CHECK(run(module, &expected) == BERTSCRIPT_OK);
    const auto as_before = [&] { return run(module, &found) == BERTSCRIPT_OK && found == expected; };

    // Whatever is thrown becomes a status; the next call works.
    const std::pair<Fault, bertscript_status> faults[] = {
        {INT, BERTSCRIPT_FOREIGN_EXCEPTION},  {BAD_ALLOC, BERTSCRIPT_OUT_OF_MEMORY},
        {RUNTIME_ERROR, BERTSCRIPT_TORCH},    {TORCH_ERROR, BERTSCRIPT_TORCH},
        {TORCH_MEMORY, BERTSCRIPT_OUT_OF_MEMORY},
    };
    for (const auto &[thrown, status] : faults) {
        fault = thrown;
        bertscript_error *error = nullptr;
        CHECK(run(module, nullptr, &error) == status);
        CHECK(bertscript_error_status(error) == status && *bertscript_error_message(error) != '\0');
        CHECK(std::strchr(bertscript_error_message(error), '\n') == nullptr);
        bertscript_error_free(error);
        CHECK(as_before());
    }

    // No thread can be started: what needs one says so, what does not works.
    bertscript_model *model = nullptr;
    bertscript_module *traced = nullptr;
    CHECK(bertscript_model_from_pretrained(argv[2], nullptr, &model, nullptr) == BERTSCRIPT_OK);
    no_threads = true;
    CHECK(bertscript_model_trace(model, nullptr, &traced, nullptr) == BERTSCRIPT_IO && traced == nullptr);
    CHECK(embed(module) == BERTSCRIPT_OK && as_before());
    no_threads = false;
    CHECK(bertscript_model_trace(model, nullptr, &traced, nullptr) == BERTSCRIPT_OK);
    CHECK(embed(module) == BERTSCRIPT_OK);
    bertscript_module_free(traced);

    // One allocation fails, the first, the second and so on: no abort, and all is as before. Where
    // tch does not expect it, it is a panic, of which the callback hears and stderr does not.
    int failures = 0, panics = 0;
    const auto sweep = [&](auto call) {
        for (long n = 0, passed = 0; passed < 3; n++) {
            const int before = messages;
            allocations = n;
            const bertscript_status status = call();
            const bool spent = std::exchange(allocations, -1) < 0;
            if (status == BERTSCRIPT_OK) {
                passed += spent ? 0 : 1;
                continue;
            }
            CHECK(spent && (status == BERTSCRIPT_OUT_OF_MEMORY || status == BERTSCRIPT_TORCH));
            failures++;
            panics += messages > before ? 1 : 0;
            CHECK(n % 16 != 0 || as_before());
        }
    };
    sweep([&] { return run(module); });
    sweep([&] { return embed(module); });
    sweep([&] { return run(loaded); });
    sweep([&] { return embed(loaded); });
    bertscript_module_free(loaded);
    CHECK(as_before() && embed(module) == BERTSCRIPT_OK);
    std::printf("%d %d\n", failures, panics);
    bertscript_model_free(model);
    bertscript_module_free(module);
    return 0;
}
