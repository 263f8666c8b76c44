/* Forks, exits and small stacks:
 * processes fork FILE PLAN WHEN THREADS | workers FILE | inside FILE WARNS | ended FILE | exit FILE | stack FILE KIB */

#define _GNU_SOURCE
#include <bertscript/bertscript.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 32
#define LENGTH 32
#define TEXTS 64
/* A child that hangs fails. */
#define SECONDS 120

/* Ends the program with the line that was not true. */
#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

static const char *file;
static const char *texts[TEXTS];
static int64_t ids[BATCH * LENGTH];

typedef struct {
    float *values;
    size_t nbytes;
} values;

typedef struct {
    values run, embed;
} results;

static values take(bertscript_tensor *tensor) {
    values taken;
    taken.nbytes = bertscript_tensor_nbytes(tensor);
    taken.values = malloc(taken.nbytes);
    CHECK(bertscript_tensor_copy_to(tensor, taken.values, taken.nbytes, NULL, NULL) == BERTSCRIPT_OK);
    bertscript_tensor_free(tensor);
    return taken;
}

/* Enough tokens and texts for several threads. */
static bertscript_status try_compute(const bertscript_module *module, results *found) {
    bertscript_tensor *outputs[8], *embeddings = NULL;
    size_t count = 0;
    bertscript_status status;
    status = bertscript_module_run_ids(module, ids, NULL, NULL, BATCH, LENGTH, NULL, outputs, 8, &count, NULL);
    if (status != BERTSCRIPT_OK) {
        return status;
    }
    found->run = take(outputs[0]);
    while (count > 1) {
        bertscript_tensor_free(outputs[--count]);
    }
    status = bertscript_module_embed(module, texts, NULL, TEXTS, NULL, &embeddings, NULL, NULL);
    if (status == BERTSCRIPT_OK) {
        found->embed = take(embeddings);
    }
    return status;
}

static results compute(const bertscript_module *module) {
    results found;
    CHECK(try_compute(module, &found) == BERTSCRIPT_OK);
    return found;
}

/* libtorch adds up in another order on another number of threads; this library does not. */
static void same_values(values a, values b, int exact) {
    size_t i;
    CHECK(a.nbytes == b.nbytes);
    for (i = 0; i < a.nbytes / sizeof *a.values; i++) {
        CHECK(exact ? a.values[i] == b.values[i] : fabsf(a.values[i] - b.values[i]) < 1e-5f);
    }
}

static void same(results a, results b, int exact) {
    same_values(a.run, b.run, exact);
    same_values(a.embed, b.embed, exact);
}

static bertscript_module *load(const char *path) {
    bertscript_module *module = NULL;
    CHECK(bertscript_module_load(path, NULL, &module, NULL) == BERTSCRIPT_OK);
    return module;
}

/* A child has to end by itself, with the status of success. */
static void await(pid_t child) {
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static unsigned long thread_count(void) {
    struct stat tasks;
    CHECK(stat("/proc/self/task", &tasks) == 0);
    return (unsigned long)tasks.st_nlink - 2;
}

typedef struct {
    const bertscript_module *module;
    results expected;
    int exact;
} job;

static void *compute_again(void *user) {
    const job *asked = user;
    same(compute(asked->module), asked->expected, asked->exact);
    CHECK(bertscript_get_num_threads() == 2);
    return NULL;
}

static void *wait_for(void *user) {
    sem_wait(user);
    return NULL;
}

/* Forks after loading or after use, perhaps while threads wait that have used the library. */
static void fork_idle(const char *engine, const char *when, int idle) {
    bertscript_module *module = NULL, *loaded = load(file), *again = NULL;
    job asked;
    sem_t ended;
    pthread_t threads[2], own;
    pid_t child;
    int i;
    CHECK(bertscript_module_with_engine(loaded, engine, NULL, &module, NULL) == BERTSCRIPT_OK);
    asked.module = module;
    asked.exact = strcmp(engine, "torchscript") != 0;
    sem_init(&ended, 0, 0);
    for (i = 0; i < idle; i++) {
        CHECK(pthread_create(&threads[i], NULL, wait_for, &ended) == 0);
    }
    if (strcmp(when, "used") == 0) {
        asked.expected = compute(module);
    }
    child = fork();
    if (child == 0) {
        alarm(SECONDS);
        if (strcmp(when, "used") != 0) {
            compute(module);
            exit(0);
        }
        same(compute(module), asked.expected, asked.exact);
        /* Of the library's own threads there are others; libtorch has this one. */
        CHECK(bertscript_get_num_threads() == 2);
        /* What is set is for threads to come: libtorch's pool of this one is gone. */
        CHECK(bertscript_set_num_threads(2, NULL) == BERTSCRIPT_OK);
        same(compute(module), asked.expected, asked.exact);
        CHECK(bertscript_shutdown_threads(NULL) == BERTSCRIPT_OK);
        same(compute(module), asked.expected, asked.exact);
        CHECK(pthread_create(&own, NULL, compute_again, &asked) == 0 && pthread_join(own, NULL) == 0);
        again = load(file);
        bertscript_module_free(again);
        child = fork();
        if (child == 0) {
            alarm(SECONDS);
            same(compute(module), asked.expected, asked.exact);
            exit(0);
        }
        await(child);
        bertscript_module_free(module);
        bertscript_module_free(loaded);
        exit(0);
    }
    await(child);
    if (strcmp(when, "used") == 0) {
        same(compute(module), asked.expected, asked.exact);
    }
    for (i = 0; i < idle; i++) {
        sem_post(&ended);
    }
    for (i = 0; i < idle; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static int stop;

static void *compute_always(void *user) {
    const job *asked = user;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        results found = compute(asked->module);
        same(found, asked->expected, asked->exact);
        free(found.run.values);
        free(found.embed.values);
    }
    return NULL;
}

/* Forks while others compute: a child has the same results, or learns at once that it cannot compute. */
static void fork_among_workers(void) {
    job asked;
    pthread_t threads[3];
    int i;
    asked.module = load(file);
    asked.expected = compute(asked.module);
    asked.exact = 1;
    for (i = 0; i < 3; i++) {
        CHECK(pthread_create(&threads[i], NULL, compute_always, &asked) == 0);
    }
    for (i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            results found;
            bertscript_status status;
            alarm(SECONDS);
            status = try_compute(asked.module, &found);
            CHECK(status == BERTSCRIPT_OK || status == BERTSCRIPT_PROCESS_STATE);
            if (status == BERTSCRIPT_OK) {
                same(found, asked.expected, 1);
            }
            _exit(0);
        }
        await(child);
        usleep(1000);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (i = 0; i < 3; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static sem_t entered, may_leave;

static void on_warning(void *user, int32_t level, const char *message) {
    (void)user;
    (void)level;
    (void)message;
    sem_post(&entered);
    sem_wait(&may_leave);
}

static void *run_slowly(void *user) {
    float value = 1;
    int64_t shape[] = {1};
    const char *name = "x";
    bertscript_tensor *input = NULL, *output = NULL;
    const bertscript_tensor *inputs[1];
    size_t count = 0;
    CHECK(bertscript_tensor_copy_from(BERTSCRIPT_FLOAT32, shape, 1, &value, sizeof value, &input, NULL) ==
          BERTSCRIPT_OK);
    inputs[0] = input;
    CHECK(bertscript_module_run(user, &name, inputs, 1, NULL, &output, 1, &count, NULL) == BERTSCRIPT_OK);
    bertscript_tensor_free(input);
    bertscript_tensor_free(output);
    return NULL;
}

/* Forks while another thread is certainly inside of a call. */
static void fork_during_call(const char *warns) {
    bertscript_module *module = load(file), *slow = load(warns);
    results expected = compute(module);
    pthread_t thread;
    pid_t child;
    sem_init(&entered, 0, 0);
    sem_init(&may_leave, 0, 0);
    CHECK(bertscript_set_log_callback(on_warning, NULL, BERTSCRIPT_LOG_WARNING, NULL) == BERTSCRIPT_OK);
    CHECK(pthread_create(&thread, NULL, run_slowly, slow) == 0);
    sem_wait(&entered);
    child = fork();
    if (child == 0) {
        results found;
        bertscript_module *again = NULL;
        bertscript_error *error = NULL;
        alarm(SECONDS);
        CHECK(try_compute(module, &found) == BERTSCRIPT_PROCESS_STATE);
        CHECK(bertscript_shutdown_threads(NULL) == BERTSCRIPT_PROCESS_STATE);
        CHECK(bertscript_module_load(file, NULL, &again, &error) == BERTSCRIPT_PROCESS_STATE && again == NULL);
        CHECK(strcmp(bertscript_error_message(error),
                     "process: found a fork during calls of other threads, expected none") == 0);
        CHECK(strcmp(bertscript_status_name(bertscript_error_status(error)), "PROCESS_STATE") == 0);
        CHECK(strstr(bertscript_devices_json(), "error") != NULL);
        bertscript_error_free(error);
        exit(0);
    }
    await(child);
    sem_post(&may_leave);
    CHECK(pthread_join(thread, NULL) == 0);
    same(compute(module), expected, 1);
}

/* After the threads are shut down there are none, and a child has as many as its parent. */
static void fork_after_shutdown(void) {
    bertscript_module *module = load(file), *by_code = NULL;
    results expected, expected_torchscript;
    unsigned long before, during;
    pid_t child;
    int i;
    CHECK(bertscript_module_with_engine(module, "torchscript", NULL, &by_code, NULL) == BERTSCRIPT_OK);
    for (i = 0; i < 2; i++) {
        before = thread_count();
        expected = compute(module);
        expected_torchscript = compute(by_code);
        during = thread_count();
        CHECK(during > before);
        CHECK(bertscript_shutdown_threads(NULL) == BERTSCRIPT_OK);
        /* The system takes its time to forget a thread that was joined. */
        while (thread_count() > before) {
            usleep(1000);
        }
        child = fork();
        if (child == 0) {
            alarm(SECONDS);
            CHECK(bertscript_get_num_threads() == 2);
            same(compute(module), expected, 1);
            same(compute(by_code), expected_torchscript, 1);
            CHECK(thread_count() > 1);
            exit(0);
        }
        await(child);
        same(compute(module), expected, 1);
        same(compute(by_code), expected_torchscript, 1);
        CHECK(thread_count() == during);
        CHECK(bertscript_shutdown_threads(NULL) == BERTSCRIPT_OK);
        CHECK(bertscript_shutdown_threads(NULL) == BERTSCRIPT_OK);
    }
}

static void before_first_use(void) {
    bertscript_module *module = NULL;
    bertscript_error *error = NULL;
    bertscript_status status = bertscript_module_load(file, NULL, &module, &error);
    puts(bertscript_status_name(status));
    puts(bertscript_error_message(error));
    fflush(stdout);
}

static void after_first_use(void) {
    puts("after");
    fflush(stdout);
}

static void *on_small_stack(void *user) {
    bertscript_module *module = NULL;
    bertscript_error *error = NULL;
    bertscript_status status = bertscript_module_load(file, NULL, &module, &error);
    (void)user;
    puts(bertscript_status_name(status));
    if (status == BERTSCRIPT_OK) {
        bertscript_module *by_code = NULL;
        results found = compute(module);
        int i;
        status = bertscript_module_with_engine(module, "torchscript", NULL, &by_code, NULL);
        puts(bertscript_status_name(status));
        for (i = 0; i < 2 && status == BERTSCRIPT_OK; i++) {
            puts(bertscript_status_name(try_compute(by_code, &found)));
        }
    }
    bertscript_error_free(error);
    return NULL;
}

int main(int argc, char **argv) {
    int i;
    CHECK(argc > 2);
    file = argv[2];
    for (i = 0; i < TEXTS; i++) {
        texts[i] = i % 2 ? "the cat sat on the mat" : "who was it?";
    }
    for (i = 0; i < BATCH * LENGTH; i++) {
        ids[i] = 2 + i % 20;
    }
    alarm(4 * SECONDS);
    if (strcmp(argv[1], "fork") == 0) {
        fork_idle(argv[3], argv[4], atoi(argv[5]));
    } else if (strcmp(argv[1], "workers") == 0) {
        fork_among_workers();
    } else if (strcmp(argv[1], "inside") == 0) {
        fork_during_call(argv[3]);
    } else if (strcmp(argv[1], "ended") == 0) {
        fork_after_shutdown();
    } else if (strcmp(argv[1], "exit") == 0) {
        atexit(before_first_use);
        compute(load(file));
        atexit(after_first_use);
    } else if (strcmp(argv[1], "stack") == 0) {
        pthread_attr_t attributes;
        pthread_t thread;
        CHECK(pthread_attr_init(&attributes) == 0);
        CHECK(pthread_attr_setstacksize(&attributes, (size_t)atoi(argv[3]) << 10) == 0);
        CHECK(pthread_create(&thread, &attributes, on_small_stack, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    } else {
        return 2;
    }
    return 0;
}
