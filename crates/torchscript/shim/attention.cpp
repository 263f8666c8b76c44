// Attention over texts of different lengths that lie one after the other.
#include "shim.h"

#include <ATen/ops/_efficient_attention_forward.h>
#include <ATen/ops/_flash_attention_forward.h>

extern "C" {

// query, key, value [T, heads, head_dim] on a CUDA device, cu_seqlens [N + 1] of
// int32: where the first text begins and where each ends. Tokens attend to those at
// most `window` away, which only FlashAttention can, or to all if it is negative. Gives
// [T, heads, head_dim].
ts_error* ts_varlen_attention(
    const at::Tensor* query,
    const at::Tensor* key,
    const at::Tensor* value,
    const at::Tensor* cu_seqlens,
    int64_t longest,
    int flash,
    int64_t window,
    at::Tensor** out) {
  return guard([&] {
    const double dropout = 0;
    if (flash != 0) {
      const bool is_causal = false;
      const bool return_debug_mask = false;
      const std::optional<double> usual_scale;
      const auto side = window < 0 ? std::optional<int64_t>() : std::optional<int64_t>(window);
      auto result = at::_flash_attention_forward(
          *query, *key, *value, *cu_seqlens, *cu_seqlens, longest, longest, dropout, is_causal, return_debug_mask,
          usual_scale, side, side);
      *out = new at::Tensor(std::get<0>(result));
      return;
    }
    TORCH_CHECK(window < 0, "this kernel has no window");
    // This one takes a batch, of one row that holds all texts.
    const int64_t no_custom_mask = 0;
    auto result = at::_efficient_attention_forward(
        query->unsqueeze(0), key->unsqueeze(0), value->unsqueeze(0), std::nullopt, *cu_seqlens, *cu_seqlens,
        std::optional<int64_t>(longest), std::optional<int64_t>(longest), dropout, no_custom_mask);
    *out = new at::Tensor(std::get<0>(result).squeeze(0));
  });
}

} // extern "C"
