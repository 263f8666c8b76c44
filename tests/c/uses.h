/* What the torture program does besides single calls: it uses options that took an odd value, damages
 * an archive, and proves after every function that nothing broke. */

/* A call whose success is as good as a refusal; `type` is what it gives out. */
#define USE(what, type, call)                        \
    do {                                             \
        OUTPUT(type **, out);                        \
        begin(current_function, what);               \
        const bertscript_status status = (call);     \
        end(status, ANY, 0, UNTOUCHED);              \
        SETTLE_HANDLES(type, out);                   \
    } while (0)

static void use_bertscript_task_options(const bertscript_task_options *options) {
    const char *texts[] = {long_text, "the cat sat on the mat and saw a dog"};
    const char *short_texts[] = {"the cat", "a dog"};
    USE("then embed", bertscript_tensor,
        bertscript_module_embed(usual_module, texts, NULL, 2, options, out, NULL, NULL));
    USE("then classify", bertscript_classifications,
        bertscript_module_classify(classifier, texts, NULL, NULL, NULL, 2, options, out, NULL));
    USE("then rank", bertscript_ranking,
        bertscript_module_rank(usual_module, "the cat", texts, NULL, 2, options, out, NULL));
    USE("then zero_shot", bertscript_classifications,
        bertscript_module_zero_shot(inferrer, texts, NULL, 2, some_targets, 2, options, out, NULL));
    begin(current_function, "then embed_quantized");
    {
        unsigned char bytes[256];
        const bertscript_status status =
            bertscript_module_embed_quantized(usual_module, short_texts, NULL, 2, options, bytes, 0, 256, NULL, NULL, NULL);
        end(status, ANY, 0, UNTOUCHED);
    }
    USE("then entities", bertscript_entities,
        bertscript_module_entities(tagger, texts, NULL, 2, options, out, NULL));
    USE("then embed_sparse", bertscript_sparse_embeddings,
        bertscript_module_embed_sparse(sparse_embedder, texts, NULL, 2, options, out, NULL));
    USE("then answer", bertscript_answers,
        bertscript_module_answer(answerer, short_texts, NULL, texts, NULL, 2, options, out, NULL));
    USE("then fill_mask", bertscript_fillings,
        bertscript_module_fill_mask(filler, two_texts, NULL, 2, options, out, NULL));
}

static void use_bertscript_encode_options(bertscript_encode_options *options) {
    /* An odd number harms in company only: with a limit, and with padding. */
    const char *const paddings[] = {"do_not_pad", "longest", "max_length"};
    const char *const truncations[] = {"do_not_truncate", "longest_first", "only_first"};
    const char *texts[] = {"the cat", "the dog sat on the mat and saw a cat"};
    int i, j;
    for (i = 0; i < 3; i++) {
        for (j = 0; j < 3; j++) {
            MUST(bertscript_encode_options_set_padding(options, paddings[i], NULL));
            MUST(bertscript_encode_options_set_truncation(options, truncations[j], NULL));
            USE("then encode", bertscript_encoding,
                bertscript_tokenizer_encode(usual_tokenizer, texts, NULL, NULL, NULL, 2, options, out, NULL));
            USE("then encode pairs", bertscript_encoding,
                bertscript_tokenizer_encode(usual_tokenizer, texts, NULL, two_contexts, NULL, 2, options, out,
                                            NULL));
        }
    }
}

static void use_bertscript_build_options(const bertscript_build_options *options) {
    USE("then build", bertscript_model,
        bertscript_model_from_pretrained(checkpoint, options, out, NULL));
}

static void use_bertscript_trace_options(const bertscript_trace_options *options) {
    USE("then trace", bertscript_module, bertscript_model_trace(usual_model, options, out, NULL));
}

static void use_bertscript_run_options(const bertscript_run_options *options) {
    size_t count;
    USE("then run", bertscript_tensor,
        bertscript_module_run_ids(usual_module, some_ids, NULL, NULL, 1, 3, options, out, 32, &count, NULL));
}

/* The embeddings of two texts, which must be the same after whatever else was called. */
static void canary(void) {
    static float first[64];
    static size_t size;
    float values[64];
    size_t written = 0;
    bertscript_tensor *found = NULL;
    current_case = "the canary";
    if (bertscript_get_num_threads() != 1 && strcmp(current_function, "bertscript_set_num_threads") != 0) {
        fail("the number of threads changed");
    }
    MUST(bertscript_set_num_threads(1, NULL));
    MUST(bertscript_set_log_callback(NULL, NULL, BERTSCRIPT_LOG_WARNING, NULL));
    MUST(bertscript_module_embed(usual_module, two_contexts, NULL, 2, NULL, &found, NULL, NULL));
    MUST(bertscript_tensor_copy_to(found, values, sizeof values, &written, NULL));
    bertscript_tensor_free(found);
    if (size == 0) {
        size = written;
        memcpy(first, values, written);
    }
    if (written == 0 || written != size || memcmp(first, values, size) != 0) {
        fail("it embeds otherwise");
    }
}

/* Loads an archive that was harmed, from memory of exactly its size; uses it if it loads. */
static void load_damaged(const unsigned char *bytes, size_t size, const char *how) {
    bertscript_module *module = UNTOUCHED;
    bertscript_error *error = UNTOUCHED;
    unsigned char *copy = malloc(size == 0 ? 1 : size);
    memcpy(copy, bytes, size);
    begin("bertscript_module_load_memory", how);
    const bertscript_status status = bertscript_module_load_memory(copy, size, NULL, &module, &error);
    end(status, ANY, 1, error);
    free(copy);
    if (status != BERTSCRIPT_OK) {
        if (module != UNTOUCHED) {
            fail("an output was written");
        }
        return;
    }
    size_t count;
    USE("then embed", bertscript_tensor,
        bertscript_module_embed(module, two_texts, NULL, 2, NULL, out, NULL, NULL));
    USE("then run", bertscript_tensor,
        bertscript_module_run_ids(module, some_ids, NULL, NULL, 2, 4, NULL, out, 32, &count, NULL));
    bertscript_module_free(module);
}

/* A generator of its own: the same bits on every machine. */
static size_t next_random(void) {
    static uint64_t state = 20240229;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(state >> 33);
}

static void damage(void) {
    static char how[64];
    unsigned char *bytes = archive;
    size_t length;
    unsigned i;
    for (length = 0; length < archive_size; length = length * 3 + 1) {
        snprintf(how, sizeof how, "the first %zu bytes", length);
        load_damaged(bytes, length, how);
    }
    load_damaged(bytes, archive_size - 1, "all but a byte");
    for (i = 0; i < FLIPS; i++) {
        /* Half of them in the tail, where the directory of the zip file is. */
        const size_t within = i % 2 == 0 ? archive_size : 4096;
        const size_t at = archive_size - 1 - next_random() % within;
        const unsigned char bit = (unsigned char)(1u << next_random() % 8);
        snprintf(how, sizeof how, "bit %d of byte %zu flipped", bit, at);
        bytes[at] ^= bit;
        load_damaged(bytes, archive_size, how);
        bytes[at] ^= bit;
    }
}
