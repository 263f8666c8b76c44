// An inference engine with a pool of workers around one module: engine FILE.pt [WORKERS]
//
// Requests come with token ids in the engine's own memory, which the module reads where it is, and
// results leave as DLPack tensors, which the engine's other parts take over without a copy.

#include <bertscript/bertscript.hpp>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <mutex>
#include <queue>
#include <thread>

#include "dlpack_types.h"

namespace {

struct Request {
    std::vector<std::int64_t> ids;
    std::promise<DLManagedTensorVersioned *> result;
};

/// Requests on their way to the workers.
class Queue {
  public:
    void push(Request request) {
        const std::lock_guard lock(mutex_);
        requests_.push(std::move(request));
        changed_.notify_one();
    }
    void close() {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        changed_.notify_all();
    }
    std::optional<Request> pop() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return closed_ || !requests_.empty(); });
        if (requests_.empty()) {
            return std::nullopt;
        }
        Request request = std::move(requests_.front());
        requests_.pop();
        return request;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::queue<Request> requests_;
    bool closed_ = false;
};

void work(const bertscript::Module &module, Queue &queue) {
    module.warm_up(1, 8); // each thread by itself
    while (auto request = queue.pop()) {
        try {
            const auto length = static_cast<std::int64_t>(request->ids.size());
            const auto ids = bertscript::Tensor::borrow({1, length}, request->ids.data(), request->ids.size());
            const auto outputs = module.run({{"input_ids", ids}});
            request->result.set_value(outputs.front().to_dlpack());
        } catch (...) {
            request->result.set_exception(std::current_exception());
        }
    }
}

} // namespace

int main(int argc, char **argv) try {
    if (argc < 2) {
        std::fprintf(stderr, "usage: engine FILE.pt [WORKERS]\n");
        return 2;
    }
    bertscript::set_num_threads(1);
    const bertscript::Module module(argv[1]);
    Queue queue;
    std::vector<std::thread> workers;
    for (int i = 0; i < (argc > 2 ? std::atoi(argv[2]) : 4); i++) {
        workers.emplace_back(work, std::cref(module), std::ref(queue));
    }
    std::vector<std::future<DLManagedTensorVersioned *>> results;
    for (std::int64_t i = 0; i < 16; i++) {
        // The last request is one that no model takes: it fails, and nothing else does.
        Request request{{2, 5 + i, 7 + 2 * i, i < 15 ? 3 : -1}, {}};
        results.push_back(request.result.get_future());
        queue.push(std::move(request));
    }
    queue.close();
    for (auto &result : results) {
        try {
            DLManagedTensorVersioned *output = result.get();
            const float *values = static_cast<const float *>(output->dl_tensor.data);
            std::printf("[%lld, %lld, %lld] %7.4f\n", (long long)output->dl_tensor.shape[0],
                        (long long)output->dl_tensor.shape[1], (long long)output->dl_tensor.shape[2], values[0]);
            output->deleter(output);
        } catch (const bertscript::Error &error) {
            std::printf("%s: %s\n", error.status_name(), error.what());
        }
    }
    for (std::thread &worker : workers) {
        worker.join();
    }
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
