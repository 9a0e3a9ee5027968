// SPDX-License-Identifier: Apache-2.0
//
// Rotary position embedding.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "hyper_parameters.hpp"

namespace engine {

/// Sine and cosine within an ulp or so of binary64, with the same bits on every machine (the
/// mathematical libraries differ). For |x| up to 2^20.
void sine_cosine(double x, double& sine, double& cosine) noexcept;

/// Cosines and sines of a position: `length` / 2 of each, one for each pair of elements.
class rope_row {
public:
    /// `factors` divides the frequencies (Llama 3's long contexts); empty or one for each pair.
    void set(std::size_t position, std::size_t length, const rope_parameters& p,
             std::span<const float> factors);

    /// Rotates the first `length` elements of a head; `scratch` holds as many.
    void rotate(float* head, rope_pairs pairs, float* scratch) const noexcept;

private:
    std::vector<float> cosines_, sines_;
};

}  // namespace engine
