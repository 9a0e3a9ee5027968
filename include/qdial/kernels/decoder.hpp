// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "qdial/endian.hpp"
#include "qdial/simd/bytes.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// How a format's blocks are read; specialised in the format's own file and used by
/// `dequantize` and `dot`:
///
///     template <class V, std::size_t First> static V::bytes codes(const block& b)
///                      the V::length codes from element First on, in order; V is
///                      simd::byte_ops<Arch>, simd::widening_bytes<Arch> or
///                      simd::code_lookup<Arch>
///     signed_codes     codes are signed bytes; otherwise unsigned and at most 127
///     code_bits        (optional) bits of a code: short ones may be looked up, see code_lookup
///     offset           what is subtracted from a code: q = code - offset
///     has_minimum      whether the format has minima beside scales
///     scale(b), minimum(b)   the block's two factors, as binary16 bits (Q8_K: a float)
///     sub_block        elements per integer scale: 16 or 32; 0 where a block has one scale
///     sub_scales(b), sub_minima(b)   the integer scales and minima, sixteen or eight bytes
///
/// An element is then, each operation rounded once:
///
///     sub_block == 0:  q d            or  q d + m
///     otherwise:       (d scale) q    or  (d scale) q - (dmin minimum)
///
/// Formats of floats have a single member instead: load(const block* p) widens one register.
template <class Format, class Arch>
struct decoder;

/// Calls fn(std::integral_constant<std::size_t, i>) for i = 0 … N - 1.
template <std::size_t N, class Fn>
QDIAL_INLINE void unrolled(Fn fn) {
    [&]<std::size_t... I>(std::index_sequence<I...>) QDIAL_INLINE_LAMBDA {
        (fn(std::integral_constant<std::size_t, I>{}), ...);
    }(std::make_index_sequence<N>{});
}

QDIAL_INLINE std::uint32_t load_u32(const std::uint8_t* p) noexcept {
    std::uint32_t x;
    std::memcpy(&x, p, sizeof x);
    return little_endian(x);
}
QDIAL_INLINE std::uint64_t load_u64(const std::uint8_t* p) noexcept {
    return load_u32(p) | static_cast<std::uint64_t>(load_u32(p + 4)) << 32;
}

/// The eight 6-bit scales of Q4_K and Q5_K: four whole, four as a nibble in the last bytes and
/// two bits above the first ones.
QDIAL_INLINE simd::sixteen_bytes six_bit_scales(const std::uint8_t* packed) noexcept {
    const std::uint32_t first = load_u32(packed), last = load_u32(packed + 8);
    const std::uint32_t four = (last & 0x0F0F0F0Fu) | (first >> 2 & 0x30303030u);
    return {(first & 0x3F3F3F3Fu) | static_cast<std::uint64_t>(four) << 32, 0};
}
/// Their eight 6-bit minima, packed the same way with the high nibbles.
QDIAL_INLINE simd::sixteen_bytes six_bit_minima(const std::uint8_t* packed) noexcept {
    const std::uint32_t second = load_u32(packed + 4), last = load_u32(packed + 8);
    const std::uint32_t four = (last >> 4 & 0x0F0F0F0Fu) | (second >> 2 & 0x30303030u);
    return {(second & 0x3F3F3F3Fu) | static_cast<std::uint64_t>(four) << 32, 0};
}

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
