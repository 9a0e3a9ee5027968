// SPDX-License-Identifier: Apache-2.0
//
// What a GGUF file says about the shape of its model.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "qdial/gguf/reader.hpp"

namespace engine {

/// How rotary position embedding pairs the elements of a head.
enum class rope_pairs {
    neighbours,  ///< (0, 1), (2, 3), …: "norm"
    halves,      ///< (0, n/2), (1, n/2 + 1), …: "neox"
};

/// Frequencies of rotary position embedding.
struct rope_parameters {
    float base = 10000.0f;
    float scale = 1.0f;  ///< of the position: 1 / factor of linear scaling
};

struct hyper_parameters {
    std::string architecture;
    std::size_t layers = 0;
    std::size_t embedding = 0;
    std::size_t feed_forward = 0;
    std::size_t heads = 0;     ///< of the queries
    std::size_t kv_heads = 0;  ///< of keys and values; divides `heads`
    std::size_t key_length = 0, value_length = 0;  ///< elements of a head
    std::size_t vocabulary = 0;
    std::size_t trained_context = 0;  ///< 0 if the file does not say

    float norm_epsilon = 1e-6f;
    float attention_scale = 0;  ///< of q k^T
    float embedding_scale = 1;
    float attention_soft_cap = 0, logit_soft_cap = 0;  ///< cap tanh(x / cap); 0: none

    rope_pairs pairs = rope_pairs::neighbours;
    std::size_t rope_length = 0;  ///< rotated elements of a head
    rope_parameters rope;         ///< of layers that see everything
    rope_parameters local_rope;   ///< of layers with a sliding window

    std::size_t window = 0;  ///< positions that a local layer sees, itself included; 0: all
    std::vector<bool> local;  ///< per layer: has the sliding window
    bool gelu = false;        ///< GELU (tanh form) instead of SiLU
    bool qk_norms = false;    ///< RMS norms of queries and keys, per head
    bool post_norms = false;  ///< RMS norms after attention and after feed-forward
};

/// Reads and checks them. Throws `qdial::error` by name for architectures and settings that the
/// engine does not compute.
[[nodiscard]] hyper_parameters read_hyper_parameters(const qdial::gguf::file& file);

}  // namespace engine
