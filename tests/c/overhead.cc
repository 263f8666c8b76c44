// What a call through the C interface costs over calling libtorch from C++: the same file, the same
// tensors, one process, the two sides in turns.
//
//     overhead FILE [PAIRS]

#include <bertscript/bertscript.h>

#include <torch/script.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::time_point from) {
    return std::chrono::duration<double, std::micro>(Clock::now() - from).count();
}

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

void check(bertscript_status status, bertscript_error *error) {
    if (status != BERTSCRIPT_OK) {
        std::fprintf(stderr, "error: %s\n", bertscript_error_message(error));
        std::exit(1);
    }
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: overhead FILE [PAIRS]\n");
        return 2;
    }
    const int pairs = argc > 2 ? std::atoi(argv[2]) : 2000;
    constexpr int64_t length = 16;
    bertscript_error *error = nullptr;

    torch::jit::Module script = torch::jit::load(argv[1]);
    script.eval();
    // Both sides run the same program: what is measured is the call.
    bertscript_module *loaded = nullptr, *module = nullptr;
    check(bertscript_module_load(argv[1], nullptr, &loaded, &error), error);
    check(bertscript_module_with_engine(loaded, "torchscript", nullptr, &module, &error), error);
    bertscript_module_free(loaded);

    std::vector<int64_t> ids(length), mask(length, 1);
    for (int64_t i = 0; i < length; i++) {
        ids[i] = 1000 + i;
    }
    const int64_t shape[] = {1, length};
    const auto tensor = [&](std::vector<int64_t> &values) {
        bertscript_tensor *out = nullptr;
        check(bertscript_tensor_borrow(BERTSCRIPT_INT64, shape, nullptr, 2, values.data(), length * 8, nullptr,
                                       nullptr, nullptr, &out, &error),
              error);
        return out;
    };
    const char *names[] = {"input_ids", "attention_mask"};
    const bertscript_tensor *inputs[] = {tensor(ids), tensor(mask)};
    const auto options = torch::TensorOptions().dtype(torch::kInt64);
    const at::Tensor their_ids = torch::from_blob(ids.data(), {1, length}, options);
    const at::Tensor their_mask = torch::from_blob(mask.data(), {1, length}, options);

    at::Tensor theirs;
    bertscript_tensor *ours[2] = {};
    size_t count = 0;
    const auto run_theirs = [&] {
        c10::InferenceMode guard;
        const auto start = Clock::now();
        theirs = script.forward({their_ids, their_mask}).toTuple()->elements()[0].toTensor();
        return microseconds(start);
    };
    const auto run_ours = [&] {
        for (bertscript_tensor *output : ours) {
            bertscript_tensor_free(output);
        }
        const auto start = Clock::now();
        check(bertscript_module_run(module, names, inputs, 2, nullptr, ours, 2, &count, &error), error);
        return microseconds(start);
    };
    std::vector<double> direct, through, difference;
    for (int i = -200; i < pairs; i++) {
        // Whoever comes second finds warmer caches: they take turns.
        double a, b;
        if (i % 2 == 0) {
            a = run_theirs();
            b = run_ours();
        } else {
            b = run_ours();
            a = run_theirs();
        }
        if (i >= 0) {
            direct.push_back(a);
            through.push_back(b);
            difference.push_back(b - a);
        }
    }
    const void *data = nullptr;
    size_t nbytes = 0;
    check(bertscript_tensor_data(ours[0], &data, &nbytes, &error), error);
    if (nbytes != theirs.nbytes() || std::memcmp(data, theirs.contiguous().data_ptr(), nbytes) != 0) {
        std::fprintf(stderr, "error: the outputs differ\n");
        return 1;
    }
    std::printf("batch 1, length 16, median of %d pairs, outputs equal to the bit\n", pairs);
    std::printf("libtorch from C++    %8.1f us\n", median(direct));
    std::printf("bertscript_module_run %7.1f us\n", median(through));
    std::printf("difference           %8.1f us, %.2f %%\n", median(difference),
                100 * median(difference) / median(direct));
    for (bertscript_tensor *output : ours) {
        bertscript_tensor_free(output);
    }
    for (const bertscript_tensor *input : inputs) {
        bertscript_tensor_free(const_cast<bertscript_tensor *>(input));
    }
    bertscript_module_free(module);
    return 0;
}
