// A program that uses libtorch itself: what the library leaves as it was, and what it shares.
// host CHECKPOINT SENTENCE_CHECKPOINT

#include <bertscript/bertscript.hpp>

#include <ATen/DLConvertor.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/csrc/jit/runtime/profiling_graph_executor_impl.h>
#include <torch/script.h>

#include <cfenv>
#include <cstdio>
#include <fstream>
#include <set>

// libtorch has a macro of this name.
#undef CHECK
#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                         \
        }                                                                         \
    } while (0)

namespace {

/// Everything that a host may have set.
std::vector<std::int64_t> state() {
    return {
        torch::GradMode::is_enabled(),
        c10::InferenceMode::is_enabled(),
        at::get_num_threads(),
        static_cast<std::int64_t>(at::get_default_dtype().toScalarType()),
        torch::jit::getGraphExecutorOptimize(),
        torch::jit::getProfilingMode().load(),
        torch::jit::getExecutorMode().load(),
        at::globalContext().deterministicAlgorithms(),
        at::globalContext().allowTF32CuBLAS(),
        at::autocast::is_autocast_enabled(at::kCPU),
        std::fegetround(),
        __builtin_ia32_stmxcsr(),
    };
}

/// Everything that the library does: build, trace, save, load, run, embed, and fail.
void everything(const std::string &checkpoint, const std::string &sentence) {
    using namespace bertscript;
    const Module traced = Model(checkpoint).trace();
    traced.save("host.pt");
    Model(sentence).export_file("sentence.pt");
    const Module module("host.pt");
    const Tensor ids({1, 3}, std::vector<std::int64_t>{2, 9, 3});
    for (int i = 0; i < 3; i++) {
        module.run({{"input_ids", ids}});
    }
    module.warm_up(1, 4);
    Module("sentence.pt").embed({"the cat", "a dog"});
    for (const std::int64_t wrong : {-1, 999}) {
        try {
            module.run({{"input_ids", Tensor({1, 1}, std::vector<std::int64_t>{wrong})}});
            CHECK(false);
        } catch (const Error &) {
        }
    }
    try {
        Module("nowhere.pt");
        CHECK(false);
    } catch (const Error &) {
    }
}

void leaves_what_it_finds(const std::string &checkpoint, const std::string &sentence) {
    for (const bool grad : {true, false}) {
        torch::GradMode::set_enabled(grad);
        torch::manual_seed(7);
        const at::Tensor first = at::rand({4});
        const auto before = state();
        everything(checkpoint, sentence);
        CHECK(state() == before);
        const at::Tensor second = at::rand({4});
        torch::manual_seed(7);
        CHECK(at::equal(first, at::rand({4})) && at::equal(second, at::rand({4})));
    }
    // In other surroundings than usual.
    const c10::InferenceMode inference;
    at::set_num_threads(1);
    at::set_default_dtype(caffe2::TypeMeta::fromScalarType(at::kDouble));
    std::fesetround(FE_UPWARD);
    torch::jit::setGraphExecutorOptimize(false);
    const auto before = state();
    everything(checkpoint, sentence);
    CHECK(state() == before);
    at::set_default_dtype(caffe2::TypeMeta::fromScalarType(at::kFloat));
    std::fesetround(FE_TONEAREST);
}

void shares_tensors() {
    // By the host's libtorch, so that the numbers are the same to the last bit.
    const bertscript::Module module = bertscript::Module("host.pt").with_engine("torchscript");
    const at::Tensor ids = at::tensor({2, 9, 3}, at::kLong).reshape({1, 3});
    // The library's tensor is the host's memory, and keeps it.
    const std::size_t uses = ids.use_count();
    {
        const auto borrowed = bertscript::Tensor::from_dlpack(at::toDLPackVersioned(ids));
        CHECK(borrowed.data<std::int64_t>() == ids.data_ptr<std::int64_t>());
        CHECK(ids.use_count() > uses);
        const auto outputs = module.run({{"input_ids", borrowed}});
        const float *values = outputs[1].data<float>();
        DLManagedTensorVersioned *managed = outputs[1].to_dlpack();
        CHECK(managed->flags & DLPACK_FLAG_BITMASK_READ_ONLY);
        const at::Tensor theirs = at::fromDLPackVersioned(managed);
        CHECK(theirs.data_ptr<float>() == values);
        // And the numbers are those that the host computes with the same file.
        torch::jit::Module script = torch::jit::load("host.pt");
        const auto expected = script.forward({ids}).toTuple()->elements()[1].toTensor();
        CHECK(at::equal(theirs, expected));
    }
    CHECK(ids.use_count() == uses);
}

void one_libtorch() {
    std::set<std::string> torches, gomps;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        const std::string path = line.substr(std::min(line.find('/'), line.size()));
        if (path.find("libtorch_cpu") != std::string::npos) {
            torches.insert(path);
        }
        if (path.find("libgomp") != std::string::npos) {
            gomps.insert(path);
        }
    }
    CHECK(torches.size() == 1 && gomps.size() <= 1);
    bertscript::runtime_check();
}

} // namespace

int main(int, char **argv) {
    leaves_what_it_finds(argv[1], argv[2]);
    shares_tensors();
    one_libtorch();
    return 0;
}
