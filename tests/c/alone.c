/* The library without libtorch: alone FILE CHECKPOINT */
#include <bertscript/bertscript.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

static const char *const TEXTS[2] = {"the cat sat", "who was it?"};

/* Whether the process has mapped a library whose name contains this. */
static int is_mapped(const char *name) {
    char line[4096];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        found |= strstr(line, name) != NULL;
    }
    fclose(maps);
    return found;
}

/* A call that needs libtorch, which is not there. */
static void refused(bertscript_status status, bertscript_status expected, bertscript_error *error, const char *what) {
    CHECK(status == expected && bertscript_error_status(error) == expected);
    printf("%s: %s\n", bertscript_status_name(status), bertscript_error_message(error));
    CHECK(strstr(bertscript_error_message(error), what) != NULL);
    CHECK(strstr(bertscript_error_message(error), "requires libtorch") != NULL);
    CHECK(strstr(bertscript_error_message(error), "BERTSCRIPT_TORCH") != NULL);
    bertscript_error_free(error);
}

static void embed(const bertscript_module *module) {
    bertscript_tensor *embeddings = NULL;
    CHECK(bertscript_module_embed(module, TEXTS, NULL, 2, NULL, &embeddings, NULL, NULL) == BERTSCRIPT_OK);
    CHECK(bertscript_tensor_numel(embeddings) > 2);
    bertscript_tensor_free(embeddings);
}

int main(int argc, char **argv) {
    bertscript_module *module = NULL, *other = NULL;
    bertscript_model *model = NULL;
    bertscript_error *error = NULL;
    bertscript_status status;
    size_t count = 9;
    CHECK(argc == 3);
    CHECK(bertscript_set_num_threads(2, NULL) == BERTSCRIPT_OK);
    CHECK(bertscript_set_allow_tf32(0, NULL) == BERTSCRIPT_OK);
    CHECK(bertscript_module_load(argv[1], NULL, &module, NULL) == BERTSCRIPT_OK);
    embed(module);
    CHECK(bertscript_module_with_engine(module, NULL, "int8", &other, NULL) == BERTSCRIPT_OK);
    embed(other);
    bertscript_module_free(other);
    CHECK(bertscript_device_count("cuda", &count, NULL) == BERTSCRIPT_OK && count == 0);
    CHECK(strstr(bertscript_devices_json(), "requires libtorch") != NULL);

    other = NULL;
    status = bertscript_module_with_engine(module, "torchscript", NULL, &other, &error);
    refused(status, BERTSCRIPT_TORCH_UNAVAILABLE, error, "the engine torchscript");
    status = bertscript_module_to(module, NULL, "float16", &other, &error);
    refused(status, BERTSCRIPT_TORCH_UNAVAILABLE, error, "the engine varlen");
    status = bertscript_module_load(argv[1], "cuda:0", &other, &error);
    refused(status, BERTSCRIPT_TORCH_UNAVAILABLE, error, "cuda:0");
    status = bertscript_model_from_pretrained(argv[2], NULL, &model, &error);
    refused(status, BERTSCRIPT_TORCH_UNAVAILABLE, error, "building a model");
    status = bertscript_runtime_check(&error);
    refused(status, BERTSCRIPT_TORCH_UNAVAILABLE, error, "this call");
    status = bertscript_set_allow_tf32(1, &error);
    refused(status, BERTSCRIPT_TORCH_UNAVAILABLE, error, "TF32");
    status = bertscript_device_available("cuda:0", &error);
    refused(status, BERTSCRIPT_DEVICE_UNAVAILABLE, error, "cuda:0");
    CHECK(other == NULL && model == NULL);

    /* The module is as it was. */
    embed(module);
    CHECK(bertscript_shutdown_threads(NULL) == BERTSCRIPT_OK);
    bertscript_module_free(module);
    CHECK(is_mapped("libbertscript.so") && !is_mapped("/libtorch") && !is_mapped("bertscript_torch") && !is_mapped("libc10") && !is_mapped("libgomp"));
    CHECK(!is_mapped("libstdc++"));
    return 0;
}
