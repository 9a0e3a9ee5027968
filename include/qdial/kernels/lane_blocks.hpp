// SPDX-License-Identifier: Apache-2.0
//
// Blocks side by side in lanes: lane b holds block b of a batch, so that every operation on a
// block is vertical and keeps the scalar order. Elements come in through transposed loads; the
// block's bytes go out as 32-bit words through transposed stores.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "qdial/endian.hpp"
#include "qdial/kernels/rounding.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// Loads `Length` elements from each of `count` rows (1 .. width) that start at row(0), row(1), …
/// into out[e * width + lane]; missing lanes repeat the last row.
template <std::size_t Length, class Arch, class Row>
void load_transposed(Row row, std::size_t count, float* out) noexcept {
    using O = simd::ops<Arch>;
    static_assert(Length % O::width == 0);
    const float* rows[O::width];
    for (std::size_t b = 0; b < O::width; ++b) rows[b] = row(std::min(b, count - 1));
    for (std::size_t e = 0; e < Length; e += O::width) {
        typename O::f tile[O::width];
        for (std::size_t b = 0; b < O::width; ++b) tile[b] = O::load(rows[b] + e);
        O::transpose(tile);
        for (std::size_t b = 0; b < O::width; ++b) O::store(out + (e + b) * O::width, tile[b]);
    }
}

/// Replaces NaN and infinities in x[0 .. count) by zeros, count a multiple of the width. The
/// searches promise the same bits everywhere, and what an operation makes of a NaN's sign and
/// payload differs between processors.
template <class Arch>
void zero_non_finite(float* x, std::size_t count) noexcept {
    using I = ints<Arch>;
    using F = floats<Arch>;
    const I not_sign(0x7FFFFFFF), largest_finite(0x7F7FFFFF);
    I largest(0);
    for (std::size_t e = 0; e < count; e += I::width)
        largest = max(largest, bits(F::load(x + e)) & not_sign);
    if (!any(largest > largest_finite)) [[likely]]
        return;
    for (std::size_t e = 0; e < count; e += I::width) {
        const F v = F::load(x + e);
        select((bits(v) & not_sign) > largest_finite, F(0.0f), v).store(x + e);
    }
}

/// The binary16 of a scale; a NaN (finite elements so large that the search overflowed) always
/// gives the same bits.
template <class Arch, std::size_t G>
QDIAL_INLINE ints<Arch, G> scale_to_half(floats<Arch, G> scale) noexcept {
    return select(scale == scale, to_half(scale), ints<Arch, G>(0xFE00));
}

/// The bytes of one block per lane, assembled as little-endian words.
template <std::size_t Bytes, class Arch>
class lane_bytes {
    using O = simd::ops<Arch>;
    using I = ints<Arch>;
    static constexpr std::size_t width = O::width;
    static constexpr std::size_t words = (Bytes + 3) / 4;
    static constexpr std::size_t padded = (words + width - 1) / width * width;

public:
    QDIAL_INLINE void set_word(std::size_t k, I value) noexcept { value.store(words_ + k * width); }
    QDIAL_INLINE I word(std::size_t k) const noexcept { return I::load(words_ + k * width); }

    /// Words first … first + count - 1 from bytes: byte(j) for j in 0 .. 4 count - 1.
    template <class Byte>
    void set_bytes(std::size_t first, std::size_t count, Byte byte) noexcept {
        for (std::size_t k = 0; k < count; ++k) {
            const I low = byte(4 * k) | simd::shl<8>(I(byte(4 * k + 1)));
            const I high = byte(4 * k + 2) | simd::shl<8>(I(byte(4 * k + 3)));
            set_word(first + k, low | simd::shl<16>(I(high)));
        }
    }

    /// Copies lane b's bytes to out[b] for b < count.
    template <class Block>
    void copy_to(Block* out, std::size_t count) noexcept {
        static_assert(sizeof(Block) == Bytes);
        alignas(64) std::int32_t rows[width][padded];
        for (std::size_t k = 0; k < padded; k += width) {
            typename O::f tile[width];
            for (std::size_t j = 0; j < width; ++j)
                tile[j] = O::from_bits(O::load(words_ + std::min(k + j, words - 1) * width));
            O::transpose(tile);
            for (std::size_t b = 0; b < width; ++b) O::store(rows[b] + k, O::bits(tile[b]));
        }
        for (std::size_t b = 0; b < count; ++b) {
            if constexpr (std::endian::native == std::endian::big)
                for (std::size_t k = 0; k < words; ++k)
                    rows[b][k] = static_cast<std::int32_t>(
                        little_endian(static_cast<std::uint32_t>(rows[b][k])));
            std::memcpy(static_cast<void*>(out + b), rows[b], Bytes);
        }
    }

private:
    alignas(64) std::int32_t words_[words * width];
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
