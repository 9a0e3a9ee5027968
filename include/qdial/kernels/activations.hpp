// SPDX-License-Identifier: Apache-2.0
//
// Activations to blocks of 8-bit codes, as `dot` takes them.
#pragma once

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "qdial/endian.hpp"
#include "qdial/float16.hpp"
#include "qdial/formats/q8_0.hpp"
#include "qdial/formats/q8_1.hpp"
#include "qdial/formats/q8_k.hpp"
#include "qdial/kernels/encode_q8.hpp"
#include "qdial/kernels/rounding.hpp"
#include "qdial/simd/bytes.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// A format that activations are quantized to.
template <class F>
concept activation_format = std::same_as<F, q8_0> || std::same_as<F, q8_1> || std::same_as<F, q8_k>;

/// Quantizes activations: x.size() == out.size() * F::block_length. Same bytes on every backend.
///
/// Q8_0 and Q8_1 (blocks of 32): d = max |x| / 127, codes round(x / d), half away from zero; Q8_1
/// also stores s = d times the sum of the codes. Q8_K (blocks of 256): d = -(first x of largest
/// magnitude) / 127, codes round to even, and the sums of every 16 codes. These are the bytes of
/// the reference's scalar routines. An all-zero Q8_K block is all zero bytes; in Q8_K a NaN counts
/// as zero, and an infinity makes the scale infinite and all codes 0.
template <activation_format F, class Arch = default_arch>
void quantize_activations(std::span<const float> x, std::span<typename F::block> out);

// ---- implementation

namespace kernels {

template <class Arch>
void encode_activations(const float* x, std::size_t blocks, q8_0::block* out) noexcept {
    encoder<q8_0, Arch>::rows(x, 1, 32 * blocks, nullptr, out);
}

template <class Arch>
void encode_activations(const float* x, std::size_t blocks, q8_1::block* out) noexcept {
    // Codes just stored could not be loaded again without waiting: sums come some blocks later.
    constexpr std::size_t at_once = 32;
    float d[at_once];
    while (blocks != 0) {
        const std::size_t n = std::min(blocks, at_once);
        for (std::size_t b = 0; b < n; ++b) d[b] = encode_q8<Arch>(x + 32 * b, out[b].qs);
        for (std::size_t b = 0; b < n; ++b) {
            std::int16_t sums[2];
            simd::byte_ops<Arch>::sums_of_16(out[b].qs, sums);
            const auto sum = static_cast<float>(sums[0] + sums[1]);
            out[b].d = little_endian(to_float16(d[b]).bits);
            out[b].s = little_endian(to_float16(simd::unfused(sum * d[b])).bits);
        }
        x += 32 * n;
        out += n;
        blocks -= n;
    }
}

/// The bits of the largest magnitude among 256 elements; NaN counts as the largest.
template <class Arch>
QDIAL_INLINE std::int32_t largest_magnitude_bits(const float* x) noexcept {
    using O = simd::ops<Arch>;
    const auto mask = O::splat(std::int32_t{0x7FFFFFFF});
    auto largest = O::splat(std::int32_t{0});
    for (std::size_t e = 0; e < 256; e += O::width)
        largest = O::max(largest, O::bit_and(O::bits(O::load(x + e)), mask));
    return O::reduce_max(largest);
}

/// The first of 256 elements that has this magnitude.
template <class Arch>
QDIAL_INLINE float first_of_magnitude(const float* x, std::int32_t magnitude_bits) noexcept {
    using O = simd::ops<Arch>;
    const auto mask = O::splat(std::int32_t{0x7FFFFFFF});
    const auto wanted = O::splat(magnitude_bits);
    std::size_t e = 0;
    std::uint32_t hits = 0;
    for (; hits == 0; e += O::width)
        hits = O::bitmask(O::eq(O::bit_and(O::bits(O::load(x + e)), mask), wanted));
    return x[e - O::width + static_cast<std::size_t>(std::countr_zero(hits))];
}

/// Writes the codes of 256 elements of which `largest` is the largest magnitude's bits, and returns
/// their scale.
template <class Arch>
QDIAL_INLINE float encode_q8_k_codes(const float* x, std::int32_t largest,
                                     std::int8_t* codes) noexcept {
    using O = simd::ops<Arch>;
    float inverse = 0.0f, d = 0.0f;
    if (largest != 0) {
        inverse = -127.0f / first_of_magnitude<Arch>(x, largest);
        d = 1.0f / inverse;
    }
    // Where the inverse overflows, or is zero by an infinite element, the codes are 0.
    if (inverse == 0.0f || std::fabs(inverse) > FLT_MAX) {
        std::memset(codes, 0, 256);
        return d;
    }
    // No product exceeds 127 by more than two roundings, so that no code has to be clamped.
    constexpr std::size_t G = 32 / O::width;
    using F32 = simd::floats<Arch, G>;
    for (std::size_t e = 0; e < 256; e += 32)
        O::template store_i8<G>(codes + e, nearest_int(F32::load(x + e) * F32(inverse)).r);
    return d;
}

template <class Arch>
void encode_q8_k(const float* x, q8_k::block& out) noexcept {
    const std::int32_t largest = largest_magnitude_bits<Arch>(x);
    if (largest > 0x7F800000) [[unlikely]] {
        float numbers[256];
        for (std::size_t e = 0; e < 256; ++e) numbers[e] = x[e] == x[e] ? x[e] : 0.0f;
        return encode_q8_k<Arch>(numbers, out);
    }
    out.d = little_endian(encode_q8_k_codes<Arch>(x, largest, out.qs));
    for (std::size_t e = 0; e < 256; e += 32) {
        std::int16_t sums[2];
        simd::byte_ops<Arch>::sums_of_16(out.qs + e, sums);
        for (std::size_t k = 0; k < 2; ++k) out.bsums[e / 16 + k] = little_endian(sums[k]);
    }
}

template <class Arch>
void encode_activations(const float* x, std::size_t blocks, q8_k::block* out) noexcept {
    for (std::size_t b = 0; b < blocks; ++b) encode_q8_k<Arch>(x + 256 * b, out[b]);
}

}  // namespace kernels

template <activation_format F, class Arch>
void quantize_activations(std::span<const float> x, std::span<typename F::block> out) {
    QDIAL_ASSERT(x.size() == out.size() * F::block_length,
                 "quantize_activations: the output does not hold the blocks of the input");
    kernels::encode_activations<Arch>(x.data(), out.size(), out.data());
}

}  // namespace qdial

#include "qdial/macros_end.hpp"
