// SPDX-License-Identifier: Apache-2.0
//
// Blocks of every format, made from the sample weights.
#pragma once

#include <cstddef>

#include "paired.hpp"
#include "qdial/formats/list.hpp"
#include "qdial/kernels/activations.hpp"
#include "qdial/kernels/quantize.hpp"

namespace qdial::bench {

template <format F>
buffer<typename F::block> sample_blocks(std::size_t elements) {
    buffer<typename F::block> blocks(elements / F::block_length);
    if constexpr (F::encodable)
        quantize<F>(sample_weights(elements), blocks);
    else
        quantize_activations<F>(sample_weights(elements), blocks);
    return blocks;
}

}  // namespace qdial::bench
