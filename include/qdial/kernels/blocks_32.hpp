// SPDX-License-Identifier: Apache-2.0
//
// Encoders of the formats with 32 elements a block and 4 or 5 bits a code: Q4_0, Q5_0 (scale) and
// Q4_1, Q5_1 (scale and minimum). Without importance a block is encoded in its natural order;
// with it, the reference's searches run on a block per lane.
#pragma once

#include <bit>
#include <cfloat>
#include <cmath>

#include "qdial/float16.hpp"
#include "qdial/kernels/encoder.hpp"
#include "qdial/kernels/lane_blocks.hpp"
#include "qdial/kernels/search_affine.hpp"
#include "qdial/kernels/search_symmetric.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// A block's 32 elements in registers.
template <class Arch>
using floats_32 = floats<Arch, 32 / simd::ops<Arch>::width>;

/// The smallest and the largest element of a block per lane, NaN passed over.
template <class Arch>
struct extremes_32 {
    alignas(64) float low[floats<Arch>::width];
    alignas(64) float high[floats<Arch>::width];
};

/// Each block is reduced to one register, and as many blocks as lanes are reduced together by a
/// transpose. `count` blocks (1 .. width); missing ones repeat the last.
template <class Arch>
QDIAL_INLINE void find_extremes_32(const float* x, std::size_t count,
                                   extremes_32<Arch>& out) noexcept {
    using O = simd::ops<Arch>;
    typename O::f low[O::width], high[O::width];
    for (std::size_t b = 0; b < O::width; ++b) {
        const auto v = floats_32<Arch>::load(x + 32 * std::min(b, count - 1));
        low[b] = O::min(v.r[0], O::splat(FLT_MAX));
        high[b] = O::max(v.r[0], O::splat(-FLT_MAX));
        QDIAL_UNROLL
        for (std::size_t g = 1; g < 32 / O::width; ++g) {
            low[b] = O::min(v.r[g], low[b]);
            high[b] = O::max(v.r[g], high[b]);
        }
    }
    O::transpose(low);
    O::transpose(high);
    QDIAL_UNROLL
    for (std::size_t k = 1; k < O::width; ++k) {
        low[0] = O::min(low[k], low[0]);
        high[0] = O::max(high[k], high[0]);
    }
    O::store(out.low, low[0]);
    O::store(out.high, high[0]);
}

/// A code as the reference computes it where the value may be NaN, infinite or out of range.
template <int Limit>
QDIAL_INLINE std::uint8_t code_of_any(float v) noexcept {
    const auto wrapped = static_cast<std::int8_t>(truncate_as_x86(v) & 0xFF);
    return static_cast<std::uint8_t>(wrapped < Limit ? wrapped : Limit);
}

/// The signed value of the first element with the largest magnitude, one by one.
inline float first_extreme_32(const float* x) noexcept {
    float extreme = 0.0f;
    for (std::size_t e = 0; e < 32; ++e)
        if (std::fabs(extreme) < std::fabs(x[e])) extreme = x[e];
    return extreme;
}

/// Per block of a batch: the fields to store and what turns elements into codes,
/// code = truncate((x - offset) * inverse + rounding).
template <class Arch>
struct fits_32 {
    static constexpr std::size_t width = floats<Arch>::width;
    alignas(64) float offset[width];
    alignas(64) float inverse[width];
    alignas(64) std::int32_t d[width];  ///< binary16 bits
    alignas(64) std::int32_t m[width];
    bool ordinary = false;  ///< every inverse and scale is finite
};

/// Codes 0 .. 2N-1 around N for x ~ d * (code - N), d = -extreme / N.
template <int N, class Arch>
QDIAL_INLINE void fit_symmetric_32(const float* x, std::size_t count,
                                   fits_32<Arch>& fits) noexcept {
    using F = floats<Arch>;
    extremes_32<Arch> ends;
    find_extremes_32<Arch>(x, count, ends);
    const F high = F::load(ends.high), opposite = F(-0.0f) - F::load(ends.low);
    const auto tie = high == opposite;
    select(high > opposite, high, F::load(ends.low)).store(ends.low);
    if (any(tie)) [[unlikely]]
        for (std::size_t b = 0; b < count; ++b)
            if (ends.high[b] == std::fabs(ends.low[b])) ends.low[b] = first_extreme_32(x + 32 * b);
    const F d = F::load(ends.low) / F(-static_cast<float>(N));
    const F inverse = select(d == F(0.0f), F(0.0f), F(1.0f) / d);
    inverse.store(fits.inverse);
    to_half(d).store(fits.d);
    fits.ordinary = all(abs(inverse) <= F(FLT_MAX));
}

/// Codes 0 .. Levels for x ~ d * code + m.
template <int Levels, class Arch>
QDIAL_INLINE void fit_affine_32(const float* x, std::size_t count, fits_32<Arch>& fits) noexcept {
    using F = floats<Arch>;
    extremes_32<Arch> ends;
    find_extremes_32<Arch>(x, count, ends);
    if (any(F::load(ends.low) == F(0.0f))) [[unlikely]]
        for (std::size_t b = 0; b < count; ++b) {
            if (ends.low[b] != 0.0f) continue;
            // Zeros of both signs compare equal; the reference keeps the first.
            const float* first = x + 32 * b;
            while (*first != 0.0f) ++first;
            ends.low[b] = *first;
            if (ends.high[b] == 0.0f) ends.high[b] = *first;
        }
    const F low = F::load(ends.low);
    const F d = (F::load(ends.high) - low) / F(static_cast<float>(Levels));
    const F inverse = select(d == F(0.0f), F(0.0f), F(1.0f) / d);
    low.store(fits.offset);
    inverse.store(fits.inverse);
    to_half(d).store(fits.d);
    to_half(low).store(fits.m);
    fits.ordinary = all((abs(inverse) <= F(FLT_MAX)) & (abs(d) <= F(FLT_MAX)));
}

/// Truncates to bytes. NaN becomes 0 or 0x80 (the backends differ); both pack to code 0.
template <class Arch>
QDIAL_INLINE void store_codes_32(floats_32<Arch> v, std::uint8_t* codes) noexcept {
    simd::ops<Arch>::template store_i8<32 / floats<Arch>::width>(
        reinterpret_cast<std::int8_t*>(codes), truncate(v).r);
}

QDIAL_INLINE std::uint64_t load_le64(const std::uint8_t* p) noexcept {
    std::uint64_t v;
    std::memcpy(&v, p, 8);
    return little_endian(v);
}
QDIAL_INLINE void store_le64(std::uint8_t* p, std::uint64_t v) noexcept {
    v = little_endian(v);
    std::memcpy(p, &v, 8);
}

/// Codes 0-15 into low nibbles, 16-31 into high nibbles, eight bytes at a time.
QDIAL_INLINE void pack_nibbles_32(const std::uint8_t* codes, std::uint8_t* qs) noexcept {
    constexpr std::uint64_t nibbles = 0x0F0F0F0F0F0F0F0Full;
    for (std::size_t k = 0; k < 16; k += 8)
        store_le64(qs + k,
                   (load_le64(codes + k) & nibbles) | ((load_le64(codes + 16 + k) & nibbles) << 4));
}

/// Stores a 32-bit field, little-endian.
QDIAL_INLINE void store_le32(std::uint8_t* p, std::uint32_t v) noexcept {
    v = little_endian(v);
    std::memcpy(p, &v, 4);
}

/// Bit j: whether element j, truncated, has its fifth bit set (values below 32).
template <class Arch>
QDIAL_INLINE std::uint32_t fifth_bits_32(floats_32<Arch> v) noexcept {
    using O = simd::ops<Arch>;
    std::uint32_t found = 0;
    QDIAL_UNROLL
    for (std::size_t g = 0; g < 32 / O::width; ++g)
        found |= O::bitmask(O::le(O::splat(16.0f), v.r[g])) << (g * O::width);
    return found;
}

/// A batch of blocks for the searches: G groups of a block per lane, and how to fill it.
template <class Arch>
struct block_lanes_32 {
    static constexpr std::size_t width = floats<Arch>::width;
    static constexpr std::size_t groups = simd::ops<Arch>::groups;
    using F = floats<Arch, groups>;

    alignas(64) float x[groups * 32 * width];
    alignas(64) float w[groups * 32 * width];
    alignas(64) float codes[groups * 32 * width];

    QDIAL_INLINE ints<Arch> code(std::size_t group, std::size_t e) const noexcept {
        return truncate(floats<Arch>::load(codes + (group * 32 + e) * width));
    }
};

/// Mean square of each of `count` rows (1 .. width), every row summed in order, one per lane.
template <class Arch>
void mean_squares(const float* x, std::size_t count, std::size_t row_length, float* out) noexcept {
    using F = floats<Arch>;
    alignas(64) float tile[32 * F::width];
    F sum(0.0f);
    for (std::size_t e = 0; e < row_length; e += 32) {
        load_transposed<32, Arch>([&](std::size_t b) { return x + b * row_length + e; }, count,
                                  tile);
        zero_non_finite<Arch>(tile, 32 * F::width);
        for (std::size_t k = 0; k < 32; ++k) {
            const F v = F::load(tile + k * F::width);
            sum = sum + v * v;
        }
    }
    (sum / F(static_cast<float>(row_length))).store(out);
}

/// Runs `encode(lanes, group_count, first_block)` over all blocks of the rows in batches, with
/// the reference's weights importance * sqrt(mean square of the row + x^2).
template <class Arch, class Encode>
void for_weighted_blocks_32(const float* x, std::size_t rows, std::size_t row_length,
                            const float* importance, Encode encode) noexcept {
    using L = block_lanes_32<Arch>;
    const std::size_t per_row = row_length / 32;
    alignas(64) float sigma2[L::width], lane_sigma2[L::groups * L::width];
    L lanes;
    for (std::size_t row = 0; row < rows; row += L::width) {
        const std::size_t count = std::min(L::width, rows - row) * per_row;
        const float* start = x + row * row_length;
        mean_squares<Arch>(start, std::min(L::width, rows - row), row_length, sigma2);
        for (std::size_t first = 0; first < count; first += L::groups * L::width) {
            for (std::size_t g = 0; g < L::groups; ++g) {
                const std::size_t at = std::min(first + g * L::width, count - 1);
                const std::size_t n = std::min(L::width, count - at);
                load_transposed<32, Arch>([&](std::size_t b) { return start + (at + b) * 32; }, n,
                                          lanes.x + g * 32 * L::width);
                load_transposed<32, Arch>(
                    [&](std::size_t b) { return importance + (at + b) % per_row * 32; }, n,
                    lanes.w + g * 32 * L::width);
                for (std::size_t b = 0; b < L::width; ++b)
                    lane_sigma2[g * L::width + b] = sigma2[std::min(at + b, count - 1) / per_row];
            }
            zero_non_finite<Arch>(lanes.x, L::groups * 32 * L::width);
            using F = typename L::F;
            const F s2 = F::load(lane_sigma2);
            for (std::size_t e = 0; e < 32; ++e) {
                const F v = F::load(lanes.x + e * L::width, 32 * L::width);
                (F::load(lanes.w + e * L::width, 32 * L::width) * sqrt(s2 + v * v))
                    .store(lanes.w + e * L::width, 32 * L::width);
            }
            encode(lanes, row * per_row + first, count - first);
        }
    }
}

/// Byte k of each lane.
template <class Arch>
QDIAL_INLINE ints<Arch> byte_of(ints<Arch> v, std::size_t k) noexcept {
    if (k == 1) v = simd::sar<8>(v);
    if (k == 2) v = simd::sar<16>(v);
    if (k == 3) v = simd::sar<24>(v);
    return v & ints<Arch>(255);
}

/// Writes up to `count` blocks: `Halves` binary16 fields (halves[h].r[g] is field h of group g),
/// four bytes of fifth bits where Bits is 5, and the nibbles.
template <int Bits, std::size_t Halves, class Block, class Arch, std::size_t G>
void store_blocks_32(const block_lanes_32<Arch>& lanes, const ints<Arch, G> (&halves)[Halves],
                     Block* out, std::size_t count) noexcept {
    using I = ints<Arch>;
    constexpr std::size_t head = 2 * Halves + (Bits == 5 ? 4 : 0);
    lane_bytes<sizeof(Block), Arch> bytes;
    for (std::size_t g = 0; g < G && g * I::width < count; ++g) {
        I fifth_bits(0), half[Halves];
        for (std::size_t h = 0; h < Halves; ++h) half[h].r[0] = halves[h].r[g];
        for (std::size_t e = 32; Bits == 5 && e-- > 0;)
            fifth_bits = simd::shl<1>(fifth_bits) | simd::sar<4>(lanes.code(g, e));
        bytes.set_bytes(0, (sizeof(Block) + 3) / 4, [&](std::size_t b) -> I {
            if (b < 2 * Halves) return byte_of(half[b / 2], b % 2);
            if (b < head) return byte_of(fifth_bits, b - 2 * Halves);
            if (b >= sizeof(Block)) return I(0);
            const std::size_t e = b - head;
            return (lanes.code(g, e) & I(15)) | simd::shl<4>(lanes.code(g, e + 16) & I(15));
        });
        bytes.copy_to(out + g * I::width, std::min(I::width, count - g * I::width));
    }
}

/// Formats with a scale alone, codes 0 .. 2N-1 around N.
template <class Format, int N, class Arch>
struct symmetric_32 {
    static void rows(const float* x, std::size_t rows, std::size_t row_length,
                     const float* importance, typename Format::block* out) noexcept {
        if (importance)
            weighted(x, rows, row_length, importance, out);
        else
            plain(x, rows * row_length / 32, out);
    }

private:
    static constexpr int bits = N == 8 ? 4 : 5;

    static void plain(const float* x, std::size_t count, typename Format::block* out) noexcept {
        using F = floats_32<Arch>;
        constexpr float rounding = static_cast<float>(N) + 0.5f;
        alignas(32) std::uint8_t codes[32];
        fits_32<Arch> fits;
        for (std::size_t b = 0; b < count; ++b) {
            const std::size_t lane = b % fits.width;
            [[maybe_unused]] std::uint32_t fifth_bits = 0;
            if (lane == 0) fit_symmetric_32<N>(x, std::min(fits.width, count - b), fits);
            if (fits.ordinary) {
                // A NaN passes the minimum and converts to code 0, as in the reference.
                const F v =
                    min(F(2.0f * N - 0.5f), F::load(x) * F(fits.inverse[lane]) + F(rounding));
                store_codes_32<Arch>(v, codes);
                if constexpr (bits == 5) fifth_bits = fifth_bits_32<Arch>(v);
            } else {
                for (std::size_t e = 0; e < 32; ++e) {
                    codes[e] =
                        code_of_any<2 * N - 1>(simd::unfused(x[e] * fits.inverse[lane]) + rounding);
                    fifth_bits |= static_cast<std::uint32_t>(codes[e] >> 4 & 1) << e;
                }
            }
            out[b].d = little_endian(static_cast<std::uint16_t>(fits.d[lane]));
            if constexpr (bits == 5) store_le32(out[b].qh, fifth_bits);
            pack_nibbles_32(codes, out[b].qs);
            x += 32;
        }
    }

    static void weighted(const float* x, std::size_t rows, std::size_t row_length,
                         const float* importance, typename Format::block* out) noexcept {
        using L = block_lanes_32<Arch>;
        for_weighted_blocks_32<Arch>(
            x, rows, row_length, importance, [out](L& lanes, std::size_t first, std::size_t count) {
                using F = typename L::F;
                const F scale =
                    search_symmetric<N, 32, Arch, L::groups>(lanes.x, lanes.w, lanes.codes);
                for (std::size_t e = 0; e < L::groups * 32 * L::width; e += F::width * L::groups)
                    (F::load(lanes.codes + e) + F(static_cast<float>(N))).store(lanes.codes + e);
                const ints<Arch, L::groups> halves[1] = {scale_to_half(scale)};
                store_blocks_32<bits>(lanes, halves, out + first, count);
            });
    }
};

/// Formats with a scale and a minimum, codes 0 .. Levels.
template <class Format, int Levels, class Arch>
struct affine_32 {
    static void rows(const float* x, std::size_t rows, std::size_t row_length,
                     const float* importance, typename Format::block* out) noexcept {
        if (importance)
            weighted(x, rows, row_length, importance, out);
        else
            plain(x, rows * row_length / 32, out);
    }

private:
    static constexpr int bits = Levels == 15 ? 4 : 5;

    static void plain(const float* x, std::size_t count, typename Format::block* out) noexcept {
        using F = floats_32<Arch>;
        alignas(32) std::uint8_t codes[32];
        fits_32<Arch> fits;
        for (std::size_t b = 0; b < count; ++b) {
            const std::size_t lane = b % fits.width;
            [[maybe_unused]] std::uint32_t fifth_bits = 0;
            if (lane == 0) fit_affine_32<Levels>(x, std::min(fits.width, count - b), fits);
            if (fits.ordinary) {
                // At most Levels + 1/2 and a few ulp: truncation needs no clamp.
                const F v = (F::load(x) - F(fits.offset[lane])) * F(fits.inverse[lane]) + F(0.5f);
                store_codes_32<Arch>(v, codes);
                if constexpr (bits == 5) fifth_bits = fifth_bits_32<Arch>(v);
            } else {
                for (std::size_t e = 0; e < 32; ++e) {
                    codes[e] = code_of_any<Levels>(
                        simd::unfused((x[e] - fits.offset[lane]) * fits.inverse[lane]) + 0.5f);
                    fifth_bits |= static_cast<std::uint32_t>(codes[e] >> 4 & 1) << e;
                }
            }
            out[b].d = little_endian(static_cast<std::uint16_t>(fits.d[lane]));
            out[b].m = little_endian(static_cast<std::uint16_t>(fits.m[lane]));
            if constexpr (bits == 5) store_le32(out[b].qh, fifth_bits);
            pack_nibbles_32(codes, out[b].qs);
            x += 32;
        }
    }

    static void weighted(const float* x, std::size_t rows, std::size_t row_length,
                         const float* importance, typename Format::block* out) noexcept {
        using L = block_lanes_32<Arch>;
        for_weighted_blocks_32<Arch>(
            x, rows, row_length, importance, [out](L& lanes, std::size_t first, std::size_t count) {
                using F = typename L::F;
                alignas(64) float scales[L::groups * L::width], minima[L::groups * L::width];
                search_affine<Levels, 32, false, Arch, L::groups>(
                    lanes.x, lanes.w, {-0.9f, 0.05f, 36}, lanes.codes, scales, minima);
                const ints<Arch, L::groups> halves[2] = {scale_to_half(F::load(scales)),
                                                         scale_to_half(F(-0.0f) - F::load(minima))};
                store_blocks_32<bits>(lanes, halves, out + first, count);
            });
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
