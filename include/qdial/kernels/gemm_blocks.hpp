// SPDX-License-Identifier: Apache-2.0
//
// The inner kernels of packed GEMV and GEMM. A source gives the codes and factors of up to 256
// elements of R tiles of sixteen rows as it unpacks them; a panel holds them unpacked, small enough
// for the first-level cache. `multiply` adds the product of either with C columns of activations to
// y, which is [C][R][16].
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "qdial/kernels/block_plan.hpp"
#include "qdial/kernels/pack.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// About how many bytes ahead of the words in use others are fetched: far enough for memory's
/// latency.
inline constexpr std::size_t prefetch_distance = 8192;

/// What to fetch while part `part` of a tile's `parts` is multiplied, as an offset in the tile: a
/// part that comes a prefetch_distance later, in this tile or, from its end on, in the tile that
/// the same registers take next, `to_next` bytes behind it.
QDIAL_INLINE std::size_t part_ahead(std::size_t part, std::size_t parts, std::size_t part_bytes,
                                    std::size_t to_next) noexcept {
    std::size_t ahead = part + (prefetch_distance + part_bytes - 1) / part_bytes, at = 0;
    for (; ahead >= parts; ahead -= parts) at += to_next;
    return at + ahead * part_bytes;
}

/// Sixteen rows' word or floats in a panel.
struct alignas(64) panel_row {
    std::byte bytes[64];

    float* floats() noexcept { return reinterpret_cast<float*>(bytes); }
    const float* floats() const noexcept { return reinterpret_cast<const float*>(bytes); }
};

/// Results of R tiles and C columns, [C][R][16] in memory.
template <class V, std::size_t R, std::size_t C>
QDIAL_INLINE void load_tile(const float* y, typename V::reals (&out)[R][C]) noexcept {
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            out[r][c] = V::load(y + (c * R + r) * simd::interleaved_rows);
    }
}
template <class V, std::size_t R, std::size_t C>
QDIAL_INLINE void store_tile(float* y, const typename V::reals (&out)[R][C]) noexcept {
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            V::store(y + (c * R + r) * simd::interleaved_rows, out[r][c]);
    }
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

/// The codes of elements E … E + 3. A block that comes later, whose words are at `ahead`, is
/// fetched along with them: line after line, as the processor's own prefetching knows it, whatever
/// the order in which codes need the words, and spread over the block's arithmetic.
template <class F, class V, std::size_t E, int Shift>
QDIAL_INLINE typename V::word fetch_codes(const std::byte* words, const std::byte* ahead) noexcept {
    auto codes = unpack_codes<F, V, E, Shift>(words);
    constexpr std::size_t steps = F::block_length / 4;
    constexpr std::size_t line = E / 4 * words_per_block<F> / steps;
    static_assert(words_per_block<F> <= steps);
    if constexpr (E == 0 || line != (E / 4 - 1) * words_per_block<F> / steps)
        V::prefetch(ahead + line * sizeof(panel_row), codes);
    return codes;
}

/// Integer scale `S` of sixteen rows from the format's scale words.
template <class F, class V, std::size_t S, class Words>
QDIAL_INLINE typename V::word unpack_scale(const Words& words) noexcept {
    const auto top = V::template shl<24 - 8 * (S % 4)>(words[S / 4]);
    return V::to_scale(V::template sar<24>(top));
}
/// Pair `S` of minima or (never negative) scales: bytes 0 and 2, or 1 and 3, of a word.
template <class V, std::size_t S, class Words>
QDIAL_INLINE typename V::word unpack_pair(const Words& words) noexcept {
    return V::bit_and(V::template shr<8 * (S % 2)>(words[S / 2]), V::splat(0x00FF00FF));
}

/// A super-block of R tiles as `multiply` reads it, straight from the packed matrix: for few
/// columns, where unpacking to a panel first would take longer than the multiplication.
template <class F, class Arch, std::size_t R>
struct super_block_source {
    using V = simd::row_ops<Arch>;
    using plan = super_block_plan<F, V>;
    static constexpr std::size_t tiles = R;
    static constexpr std::size_t length = 256;
    static constexpr bool is_panel = false;
    using record = packed_q8_k;

    const std::byte* words[R];
    const std::byte* ahead[R];
    const std::byte* halves[R];
    std::size_t to_next_tiles;
    typename V::word scale_words[R][plan::scales / 4];
    typename V::word minimum_words[R][plan::minima == 0 ? 1 : plan::scales / 4];

    /// Block `block` of the row's `blocks`; tiles are `tile_bytes` apart.
    QDIAL_INLINE void unpack(const std::byte* first, std::size_t tile_bytes, std::size_t blocks,
                             std::size_t block, std::size_t) noexcept {
        to_next_tiles = R * tile_bytes;
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) {
            const std::byte* tile = first + r * tile_bytes;
            words[r] = tile + packed_tile<F>::words(block);
            ahead[r] = tile + part_ahead(block, blocks, packed_tile<F>::words_bytes, to_next_tiles);
            halves[r] = tile + packed_tile<F>::halves(blocks, block);
            const auto word = [w = words[r]](std::size_t i) QDIAL_INLINE_LAMBDA {
                return V::load(w + i * sizeof(panel_row));
            };
            interleaved<F>::template scales<V>(word, scale_words[r]);
            if constexpr (plan::minima != 0)
                interleaved<F>::template minima<V>(word, minimum_words[r]);
        }
    }
    template <class K>
    QDIAL_INLINE typename V::word codes(K, std::size_t r) const noexcept {
        auto c = fetch_codes<F, V, 4 * K::value, plan::code_shift>(words[r], ahead[r]);
        if constexpr (plan::subtracted != 0)
            c = V::sub_bytes(c, V::splat(in_every_byte(plan::subtracted)));
        return c;
    }
    template <class S>
    QDIAL_INLINE typename V::word scale(S, std::size_t r) const noexcept {
        return unpack_scale<F, V, S::value>(scale_words[r]);
    }
    template <class S>
    QDIAL_INLINE typename V::word minima(S, std::size_t r) const noexcept {
        return unpack_pair<V, S::value>(minimum_words[r]);
    }
    template <class S>
    QDIAL_INLINE typename V::word scale_pair(S, std::size_t r) const noexcept {
        return unpack_pair<V, S::value>(scale_words[r]);
    }
    QDIAL_INLINE typename V::reals d(std::size_t r) const noexcept {
        auto factors = V::load_halves(halves[r]);
        V::prefetch(halves[r] + to_next_tiles, factors);
        return factors;
    }
    QDIAL_INLINE typename V::reals dmin(std::size_t r) const noexcept {
        return V::load_halves(halves[r] + 32);
    }
};

/// The same, unpacked once for many columns.
template <class F, class Arch, std::size_t R>
struct super_block_panel {
    using V = simd::row_ops<Arch>;
    using source = super_block_source<F, Arch, 1>;
    using plan = super_block_plan<F, V>;
    static constexpr std::size_t tiles = R;
    static constexpr std::size_t length = 256;
    static constexpr bool is_panel = true;
    using record = packed_q8_k;

    panel_row codes_[64][R];
    panel_row scales_[plan::scales][R];
    panel_row minima_[plan::minima + 1][R];  // one more, so that there is one
    panel_row scale_pairs_[plan::bias == 0 ? 1 : plan::scales / 2][R];
    panel_row d_[R], dmin_[R];  // floats

    QDIAL_INLINE void unpack(const std::byte* first, std::size_t tile_bytes, std::size_t blocks,
                             std::size_t block, std::size_t count) noexcept {
        for (std::size_t r = 0; r < R; ++r) {
            source from;
            from.unpack(first + r * tile_bytes, R * tile_bytes, blocks, block, count);
            unrolled<64>([&](auto k) QDIAL_INLINE_LAMBDA {
                V::store(codes_[k][r].bytes, from.codes(k, 0));
            });
            unrolled<plan::scales>([&](auto s) QDIAL_INLINE_LAMBDA {
                V::store(scales_[s][r].bytes, from.scale(s, 0));
            });
            if constexpr (plan::bias != 0)
                unrolled<plan::scales / 2>([&](auto s) QDIAL_INLINE_LAMBDA {
                    V::store(scale_pairs_[s][r].bytes, from.scale_pair(s, 0));
                });
            V::store(d_[r].floats(), from.d(0));
            if constexpr (plan::minima != 0) {
                unrolled<plan::minima>([&](auto s) QDIAL_INLINE_LAMBDA {
                    V::store(minima_[s][r].bytes, from.minima(s, 0));
                });
                V::store(dmin_[r].floats(), from.dmin(0));
            }
        }
    }
    QDIAL_INLINE typename V::word codes(std::size_t k, std::size_t r) const noexcept {
        return V::load(codes_[k][r].bytes);
    }
    QDIAL_INLINE typename V::word scale(std::size_t s, std::size_t r) const noexcept {
        return V::load(scales_[s][r].bytes);
    }
    QDIAL_INLINE typename V::word minima(std::size_t s, std::size_t r) const noexcept {
        return V::load(minima_[s][r].bytes);
    }
    QDIAL_INLINE typename V::word scale_pair(std::size_t s, std::size_t r) const noexcept {
        return V::load(scale_pairs_[s][r].bytes);
    }
    QDIAL_INLINE typename V::reals d(std::size_t r) const noexcept {
        return V::load(d_[r].floats());
    }
    QDIAL_INLINE typename V::reals dmin(std::size_t r) const noexcept {
        return V::load(dmin_[r].floats());
    }
};

/// Calls fn(k) for k = 0 … N - 1: unrolled, with k a constant, for a source; a loop for a panel.
template <class Source, std::size_t N, class Fn>
QDIAL_INLINE void for_each_index(Fn fn) noexcept {
    if constexpr (Source::is_panel) {
        QDIAL_NO_UNROLL
        for (std::size_t k = 0; k < N; ++k) fn(k);
    } else {
        unrolled<N>(fn);
    }
}
/// a * Factor + b, constant if a is.
template <std::size_t Factor, class A, class B>
QDIAL_INLINE auto times_plus(A a, B b) noexcept {
    if constexpr (std::same_as<A, std::size_t>)
        return a * Factor + b;
    else
        return std::integral_constant<std::size_t, A::value * Factor + B::value>{};
}
template <std::size_t Divisor, class A>
QDIAL_INLINE auto divided_by(A a) noexcept {
    if constexpr (std::same_as<A, std::size_t>)
        return a / Divisor;
    else
        return std::integral_constant<std::size_t, A::value / Divisor>{};
}

/// Adds up pairs, given by pair(i, r), times the sums of their elements' activations.
template <class Source, std::size_t R, std::size_t C, class Pair>
QDIAL_INLINE void add_activation_sums(const std::byte* const (&x)[C], Pair pair,
                                      typename Source::V::word (&sums)[R][C]) noexcept {
    using V = typename Source::V;
    constexpr std::size_t scales = Source::plan::scales;
    constexpr std::size_t sums_at =
        scales == 16 ? offsetof(packed_q8_k, sums_of_16) : offsetof(packed_q8_k, sums_of_32);
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) sums[r][c] = V::zero();
    }
    for_each_index<Source, scales / 2>([&](auto i) QDIAL_INLINE_LAMBDA {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            const auto a = V::broadcast_pair(x[c] + sums_at + 4 * i);
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r)
                sums[r][c] = V::add_pairs(sums[r][c], pair(i, r), a);
        }
    });
}

/// The exact sum of minimum times the sum of its activations, times the factors, is subtracted.
template <class Source, std::size_t R, std::size_t C>
QDIAL_INLINE void subtract_minima(const Source& w, const std::byte* const (&x)[C],
                                  typename Source::V::reals (&y)[R][C]) noexcept {
    using V = typename Source::V;
    typename V::word sums[R][C];
    add_activation_sums<Source>(
        x, [&](auto i, std::size_t r) QDIAL_INLINE_LAMBDA { return w.minima(i, r); }, sums);
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        const auto d = V::broadcast_float(x[c] + offsetof(packed_q8_k, d));
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            y[r][c] = V::fnma(V::to_reals(sums[r][c]), V::mul(w.dmin(r), d), y[r][c]);
    }
}

/// Takes the codes' bias out of the sums: adds it times the sum of scale times activation sum.
template <class Source, std::size_t R, std::size_t C>
QDIAL_INLINE void remove_bias(const Source& w, const std::byte* const (&x)[C],
                              typename Source::V::word (&sums)[R][C]) noexcept {
    using V = typename Source::V;
    static_assert(Source::plan::bias == 16);
    typename V::word scaled[R][C];
    add_activation_sums<Source>(
        x, [&](auto i, std::size_t r) QDIAL_INLINE_LAMBDA { return w.scale_pair(i, r); }, scaled);
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c)
            sums[r][c] = V::add(sums[r][c], V::template shl<4>(scaled[r][c]));
    }
}

/// Group g: its parts over all its elements, scaled and added to the sums.
template <class Source, class Group, std::size_t R, std::size_t C>
QDIAL_INLINE void add_group(const Source& w, const std::byte* const (&x)[C], Group g,
                            typename Source::V::word (&sums)[R][C]) noexcept {
    using V = typename Source::V;
    using plan = typename Source::plan;
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
    unrolled<plan::group / 4>([&](auto u) QDIAL_INLINE_LAMBDA {
        const auto k = times_plus<plan::group / 4>(g, u);
        typename V::word codes[R];
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) codes[r] = w.codes(k, r);
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            const auto a = V::broadcast_bytes(x[c] + 4 * k);
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r) p[r][c] = V::multiply_add(p[r][c], codes[r], a);
        }
    });
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        const auto scale = w.scale(divided_by<plan::groups_per_scale>(g), r);
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) sums[r][c] = V::add_scaled(sums[r][c], p[r][c], scale);
    }
}

/// y += the sums of a super-block's codes times scales times activations (here times 2^Shift),
/// times the factors, and minus its minima's part.
template <int Shift, class Source, std::size_t R, std::size_t C>
QDIAL_INLINE void fold_super_block(const Source& w, const std::byte* const (&x)[C],
                                   const typename Source::V::word (&sums)[R][C],
                                   float* y) noexcept {
    using V = typename Source::V;
    typename V::reals out[R][C];
    load_tile<V>(y, out);
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        const auto d = V::broadcast_float(x[c] + offsetof(packed_q8_k, d));
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r)
            out[r][c] = V::fma(V::to_reals(V::template sar<Shift>(sums[r][c])), V::mul(w.d(r), d),
                               out[r][c]);
    }
    if constexpr (Source::plan::minima != 0) subtract_minima(w, x, out);
    store_tile<V>(y, out);
}

/// y += a super-block times C columns.
template <std::size_t C, class Source>
requires std::same_as<typename Source::record, packed_q8_k> QDIAL_INLINE void multiply(
    const Source& w, std::size_t, const std::byte* const (&x)[C], float* y) noexcept {
    using V = typename Source::V;
    using plan = typename Source::plan;
    constexpr std::size_t R = Source::tiles;
    typename V::word sums[R][C];
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) sums[r][c] = V::zero();
    }
    for_each_index<Source, plan::groups>([&](auto g)
                                             QDIAL_INLINE_LAMBDA { add_group(w, x, g, sums); });
    if constexpr (plan::bias != 0) remove_bias(w, x, sums);
    fold_super_block<plan::code_shift>(w, x, sums, y);
}

/// Blocks of 32 of R tiles as `multiply` reads them, straight from the packed matrix: up to eight.
template <class F, class Arch, std::size_t R>
struct simple_block_source {
    using V = simd::row_ops<Arch>;
    using plan = simple_block_plan<F, V>;
    static constexpr std::size_t tiles = R, most = 8;
    static constexpr std::size_t length = 32 * most;
    static constexpr bool is_panel = false;
    using record = packed_q8;

    const std::byte* words[R];
    const std::byte* ahead[R];
    const std::byte* halves[R];
    std::size_t to_next_tiles;

    /// `count` blocks from block `most` * `part` on.
    QDIAL_INLINE void unpack(const std::byte* first, std::size_t tile_bytes, std::size_t blocks,
                             std::size_t part, std::size_t) noexcept {
        to_next_tiles = R * tile_bytes;
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) {
            const std::byte* tile = first + r * tile_bytes;
            words[r] = tile + packed_tile<F>::words(most * part);
            ahead[r] = tile + part_ahead(part, (blocks + most - 1) / most,
                                         packed_tile<F>::words(most), to_next_tiles);
            halves[r] = tile + packed_tile<F>::halves(blocks, most * part);
        }
    }
    template <class K>
    QDIAL_INLINE typename V::word codes(std::size_t b, K, std::size_t r) const noexcept {
        const std::size_t block = b * packed_tile<F>::words_bytes;
        auto c = fetch_codes<F, V, 4 * K::value, 0>(words[r] + block, ahead[r] + block);
        if constexpr (plan::subtracted != 0)
            c = V::sub_bytes(c, V::splat(in_every_byte(plan::subtracted)));
        if constexpr (plan::flip_sign) c = V::bit_xor(c, V::splat(0x80808080));
        return c;
    }
    QDIAL_INLINE typename V::reals d(std::size_t b, std::size_t r) const noexcept {
        const std::byte* p = halves[r] + b * packed_tile<F>::halves_bytes;
        auto factors = V::load_halves(p);
        V::prefetch(p + to_next_tiles, factors);
        return factors;
    }
    QDIAL_INLINE typename V::reals m(std::size_t b, std::size_t r) const noexcept {
        return V::load_halves(halves[r] + b * packed_tile<F>::halves_bytes + 32);
    }
};

/// The same, unpacked once for many columns.
template <class F, class Arch, std::size_t R>
struct simple_block_panel {
    using V = simd::row_ops<Arch>;
    using source = simple_block_source<F, Arch, 1>;
    using plan = simple_block_plan<F, V>;
    static constexpr std::size_t tiles = R, most = source::most;
    static constexpr std::size_t length = source::length;
    static constexpr bool is_panel = true;
    using record = packed_q8;

    panel_row codes_[most][8][R];
    panel_row d_[most][R], m_[plan::D::has_minimum ? most : 1][R];  // floats

    QDIAL_INLINE void unpack(const std::byte* first, std::size_t tile_bytes, std::size_t blocks,
                             std::size_t part, std::size_t count) noexcept {
        for (std::size_t r = 0; r < R; ++r) {
            source from;
            from.unpack(first + r * tile_bytes, R * tile_bytes, blocks, part, count);
            for (std::size_t b = 0; b < count; ++b) {
                unrolled<8>([&](auto k) QDIAL_INLINE_LAMBDA {
                    V::store(codes_[b][k][r].bytes, from.codes(b, k, 0));
                });
                V::store(d_[b][r].floats(), from.d(b, 0));
                if constexpr (plan::D::has_minimum) V::store(m_[b][r].floats(), from.m(b, 0));
            }
        }
    }
    QDIAL_INLINE typename V::word codes(std::size_t b, std::size_t k,
                                        std::size_t r) const noexcept {
        return V::load(codes_[b][k][r].bytes);
    }
    QDIAL_INLINE typename V::reals d(std::size_t b, std::size_t r) const noexcept {
        return V::load(d_[b][r].floats());
    }
    QDIAL_INLINE typename V::reals m(std::size_t b, std::size_t r) const noexcept {
        return V::load(m_[b][r].floats());
    }
};

/// Adds the products of elements 4 First … 4 (First + Units) - 1 of block b to the sums.
template <std::size_t First, std::size_t Units, class Source, std::size_t R, std::size_t C>
QDIAL_INLINE void add_units(const Source& w, const std::byte* const (&x)[C], std::size_t b,
                            typename Source::V::word (&sums)[R][C]) noexcept {
    using V = typename Source::V;
    using plan = typename Source::plan;
    constexpr bool starts_at_sums = !plan::in_16;
    typename V::part p[R][C];
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c)
            p[r][c] = starts_at_sums ? V::part_from(sums[r][c]) : V::zero_part();
    }
    unrolled<Units>([&](auto u) QDIAL_INLINE_LAMBDA {
        constexpr std::integral_constant<std::size_t, First + u> k;
        typename V::word codes[R];
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) codes[r] = w.codes(b, k, r);
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
    });
    if constexpr (plan::wide) return;
    QDIAL_UNROLL
    for (std::size_t r = 0; r < R; ++r) {
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            const auto added = V::sums_of(p[r][c]);
            sums[r][c] = starts_at_sums ? added : V::add(sums[r][c], added);
        }
    }
}

/// out += block b's sums of codes times activations, times the factors, plus its minimum's part.
template <class Source, std::size_t R, std::size_t C>
QDIAL_INLINE void fold_block(const Source& w, std::size_t b, const std::byte* const (&x)[C],
                             const typename Source::V::word (&sums)[R][C],
                             typename Source::V::reals (&out)[R][C]) noexcept {
    using V = typename Source::V;
    QDIAL_UNROLL
    for (std::size_t c = 0; c < C; ++c) {
        const std::byte* a = x[c] + b * sizeof(packed_q8);
        const auto d = V::broadcast_float(a + offsetof(packed_q8, d));
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) {
            out[r][c] = V::fma(V::to_reals(sums[r][c]), V::mul(w.d(b, r), d), out[r][c]);
            if constexpr (Source::plan::D::has_minimum)
                out[r][c] =
                    V::fma(w.m(b, r), V::broadcast_float(a + offsetof(packed_q8, s)), out[r][c]);
        }
    }
}

/// y += `count` blocks of 32 times C columns.
template <std::size_t C, class Source>
requires std::same_as<typename Source::record, packed_q8> QDIAL_INLINE void multiply(
    const Source& w, std::size_t count, const std::byte* const (&x)[C], float* y) noexcept {
    using V = typename Source::V;
    using plan = typename Source::plan;
    constexpr std::size_t R = Source::tiles;
    typename V::reals out[R][C];
    load_tile<V>(y, out);
    QDIAL_NO_UNROLL
    for (std::size_t b = 0; b < count; ++b) {
        typename V::word sums[R][C];
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            auto start = V::zero();
            if constexpr (plan::offset != 0)
                start = V::template shl<plan::offset_log2>(V::broadcast_word(
                    x[c] + b * sizeof(packed_q8) + offsetof(packed_q8, minus_sum)));
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r) sums[r][c] = start;
        }
        constexpr std::size_t units = plan::group / 4;
        add_units<0, units>(w, x, b, sums);
        if constexpr (units < 8) add_units<4, units>(w, x, b, sums);
        fold_block(w, b, x, sums, out);
    }
    store_tile<V>(y, out);
}

/// Up to 128 elements of R tiles of a format of floats, straight from the packed matrix.
template <class F, class Arch, std::size_t R>
struct float_source {
    using V = simd::row_ops<Arch>;
    static constexpr std::size_t tiles = R;
    static constexpr std::size_t length = 128;
    static constexpr bool is_panel = false;
    using record = float;
    static constexpr std::size_t element_bytes = sizeof(typename F::block) * simd::interleaved_rows;

    const std::byte* elements[R];
    const std::byte* ahead[R];

    /// Elements from `length` * `part` on, of a row's `all`.
    QDIAL_INLINE void unpack(const std::byte* first, std::size_t tile_bytes, std::size_t all,
                             std::size_t part, std::size_t) noexcept {
        constexpr std::size_t part_bytes = length * element_bytes;
        for (std::size_t r = 0; r < R; ++r) {
            const std::byte* tile = first + r * tile_bytes;
            elements[r] = tile + part * part_bytes;
            ahead[r] =
                tile + part_ahead(part, (all + length - 1) / length, part_bytes, R * tile_bytes);
        }
    }
    QDIAL_INLINE typename V::reals weights(std::size_t k, std::size_t r) const noexcept {
        auto w = load(elements[r] + k * element_bytes);
        V::prefetch(ahead[r] + k * element_bytes, w);
        return w;
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

/// The same, widened once for many columns.
template <class F, class Arch, std::size_t R>
struct float_panel {
    using V = simd::row_ops<Arch>;
    using source = float_source<F, Arch, 1>;
    static constexpr std::size_t tiles = R;
    static constexpr std::size_t length = source::length;
    static constexpr bool is_panel = true;
    using record = float;

    panel_row weights_[length][R];

    QDIAL_INLINE void unpack(const std::byte* first, std::size_t tile_bytes, std::size_t blocks,
                             std::size_t part, std::size_t count) noexcept {
        for (std::size_t r = 0; r < R; ++r) {
            source from;
            from.unpack(first + r * tile_bytes, R * tile_bytes, blocks, part, count);
            for (std::size_t k = 0; k < count; ++k)
                V::store(weights_[k][r].floats(), from.weights(k, 0));
        }
    }
    QDIAL_INLINE typename V::reals weights(std::size_t k, std::size_t r) const noexcept {
        return V::load(weights_[k][r].floats());
    }
};

/// y += `count` elements times C columns, one after the other.
template <std::size_t C, class Source>
requires std::same_as<typename Source::record, float> QDIAL_INLINE void multiply(
    const Source& w, std::size_t count, const std::byte* const (&x)[C], float* y) noexcept {
    using V = typename Source::V;
    constexpr std::size_t R = Source::tiles;
    typename V::reals out[R][C];
    load_tile<V>(y, out);
    QDIAL_NO_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        typename V::reals weights[R];
        QDIAL_UNROLL
        for (std::size_t r = 0; r < R; ++r) weights[r] = w.weights(k, r);
        QDIAL_UNROLL
        for (std::size_t c = 0; c < C; ++c) {
            const auto a = V::broadcast_float(x[c] + sizeof(float) * k);
            QDIAL_UNROLL
            for (std::size_t r = 0; r < R; ++r) out[r][c] = V::fma(weights[r], a, out[r][c]);
        }
    }
    store_tile<V>(y, out);
}

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
