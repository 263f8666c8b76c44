/* From a checkpoint to a file to a result: export DIR FILE.pt */

#include <bertscript/bertscript.h>
#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv) {
    bertscript_module *module = NULL;
    bertscript_error *error = NULL;
    bertscript_tensor *outputs[64];
    size_t count = 0, i, d;

    if (argc != 3) {
        fprintf(stderr, "usage: export DIR FILE.pt\n");
        return 2;
    }
    /* Two rows of ids, the second one shorter. */
    const int64_t ids[2 * 4] = {2, 17, 5, 3, 2, 41, 3, 0};
    const int64_t mask[2 * 4] = {1, 1, 1, 1, 1, 1, 1, 0};

    if (bertscript_export(argv[1], argv[2], NULL, &error) != BERTSCRIPT_OK ||
        bertscript_module_load(argv[2], NULL, &module, &error) != BERTSCRIPT_OK ||
        bertscript_module_run_ids(module, ids, mask, NULL, 2, 4, outputs, 64, &count, &error) !=
            BERTSCRIPT_OK) {
        fprintf(stderr, "error: %s\n", bertscript_error_message(error));
        bertscript_error_free(error);
        bertscript_module_free(module);
        return 1;
    }
    for (i = 0; i < count; i++) {
        size_t ndim = 0;
        const int64_t *shape = bertscript_tensor_shape(outputs[i], &ndim);
        printf("%s", bertscript_module_output_name(module, i));
        for (d = 0; d < ndim; d++) {
            printf(" %" PRId64, shape[d]);
        }
        printf("\n");
        bertscript_tensor_free(outputs[i]);
    }
    bertscript_module_free(module);
    return 0;
}
