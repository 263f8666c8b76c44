// Large allocations fail: exhausted HOW EMBEDDER MASKED CLASSIFIER ENTITIES ANSWERS EMBEDDER
//
// `injected`: one after another of this library's large allocations fails, by definitions that
// stand before those of the C library. `limited`: the address space is limited (RLIMIT_AS), so
// that little to much is left. Every call succeeds with the usual result or says that memory ran
// out, and the next one works.

#include <bertscript/bertscript.h>

#include <dlfcn.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
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
// More than the `tokenizers` crate, whose allocations cannot fail, takes at once for these texts.
constexpr std::size_t LARGE = 256 << 10;
// How many large allocations succeed before one fails.
std::atomic<long> left{ALL};

// Whether the allocation fails that the function at `caller` wants.
bool fails(std::size_t size, void *caller) {
    if (size < LARGE) {
        return false;
    }
    Dl_info found;
    if (dladdr(caller, &found) == 0 || !(std::strstr(found.dli_fname, "libbertscript") || std::strstr(found.dli_fname, "libc10"))) {
        return false;
    }
    return left-- == 0;
}

template <typename Function>
Function real(const char *name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

} // namespace

extern "C" {
void *__libc_malloc(std::size_t);
void *__libc_calloc(std::size_t, std::size_t);
void *__libc_realloc(void *, std::size_t);

void *malloc(std::size_t size) noexcept {
    return fails(size, __builtin_return_address(0)) ? nullptr : __libc_malloc(size);
}
void *calloc(std::size_t count, std::size_t size) noexcept {
    return fails(count * size, __builtin_return_address(0)) ? nullptr : __libc_calloc(count, size);
}
void *realloc(void *memory, std::size_t size) noexcept {
    return fails(size, __builtin_return_address(0)) ? nullptr : __libc_realloc(memory, size);
}
int posix_memalign(void **out, std::size_t alignment, std::size_t size) noexcept {
    static const auto own = real<int (*)(void **, std::size_t, std::size_t)>("posix_memalign");
    return fails(size, __builtin_return_address(0)) ? ENOMEM : own(out, alignment, size);
}
void *aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    static const auto own = real<void *(*)(std::size_t, std::size_t)>("aligned_alloc");
    return fails(size, __builtin_return_address(0)) ? nullptr : own(alignment, size);
}
}

namespace {

constexpr std::size_t TEXTS = 8;

struct Stage {
    const char *name;
    // Does it, and tells what came of it.
    std::function<bertscript_status(std::string &)> run;
};

bertscript_module *load(const char *file) {
    bertscript_module *module = nullptr;
    CHECK(bertscript_module_load(file, nullptr, &module, nullptr) == BERTSCRIPT_OK, "%s\n", file);
    return module;
}

bertscript_status take(bertscript_status status, bertscript_tensor *tensor, std::string &found) {
    if (status == BERTSCRIPT_OK) {
        found.resize(bertscript_tensor_nbytes(tensor));
        status = bertscript_tensor_copy_to(tensor, &found[0], found.size(), nullptr, nullptr);
    } else {
        CHECK(tensor == nullptr, "an output of a failed call\n");
    }
    bertscript_tensor_free(tensor);
    return status;
}

// Rows of 512 tokens, some of which are padding.
bertscript_status run(const bertscript_module *module, std::size_t rows, std::string &found) {
    constexpr std::size_t LENGTH = 512;
    std::vector<std::int64_t> ids(rows * LENGTH), mask(rows * LENGTH, 1);
    for (std::size_t i = 0; i < ids.size(); i++) {
        ids[i] = static_cast<std::int64_t>(1 + i * 7 % 120);
        mask[i] = i % LENGTH < LENGTH - i / LENGTH;
    }
    bertscript_tensor *outputs[2] = {};
    std::size_t count = 0;
    const bertscript_status status = bertscript_module_run_ids(
        module, ids.data(), mask.data(), nullptr, rows, LENGTH, nullptr, outputs, 2, &count, nullptr);
    bertscript_tensor_free(outputs[1]);
    return take(status, outputs[0], found);
}

// What a task found, as JSON.
template <typename Results>
std::function<bertscript_status(std::string &)> task(std::function<bertscript_status(Results **)> run,
                                                     const char *(*json)(const Results *),
                                                     void (*destroy)(Results *)) {
    return [=](std::string &found) {
        Results *results = nullptr;
        const bertscript_status status = run(&results);
        CHECK((results != nullptr) == (status == BERTSCRIPT_OK), "results with status %d\n", status);
        if (results != nullptr) {
            found = json(results);
        }
        destroy(results);
        return status;
    };
}

std::size_t address_space() {
    long pages = 0;
    FILE *file = std::fopen("/proc/self/statm", "r");
    CHECK(file != nullptr && std::fscanf(file, "%ld", &pages) == 1, "statm\n");
    std::fclose(file);
    return static_cast<std::size_t>(pages) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

void limit(rlim_t bytes) {
    const rlimit limits{bytes, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_AS, &limits) == 0, "setrlimit\n");
}

// Whether the stage failed, as it may.
bool failed(const Stage &stage, const std::string &expected, const std::function<void()> &begin,
            const std::function<void()> &end, std::size_t step) {
    // What this program itself needs is there.
    std::string found(expected.size(), ' ');
    begin();
    const bertscript_status status = stage.run(found);
    end();
    CHECK(status == BERTSCRIPT_OK || status == BERTSCRIPT_OUT_OF_MEMORY, "%s: status %d at %zu\n", stage.name, status,
          step);
    CHECK(status != BERTSCRIPT_OK || found == expected, "%s: another result at %zu\n", stage.name, step);
    CHECK(stage.run(found) == BERTSCRIPT_OK && found == expected, "%s: after %zu\n", stage.name, step);
    return status != BERTSCRIPT_OK;
}

} // namespace

int main(int, char **argv) {
    const bool injected = std::strcmp(argv[1], "injected") == 0;
    bertscript_module *embedder = load(argv[2]), *masked = load(argv[3]), *classifier = load(argv[4]),
                      *entities = load(argv[5]), *answers = load(argv[6]);
    bertscript_module *int8 = nullptr;
    bertscript_tokenizer *tokenizer = nullptr;
    CHECK(bertscript_module_with_engine(embedder, nullptr, "int8", &int8, nullptr) == BERTSCRIPT_OK, "int8\n");
    CHECK(bertscript_tokenizer_from_module(embedder, &tokenizer, nullptr) == BERTSCRIPT_OK, "tokenizer\n");

    const char *const mode = "mean";
    bertscript_task_options *const pooling = bertscript_task_options_new();
    CHECK(bertscript_task_options_set_pooling(pooling, &mode, 1, nullptr) == BERTSCRIPT_OK, "pooling\n");

    std::string text = "the [MASK] sat. ";
    for (int i = 0; i < 100; i++) {
        text += "the cat saw a dog ";
    }
    const std::vector<const char *> texts(TEXTS, text.c_str()), questions(TEXTS, "a cat");
    const char *const *const all = texts.data();

    const Stage stages[] = {
        // A copy of the file, whose weights nobody has laid out.
        {"first-run", [&](std::string &found) {
             bertscript_module *module = nullptr;
             bertscript_status status = bertscript_module_load(argv[7], nullptr, &module, nullptr);
             status = status == BERTSCRIPT_OK ? run(module, 2, found) : status;
             bertscript_module_free(module);
             return status;
         }},
        {"run", [&](std::string &found) { return run(embedder, TEXTS, found); }},
        {"run-int8", [&](std::string &found) { return run(int8, TEXTS, found); }},
        {"run-masked", [&](std::string &found) { return run(masked, TEXTS, found); }},
        {"embed", [&](std::string &found) {
             bertscript_tensor *embeddings = nullptr;
             const bertscript_status status =
                 bertscript_module_embed(embedder, all, nullptr, TEXTS, pooling, &embeddings, nullptr, nullptr);
             return take(status, embeddings, found);
         }},
        {"encode", [&](std::string &found) {
             bertscript_encoding *encoding = nullptr;
             const bertscript_status status = bertscript_tokenizer_encode(tokenizer, all, nullptr, nullptr, nullptr,
                                                                          TEXTS, nullptr, &encoding, nullptr);
             found = std::to_string(bertscript_encoding_rows(encoding));
             for (std::size_t i = 0; i < bertscript_encoding_length(encoding, TEXTS - 1); i++) {
                 found += " " + std::to_string(bertscript_encoding_input_ids(encoding, TEXTS - 1)[i]);
             }
             bertscript_encoding_free(encoding);
             return status;
         }},
        {"classify", task<bertscript_classifications>(
                         [&](bertscript_classifications **out) {
                             return bertscript_module_classify(classifier, all, nullptr, nullptr, nullptr, TEXTS,
                                                               nullptr, out, nullptr);
                         },
                         bertscript_classifications_json, bertscript_classifications_free)},
        {"entities", task<bertscript_entities>(
                         [&](bertscript_entities **out) {
                             return bertscript_module_entities(entities, all, nullptr, TEXTS, nullptr, out, nullptr);
                         },
                         bertscript_entities_json, bertscript_entities_free)},
        {"answer", task<bertscript_answers>(
                       [&](bertscript_answers **out) {
                           return bertscript_module_answer(answers, questions.data(), nullptr, all, nullptr, TEXTS,
                                                           nullptr, out, nullptr);
                       },
                       bertscript_answers_json, bertscript_answers_free)},
        {"fill-mask", task<bertscript_fillings>(
                          [&](bertscript_fillings **out) {
                              return bertscript_module_fill_mask(masked, all, nullptr, TEXTS, nullptr, out, nullptr);
                          },
                          bertscript_fillings_json, bertscript_fillings_free)},
    };
    for (const Stage &stage : stages) {
        std::string expected, again;
        // Twice: threads start, and scratch memory stays.
        CHECK(stage.run(expected) == BERTSCRIPT_OK && !expected.empty(), "%s\n", stage.name);
        CHECK(stage.run(again) == BERTSCRIPT_OK && again == expected, "%s\n", stage.name);
        int failures = 0, calls = 0;
        if (injected) {
            left = ALL;
            CHECK(stage.run(again) == BERTSCRIPT_OK, "%s\n", stage.name);
            const std::size_t count = static_cast<std::size_t>(ALL - left.exchange(ALL));
            const std::size_t step = count / 10 + 1;
            for (std::size_t n = 0; n < count; n += step, calls++) {
                failures += failed(
                    stage, expected, [&] { left = static_cast<long>(n); }, [&] { left = ALL; }, n);
            }
        } else {
            // Twice as much each time, from nothing to more than it takes.
            for (std::size_t margin = 0; margin <= 128 << 20; margin = margin ? 2 * margin : 64 << 10, calls++) {
                failures += failed(
                    stage, expected, [&] { malloc_trim(0), limit(address_space() + margin); }, [&] { limit(RLIM_INFINITY); }, margin);
            }
        }
        std::printf("%s %d %d\n", stage.name, failures, calls);
        std::fflush(stdout);
    }
    for (bertscript_module *module : {embedder, masked, classifier, entities, answers, int8}) {
        bertscript_module_free(module);
    }
    bertscript_task_options_free(pooling);
    bertscript_tokenizer_free(tokenizer);
    return 0;
}
