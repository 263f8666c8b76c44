/* Embeds a text with a library that is looked for at run time only:
 * dlopen libbertscript.so FILE.pt TEXT
 *
 * Nothing is linked; compile with -ldl where the C library wants it. */

#include <bertscript/bertscript.h>
#include <dlfcn.h>
#include <stdio.h>

/* The functions that are used, under their own types. */
static struct {
    uint32_t (*abi_version)(void);
    bertscript_status (*module_load)(const char *, const char *, bertscript_module **,
                                     bertscript_error **);
    bertscript_status (*module_embed)(const bertscript_module *, const char *const *,
                                      const size_t *, size_t, const bertscript_task_options *,
                                      bertscript_tensor **, int32_t *, bertscript_error **);
    bertscript_status (*tensor_data)(const bertscript_tensor *, const void **, size_t *,
                                     bertscript_error **);
    const char *(*error_message)(const bertscript_error *);
    void (*tensor_free)(bertscript_tensor *);
    void (*module_free)(bertscript_module *);
} bertscript;

static int find(void *library, const char *name, void *place) {
    /* POSIX lets a data pointer hold a function's address; ISO C has no word for it. */
    *(void **)place = dlsym(library, name);
    if (*(void **)place == NULL) {
        fprintf(stderr, "error: %s\n", dlerror());
    }
    return *(void **)place != NULL;
}

int main(int argc, char **argv) {
    bertscript_module *module = NULL;
    bertscript_tensor *embedding = NULL;
    bertscript_error *error = NULL;
    const void *data = NULL;

    if (argc != 4) {
        fprintf(stderr, "usage: dlopen libbertscript.so FILE.pt TEXT\n");
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "error: %s\n", dlerror());
        return 1;
    }
    if (!find(library, "bertscript_abi_version", &bertscript.abi_version) ||
        !find(library, "bertscript_module_load", &bertscript.module_load) ||
        !find(library, "bertscript_module_embed", &bertscript.module_embed) ||
        !find(library, "bertscript_tensor_data", &bertscript.tensor_data) ||
        !find(library, "bertscript_error_message", &bertscript.error_message) ||
        !find(library, "bertscript_tensor_free", &bertscript.tensor_free) ||
        !find(library, "bertscript_module_free", &bertscript.module_free)) {
        return 1;
    }
    if (bertscript.abi_version() < BERTSCRIPT_ABI_VERSION) {
        fprintf(stderr, "error: the library is older than the header\n");
        return 1;
    }
    const char *text = argv[3];
    if (bertscript.module_load(argv[2], "cpu", &module, &error) != BERTSCRIPT_OK ||
        bertscript.module_embed(module, &text, NULL, 1, NULL, &embedding, NULL, &error) != 0 ||
        bertscript.tensor_data(embedding, &data, NULL, &error) != BERTSCRIPT_OK) {
        fprintf(stderr, "error: %s\n", bertscript.error_message(error));
        return 1;
    }
    const float *values = data;
    printf("%7.4f %7.4f %7.4f  %s\n", values[0], values[1], values[2], text);
    bertscript.tensor_free(embedding);
    bertscript.module_free(module);
    return dlclose(library);
}
