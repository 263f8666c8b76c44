/* One module under load: stress threads FILE THREADS RUNS | rounds FILE ROUNDS | reload LIBRARY FILE TIMES */

#include <bertscript/bertscript.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHAPES 8
#define MAX_LENGTH 40

/* Ends the program with the line that was not true. */
#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

typedef struct {
    int64_t ids[4 * MAX_LENGTH], mask[4 * MAX_LENGTH];
    size_t batch, length, nbytes;
    void *expected;
} request;

static request requests[SHAPES];
static const char *texts[] = {"the cat sat", "who was it?", "a"};
static void *embedding;
static size_t embedding_size;

static void *copy_of(const bertscript_tensor *tensor, size_t *nbytes) {
    *nbytes = bertscript_tensor_nbytes(tensor);
    void *copy = malloc(*nbytes);
    CHECK(bertscript_tensor_copy_to(tensor, copy, *nbytes, NULL, NULL) == BERTSCRIPT_OK);
    return copy;
}

/* The first output of a run, which is freed; or a comparison with what it must be. */
static void run(const bertscript_module *module, request *asked) {
    bertscript_tensor *outputs[2];
    size_t count = 0, nbytes;
    CHECK(bertscript_module_run_ids(module, asked->ids, asked->mask, NULL, asked->batch, asked->length,
                                    NULL, outputs, 2, &count, NULL) == BERTSCRIPT_OK);
    void *found = copy_of(outputs[0], &nbytes);
    if (asked->expected == NULL) {
        asked->expected = found;
        asked->nbytes = nbytes;
    } else {
        CHECK(nbytes == asked->nbytes && memcmp(found, asked->expected, nbytes) == 0);
        free(found);
    }
    while (count > 0) {
        bertscript_tensor_free(outputs[--count]);
    }
}

/* Embeds with a token that may be cancelled on the way. */
static bertscript_status embed(const bertscript_module *module, const bertscript_cancel_token *token) {
    bertscript_task_options *options = bertscript_task_options_new();
    bertscript_tensor *found = NULL;
    CHECK(bertscript_task_options_set_cancel_token(options, token, NULL) == BERTSCRIPT_OK);
    CHECK(bertscript_task_options_set_batch_tokens(options, 1, NULL) == BERTSCRIPT_OK);
    bertscript_status status = bertscript_module_embed(module, texts, NULL, 3, options, &found, NULL, NULL);
    if (status == BERTSCRIPT_OK) {
        size_t nbytes;
        void *values = copy_of(found, &nbytes);
        if (embedding == NULL) {
            embedding = values;
            embedding_size = nbytes;
        } else {
            CHECK(nbytes == embedding_size && memcmp(values, embedding, nbytes) == 0);
            free(values);
        }
    }
    bertscript_tensor_free(found);
    bertscript_task_options_free(options);
    return status;
}

typedef struct {
    pthread_t thread;
    const bertscript_module *module;
    bertscript_cancel_token *token;
    unsigned number, runs;
} worker;

static void *work(void *user) {
    worker *self = user;
    unsigned i;
    for (i = 0; i < self->runs; i++) {
        bertscript_module *clone = bertscript_module_clone(self->module);
        run(clone, &requests[(i * 7 + self->number) % SHAPES]);
        if (i % 16 == 0) {
            bertscript_status status = embed(clone, self->token);
            CHECK(status == BERTSCRIPT_OK || status == BERTSCRIPT_CANCELLED);
        }
        if (i % 64 == 63) {
            /* Whoever embeds with it now is stopped, or was faster. */
            bertscript_cancel_token_cancel(self->token);
            CHECK(embed(clone, self->token) == BERTSCRIPT_CANCELLED);
        }
        bertscript_module_free(clone);
    }
    return NULL;
}

static bertscript_module *load(const char *file) {
    bertscript_module *module = NULL;
    CHECK(bertscript_module_load(file, NULL, &module, NULL) == BERTSCRIPT_OK);
    return module;
}

static void threads(const char *file, unsigned count, unsigned runs) {
    bertscript_module *module = load(file);
    worker *workers = calloc(count, sizeof *workers);
    unsigned i, j;
    CHECK(bertscript_set_num_threads(1, NULL) == BERTSCRIPT_OK);
    for (i = 0; i < SHAPES; i++) {
        requests[i].batch = 1 + i % 4;
        requests[i].length = 3 + 5 * i;
        for (j = 0; j < requests[i].batch * requests[i].length; j++) {
            requests[i].ids[j] = 2 + (j * 31 + i) % 20;
            requests[i].mask[j] = j % requests[i].length < 2 + i;
        }
        run(module, &requests[i]);
    }
    CHECK(embed(module, NULL) == BERTSCRIPT_OK);
    for (i = 0; i < count; i++) {
        workers[i].module = bertscript_module_clone(module);
        /* Pairs of workers share a token, which one of them may cancel for both. */
        workers[i].token = i % 2 ? bertscript_cancel_token_clone(workers[i - 1].token)
                                 : bertscript_cancel_token_new();
        workers[i].number = i;
        workers[i].runs = runs;
        CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    bertscript_module_free(module); /* they have their own */
    for (i = 0; i < count; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
        bertscript_module_free((bertscript_module *)workers[i].module);
        bertscript_cancel_token_free(workers[i].token);
    }
    free(workers);
    for (i = 0; i < SHAPES; i++) {
        free(requests[i].expected);
    }
    free(embedding);
}

static long resident_kib(void) {
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1) {
            break;
        }
    }
    fclose(status);
    return kib;
}

/* Load, run, embed, fail, free: memory after a tenth of the rounds is what it is at their end. */
static void rounds(const char *file, unsigned count) {
    long early = 0;
    unsigned i;
    for (i = 0; i < count; i++) {
        bertscript_module *module = load(file), *nowhere = NULL;
        bertscript_error *error = NULL;
        request asked = {{2, 9, 3}, {1, 1, 1}, 1, 3, 0, NULL};
        run(module, &asked);
        free(asked.expected);
        /* Seldom: libtorch optimises a program when it is run again, which takes its time. */
        CHECK(i % 50 != 0 || embed(module, NULL) == BERTSCRIPT_OK);
        CHECK(bertscript_module_load("nowhere.pt", NULL, &nowhere, &error) == BERTSCRIPT_NOT_FOUND);
        bertscript_error_free(error);
        bertscript_module_free(module);
        if (i == count / 10) {
            early = resident_kib();
        }
    }
    printf("%ld %ld\n", early, resident_kib());
    free(embedding);
}

/* Loads the library, runs, and lets it go, many times. */
static void reload(const char *path, const char *file, unsigned times) {
    while (times-- > 0) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        bertscript_status (*load)(const char *, const char *, bertscript_module **, bertscript_error **);
        void (*release)(bertscript_module *);
        bertscript_module *module = NULL;
        CHECK(library != NULL);
        *(void **)&load = dlsym(library, "bertscript_module_load");
        *(void **)&release = dlsym(library, "bertscript_module_free");
        CHECK(load(file, NULL, &module, NULL) == BERTSCRIPT_OK);
        release(module);
        CHECK(dlclose(library) == 0);
    }
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "threads") == 0) {
        threads(argv[2], (unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]));
    } else if (argc == 4 && strcmp(argv[1], "rounds") == 0) {
        rounds(argv[2], (unsigned)atoi(argv[3]));
    } else if (argc == 5 && strcmp(argv[1], "reload") == 0) {
        reload(argv[2], argv[3], (unsigned)atoi(argv[4]));
    } else {
        return 2;
    }
    return 0;
}
