// SPDX-License-Identifier: Apache-2.0
//
// The inner kernels of packed GEMV and GEMM. A panel holds the unpacked codes and factors of up to
// 256 elements of R tiles of sixteen rows, small enough for the first-level cache; `multiply` adds
// the product of a panel and C columns of activations to y, which is [C][R][16].
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "qdial/kernels/block_plan.hpp"
#include "qdial/kernels/pack.hpp"

namespace qdial::kernels {

/// Bytes ahead of the words in use that are fetched: far enough for memory's latency.
inline constexpr std::size_t prefetch_distance = 4096;

/// Sixteen rows' word or floats in a panel.
struct alignas(64) panel_row {
    std::byte bytes[64];
};

template <class V>
QDIAL_INLINE void store_row(panel_row& row, typename V::word a) noexcept {
    V::store(row.bytes, a);
}
template <class V>
QDIAL_INLINE typename V::word load_row(const panel_row& row) noexcept {
    return V::load(row.bytes);
}

/// A code's byte in all four bytes of a word.
constexpr std::uint32_t in_every_byte(int byte) noexcept {
    return static_cast<std::uint32_t>(byte) * 0x01010101u;
}

/// Part of the codes of elements e … e + 3: bits moved to where they belong, times 2^Shift.
template <class V, bit_field Field, int Shift>
QDIAL_INLINE typename V::word move_field(typename V::word w) noexcept {
    constexpr int to = Field.to + Shift, distance = Field.shift - to;
    if constexpr (Field.width == 8) {
        static_assert(distance == 0);
        return w;
    } else {
        if constexpr (distance > 0) w = V::template shr<distance>(w);
        if constexpr (distance < 0) w = V::template shl<-distance>(w);
        return V::bit_and(w, V::splat(in_every_byte(((1 << Field.width) - 1) << to)));
    }
}

/// The codes of elements E … E + 3 of sixteen rows' block whose words are at `words`.
template <class F, class V, std::size_t E, int Shift>
QDIAL_INLINE typename V::word unpack_codes(const std::byte* words) noexcept {
    constexpr std::size_t parts = interleaved<F>::fields(E).size();
    typename V::word codes = V::zero();
    unrolled<parts>([&](auto i) QDIAL_INLINE_LAMBDA {
        constexpr bit_field field = interleaved<F>::fields(E)[i];
        constexpr std::size_t at = (field.offset - words_at<F>) / 4 * sizeof(panel_row);
        const auto part = move_field<V, field, Shift>(V::load(words + at));
        if constexpr (i == 0)
            codes = part;
        else
            codes = V::bit_or(codes, part);
    });
    return codes;
}

template <class F, class V>
QDIAL_INLINE void prefetch_words(const std::byte* words) noexcept {
    for (std::size_t w = 0; w < words_per_block<F>; ++w)
        V::prefetch(words + prefetch_distance + w * sizeof(panel_row));
}

/// The panel of a super-block format.
template <class F, class Arch, std::size_t R>
struct super_block_panel {
    using V = simd::row_ops<Arch>;
    static constexpr std::size_t tiles = R;
    using plan = super_block_plan<F, V>;
    using record = packed_q8_k;
    static constexpr std::size_t length = 256;

    panel_row codes[64][R];
    panel_row scales[plan::scales][R];
    panel_row minima[plan::minima + 1][R];  ///< pairs; one more, so that there is one
    panel_row d[R], dmin[R];                ///< floats

    /// Block `block` of the row's `blocks`; tiles are `tile_bytes` apart.
    QDIAL_INLINE void unpack(const std::byte* tiles, std::size_t tile_bytes, std::size_t blocks,
                             std::size_t block, std::size_t) noexcept {
        for (std::size_t r = 0; r < R; ++r) {
            const std::byte* tile = tiles + r * tile_bytes;
            unpack_tile(tile + packed_tile<F>::words(block), r);
            const std::byte* halves = tile + packed_tile<F>::halves(blocks, block);
            V::store(as_floats(d[r]), V::load_halves(halves));
            if constexpr (plan::minima != 0)
                V::store(as_floats(dmin[r]), V::load_halves(halves + 32));
        }
    }

    static float* as_floats(panel_row& row) noexcept { return reinterpret_cast<float*>(row.bytes); }
    static typename V::reals floats_of(const panel_row& row) noexcept {
        return V::load(reinterpret_cast<const float*>(row.bytes));
    }

private:
    QDIAL_INLINE void unpack_tile(const std::byte* words, std::size_t r) noexcept {
        prefetch_words<F, V>(words);
        unrolled<64>([&](auto u) QDIAL_INLINE_LAMBDA {
            auto c = unpack_codes<F, V, 4 * u, plan::code_shift>(words);
            if constexpr (plan::subtracted != 0)
                c = V::sub_bytes(c, V::splat(in_every_byte(plan::subtracted)));
            store_row<V>(codes[u][r], c);
        });
        const auto word = [=](std::size_t i) QDIAL_INLINE_LAMBDA {
            return V::load(words + i * sizeof(panel_row));
        };
        typename V::word four[plan::scales / 4];
        interleaved<F>::template scales<V>(word, four);
        unrolled<plan::scales>([&](auto s) QDIAL_INLINE_LAMBDA {
            const auto top = V::template shl<24 - 8 * (s % 4)>(four[s / 4]);
            store_row<V>(scales[s][r], V::to_scale(V::template sar<24>(top)));
        });
        if constexpr (plan::minima != 0) {
            interleaved<F>::template minima<V>(word, four);
            const auto even = V::splat(0x00FF00FF);
            unrolled<plan::minima>([&](auto s) QDIAL_INLINE_LAMBDA {
                const auto pair = V::template shr<8 * (s % 2)>(four[s / 2]);
                store_row<V>(minima[s][r], V::bit_and(pair, even));
            });
        }
    }
};

/// The exact sum of minimum times the sum of its activations, times the factors, is subtracted.
template <class Panel, std::size_t R, std::size_t C>
QDIAL_INLINE void subtract_minima(const Panel& w, const std::byte* const (&x)[C],
                                  typename Panel::V::reals (&y)[R][C]) noexcept {
    using V = typename Panel::V;
    constexpr std::size_t sums_at = Panel::plan::scales == 16 ? offsetof(packed_q8_k, sums_of_16)
                                                              : offsetof(packed_q8_k, sums_of_32);
    typename V::word sums[R][C];
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) sums[r][c] = V::zero();
    }
    for (std::size_t i = 0; i < Panel::plan::minima; ++i) {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            const auto a = V::broadcast_pair(x[c] + sums_at + 4 * i);
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r)
                sums[r][c] = V::add_pairs(sums[r][c], load_row<V>(w.minima[i][r]), a);
        }
    }
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        const auto d = V::broadcast_float(x[c] + offsetof(packed_q8_k, d));
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            y[r][c] = V::fnma(V::to_reals(sums[r][c]), V::mul(Panel::floats_of(w.dmin[r]), d),
                              y[r][c]);
    }
}

/// One group: its parts over all its elements, scaled and added to the sums.
template <class Panel, std::size_t R, std::size_t C>
QDIAL_INLINE void add_group(const Panel& w, const std::byte* const (&x)[C], std::size_t g,
                            typename Panel::V::word (&sums)[R][C]) noexcept {
    using V = typename Panel::V;
    using plan = typename Panel::plan;
    constexpr std::size_t starts_at = plan::start == group_start::pairs
                                          ? offsetof(packed_q8_k, minus_32_pairs)
                                      : plan::offset_32 ? offsetof(packed_q8_k, minus_32_sums)
                                                        : offsetof(packed_q8_k, minus_16_sums);
    typename V::part p[R][C];
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        const auto start = plan::start == group_start::zero
                               ? V::zero_part()
                               : V::part_from(V::broadcast_word(x[c] + starts_at + 4 * g));
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) p[r][c] = start;
    }
    QDIAL_UNROLL
    for (std::size_t u = 0; u < plan::group / 4; ++u) {
        const std::size_t k = g * (plan::group / 4) + u;
        typename V::word codes[R];
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) codes[r] = load_row<V>(w.codes[k][r]);
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            const auto a = V::broadcast_bytes(x[c] + 4 * k);
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r) p[r][c] = V::multiply_add(p[r][c], codes[r], a);
        }
    }
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        const auto scale = load_row<V>(w.scales[g / plan::groups_per_scale][r]);
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) sums[r][c] = V::add_scaled(sums[r][c], p[r][c], scale);
    }
}

template <std::size_t C, class F, class Arch, std::size_t R>
void multiply(const super_block_panel<F, Arch, R>& w, std::size_t,
              const std::byte* const (&x)[C], float* y) noexcept {
    using V = simd::row_ops<Arch>;
    using panel = super_block_panel<F, Arch, R>;
    using plan = typename panel::plan;
    typename V::word sums[R][C];
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) sums[r][c] = V::zero();
    }
#pragma GCC unroll 1
    for (std::size_t g = 0; g < plan::groups; ++g) add_group(w, x, g, sums);

    typename V::reals out[R][C];
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        const auto d = V::broadcast_float(x[c] + offsetof(packed_q8_k, d));
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) {
            const auto sum = V::to_reals(V::template sar<plan::code_shift>(sums[r][c]));
            out[r][c] = V::fma(sum, V::mul(panel::floats_of(w.d[r]), d),
                               V::load(y + (c * R + r) * simd::interleaved_rows));
        }
    }
    if constexpr (plan::minima != 0) subtract_minima(w, x, out);
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            V::store(y + (c * R + r) * simd::interleaved_rows, out[r][c]);
    }
}

/// The panel of a format with blocks of 32: up to eight of them.
template <class F, class Arch, std::size_t R>
struct simple_block_panel {
    using V = simd::row_ops<Arch>;
    static constexpr std::size_t tiles = R;
    using plan = simple_block_plan<F, V>;
    using record = packed_q8;
    static constexpr std::size_t length = 256, most = 8;

    panel_row codes[8 * most][R];
    panel_row d[most][R], m[most][R];  ///< floats

    /// Up to eight blocks from block 8 `part` on; returns how many.
    QDIAL_INLINE void unpack(const std::byte* tiles, std::size_t tile_bytes, std::size_t blocks,
                             std::size_t part, std::size_t count) noexcept {
        for (std::size_t r = 0; r < R; ++r) {
            const std::byte* tile = tiles + r * tile_bytes;
            for (std::size_t b = 0; b < count; ++b) {
                unpack_block(tile + packed_tile<F>::words(most * part + b), b, r);
                const std::byte* halves =
                    tile + packed_tile<F>::halves(blocks, most * part + b);
                V::store(reinterpret_cast<float*>(d[b][r].bytes), V::load_halves(halves));
                if constexpr (plan::D::has_minimum)
                    V::store(reinterpret_cast<float*>(m[b][r].bytes), V::load_halves(halves + 32));
            }
        }
    }
    static typename V::reals floats_of(const panel_row& row) noexcept {
        return V::load(reinterpret_cast<const float*>(row.bytes));
    }

private:
    QDIAL_INLINE void unpack_block(const std::byte* words, std::size_t b, std::size_t r) noexcept {
        prefetch_words<F, V>(words);
        unrolled<8>([&](auto u) QDIAL_INLINE_LAMBDA {
            auto c = unpack_codes<F, V, 4 * u, 0>(words);
            if constexpr (plan::subtracted != 0)
                c = V::sub_bytes(c, V::splat(in_every_byte(plan::subtracted)));
            if constexpr (plan::flip_sign) c = V::bit_xor(c, V::splat(0x80808080));
            store_row<V>(codes[8 * b + u][r], c);
        });
    }
};

/// The exact sums of block b.
template <class Panel, std::size_t R, std::size_t C>
QDIAL_INLINE void sum_block(const Panel& w, const std::byte* const (&x)[C], std::size_t b,
                            typename Panel::V::word (&sums)[R][C]) noexcept {
    using V = typename Panel::V;
    using plan = typename Panel::plan;
    constexpr std::size_t units = plan::group / 4;
    constexpr bool starts_in_32 = plan::offset != 0 && !plan::in_16;
    QDIAL_UNROLL
    for (std::size_t half = 0; half < 32 / plan::group; ++half) {
        typename V::part p[R][C];
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            auto start = V::zero();
            if constexpr (plan::offset != 0)
                start = V::template shl<plan::offset_log2>(
                    V::broadcast_word(x[c] + b * sizeof(packed_q8) + offsetof(packed_q8, minus_sum)));
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r) {
                p[r][c] = starts_in_32 ? V::part_from(start) : V::zero_part();
                if (half == 0) sums[r][c] = start;
            }
        }
        QDIAL_UNROLL
        for (std::size_t u = 0; u < units; ++u) {
            const std::size_t k = half * units + u;
            typename V::word codes[R];
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r) codes[r] = load_row<V>(w.codes[8 * b + k][r]);
            QDIAL_UNROLL
            for (std::size_t c = 0; c < C; ++c) {
                const auto a = V::broadcast_bytes(x[c] + b * sizeof(packed_q8) + 4 * k);
                QDIAL_UNROLL
                for (std::size_t r = 0; r < R; ++r) {
                    if constexpr (plan::wide)
                        sums[r][c] = V::add_signed(sums[r][c], codes[r], a);
                    else
                        p[r][c] = V::multiply_add(p[r][c], codes[r], a);
                }
            }
        }
        if constexpr (plan::wide) continue;
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) {
            QDIAL_UNROLL
            for (std::size_t c = 0; c < C; ++c)
                sums[r][c] = plan::in_16 ? V::add(sums[r][c], V::sums_of(p[r][c])) : V::sums_of(p[r][c]);
        }
    }
}

template <std::size_t C, class F, class Arch, std::size_t R>
void multiply(const simple_block_panel<F, Arch, R>& w, std::size_t blocks,
              const std::byte* const (&x)[C], float* y) noexcept {
    using V = simd::row_ops<Arch>;
    using panel = simple_block_panel<F, Arch, R>;
    using plan = typename panel::plan;
    typename V::reals out[R][C];
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            out[r][c] = V::load(y + (c * R + r) * simd::interleaved_rows);
    }
#pragma GCC unroll 1
    for (std::size_t b = 0; b < blocks; ++b) {
        typename V::word sums[R][C];
        sum_block(w, x, b, sums);
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            const std::byte* a = x[c] + b * sizeof(packed_q8);
            const auto d = V::broadcast_float(a + offsetof(packed_q8, d));
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r) {
                out[r][c] = V::fma(V::to_reals(sums[r][c]), V::mul(panel::floats_of(w.d[b][r]), d),
                                   out[r][c]);
                if constexpr (plan::D::has_minimum)
                    out[r][c] = V::fma(panel::floats_of(w.m[b][r]),
                                       V::broadcast_float(a + offsetof(packed_q8, s)), out[r][c]);
            }
        }
    }
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            V::store(y + (c * R + r) * simd::interleaved_rows, out[r][c]);
    }
}

/// The panel of a format of floats: up to 128 elements.
template <class F, class Arch, std::size_t R>
struct float_panel {
    using V = simd::row_ops<Arch>;
    static constexpr std::size_t tiles = R;
    using record = float;
    static constexpr std::size_t length = 128;
    static constexpr std::size_t element_bytes = sizeof(typename F::block) * simd::interleaved_rows;

    panel_row weights[length][R];  ///< floats

    QDIAL_INLINE void unpack(const std::byte* tiles, std::size_t tile_bytes, std::size_t,
                             std::size_t part, std::size_t count) noexcept {
        for (std::size_t r = 0; r < R; ++r) {
            const std::byte* w = tiles + r * tile_bytes + part * length * element_bytes;
            for (std::size_t k = 0; k < count; ++k) {
                V::prefetch(w + k * element_bytes + prefetch_distance);
                V::store(reinterpret_cast<float*>(weights[k][r].bytes),
                         load(w + k * element_bytes));
            }
        }
    }

private:
    QDIAL_INLINE static typename V::reals load(const std::byte* p) noexcept {
        if constexpr (std::same_as<typename F::block, float>)
            return V::load_floats(p);
        else if constexpr (std::same_as<typename F::block, float16>)
            return V::load_halves(p);
        else
            return V::load_bfloats(p);
    }
};

template <std::size_t C, class F, class Arch, std::size_t R>
void multiply(const float_panel<F, Arch, R>& w, std::size_t count,
              const std::byte* const (&x)[C], float* y) noexcept {
    using V = simd::row_ops<Arch>;
    typename V::reals out[R][C];
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            out[r][c] = V::load(y + (c * R + r) * simd::interleaved_rows);
    }
    for (std::size_t k = 0; k < count; ++k) {
        typename V::reals weights[R];
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            weights[r] = V::load(reinterpret_cast<const float*>(w.weights[k][r].bytes));
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            const auto a = V::broadcast_float(x[c] + sizeof(float) * k);
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r) out[r][c] = V::fma(weights[r], a, out[r][c]);
        }
    }
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            V::store(y + (c * R + r) * simd::interleaved_rows, out[r][c]);
    }
}

}  // namespace qdial::kernels
