// Memory runs out, at one place after another: memory FILE CHECKPOINT FOLDER
//
// This program's own definitions stand before those of the C and C++ libraries, so the real
// libbertscript.so and libtorch call them: they fail when they are told to.

#include <bertscript/bertscript.h>

#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <new>
#include <string>
#include <utility>
#include <vector>

#define CHECK(condition, ...)                                                     \
    do {                                                                          \
        if (!(condition)) {                                                       \
            std::fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);  \
            std::fprintf(stderr, __VA_ARGS__);                                    \
            _exit(1);                                                             \
        }                                                                         \
    } while (0)

namespace {

constexpr long ALL = 1L << 40;
// How many allocations of a tensor's memory succeed before one fails, on any thread.
std::atomic<long> tensors{ALL};
// The same for objects of C++, on this thread; and what a thread that traces will have.
thread_local long objects = ALL;
std::atomic<long> objects_of_tracing{ALL};

void *allocate(std::size_t size) {
    if (objects-- == 0) {
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

// What libtorch takes the memory of tensors from; Rust asks here too, and ends the process.
extern "C" int posix_memalign(void **out, std::size_t alignment, std::size_t size) noexcept {
    using Take = int (*)(void **, std::size_t, std::size_t);
    static const auto real = reinterpret_cast<Take>(dlsym(RTLD_NEXT, "posix_memalign"));
    Dl_info caller;
    const bool torch = dladdr(__builtin_return_address(0), &caller) != 0 && std::strstr(caller.dli_fname, "libc10");
    return torch && tensors-- == 0 ? ENOMEM : real(out, alignment, size);
}

// Nobody waits for the disk.
extern "C" int fsync(int) { return 0; }

// A model is traced on a thread of its own.
extern "C" int pthread_setname_np(pthread_t, const char *name) noexcept {
    if (std::strncmp(name, "bertscript-trac", 15) == 0) {
        objects = objects_of_tracing;
    }
    return 0;
}

namespace {

using Bytes = std::vector<char>;

struct Stage {
    const char *name;
    // Does it, and tells what came of it.
    std::function<bertscript_status(Bytes &)> run;
    bool on_own_thread = false;
};

bertscript_status take(bertscript_status status, bertscript_tensor *tensor, Bytes &bytes) {
    if (status == BERTSCRIPT_OK) {
        bytes.resize(bertscript_tensor_nbytes(tensor));
        status = bertscript_tensor_copy_to(tensor, bytes.data(), bytes.size(), nullptr, nullptr);
    } else {
        CHECK(tensor == nullptr, "an output of a failed call\n");
    }
    bertscript_tensor_free(tensor);
    return status;
}

bertscript_status run(const bertscript_module *module, Bytes &bytes) {
    const std::int64_t ids[] = {2, 9, 3};
    bertscript_tensor *outputs[2] = {};
    std::size_t count = 0;
    const bertscript_status status =
        bertscript_module_run_ids(module, ids, nullptr, nullptr, 1, 3, nullptr, outputs, 2, &count, nullptr);
    bertscript_tensor_free(outputs[1]);
    return take(status, outputs[0], bytes);
}

bertscript_status embed(const bertscript_module *module, Bytes &bytes) {
    const char *texts[] = {"the cat", "a dog", "who was it?"};
    bertscript_tensor *found = nullptr;
    const bertscript_status status =
        bertscript_module_embed(module, texts, nullptr, 3, nullptr, &found, nullptr, nullptr);
    return take(status, found, bytes);
}

// Runs what a call gave out, and frees it.
bertscript_status run_new(bertscript_status status, bertscript_module *module, Bytes &bytes) {
    if (status == BERTSCRIPT_OK) {
        status = run(module, bytes);
    } else {
        CHECK(module == nullptr, "a module of a failed call\n");
    }
    bertscript_module_free(module);
    return status;
}

Bytes contents(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bertscript_status written(bertscript_status status, const std::string &path, Bytes &bytes) {
    const bool exists = access(path.c_str(), F_OK) == 0;
    CHECK(exists == (status == BERTSCRIPT_OK), "%s after status %d\n", path.c_str(), status);
    bytes = contents(path);
    unlink(path.c_str());
    return status;
}

// The memory of one tensor after another cannot be had: each time that is the error, and
// everything is as before.
void without_tensors(const Stage &stage, const Bytes &expected) {
    Bytes found;
    tensors = ALL;
    CHECK(stage.run(found) == BERTSCRIPT_OK && found == expected, "%s\n", stage.name);
    const long count = ALL - tensors.exchange(ALL);
    // Tracing takes many, and long.
    const long step = stage.on_own_thread ? count / 12 + 1 : 1;
    long failures = 0;
    for (long n = 0; n < count; n += step) {
        tensors = n;
        const bertscript_status status = stage.run(found);
        const bool spent = tensors.exchange(ALL) < 0;
        CHECK(spent, "%s: tensor %ld was not wanted\n", stage.name, n);
        CHECK(status == BERTSCRIPT_OUT_OF_MEMORY, "%s: status %d at tensor %ld\n", stage.name, status, n);
        CHECK(stage.run(found) == BERTSCRIPT_OK && found == expected, "%s: after tensor %ld\n", stage.name, n);
        failures++;
    }
    std::printf("tensors %s %ld %d\n", stage.name, failures, 0);
}

// The same for objects, some of which libtorch makes where it may not throw. So each is a
// process of its own: it tells an error and goes on, or libtorch ends it; it never crashes.
void without_objects(const Stage &stage, const Bytes &expected, long samples) {
    std::atomic<long> &shared = objects_of_tracing;
    const auto fail_after = [&](long n) { stage.on_own_thread ? (void)(shared = n) : (void)(objects = n); };
    Bytes found;
    objects = ALL;
    CHECK(stage.run(found) == BERTSCRIPT_OK, "%s\n", stage.name);
    // Of a thread that has gone the count is not known.
    const long count = stage.on_own_thread ? 20000 : ALL - objects;
    objects = ALL;
    long failures = 0, ended = 0;
    for (long sample = 0; sample < samples; sample++) {
        const long n = sample < samples / 4 ? sample : count * sample / samples;
        std::fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            // What libtorch says where it ends the process is not of interest.
            FILE *own = fdopen(dup(STDERR_FILENO), "w");
            CHECK(own != nullptr && freopen("/dev/null", "w", stderr) != nullptr, "stderr\n");
            alarm(300);
            fail_after(n);
            const bertscript_status status = stage.run(found);
            fail_after(ALL);
            objects = ALL;
            const bool told = status == BERTSCRIPT_OUT_OF_MEMORY || status == BERTSCRIPT_TORCH;
            if (!(status == BERTSCRIPT_OK ? found == expected : told)) {
                std::fprintf(own, "%s: status %d at object %ld, wrong=%d\n", stage.name, status, n, found != expected);
                std::fflush(own);
                _exit(1);
            }
            if (stage.run(found) != BERTSCRIPT_OK || found != expected) {
                std::fprintf(own, "%s: another result after object %ld\n", stage.name, n);
                std::fflush(own);
                _exit(1);
            }
            _exit(status == BERTSCRIPT_OK ? 0 : 2);
        }
        int status = 0;
        CHECK(child > 0 && waitpid(child, &status, 0) == child, "fork\n");
        const bool aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
        CHECK(aborted || (WIFEXITED(status) && WEXITSTATUS(status) != 1), "%s: %d at object %ld\n", stage.name, status,
              n);
        ended += aborted;
        failures += !aborted && WEXITSTATUS(status) == 2;
    }
    std::printf("objects %s %ld %ld\n", stage.name, failures, ended);
}

} // namespace

int main(int, char **argv) {
    const char *file = argv[1], *checkpoint = argv[2];
    const std::string to = std::string(argv[3]) + "/written.pt";
    bertscript_module *loaded = nullptr, *by_code = nullptr;
    bertscript_model *model = nullptr;
    CHECK(bertscript_module_load(file, nullptr, &loaded, nullptr) == BERTSCRIPT_OK, "load\n");
    CHECK(bertscript_module_with_engine(loaded, "torchscript", nullptr, &by_code, nullptr) == BERTSCRIPT_OK, "with_engine\n");
    CHECK(bertscript_model_from_pretrained(checkpoint, nullptr, &model, nullptr) == BERTSCRIPT_OK, "model\n");

    const auto made = [](auto make) {
        return [make](Bytes &bytes) {
            bertscript_module *module = nullptr;
            const bertscript_status status = make(&module);
            return run_new(status, module, bytes);
        };
    };
    const Stage stages[] = {
        {"load", made([&](bertscript_module **out) { return bertscript_module_load(file, nullptr, out, nullptr); })},
        {"cast", made([&](bertscript_module **out) {
             return bertscript_module_to(loaded, nullptr, "bfloat16", out, nullptr);
         })},
        {"int8", made([&](bertscript_module **out) {
             return bertscript_module_with_engine(loaded, nullptr, "int8", out, nullptr);
         })},
        {"save", [&](Bytes &bytes) {
             return written(bertscript_module_save(loaded, to.c_str(), nullptr), to, bytes);
         }},
        {"run", [&](Bytes &bytes) { return run(loaded, bytes); }},
        {"run-torchscript", [&](Bytes &bytes) { return run(by_code, bytes); }},
        {"embed", [&](Bytes &bytes) { return embed(loaded, bytes); }},
        {"embed-torchscript", [&](Bytes &bytes) { return embed(by_code, bytes); }},
        {"pretrained", [&](Bytes &bytes) {
             bertscript_model *made = nullptr;
             const bertscript_status status = bertscript_model_from_pretrained(checkpoint, nullptr, &made, nullptr);
             CHECK((made != nullptr) == (status == BERTSCRIPT_OK), "a model\n");
             const std::int64_t count = bertscript_model_parameter_count(made);
             bytes.assign(reinterpret_cast<const char *>(&count), reinterpret_cast<const char *>(&count + 1));
             bertscript_model_free(made);
             return status;
         }},
        {"trace", made([&](bertscript_module **out) { return bertscript_model_trace(model, nullptr, out, nullptr); }),
         true},
        {"export", [&](Bytes &bytes) {
             return written(bertscript_model_export(model, nullptr, to.c_str(), nullptr), to, bytes);
         }, true},
    };
    for (const Stage &stage : stages) {
        Bytes expected;
        CHECK(stage.run(expected) == BERTSCRIPT_OK && !expected.empty(), "%s\n", stage.name);
        without_tensors(stage, expected);
        without_objects(stage, expected, stage.on_own_thread ? 8 : 24);
    }
    bertscript_model_free(model);
    bertscript_module_free(by_code);
    bertscript_module_free(loaded);
    return 0;
}
