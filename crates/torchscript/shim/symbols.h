// Functions of libraries that are loaded at run time.
#pragma once

#include <dlfcn.h>

#include <cstring>

// Finds a function by its name; NULL if the library has none.
template <class F>
F find_function(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  F function = nullptr;
  static_assert(sizeof function == sizeof symbol, "a pointer to a function is as large as one to data");
  std::memcpy(&function, &symbol, sizeof symbol);
  return function;
}
