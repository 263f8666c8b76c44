// Every class of bertscript.hpp, with errors thrown: classes FIXTURES
// It prints results as JSON lines, which the test compares with those of the Rust library.

#include <bertscript/bertscript.hpp>

#include <cstdio>
#include <cstring>

#define CHECK(condition)                                                      \
    if (!(condition)) {                                                       \
        std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);  \
        return 1;                                                             \
    }

using namespace bertscript;

// In another translation unit too: nothing is defined twice.
std::size_t rows_of(const Encoding &encoding);

template <typename Call> bertscript_status status_of(Call call) {
    try {
        call();
        return BERTSCRIPT_OK;
    } catch (const Error &error) {
        return error.status();
    }
}

int main(int, char **argv) {
    const std::string fixtures = argv[1];
    runtime_check();
    CHECK(device_count("cpu") == 1);
    device_available("cpu");
    CHECK(status_of([] { device_count("tpu"); }) == BERTSCRIPT_INVALID_ARGUMENT);

    const Model model(fixtures + "/model");
    CHECK(model.parameter_count() > 1000 && model.config_json().find("hidden_size") != std::string::npos);
    CHECK(model.report_json().find("renamed") != std::string::npos);
    model.export_file("model.pt");
    Module module("model.pt");
    CHECK(module.device() == "cpu");
    CHECK(module.input_names().front() == "input_ids" && module.output_names().back() == "pooler_output");
    CHECK(module.metadata_json().find("BertModel") != std::string::npos);
    module.warm_up(1, 3);

    // Copies share, moves leave nothing.
    Module copy = module;
    Module moved = std::move(module);
    CHECK(module.get() == nullptr);
    module = copy;
    const Tensor ids({1, 3}, std::vector<std::int64_t>{2, 9, 3});
    const auto outputs = module.run({{"input_ids", ids}});
    CHECK(outputs.size() == 2 && outputs[1].shape() == (std::vector<std::int64_t>{1, 32}));
    const auto again = moved.run({{"input_ids", Tensor(ids)}});
    CHECK(outputs[1].values<float>() == again[1].values<float>());
    CHECK(outputs[1].numel() == 32 && outputs[1].nbytes() == 128 && outputs[1].device() == "cpu");

    // Another dtype is another module; the first one stays.
    const Module half = module.to(std::nullopt, "bfloat16");
    CHECK(half.run({{"input_ids", ids}})[1].dtype() == BERTSCRIPT_BFLOAT16);
    CHECK(status_of([&] { half.save("half.pt"); }) == BERTSCRIPT_UNSUPPORTED);
    module.save("again.pt");
    CHECK(Module("again.pt").run({{"input_ids", ids}})[1].values<float>() == outputs[1].values<float>());

    // Elements of every type; half types are read as float.
    const std::vector<bool> bits = {true, false, true};
    const Tensor flags({3}, bits);
    CHECK(flags.dtype() == BERTSCRIPT_BOOL && flags.values<bool>() == bits && flags.data<bool>()[2]);
    const std::vector<long long> numbers = {2, 9, 3};
    const Tensor wide({1, 3}, numbers);
    CHECK(wide.values<long long>() == numbers && wide.values<long>() == (std::vector<long>{2, 9, 3}));
    CHECK(*wide.data<long long>() == 2 && *wide.data<long>() == 2);
    CHECK(module.run({{"input_ids", wide}})[1].values<float>() == outputs[1].values<float>());
    const Tensor brain = half.run({{"input_ids", ids}})[1];
    CHECK(brain.to_float32().values<float>() == brain.values<float>() && brain.values<float>().size() == 32);
    CHECK(status_of([&] { brain.data<float>(); }) == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(status_of([&] { brain.values<double>(); }) == BERTSCRIPT_INVALID_ARGUMENT);

    // Memory of ours, released once; what release throws goes nowhere.
    int released = 0;
    std::int64_t own[] = {2, 9, 3};
    {
        const Tensor borrowed = Tensor::borrow({1, 3}, own, 3, [&] {
            released++;
            throw 1;
        });
        CHECK(borrowed.data<std::int64_t>() == own);
        const Tensor shared = Tensor::from_dlpack(borrowed.to_dlpack());
        CHECK(shared.data<std::int64_t>() == own && released == 0);
    }
    CHECK(released == 1);
    CHECK(status_of([&] { Tensor::borrow({1, 4}, own, 3, [&] { released++; }); }) == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(released == 1);

    // What fails throws, and says what.
    CHECK(status_of([&] { module.run({{"words", ids}}); }) == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(status_of([] { Tensor({2, 2}, std::vector<float>{1}); }) == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(status_of([&] { ids.data<float>(); }) == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(status_of([] { Module("nowhere.pt"); }) == BERTSCRIPT_NOT_FOUND);
    CancelToken token;
    module.run({{"input_ids", ids}}, token);
    const CancelToken same = token;
    same.cancel();
    CHECK(token.is_cancelled());
    CHECK(status_of([&] { module.run({{"input_ids", ids}}, token); }) == BERTSCRIPT_CANCELLED);
    try {
        module.embed({"a"});
        CHECK(false);
    } catch (const std::runtime_error &error) {
        CHECK(std::strstr(error.what(), "pipeline") || std::strstr(error.what(), "tokenizer"));
    }

    // Text.
    const Module sentence = Model(fixtures + "/text/sentence").trace();
    std::vector<bool> truncated;
    std::string many;
    for (int i = 0; i < 300; i++) {
        many += "cat ";
    }
    TaskOptions options;
    options.truncate_dim = 4;
    options.normalize = true;
    const Tensor embeddings = sentence.embed({"the cat", many, std::string_view()}, options, &truncated);
    CHECK(truncated == (std::vector<bool>{false, true, false}));
    for (float value : embeddings.values<float>()) {
        std::printf("%.9g ", value);
    }
    std::printf("\n%lld\n", (long long)sentence.similarity(embeddings, embeddings).numel());
    options.top_k = 1;
    CHECK(status_of([&] { sentence.embed({"a"}, options); }) == BERTSCRIPT_INVALID_ARGUMENT);
    options = {};
    options.pooling = {{"cls", "max"}};
    CHECK(sentence.embed({"a"}, options).shape()[1] == 2 * 32);
    CHECK(sentence.embed({}).numel() == 0);

    // Texts in any container; embeddings in memory of ours, the same to the bit.
    const std::vector<std::string> strings = {"the cat", many};
    const std::vector<std::string_view> views(strings.begin(), strings.end());
    const char *const pointers[] = {"the cat", many.c_str()};
    const std::vector<float> expected = sentence.embed(strings).values<float>();
    CHECK(sentence.embed(views).values<float>() == expected && sentence.embed(pointers).values<float>() == expected);
    CHECK(sentence.embedding_dim() == 16 && sentence.embedding_dim(options) == 2 * 32);
    std::vector<float> room(2 * sentence.embedding_dim());
    CHECK(sentence.embed_into(strings, room.data(), room.size(), {}, &truncated) == room.size() && room == expected);
    CHECK(truncated == (std::vector<bool>{false, true}));
    CHECK(status_of([&] { sentence.embed_into(strings, room.data(), 31); }) == BERTSCRIPT_BUFFER_TOO_SMALL);

    // The same as they are stored: a bit for each dimension, or a part of its range.
    const std::vector<float> ranges = embedding_ranges(expected.data(), 2, 16);
    CHECK(ranges.size() == 32 && ranges[3] <= expected[3] && ranges[16 + 3] >= expected[16 + 3]);
    for (const char *precision : {"binary", "uint8"}) {
        TaskOptions stored;
        stored.embedding_precision = precision;
        if (*precision == 'u') {
            stored.ranges = ranges;
        }
        const std::size_t row = sentence.embedding_bytes(stored);
        CHECK(row == (*precision == 'u' ? 16 : 2));
        std::vector<unsigned char> bytes(2 * row + 1), again(2 * row);
        CHECK(sentence.embed_quantized(strings, bytes.data(), row + 1, bytes.size(), stored, &truncated) == bytes.size());
        CHECK(truncated == (std::vector<bool>{false, true}));
        CHECK(quantize_embeddings(expected.data(), 2, 16, precision, stored.ranges.value_or(std::vector<float>()),
                                  again.data(), 0, again.size()) == again.size());
        CHECK(std::memcmp(bytes.data(), again.data(), row) == 0);
        CHECK(std::memcmp(bytes.data() + row + 1, again.data() + row, row) == 0);
        CHECK(status_of([&] { sentence.embed_quantized(strings, bytes.data(), 0, row, stored); }) ==
              BERTSCRIPT_BUFFER_TOO_SMALL);
        CHECK(status_of([&] { sentence.embed(strings, stored); }) == BERTSCRIPT_INVALID_ARGUMENT);
    }
    CHECK(status_of([&] { quantize_embeddings(expected.data(), 2, 16, "int8", {0, 1}, room.data(), 0, 32); }) ==
          BERTSCRIPT_INVALID_ARGUMENT);

    // A prompt is text of any kind but for NUL, at which C would end it.
    options = {};
    options.prompt = std::string("query: \0", 8);
    CHECK(status_of([&] { sentence.embed({"a"}, options); }) == BERTSCRIPT_INVALID_ARGUMENT);
    options.prompt = "query: ";
    options.prompt_name = "query";
    CHECK(status_of([&] { sentence.embed({"a"}, options); }) == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(status_of([&] { Module(std::string("model.pt\0x", 10)); }) == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(status_of([&] { sentence.run({{std::string("input_ids\0", 10), ids}}); }) == BERTSCRIPT_INVALID_ARGUMENT);

    // Engine and precision are kept, or refused by name.
    const Module int8 = sentence.with_engine(std::nullopt, "int8");
    CHECK(int8.to(std::nullopt, "bfloat16").precision() == "int8" && int8.engine() == "native");
    CHECK(sentence.with_engine("torchscript").engine() == "torchscript");
    CHECK(sentence.with_engine("torchscript", "bf16").precision() == "bf16");
    // The old names of the same choice.
    CHECK(sentence.with_plan("packed-int8").precision() == "int8" && int8.plan() == "packed-int8");
    CHECK(sentence.with_plan("scripted").plan() == "scripted" && sentence.plan() == "packed");
    CHECK(status_of([&] { int8.to(std::nullopt, "float16"); }) == BERTSCRIPT_UNSUPPORTED);

    const Module labels = Model(fixtures + "/text/classify-single").trace();
    for (const Classification &text : labels.classify_pairs({"good", "the cat"}, {"bad", "sat"})) {
        for (const Label &label : text.labels) {
            std::printf("%s %.9g ", label.label.c_str(), label.score);
        }
    }
    CHECK(labels.classify({"good"})[0].labels.size() == 3);
    CHECK(status_of([&] { labels.classify_pairs({"good"}, {}); }) == BERTSCRIPT_INVALID_ARGUMENT);
    const Module reranker = Model(fixtures + "/text/reranker").trace();
    for (const RankedText &text : reranker.rank("who saw the cat?", {"the cat", "a dog ran", many})) {
        std::printf("%zu %.9g %d ", text.index, text.score, text.truncated ? 1 : 0);
    }
    const Module inference = Model(fixtures + "/text/inference").trace();
    options = {};
    options.hypothesis_template = "it is {}.";
    options.multi_label = true;
    const auto scored = inference.zero_shot({"the cat sat"}, {"a cat", "the city"}, options);
    for (const Label &label : scored[0].labels) {
        std::printf("%s %.9g ", label.label.c_str(), label.score);
    }
    CHECK(status_of([&] { inference.zero_shot({"a"}, {std::string("b\0c", 3)}); }) == BERTSCRIPT_INVALID_ARGUMENT);
    CHECK(status_of([&] { reranker.rank(std::string("b\0c", 3), {"a"}); }) == BERTSCRIPT_INVALID_ARGUMENT);
    const Module sparse = Model(fixtures + "/text/sparse").trace();
    options = {};
    options.max_active_dims = 5;
    options.prompt_name = "query";
    std::printf("\n");
    const auto embedded = sparse.embed_sparse({"the cat", many}, options);
    for (const SparseEmbedding &text : embedded) {
        for (std::size_t i = 0; i < text.indices.size(); i++) {
            std::printf("%u %.9g ", (unsigned)text.indices[i], text.values[i]);
        }
        std::printf("%d ", text.truncated ? 1 : 0);
    }
    CHECK(embedded.size() == 2 && embedded[0].values.size() == 5);
    CHECK(status_of([&] { labels.embed_sparse({"a"}); }) == BERTSCRIPT_UNSUPPORTED);
    const Module next = Model(fixtures + "/text/next-sentence").trace();
    CHECK(next.next_sentence({"a"}, {"b"})[0].labels.size() == 2);

    const Module names = Model(fixtures + "/text/entities").trace();
    options = {};
    options.aggregation_strategy = "none";
    options.ignore_labels = std::vector<std::string>();
    std::printf("\n");
    const auto found = names.entities({"She went to the big city."}, options);
    for (const Entity &entity : found[0].entities) {
        std::printf("%s %s %zu %zu %lld ", entity.entity.c_str(), entity.word.c_str(), entity.start, entity.end,
                    (long long)*entity.index);
    }
    const Module words = Model(fixtures + "/text/masked").trace();
    std::printf("\n");
    const auto filled = words.fill_mask({"the [MASK] sat on the [MASK]"});
    for (const Filling &filling : filled[0].fillings) {
        std::printf("%zu %lld %s ", filling.mask, (long long)filling.token, filling.token_str.c_str());
    }
    std::printf("\n");
    BuildOptions build;
    build.architecture = "BertForQuestionAnswering";
    build.random_init = 3;
    const Module questions = Model(fixtures + "/text/sentence", build).trace({{"4x64"}});
    const Answer answer = questions.answer({"who?"}, {"the cat sat"})[0].answers[0];
    CHECK(std::string("the cat sat").substr(answer.start, answer.end - answer.start) == answer.answer);

    const Tokenizer tokenizer = words.tokenizer();
    EncodeOptions encode;
    encode.padding = "longest";
    const Encoding encoding = tokenizer.encode({"the cat sat", "cat"}, encode);
    CHECK(rows_of(encoding) == 2 && encoding.length(0) == encoding.length(1));
    CHECK(encoding.input_ids(0).size() == encoding.length(0) && encoding.input_ids(7).empty());
    CHECK(encoding.token(0, 1) == "the" && encoding.offsets(0)[3] == 3 && encoding.char_offsets(0)[3] == 3);
    CHECK(encoding.word_ids(0)[0] == -1 && encoding.sequence_ids(0)[1] == 0 && encoding.sample(1) == 1);
    CHECK(encoding.tensors().attention_mask.shape() == encoding.tensors().input_ids.shape());
    CHECK(words.run({{"input_ids", encoding.tensors().input_ids}}).size() == 1);
    const std::vector<std::int64_t> kept(encoding.input_ids(0).begin(), encoding.input_ids(0).end());
    CHECK(tokenizer.decode(kept) == "the cat sat");
    CHECK(tokenizer.id_to_token(*tokenizer.token_to_id("[MASK]")) == "[MASK]");
    CHECK(!tokenizer.token_to_id(std::string("[MASK]\0", 7)));
    CHECK(tokenizer.encode(std::vector<std::string>{"the cat sat", "cat"}, encode).rows() == 2);
    CHECK(!tokenizer.token_to_id("no such") && tokenizer.max_length() == 32 && tokenizer.vocab_size() > 10);
    CHECK(Tokenizer(fixtures + "/text/masked").encode_pairs({"a"}, {"b"}).rows() == 1);
    CHECK(tokenizer.decode(std::vector<std::int64_t>(200, kept[1])).size() > 64);
    CHECK(status_of([] { Tokenizer("nowhere"); }) == BERTSCRIPT_NOT_FOUND);
    return 0;
}
