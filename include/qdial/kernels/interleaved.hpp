// SPDX-License-Identifier: Apache-2.0
//
// How the packed kernels see a format's block: as 4-byte words, of which sixteen rows' lie side by
// side, and binary16 factors. A format describes itself in its own file; packing, GEMV and GEMM
// follow from that on every backend.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "qdial/formats/format.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/simd/rows.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// Part of a code: `width` bits from bit `shift` on of the byte at `offset` in the block are the
/// code's bits from `to` on.
struct bit_field {
    std::size_t offset;
    int shift, width, to;
};

/// Specialised in a format's own file:
///
///     halves_at, halves     where the block's one or two binary16 factors are: the scale and,
///                           after it, the minimum; all other bytes are words
///     fields(e)             an array of the bit_fields of element e's code, for e a multiple of
///                           4: elements e + 1 … e + 3 have theirs in the next bytes
///     code_bits             bits of a code
///
/// Formats with integer scales (decoder::sub_block != 0), for sixteen rows:
///
///     scales<V>(word, out)  the scales as words of four bytes each, from word(i) = the block's
///     minima<V>(word, out)  word i; the minima likewise
///
/// Optional: to_packed(i, w), from_packed(i, w), a permutation of the bits of word i.
template <class Format>
struct interleaved;

/// Words of a block and where they start.
template <class F>
inline constexpr std::size_t words_per_block = (sizeof(typename F::block) -
                                                2 * interleaved<F>::halves) /
                                               4;
template <class F>
inline constexpr std::size_t words_at =
    interleaved<F>::halves_at == 0 ? 2 * interleaved<F>::halves : 0;

/// The scales of Q4_K and Q5_K: see six_bit_scales in decoder.hpp.
template <class V, class Word>
QDIAL_INLINE void six_bit_scale_words(Word word, typename V::word (&out)[2]) noexcept {
    const auto low6 = V::splat(0x3F3F3F3F), low4 = V::splat(0x0F0F0F0F),
               high2 = V::splat(0x30303030);
    out[0] = V::bit_and(word(0), low6);
    out[1] = V::bit_or(V::bit_and(word(2), low4), V::bit_and(V::template shr<2>(word(0)), high2));
}
/// Their minima.
template <class V, class Word>
QDIAL_INLINE void six_bit_minimum_words(Word word, typename V::word (&out)[2]) noexcept {
    const auto low6 = V::splat(0x3F3F3F3F), low4 = V::splat(0x0F0F0F0F),
               high2 = V::splat(0x30303030);
    out[0] = V::bit_and(word(1), low6);
    out[1] = V::bit_or(V::bit_and(V::template shr<4>(word(2)), low4),
                       V::bit_and(V::template shr<2>(word(1)), high2));
}

/// The fifth bits of Q5_0 and Q5_1 are packed so that bit u of byte i belongs to element 4u + i:
/// one shift then brings those of four elements to their bytes.
struct fifth_bits {
    /// Swaps the bits that `mask` selects with those `distance` above them.
    QDIAL_INLINE static constexpr std::uint32_t swap(std::uint32_t x, std::uint32_t mask,
                                                     int distance) noexcept {
        const std::uint32_t t = (x ^ x >> distance) & mask;
        return x ^ t ^ t << distance;
    }
    /// Bits of even index to the lower half, of odd index to the upper half.
    QDIAL_INLINE static constexpr std::uint32_t unshuffle(std::uint32_t x) noexcept {
        x = swap(x, 0x22222222u, 1);
        x = swap(x, 0x0C0C0C0Cu, 2);
        x = swap(x, 0x00F000F0u, 4);
        return swap(x, 0x0000FF00u, 8);
    }
    QDIAL_INLINE static constexpr std::uint32_t shuffle(std::uint32_t x) noexcept {
        x = swap(x, 0x0000FF00u, 8);
        x = swap(x, 0x00F000F0u, 4);
        x = swap(x, 0x0C0C0C0Cu, 2);
        return swap(x, 0x22222222u, 1);
    }
    QDIAL_INLINE static constexpr std::uint32_t to_packed(std::size_t i, std::uint32_t w) noexcept {
        return i == 0 ? unshuffle(unshuffle(w)) : w;
    }
    QDIAL_INLINE static constexpr std::uint32_t from_packed(std::size_t i,
                                                            std::uint32_t w) noexcept {
        return i == 0 ? shuffle(shuffle(w)) : w;
    }
};

}  // namespace qdial::kernels

namespace qdial {

/// A format that can be packed for GEMV and GEMM: blocks of codes with an `interleaved`
/// description, and floats of at most 32 bits.
template <class F>
concept packable_block_format = decodable_format<F> && !F::is_float && requires {
    kernels::interleaved<F>::halves;
};
template <class F>
concept packable_float_format =
    decodable_format<F> && F::is_float && F::block_length == 1 && requires {
    typename F::activation;
};
template <class F>
concept packable_format = packable_block_format<F> || packable_float_format<F>;

}  // namespace qdial

#include "qdial/macros_end.hpp"
