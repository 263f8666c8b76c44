/* One module, many threads, no locks: threads FILE.pt TEXT [TEXT..]
 *
 * Each text is embedded by a thread of its own; compile with -pthread. */

#include <bertscript/bertscript.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    pthread_t thread;
    const bertscript_module *module;
    const char *text;
    bertscript_tensor *embedding;
    bertscript_error *error;
} worker;

static void *embed(void *user) {
    worker *self = user;
    bertscript_module_embed(self->module, &self->text, NULL, 1, NULL, &self->embedding, NULL,
                            &self->error);
    return NULL;
}

/* Prints the first numbers of an embedding, or why there is none. */
static int report(const worker *done) {
    const void *data = NULL;

    if (done->error != NULL || bertscript_tensor_data(done->embedding, &data, NULL, NULL) != 0) {
        fprintf(stderr, "error: %s\n", bertscript_error_message(done->error));
        return 1;
    }
    const float *values = data;
    printf("%7.4f %7.4f %7.4f  %s\n", values[0], values[1], values[2], done->text);
    return 0;
}

int main(int argc, char **argv) {
    bertscript_module *module = NULL;
    bertscript_error *error = NULL;
    int failed = 0, i;

    if (argc < 3) {
        fprintf(stderr, "usage: threads FILE.pt TEXT [TEXT..]\n");
        return 2;
    }
    /* With a thread for each text, one text needs no more. */
    if (bertscript_set_num_threads(1, &error) != BERTSCRIPT_OK ||
        bertscript_module_load(argv[1], "cpu", &module, &error) != BERTSCRIPT_OK) {
        fprintf(stderr, "error: %s\n", bertscript_error_message(error));
        bertscript_error_free(error);
        return 1;
    }
    const int count = argc - 2;
    worker *workers = calloc((size_t)count, sizeof *workers);
    for (i = 0; i < count; i++) {
        workers[i].module = module;
        workers[i].text = argv[i + 2];
        if (pthread_create(&workers[i].thread, NULL, embed, &workers[i]) != 0) {
            abort();
        }
    }
    for (i = 0; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
        failed |= report(&workers[i]);
        bertscript_tensor_free(workers[i].embedding);
        bertscript_error_free(workers[i].error);
    }
    free(workers);
    bertscript_module_free(module);
    return failed;
}
