// bertscript for C++17: the functions of bertscript.h as classes.
//
//     bertscript::Module module("minilm.pt");
//     bertscript::Tensor embeddings = module.embed({"A man is eating pasta.", "Someone has a meal."});
//     const float *values = embeddings.data<float>();
//
// What fails throws bertscript::Error. Under -fno-exceptions, or with BERTSCRIPT_NO_EXCEPTIONS
// defined, the same functions return a bertscript::Result, and objects are made by functions such as
// Module::load instead of by constructors:
//
//     bertscript::Result<bertscript::Module> module = bertscript::Module::load("minilm.pt");
//     if (!module) { std::puts(module.error().what()); }
//
// Handles free themselves. Copies of a Module, Model, Tensor, Tokenizer or CancelToken share what they
// hold; a Module may be used by any number of threads at once.

#ifndef BERTSCRIPT_HPP
#define BERTSCRIPT_HPP

#include <bertscript/error.hpp>
#include <bertscript/model.hpp>
#include <bertscript/module.hpp>
#include <bertscript/options.hpp>
#include <bertscript/quantize.hpp>
#include <bertscript/results.hpp>
#include <bertscript/tensor.hpp>
#include <bertscript/tokenizer.hpp>

#endif // BERTSCRIPT_HPP
