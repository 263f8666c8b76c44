/* The handles and arrays that calls take when nothing is wrong with them. */

static const char *checkpoint;
static bertscript_model *usual_model;
static bertscript_module *usual_module, *classifier, *tagger, *filler, *pair_scorer, *answerer, *sparse_embedder, *inferrer;
static bertscript_tokenizer *usual_tokenizer;
static bertscript_tensor *usual_tensor, *empty_tensor, *float_tensor, *row_tensor;
static bertscript_encoding *usual_encoding;
static bertscript_classifications *usual_classifications;
static bertscript_entities *usual_entities;
static bertscript_sparse_embeddings *usual_sparse_embeddings;
static bertscript_answers *usual_answers;
static bertscript_fillings *usual_fillings;
static bertscript_ranking *usual_ranking;
static bertscript_error *usual_error;
static bertscript_encoding *ragged_encoding, *rowless_encoding;
static bertscript_cancel_token *usual_cancel_token, *cancelled_token;
static bertscript_run_options *usual_run_options, *cancelled_run_options;
static bertscript_task_options *usual_task_options, *cancelled_task_options;
static bertscript_encode_options *usual_encode_options;
static bertscript_build_options *usual_build_options;
static bertscript_trace_options *usual_trace_options;

/* More of each than a tensor may have dimensions, so that no `ndim` in use is a lie. */
#define FOUR(x) x, x, x, x
#define ALL(x) {FOUR(FOUR(FOUR(x))), FOUR(FOUR(FOUR(x)))}
static const int64_t zeros[] = ALL(0), ones[] = ALL(1), minus_ones[] = ALL(-1);
static const int64_t least[] = ALL(INT64_MIN), most[] = ALL(INT64_MAX);
static const int64_t two_by_three[128] = {2, 3}, row_strides[128] = {3, 1}, column_strides[128] = {1, 2}, backward_strides[128] = {3, -1};
static const int64_t some_ids[128] = {2, 9, 3, 0, 2, 8, 9, 3};
/* Ascending, so that they are ranges, too. */
static float some_floats[128];
static const float no_floats[128] = {0, NAN};
static int64_t numbers[128] = {2, 9, 3, 2, 8, 3};
static const size_t lengths_of_two[] = {7, 3}, no_lengths[] = {0, 0}, huge_lengths[] = {SIZE_MAX, SIZE_MAX};

static const char *const two_texts[] = {"the cat [MASK] on the mat", "a [MASK]"};
static const char *const two_contexts[] = {"the cat sat on the mat", "a dog ran"};
static const char *const bad_texts[] = {"the cat", "a \xff\xfe"};
static const char *const null_texts[] = {"the cat", NULL};
static const char *const empty_texts[] = {"", ""};
static const char *const pooling_modes[] = {"mean", "cls"};
static const char *const some_targets[] = {"cat", "dog"};
static const char *const input_names[] = {"input_ids", "attention_mask"};
static const char *const same_names[] = {"input_ids", "input_ids"};
static const bertscript_tensor *two_inputs[2], *null_inputs[2], *empty_inputs[2], *float_inputs[2];
static char long_text[1 << 16];

static void *archive;
static size_t archive_size;

#define MUST(call) must((call), #call)
static void must(bertscript_status status, const char *call) {
    if (status != BERTSCRIPT_OK) {
        fprintf(report, "FAIL %s: %s\n", call, bertscript_status_name(status));
        exit(2);
    }
}

static void on_log(void *user, int32_t level, const char *message) {
    sink = (user != NULL) + level + (int64_t)strlen(message);
}

static void on_release(void *user) {
    sink = user != NULL;
}

static bertscript_module *open_module(const char *path) {
    bertscript_module *module = NULL;
    MUST(bertscript_module_load(path, NULL, &module, NULL));
    return module;
}

static bertscript_tensor *new_tensor(int32_t dtype, const int64_t *shape, const void *data, size_t nbytes) {
    bertscript_tensor *tensor = NULL;
    MUST(bertscript_tensor_copy_from(dtype, shape, 2, data, nbytes, &tensor, NULL));
    return tensor;
}

static bertscript_error *fresh_error(void) {
    bertscript_error *error = NULL;
    bertscript_module *module = NULL;
    bertscript_module_load("nowhere.pt", NULL, &module, &error);
    return error;
}

static bertscript_encoding *new_encoding(size_t count, const bertscript_encode_options *options) {
    bertscript_encoding *encoding = NULL;
    MUST(bertscript_tokenizer_encode(usual_tokenizer, two_texts, NULL, NULL, NULL, count, options, &encoding,
                                     NULL));
    return encoding;
}

static bertscript_encoding *fresh_encoding(void) {
    return new_encoding(2, usual_encode_options);
}

static bertscript_classifications *fresh_classifications(void) {
    bertscript_classifications *found = NULL;
    MUST(bertscript_module_classify(classifier, two_texts, NULL, NULL, NULL, 2, NULL, &found, NULL));
    return found;
}

static bertscript_entities *fresh_entities(void) {
    bertscript_entities *found = NULL;
    MUST(bertscript_module_entities(tagger, two_texts, NULL, 2, NULL, &found, NULL));
    return found;
}

static bertscript_sparse_embeddings *fresh_sparse_embeddings(void) {
    bertscript_sparse_embeddings *found = NULL;
    MUST(bertscript_module_embed_sparse(sparse_embedder, two_texts, NULL, 2, NULL, &found, NULL));
    return found;
}

static bertscript_answers *fresh_answers(void) {
    bertscript_answers *found = NULL;
    MUST(bertscript_module_answer(answerer, two_texts, NULL, two_contexts, NULL, 2, NULL, &found, NULL));
    return found;
}

static bertscript_fillings *fresh_fillings(void) {
    bertscript_fillings *found = NULL;
    MUST(bertscript_module_fill_mask(filler, two_texts, NULL, 2, NULL, &found, NULL));
    return found;
}

static bertscript_ranking *fresh_ranking(void) {
    bertscript_ranking *found = NULL;
    MUST(bertscript_module_rank(usual_module, "the cat", two_texts, NULL, 2, NULL, &found, NULL));
    return found;
}

static managed_tensor *fresh_managed(void) {
    managed_tensor *managed = NULL;
    MUST(bertscript_tensor_to_dlpack(usual_tensor, &managed, NULL));
    return managed;
}

static void read_archive(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        must(BERTSCRIPT_IO, path);
        return;
    }
    archive_size = (size_t)ftell(file);
    archive = malloc(archive_size);
    rewind(file);
    if (fread(archive, 1, archive_size, file) != archive_size) {
        must(BERTSCRIPT_IO, path);
    }
    fclose(file);
}

/* The archives are in the folder that the program runs in. */
static void make_handles(const char *checkpoint_given) {
    size_t i;
    checkpoint = checkpoint_given;
    for (i = 0; i < sizeof some_floats / sizeof *some_floats; i++) {
        some_floats[i] = (float)i;
    }
    memset(long_text, 'a', sizeof long_text - 1);
    MUST(bertscript_set_num_threads(1, NULL));
    usual_run_options = bertscript_run_options_new();
    usual_task_options = bertscript_task_options_new();
    usual_trace_options = bertscript_trace_options_new();
    usual_encode_options = bertscript_encode_options_new();
    MUST(bertscript_encode_options_set_padding(usual_encode_options, "longest", NULL));
    usual_build_options = bertscript_build_options_new();

    if (!alone) {
        MUST(bertscript_model_from_pretrained(checkpoint, NULL, &usual_model, NULL));
    }
    usual_module = open_module("sentence.pt");
    read_archive("sentence.pt");
    classifier = open_module("classifier.pt");
    tagger = open_module("tagger.pt");
    filler = open_module("filler.pt");
    pair_scorer = open_module("pair_scorer.pt");
    answerer = open_module("answerer.pt");
    sparse_embedder = open_module("sparse_embedder.pt");
    inferrer = open_module("inferrer.pt");

    MUST(bertscript_tokenizer_load(checkpoint, &usual_tokenizer, NULL));
    usual_tensor = new_tensor(BERTSCRIPT_INT64, two_by_three, numbers, 48);
    empty_tensor = new_tensor(BERTSCRIPT_INT64, zeros, NULL, 0);
    float_tensor = new_tensor(BERTSCRIPT_FLOAT32, two_by_three, numbers, 24);
    row_tensor = new_tensor(BERTSCRIPT_FLOAT32, ones, numbers, 4);
    bertscript_tensor *mask = new_tensor(BERTSCRIPT_INT64, two_by_three, ones, 48);
    two_inputs[0] = null_inputs[0] = usual_tensor;
    two_inputs[1] = mask;
    empty_inputs[0] = empty_inputs[1] = empty_tensor;
    float_inputs[0] = float_inputs[1] = float_tensor;
    usual_encoding = fresh_encoding();
    ragged_encoding = new_encoding(2, NULL);
    rowless_encoding = new_encoding(0, NULL);
    usual_classifications = fresh_classifications();
    usual_entities = fresh_entities();
    usual_sparse_embeddings = fresh_sparse_embeddings();
    usual_answers = fresh_answers();
    usual_fillings = fresh_fillings();
    usual_ranking = fresh_ranking();
    usual_error = fresh_error();
    usual_cancel_token = bertscript_cancel_token_new();
    cancelled_token = bertscript_cancel_token_new();
    bertscript_cancel_token_cancel(cancelled_token);
    cancelled_run_options = bertscript_run_options_new();
    MUST(bertscript_run_options_set_cancel_token(cancelled_run_options, cancelled_token, NULL));
    cancelled_task_options = bertscript_task_options_new();
    MUST(bertscript_task_options_set_cancel_token(cancelled_task_options, cancelled_token, NULL));
}

static void free_handles(void) {
    bertscript_module *modules[] = {usual_module, classifier, tagger,          filler,
                                    pair_scorer,  answerer,   sparse_embedder, inferrer};
    bertscript_tensor *tensors[] = {usual_tensor, empty_tensor, float_tensor, row_tensor};
    size_t i;
    for (i = 0; i < sizeof modules / sizeof *modules; i++) {
        bertscript_module_free(modules[i]);
    }
    for (i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        bertscript_tensor_free(tensors[i]);
    }
    bertscript_tensor_free((bertscript_tensor *)two_inputs[1]);
    bertscript_model_free(usual_model);
    bertscript_tokenizer_free(usual_tokenizer);
    bertscript_encoding_free(usual_encoding);
    bertscript_encoding_free(ragged_encoding);
    bertscript_encoding_free(rowless_encoding);
    bertscript_classifications_free(usual_classifications);
    bertscript_entities_free(usual_entities);
    bertscript_sparse_embeddings_free(usual_sparse_embeddings);
    bertscript_answers_free(usual_answers);
    bertscript_fillings_free(usual_fillings);
    bertscript_ranking_free(usual_ranking);
    bertscript_error_free(usual_error);
    bertscript_cancel_token_free(usual_cancel_token);
    bertscript_cancel_token_free(cancelled_token);
    bertscript_run_options_free(usual_run_options);
    bertscript_run_options_free(cancelled_run_options);
    bertscript_task_options_free(usual_task_options);
    bertscript_task_options_free(cancelled_task_options);
    bertscript_encode_options_free(usual_encode_options);
    bertscript_build_options_free(usual_build_options);
    bertscript_trace_options_free(usual_trace_options);
    free(archive);
}
