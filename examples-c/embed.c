/* Embeds texts and compares them: embed [--device DEVICE] FILE.pt TEXT [TEXT..] */

#include <bertscript/bertscript.h>
#include <stdio.h>
#include <string.h>

static int fail(bertscript_error *error) {
    fprintf(stderr, "error: %s\n", bertscript_error_message(error));
    bertscript_error_free(error);
    return 1;
}

int main(int argc, char **argv) {
    bertscript_module *module = NULL;
    bertscript_tensor *embeddings = NULL;
    bertscript_error *error = NULL;
    const void *data = NULL;
    const char *device = "cpu";
    size_t i, j, k;

    if (argc > 2 && strcmp(argv[1], "--device") == 0) {
        device = argv[2];
        argc -= 2;
        argv += 2;
    }
    if (argc < 3) {
        fprintf(stderr, "usage: embed [--device DEVICE] FILE.pt TEXT [TEXT..]\n");
        return 2;
    }
    const size_t count = (size_t)argc - 2;
    const char *const *texts = (const char *const *)(argv + 2);

    if (bertscript_module_load(argv[1], device, &module, &error) != BERTSCRIPT_OK) {
        return fail(error);
    }
    if (bertscript_module_embed(module, texts, NULL, count, NULL, &embeddings, NULL, &error) !=
            BERTSCRIPT_OK ||
        bertscript_tensor_data(embeddings, &data, NULL, &error) != BERTSCRIPT_OK) {
        bertscript_module_free(module);
        return fail(error);
    }

    /* [count, width], float32, each row of length 1 if the pipeline normalises. */
    const float *values = data;
    const size_t width = (size_t)bertscript_tensor_shape(embeddings, NULL)[1];
    for (i = 0; i < count; i++) {
        for (j = 0; j < count; j++) {
            float dot = 0;
            for (k = 0; k < width; k++) {
                dot += values[i * width + k] * values[j * width + k];
            }
            printf("%6.3f ", dot);
        }
        printf(" %s\n", texts[i]);
    }
    bertscript_tensor_free(embeddings);
    bertscript_module_free(module);
    return 0;
}
