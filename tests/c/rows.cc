// The second translation unit of classes.cc.

#include <bertscript/bertscript.hpp>

std::size_t rows_of(const bertscript::Encoding &encoding) { return encoding.rows(); }
