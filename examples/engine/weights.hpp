// SPDX-License-Identifier: Apache-2.0
//
// What a forward pass reads.
#pragma once

#include <vector>

#include "linear.hpp"
#include "qdial/gguf/reader.hpp"

namespace engine {

/// One layer. Norms that a model does not have are empty.
struct layer_weights {
    std::vector<float> attention_norm, query_norm, key_norm, post_attention_norm;
    linear query, key, value, output;
    std::vector<float> feed_forward_norm, post_feed_forward_norm;
    linear gate, up, down;
};

struct weights {
    const qdial::gguf::tensor* embeddings = nullptr;  ///< rows are decoded as they are needed
    std::vector<float> rope_factors;                  ///< empty, or for each pair of elements
    std::vector<layer_weights> layers;
    std::vector<float> output_norm;
    linear output;
};

}  // namespace engine
