// SPDX-License-Identifier: Apache-2.0
//
// One sequence of tokens through a model: its key/value cache and the forward pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "model.hpp"
#include "threads.hpp"
#include "tokenizer.hpp"

namespace engine {

/// How keys and values are stored.
enum class kv_format { f32, f16, q8_0 };

struct session_options {
    std::size_t context = 512;  ///< positions that the cache holds
    kv_format cache = kv_format::f16;
    std::size_t batch = 512;  ///< tokens that go through the layers together, at most
};

/// Sees the input of a linear layer before it is multiplied: `n` rows of `row_length` floats.
/// `weight` is the tensor's name, "blk.0.attn_q.weight"; the output head's is "output.weight",
/// or "token_embd.weight" where it shares the embeddings, and sees the wanted positions only.
using input_hook = std::function<void(std::string_view weight, std::span<const float> rows,
                                      std::size_t n, std::size_t row_length)>;

/// Time spent, in seconds.
struct timings {
    double total = 0;
    double packed = 0;     ///< in the packed kernels: activations to blocks, GEMM, GEMV
    double attention = 0;  ///< scores, softmax, sums of values
};

/// A sequence in progress. The logits of a position have the same bits for every number of
/// threads, way of cutting the tokens into calls and batches, and backend.
///
/// Used by one thread at a time. Model and threads must outlive it.
class session {
public:
    /// Throws `qdial::error` if the context is 0.
    session(const model& model, thread_pool& threads, const session_options& options = {});
    ~session();
    session(session&&) noexcept;
    session& operator=(session&&) noexcept;

    /// Runs `tokens` at the current position and moves it on. The positions of `wanted` (indices
    /// into `tokens`, ascending) are kept for `logits`, those of earlier calls forgotten.
    /// Throws `qdial::error` if the cache is full or a token is not in the vocabulary.
    void run(std::span<const token> tokens, std::span<const std::size_t> wanted = {});

    /// Logits of the wanted positions [first, first + n) of the last `run`, model.vocabulary()
    /// floats each. Rows are independent: a caller with little memory takes a few at a time.
    void logits(std::size_t first, std::size_t n, std::span<float> out);

    /// Runs `tokens` and writes the logits of the last one, model.vocabulary() floats.
    void run_last(std::span<const token> tokens, std::span<float> logits);

    /// The most likely token after `tokens`, and so on, up to `count` tokens, until `stop`
    /// returns true for one (it is returned too) or the cache is full.
    [[nodiscard]] std::vector<token> generate(std::span<const token> tokens, std::size_t count,
                                              const std::function<bool(token)>& stop = {});

    /// Forgets all tokens.
    void clear() noexcept;
    /// Forgets the tokens from `position` on, for example to try another continuation.
    void rewind(std::size_t position);
    /// Tokens seen.
    [[nodiscard]] std::size_t position() const noexcept;
    [[nodiscard]] std::size_t context() const noexcept;

    /// Calls `hook` for every linear layer from now on; an empty one ends it.
    void observe(input_hook hook);

    /// Since construction or the last `reset_timings`.
    [[nodiscard]] const timings& spent() const noexcept;
    void reset_timings() noexcept;

    /// Bytes that keys and values take.
    [[nodiscard]] std::uint64_t cache_bytes() const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

/// The index of the largest logit, the first of equal ones.
[[nodiscard]] token most_likely(std::span<const float> logits) noexcept;

}  // namespace engine
