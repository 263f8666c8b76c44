/* From a checkpoint to a trace, to a file, to a result: export DIR FILE.pt [CLASS]
 *
 * CLASS is a model class, such as BertForMaskedLM, instead of the one that config.json names. */

#include <bertscript/bertscript.h>
#include <inttypes.h>
#include <stdio.h>

/* Reads the checkpoint, separates its tied weights, traces the model and saves it. */
static bertscript_status export_file(char **argv, int argc, bertscript_error **error) {
    bertscript_build_options *options = bertscript_build_options_new();
    bertscript_model *model = NULL;
    bertscript_module *module = NULL;
    bertscript_status status = BERTSCRIPT_OK;

    if (argc == 4) {
        status = bertscript_build_options_set_architecture(options, argv[3], error);
    }
    if (status == BERTSCRIPT_OK) {
        status = bertscript_model_from_pretrained(argv[1], options, &model, error);
    }
    if (status == BERTSCRIPT_OK) {
        status = bertscript_model_trace(model, NULL, &module, error);
    }
    if (status == BERTSCRIPT_OK) {
        status = bertscript_module_save(module, argv[2], error);
    }
    bertscript_module_free(module);
    bertscript_model_free(model);
    bertscript_build_options_free(options);
    return status;
}

int main(int argc, char **argv) {
    bertscript_module *module = NULL;
    bertscript_error *error = NULL;
    bertscript_tensor *outputs[64];
    size_t count = 0, i, d;

    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: export DIR FILE.pt [CLASS]\n");
        return 2;
    }
    /* Two rows of ids, the second one shorter. */
    const int64_t ids[2 * 4] = {2, 17, 5, 3, 2, 41, 3, 0};
    const int64_t mask[2 * 4] = {1, 1, 1, 1, 1, 1, 1, 0};

    if (export_file(argv, argc, &error) != BERTSCRIPT_OK ||
        bertscript_module_load(argv[2], "cpu", &module, &error) != BERTSCRIPT_OK ||
        bertscript_module_run_ids(module, ids, mask, NULL, 2, 4, NULL, outputs, 64, &count,
                                  &error) != BERTSCRIPT_OK) {
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
