// SPDX-License-Identifier: Apache-2.0
//
// 8-bit codes of 32 elements, shared by the weight format Q8_0 and the activations Q8_0 and Q8_1.
#pragma once

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "qdial/kernels/rounding.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// `encode_q8` of 32 elements of which some are NaN or infinite: the reference's steps one by one,
/// as x86-64 performs them. A NaN restarts the search for the largest element, and a product that
/// no 32-bit integer can hold gives code 0.
template <class Arch>
float encode_q8_with_non_finite(const float* x, std::int8_t* codes) noexcept {
    float largest = 0.0f;
    for (std::size_t j = 0; j < 32; ++j) {
        const float magnitude = std::fabs(x[j]);
        largest = largest > magnitude ? largest : magnitude;
    }
    const float d = largest / 127.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    for (std::size_t j = 0; j < 32; ++j) {
        const float rounded = std::round(simd::unfused(x[j] * inverse));
        codes[j] = static_cast<std::int8_t>(truncate_as_x86(rounded) & 0xFF);
    }
    return d;
}

/// Writes the codes round(x / d), half away from zero, of 32 elements and returns the scale
/// d = max |x| / 127. A scale so small that 1 / d overflows gives codes 0. With a NaN or an
/// infinity among the elements, non_finite() does it all.
template <class Arch, class NonFinite>
QDIAL_INLINE float encode_q8(const float* x, std::int8_t* codes, NonFinite non_finite) noexcept {
    using O = simd::ops<Arch>;
    constexpr std::size_t G = 32 / O::width;
    using F = simd::floats<Arch, G>;
    using I = simd::ints<Arch, G>;
    const F v = F::load(x);
    // Magnitudes order like their bits, and NaN and infinity come out on top.
    const I magnitudes = bits(v) & I(0x7FFFFFFF);
    auto largest = magnitudes.r[0];
    QDIAL_UNROLL
    for (std::size_t g = 1; g < G; ++g) largest = O::max(largest, magnitudes.r[g]);
    const std::int32_t largest_bits = O::reduce_max(largest);
    if (largest_bits >= 0x7F800000) [[unlikely]]
        return non_finite();

    const float d = std::bit_cast<float>(largest_bits) / 127.0f;
    float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    // The reference's products are then infinite or NaN, which x86-64 converts to code 0.
    if (inverse > FLT_MAX) inverse = 0.0f;
    const F scaled = v * F(inverse);
    // Adding the float below one half and truncating rounds half away from zero for |v| < 2^23.
    const I sign = bits(scaled) & I(std::bit_cast<std::int32_t>(0x80000000u));
    const I half = sign | I(std::bit_cast<std::int32_t>(0x1.fffffep-2f));
    const F shifted = scaled + F::map([&](std::size_t g) { return O::from_bits(half.r[g]); });
    O::template store_i8<G>(codes, truncate(shifted).r);
    return d;
}
/// The same, with the reference's codes where an element is NaN or infinite.
template <class Arch>
QDIAL_INLINE float encode_q8(const float* x, std::int8_t* codes) noexcept {
    return encode_q8<Arch>(x, codes,
                           [=]() noexcept { return encode_q8_with_non_finite<Arch>(x, codes); });
}

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
