/* What callbacks may do: callbacks WARNS.pt SENTENCE.pt CHECKPOINT
 *
 * The first file warns whenever it runs, through the log callback. */
#include <bertscript/bertscript.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ATen/dlpack.h>

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
            exit(1);                                                             \
        }                                                                        \
    } while (0)
#define OK(call) CHECK((call) == BERTSCRIPT_OK)

static bertscript_module *warns, *sentence;
static bertscript_model *model;

/* A run of the file that warns. */
static bertscript_status warn(const bertscript_run_options *options) {
    const float one = 1, two = 2;
    const int64_t shape[] = {1};
    const char *names[] = {"x"};
    bertscript_tensor *x = NULL, *y = NULL;
    const bertscript_tensor *inputs[1];
    bertscript_status status;
    size_t count = 0;
    OK(bertscript_tensor_copy_from(BERTSCRIPT_FLOAT32, shape, 1, &one, sizeof one, &x, NULL));
    inputs[0] = x;
    status = bertscript_module_run(warns, names, inputs, 1, options, &y, 1, &count, NULL);
    if (status == BERTSCRIPT_OK) {
        float found = 0;
        OK(bertscript_tensor_copy_to(y, &found, sizeof found, NULL, NULL));
        CHECK(count == 1 && found == two);
    }
    bertscript_tensor_free(x);
    bertscript_tensor_free(y);
    return status;
}

/* An embedding, which is always the same. */
static void embed(void) {
    static float expected[64];
    float found[64];
    static size_t size = 0;
    const char *texts[] = {"the cat", "a dog"};
    bertscript_tensor *tensor = NULL;
    OK(bertscript_module_embed(sentence, texts, NULL, 2, NULL, &tensor, NULL, NULL));
    CHECK(bertscript_tensor_nbytes(tensor) <= sizeof found);
    OK(bertscript_tensor_copy_to(tensor, found, sizeof found, NULL, NULL));
    if (size == 0) {
        size = bertscript_tensor_nbytes(tensor);
        memcpy(expected, found, size);
    }
    CHECK(memcmp(found, expected, size) == 0);
    bertscript_tensor_free(tensor);
}

/* A callback that waits: whoever is not inside of it goes on. */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int is_waiting, may_go_on, heard;

static void set(int *flag) {
    pthread_mutex_lock(&mutex);
    *flag = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void wait_for(const int *flag) {
    pthread_mutex_lock(&mutex);
    while (!*flag) {
        pthread_cond_wait(&changed, &mutex);
    }
    pthread_mutex_unlock(&mutex);
}

static void block(void *user, int32_t level, const char *message) {
    CHECK(user == &heard && level == BERTSCRIPT_LOG_WARNING && strcmp(message, "careful") == 0);
    set(&is_waiting);
    wait_for(&may_go_on);
}

static void count(void *user, int32_t level, const char *message) {
    (void)level;
    (void)message;
    ++*(int *)user;
}

static void *warn_on_thread(void *unused) {
    OK(warn(NULL));
    return unused;
}

static void a_callback_that_waits(void) {
    pthread_t thread;
    bertscript_module *traced = NULL, *clone = bertscript_module_clone(warns);
    OK(bertscript_set_log_callback(block, &heard, BERTSCRIPT_LOG_WARNING, NULL));
    CHECK(pthread_create(&thread, NULL, warn_on_thread, NULL) == 0);
    wait_for(&is_waiting);
    embed();
    OK(bertscript_model_trace(model, NULL, &traced, NULL));
    bertscript_module_free(traced);
    bertscript_module_free(clone);
    OK(bertscript_set_log_callback(count, &heard, BERTSCRIPT_LOG_WARNING, NULL));
    OK(warn(NULL));
    CHECK(heard == 1);
    set(&may_go_on);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(heard == 1);
}

/* A callback that calls: all but what would wait for its own call. */

static int depth, calls;

static void call_again(void *user, int32_t level, const char *message) {
    bertscript_module *made = NULL;
    bertscript_error *error = NULL;
    (void)level;
    CHECK(message != NULL);
    calls++;
    if (++depth < 3) {
        OK(warn(NULL));
    }
    embed();
    CHECK(bertscript_model_trace(model, NULL, &made, &error) == BERTSCRIPT_BUSY && made == NULL);
    CHECK(strstr(bertscript_error_message(error), "callback") != NULL);
    bertscript_error_free(error);
    OK(bertscript_set_log_callback(call_again, user, BERTSCRIPT_LOG_WARNING, NULL));
    depth--;
}

static void a_callback_that_calls(void) {
    bertscript_module *made = NULL;
    OK(bertscript_set_log_callback(call_again, NULL, BERTSCRIPT_LOG_WARNING, NULL));
    OK(warn(NULL));
    CHECK(calls == 3 && depth == 0);
    OK(bertscript_model_trace(model, NULL, &made, NULL));
    bertscript_module_free(made);
}

/* A callback that cancels the call that it is called from: that one is done, the next is not begun. */

static void cancel(void *user, int32_t level, const char *message) {
    (void)level;
    (void)message;
    bertscript_cancel_token_cancel((bertscript_cancel_token *)user);
}

static void a_callback_that_cancels(void) {
    bertscript_cancel_token *token = bertscript_cancel_token_new();
    bertscript_run_options *options = bertscript_run_options_new();
    OK(bertscript_run_options_set_cancel_token(options, token, NULL));
    OK(bertscript_set_log_callback(cancel, token, BERTSCRIPT_LOG_WARNING, NULL));
    OK(warn(options));
    CHECK(bertscript_cancel_token_is_cancelled(token) == 1);
    CHECK(warn(options) == BERTSCRIPT_CANCELLED);
    OK(bertscript_set_log_callback(NULL, NULL, BERTSCRIPT_LOG_WARNING, NULL));
    OK(warn(NULL));
    bertscript_run_options_free(options);
    bertscript_cancel_token_free(token);
}

/* What releases memory calls, too: it is called once, while nothing is locked. */

static const int64_t three[] = {3};
static int released;

static void release(void *user) {
    released++;
    OK(warn(NULL));
    embed();
    bertscript_tensor_free((bertscript_tensor *)user);
}

static bertscript_tensor *borrow(float *data, void *user) {
    bertscript_tensor *tensor = NULL;
    OK(bertscript_tensor_borrow(BERTSCRIPT_FLOAT32, three, NULL, 1, data, 3 * sizeof *data, NULL, release, user,
                                &tensor, NULL));
    return tensor;
}

static void delete_managed(DLManagedTensorVersioned *managed) {
    release(managed->manager_ctx);
    free(managed);
}

static void memory_whose_release_calls(void) {
    static float data[3] = {1, 2, 3};
    int64_t shape[] = {3};
    DLManagedTensorVersioned *managed = calloc(1, sizeof *managed);
    bertscript_tensor *tensor = NULL, *clone;
    /* Each releases the one before: three in a row, by one call. */
    tensor = borrow(data, borrow(data, NULL));
    CHECK(managed != NULL);
    managed->version.major = DLPACK_MAJOR_VERSION;
    managed->manager_ctx = tensor;
    managed->deleter = delete_managed;
    managed->dl_tensor.data = data;
    managed->dl_tensor.device.device_type = kDLCPU;
    managed->dl_tensor.ndim = 1;
    managed->dl_tensor.dtype.code = kDLFloat;
    managed->dl_tensor.dtype.bits = 32;
    managed->dl_tensor.dtype.lanes = 1;
    managed->dl_tensor.shape = shape;
    tensor = NULL;
    OK(bertscript_tensor_from_dlpack(managed, &tensor, NULL));
    clone = bertscript_tensor_clone(tensor);
    bertscript_tensor_free(tensor);
    CHECK(released == 0);
    bertscript_tensor_free(clone);
    CHECK(released == 3);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    OK(bertscript_module_load(argv[1], NULL, &warns, NULL));
    OK(bertscript_module_load(argv[2], NULL, &sentence, NULL));
    OK(bertscript_model_from_pretrained(argv[3], NULL, &model, NULL));
    embed();
    /* Without a callback, to where BERTSCRIPT_LOG says. */
    OK(warn(NULL));
    a_callback_that_waits();
    a_callback_that_calls();
    a_callback_that_cancels();
    memory_whose_release_calls();
    embed();
    bertscript_model_free(model);
    bertscript_module_free(sentence);
    bertscript_module_free(warns);
    return 0;
}
