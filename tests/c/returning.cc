// bertscript.hpp without exceptions: results instead: returning FIXTURES

#include <bertscript/bertscript.hpp>

#include <cstdio>

#define CHECK(condition)                                                      \
    if (!(condition)) {                                                       \
        std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);  \
        return 1;                                                             \
    }

using namespace bertscript;

int main(int, char **argv) {
    const std::string fixtures = argv[1];
    const Result<Module> nowhere = Module::load("nowhere.pt");
    CHECK(!nowhere && nowhere.error().status() == BERTSCRIPT_NOT_FOUND);
    CHECK(nowhere.error().what() == std::string("nowhere.pt: cannot open the archive"));
    CHECK(nowhere.error().status_name() == std::string("NOT_FOUND") && !nowhere.error().detail().empty());

    BuildOptions wrong;
    wrong.architecture = "BertForPoetry";
    CHECK(Model::from_pretrained(fixtures + "/model", wrong).error().status() == BERTSCRIPT_INVALID_ARGUMENT);
    const Result<Model> model = Model::from_pretrained(fixtures + "/text/sentence");
    CHECK(model);
    CHECK(!model->trace({{"wide"}}));
    const Result<Module> module = model->trace();
    CHECK(module && module->save("saved.pt") && !module->save("/nowhere/saved.pt"));

    Result<Tensor> embeddings = module->embed({"the cat", "a dog"});
    CHECK(embeddings && embeddings->shape() == (std::vector<std::int64_t>{2, 16}));
    CHECK(embeddings->data<float>() && !embeddings->data<double>());
    const Tensor moved = *std::move(embeddings);
    CHECK(moved.numel() == 32);
    TaskOptions options;
    options.long_texts = "shred";
    CHECK(module->embed({"a"}, options).error().status() == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(module->classify({"a"}).error().status() == BERTSCRIPT_UNSUPPORTED);

    // C would cut a string at a NUL inside of it.
    const std::string cut("saved.pt\0.txt", 13);
    CHECK(Module::load(cut).error().what() == std::string("path: found NUL at byte 8, expected none"));
    CHECK(!Module::load("saved.pt", cut) && !module->save(cut) && !module->to(cut) && !module->to("cpu", cut));
    CHECK(!module->with_plan(cut) && !Model::from_pretrained(cut) && !model->export_file(cut) && !Tokenizer::load(cut));
    CHECK(!device_count(cut) && !device_available(cut) && !embeddings->to_device(cut) && !model->trace({{"1x8", cut}}));
    options = {};
    options.prompt = cut;
    CHECK(module->embed({"a"}, options).error().status() == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(!module->embedding_dim(options));
    options = {};
    options.pooling = {{"cls", cut}};
    CHECK(module->embed({"a"}, options).error().what() == std::string("options: found NUL at byte 8, expected none"));

    // Outputs are written on success only.
    std::vector<bool> truncated = {true, true, true};
    options = {};
    options.long_texts = "shred";
    CHECK(!module->embed({"a"}, options, &truncated) && truncated.size() == 3);
    float room[33] = {};
    CHECK(module->embed_into({"a"}, room, 15, {}, &truncated).error().status() == BERTSCRIPT_BUFFER_TOO_SMALL);
    CHECK(truncated.size() == 3);
    CHECK(module->embed_into({"a"}, room, 33, {}, &truncated).value() == 16 && truncated == std::vector<bool>{false});
    CHECK(module->embedding_dim().value() == 16);
    options = {};
    options.embedding_precision = "ubinary";
    CHECK(module->embedding_bytes(options).value() == 2);
    CHECK(module->embed_quantized({"a"}, room, 0, 1, options).error().status() == BERTSCRIPT_BUFFER_TOO_SMALL);
    CHECK(module->embed_quantized({"a"}, room, 0, 2, options).value() == 2);
    CHECK(embedding_ranges(room, 1, 3)->size() == 6 && !embedding_ranges(room, 0, 3));
    CHECK(quantize_embeddings(room, 1, 8, "binary", {}, room + 8, 0, 1).value() == 1);
    CHECK(module->rank("who", {"a", "b"})->size() == 2 && !module->rank("who", {"a"}, options));
    CHECK(module->zero_shot({"a"}, {"b"}).error().status() == BERTSCRIPT_UNSUPPORTED);
    CHECK(Tensor::copy_from({2}, std::vector<bool>{true, false})->values<bool>().value()[0]);

    const Result<Tensor> ids = Tensor::copy_from({1, 3}, std::vector<std::int64_t>{2, 9, 3});
    const Result<std::vector<Tensor>> outputs = module->run({{"input_ids", *ids}});
    CHECK(outputs && outputs->size() == 2);
    CHECK(!module->run({{"words", *ids}}));
    CHECK(!Tensor::copy_from({1, 4}, std::vector<std::int64_t>{2, 9, 3}));
    CHECK(shutdown_threads() && set_num_threads(1) && !set_num_threads(0) && device_count("cpu").value() == 1);

    const Result<Tokenizer> tokenizer = module->tokenizer();
    const Result<Encoding> encoding = tokenizer->encode({"the cat", "a"});
    CHECK(encoding && encoding->rows() == 2);
    CHECK(encoding->tensors().error().status() == BERTSCRIPT_INVALID_ARGUMENT);
    return 0;
}
