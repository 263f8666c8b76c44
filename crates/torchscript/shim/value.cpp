// Errors and dynamically typed values.
#include "shim.h"

extern "C" {

int ts_error_get(const ts_error* error, const char** message, size_t* length) {
  *message = error->message.data();
  *length = error->message.size();
  return error->kind;
}

void ts_error_free(ts_error* error) {
  if (error != last_resort()) {
    delete error;
  }
}

ts_error* ts_value_none(ts_value** out) {
  return guard([&] { *out = new ts_value(); });
}

ts_error* ts_value_tensor(const at::Tensor* tensor, ts_value** out) {
  return guard([&] { *out = new ts_value(*tensor); });
}

ts_error* ts_value_bool(int value, ts_value** out) {
  return guard([&] { *out = new ts_value(value != 0); });
}

ts_error* ts_value_int(int64_t value, ts_value** out) {
  return guard([&] { *out = new ts_value(value); });
}

ts_error* ts_value_double(double value, ts_value** out) {
  return guard([&] { *out = new ts_value(value); });
}

ts_error* ts_value_string(const char* data, size_t length, ts_value** out) {
  return guard([&] { *out = new ts_value(std::string(data, length)); });
}

ts_error* ts_value_tuple(const ts_value* const* items, size_t count, ts_value** out) {
  return guard([&] {
    std::vector<c10::IValue> elements;
    elements.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      elements.push_back(*items[i]);
    }
    *out = new ts_value(c10::ivalue::Tuple::create(std::move(elements)));
  });
}

// A list takes the type of its first item, as TorchScript's literals do.
ts_error* ts_value_list(const ts_value* const* items, size_t count, ts_value** out) {
  return guard([&] {
    auto type = count == 0 ? c10::TypePtr(c10::TensorType::get()) : items[0]->type();
    if (type->kind() == c10::TypeKind::TensorType) {
      type = c10::TensorType::get();
    }
    c10::impl::GenericList list(type);
    for (size_t i = 0; i < count; ++i) {
      list.push_back(*items[i]);
    }
    *out = new ts_value(std::move(list));
  });
}

enum ts_tag : int {
  TS_NONE = 0,
  TS_TENSOR = 1,
  TS_BOOL = 2,
  TS_INT = 3,
  TS_DOUBLE = 4,
  TS_STRING = 5,
  TS_TUPLE = 6,
  TS_LIST = 7,
  TS_DICT = 8,
  TS_OTHER = 9,
};

int ts_value_tag(const ts_value* value) {
  if (value->isNone()) return TS_NONE;
  if (value->isTensor()) return TS_TENSOR;
  if (value->isBool()) return TS_BOOL;
  if (value->isInt()) return TS_INT;
  if (value->isDouble()) return TS_DOUBLE;
  if (value->isString()) return TS_STRING;
  if (value->isTuple()) return TS_TUPLE;
  if (value->isList()) return TS_LIST;
  if (value->isGenericDict()) return TS_DICT;
  return TS_OTHER;
}

ts_error* ts_value_get_tensor(const ts_value* value, at::Tensor** out) {
  return guard([&] { *out = new at::Tensor(value->toTensor()); });
}

ts_error* ts_value_get_bool(const ts_value* value, int* out) {
  return guard([&] { *out = value->toBool() ? 1 : 0; });
}

ts_error* ts_value_get_int(const ts_value* value, int64_t* out) {
  return guard([&] { *out = value->toInt(); });
}

ts_error* ts_value_get_double(const ts_value* value, double* out) {
  return guard([&] { *out = value->toDouble(); });
}

// The text stays owned by the value.
ts_error* ts_value_get_string(const ts_value* value, const char** data, size_t* length) {
  return guard([&] {
    const std::string& text = value->toStringRef();
    *data = text.data();
    *length = text.size();
  });
}

// The kind of an "other" value, for messages.
ts_error* ts_value_type_name(const ts_value* value, ts_value** out) {
  return guard([&] { *out = new ts_value(value->type()->str()); });
}

// Items of a tuple or list; of a dict, its keys and values in turn.
ts_error* ts_value_items(
    const ts_value* value,
    void (*push)(void* user, ts_value* item),
    void* user) {
  return guard([&] {
    if (value->isTuple()) {
      for (const auto& item : value->toTupleRef().elements()) {
        push(user, new ts_value(item));
      }
    } else if (value->isList()) {
      for (const c10::IValue& item : value->toList()) {
        push(user, new ts_value(item));
      }
    } else {
      for (const auto& entry : value->toGenericDict()) {
        push(user, new ts_value(entry.key()));
        push(user, new ts_value(entry.value()));
      }
    }
  });
}

void ts_value_free(ts_value* value) {
  delete value;
}

} // extern "C"
