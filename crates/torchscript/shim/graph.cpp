// CUDA graphs, of a library that is loaded when there is a device, and events.
#include "shim.h"
#include "symbols.h"

#include <unistd.h>

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace {

// The functions of libbertscript_cuda.so.
struct Graphs {
  using Begin = int (*)(int device, void** out, char* message, size_t room);
  using Act = int (*)(void* graph, char* message, size_t room);

  Begin begin = nullptr;
  Act capture = nullptr;
  Act end = nullptr;
  Act replay = nullptr;
  Act free = nullptr;
  // Why there are none, if there are none.
  std::string missing;

  Graphs() {
    void* library = open();
    if (library == nullptr) {
      return;
    }
    begin = find_function<Begin>(library, "bertscript_cuda_graph_begin");
    capture = find_function<Act>(library, "bertscript_cuda_graph_capture");
    end = find_function<Act>(library, "bertscript_cuda_graph_end");
    replay = find_function<Act>(library, "bertscript_cuda_graph_replay");
    free = find_function<Act>(library, "bertscript_cuda_graph_free");
    missing = "libbertscript_cuda.so was built without CUDA";
  }

  // It lies beside the library or program that this is linked into: in its folder,
  // in `lib` where that is `bin`, or above, where cargo builds tests.
  void* open() {
    Dl_info info{};
    static const int here = 0;
    if (dladdr(&here, &info) == 0 || info.dli_fname == nullptr) {
      missing = "the place of this library is unknown";
      return nullptr;
    }
    std::string folder(info.dli_fname);
    const size_t slash = folder.rfind('/');
    folder = slash == std::string::npos ? std::string(".") : folder.substr(0, slash);
    for (const char* place : {"/", "/../lib/", "/../"}) {
      const std::string path = folder + place + "libbertscript_cuda.so";
      if (access(path.c_str(), F_OK) != 0) {
        continue;
      }
      void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      const char* reason = library == nullptr ? dlerror() : nullptr;
      missing = reason == nullptr ? "" : reason;
      return library;
    }
    missing = "there is no libbertscript_cuda.so beside " + folder;
    return nullptr;
  }
};

const Graphs& graphs() {
  static const Graphs graphs;
  TORCH_CHECK(graphs.free != nullptr, "CUDA graphs cannot be had: ", graphs.missing);
  return graphs;
}

template <class F, class... Arguments>
void call(F function, Arguments... arguments) {
  char message[1024] = {};
  TORCH_CHECK(function(arguments..., message, sizeof message) == 0, message);
}

c10::Stream current_stream(int device) {
  const c10::impl::VirtualGuardImpl devices(c10::kCUDA);
  return devices.getStream(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(device)));
}

} // namespace

extern "C" {

ts_error* ts_cuda_graph_begin(int device, void** out) {
  return guard([&] { call(graphs().begin, device, out); });
}

ts_error* ts_cuda_graph_capture(void* graph) {
  return guard([&] { call(graphs().capture, graph); });
}

ts_error* ts_cuda_graph_end(void* graph) {
  return guard([&] { call(graphs().end, graph); });
}

ts_error* ts_cuda_graph_replay(void* graph) {
  return guard([&] { call(graphs().replay, graph); });
}

ts_error* ts_cuda_graph_free(void* graph) {
  return guard([&] { call(graphs().free, graph); });
}

ts_error* ts_cuda_event_new(void** out) {
  return guard([&] { *out = new c10::Event(c10::kCUDA); });
}

// Marks what this thread's current stream has been given so far.
ts_error* ts_cuda_event_record(void* event, int device) {
  return guard([&] { static_cast<c10::Event*>(event)->record(current_stream(device)); });
}

// Lets this thread's current stream wait for what was marked.
ts_error* ts_cuda_event_block(const void* event, int device) {
  return guard([&] { static_cast<const c10::Event*>(event)->block(current_stream(device)); });
}

void ts_cuda_event_free(void* event) {
  delete static_cast<c10::Event*>(event);
}

} // extern "C"
