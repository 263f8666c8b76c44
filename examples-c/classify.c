/* Labels texts: classify FILE.pt TEXT [TEXT..] */

#include <bertscript/bertscript.h>
#include <stdio.h>

int main(int argc, char **argv) {
    bertscript_module *module = NULL;
    bertscript_classifications *found = NULL;
    bertscript_error *error = NULL;
    size_t text, i;

    if (argc < 3) {
        fprintf(stderr, "usage: classify FILE.pt TEXT [TEXT..]\n");
        return 2;
    }
    const size_t count = (size_t)argc - 2;
    const char *const *texts = (const char *const *)(argv + 2);
    bertscript_task_options *options = bertscript_task_options_new();

    /* The two best labels of each text; it may be truncated. */
    if (bertscript_task_options_set_top_k(options, 2, &error) != BERTSCRIPT_OK ||
        bertscript_task_options_set_long_texts(options, "truncate", &error) != BERTSCRIPT_OK ||
        bertscript_module_load(argv[1], "cpu", &module, &error) != BERTSCRIPT_OK ||
        bertscript_module_classify(module, texts, NULL, NULL, NULL, count, options, &found,
                                   &error) != BERTSCRIPT_OK) {
        fprintf(stderr, "error: %s\n", bertscript_error_message(error));
        bertscript_error_free(error);
        bertscript_task_options_free(options);
        bertscript_module_free(module);
        return 1;
    }
    for (text = 0; text < count; text++) {
        printf("%s%s\n", texts[text],
               bertscript_classifications_truncated(found, text) ? " (truncated)" : "");
        for (i = 0; i < bertscript_classifications_size(found, text); i++) {
            const bertscript_label *label = bertscript_classifications_get(found, text, i);
            printf("  %.4f %s\n", label->score, label->label);
        }
    }
    bertscript_classifications_free(found);
    bertscript_task_options_free(options);
    bertscript_module_free(module);
    return 0;
}
