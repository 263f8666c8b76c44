// CUDA graphs: what is launched between capture and end is launched again by one
// call. Every function returns 0, or 1 and a message.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

namespace {

struct Graph {
  explicit Graph(c10::DeviceIndex device) : side(c10::cuda::getStreamFromPool(false, device)) {}

  // libtorch captures on another stream than the default one.
  c10::cuda::CUDAStream side;
  std::optional<c10::cuda::CUDAStreamGuard> on_side;
  at::cuda::CUDAGraph graph;
  bool capturing = false;
};

void say(const char* text, char* message, size_t room) {
  const size_t length = std::min(std::strlen(text), room - 1);
  std::memcpy(message, text, length);
  message[length] = '\0';
}

template <class F>
int guard(char* message, size_t room, F&& body) noexcept {
  try {
    std::forward<F>(body)();
    return 0;
  } catch (const c10::Error& error) {
    say(error.what_without_backtrace(), message, room);
  } catch (const std::exception& error) {
    say(error.what(), message, room);
  } catch (...) {
    say("an exception of an unknown type", message, room);
  }
  return 1;
}

} // namespace

extern "C" {

// Makes a stream the current one of this thread, on which work may be tried and
// then captured.
int graph_begin(int device, void** out, char* message, size_t room) {
  return guard(message, room, [&] {
    const auto index = static_cast<c10::DeviceIndex>(device);
    auto graph = std::make_unique<Graph>(index);
    // What the work reads may still be on its way.
    c10::cuda::getCurrentCUDAStream(index).synchronize();
    graph->on_side.emplace(graph->side);
    *out = graph.release();
  });
}

int graph_capture(void* raw, char* message, size_t room) {
  return guard(message, room, [&] {
    auto* graph = static_cast<Graph*>(raw);
    graph->side.synchronize();
    // Other threads may use the device meanwhile.
    graph->graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    graph->capturing = true;
  });
}

int graph_end(void* raw, char* message, size_t room) {
  return guard(message, room, [&] {
    auto* graph = static_cast<Graph*>(raw);
    graph->capturing = false;
    graph->graph.capture_end();
    graph->side.synchronize();
    graph->on_side.reset();
  });
}

// On this thread's current stream.
int graph_replay(void* raw, char* message, size_t room) {
  return guard(message, room, [&] { static_cast<Graph*>(raw)->graph.replay(); });
}

// Also ends a capture that failed, on the thread that began it.
int graph_free(void* raw, char* message, size_t room) {
  const std::unique_ptr<Graph> graph(static_cast<Graph*>(raw));
  return guard(message, room, [&] {
    if (graph && graph->capturing) {
      graph->graph.capture_end();
    }
  });
}

} // extern "C"
