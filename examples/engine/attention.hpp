// SPDX-License-Identifier: Apache-2.0
//
// Attention of a few queries over the cached keys and values of one head. Each score and each
// output element is one chain of fused multiply-adds (over the elements of the head, over the
// positions), and lanes hold different ones; so neither the registers' width nor which queries
// are worked on together shows in the bits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "qdial/float16.hpp"
#include "qdial/simd/rows.hpp"
#include "vector_math.hpp"

#include "qdial/macros_begin.hpp"

namespace engine {

/// Positions whose keys lie side by side in the cache.
inline constexpr std::size_t key_group = 16;
/// Queries that a kernel takes at once.
inline constexpr std::size_t query_tile = 8;

/// Sixteen elements of a cache as floats.
template <class Arch>
QDIAL_INLINE auto load_row(const float* p) noexcept {
    return qdial::simd::row_ops<Arch>::load(p);
}
template <class Arch>
QDIAL_INLINE auto load_row(const qdial::float16* p) noexcept {
    return qdial::simd::row_ops<Arch>::load_halves(p);
}

/// Scores of Q queries with the keys of B groups: out[query * stride + position]. `keys` of a
/// group: [element][position of the group]; groups follow each other.
template <class Arch, std::size_t Q, std::size_t B, class T>
void score_tile(const float* const* queries, const T* keys, std::size_t length, float* out,
                std::size_t stride) noexcept {
    using R = qdial::simd::row_ops<Arch>;
    typename R::reals sum[Q][B];
    QDIAL_UNROLL
    for (std::size_t q = 0; q < Q; ++q)
        QDIAL_UNROLL
        for (std::size_t b = 0; b < B; ++b) sum[q][b] = R::zero_reals();
    for (std::size_t d = 0; d < length; ++d) {
        typename R::reals key[B];
        QDIAL_UNROLL
        for (std::size_t b = 0; b < B; ++b)
            key[b] = load_row<Arch>(keys + (b * length + d) * key_group);
        QDIAL_UNROLL
        for (std::size_t q = 0; q < Q; ++q) {
            const auto x = R::broadcast_float(queries[q] + d);
            QDIAL_UNROLL
            for (std::size_t b = 0; b < B; ++b) sum[q][b] = R::fma(x, key[b], sum[q][b]);
        }
    }
    QDIAL_UNROLL
    for (std::size_t q = 0; q < Q; ++q)
        QDIAL_UNROLL
        for (std::size_t b = 0; b < B; ++b) R::store(out + q * stride + b * key_group, sum[q][b]);
}

/// Adds p[q][t] * value[t] for t in [0, n) to V registers of each of Q outputs.
template <class Arch, std::size_t Q, std::size_t V, class T>
void value_tile(const float* const* p, const T* values, std::size_t row, std::size_t n,
                float* const* out, std::size_t at) noexcept {
    using R = qdial::simd::row_ops<Arch>;
    typename R::reals sum[Q][V];
    QDIAL_UNROLL
    for (std::size_t q = 0; q < Q; ++q)
        QDIAL_UNROLL
        for (std::size_t v = 0; v < V; ++v) sum[q][v] = R::load(out[q] + at + 16 * v);
    for (std::size_t t = 0; t < n; ++t) {
        typename R::reals value[V];
        QDIAL_UNROLL
        for (std::size_t v = 0; v < V; ++v) value[v] = load_row<Arch>(values + t * row + at + 16 * v);
        QDIAL_UNROLL
        for (std::size_t q = 0; q < Q; ++q) {
            const auto x = R::broadcast_float(p[q] + t);
            QDIAL_UNROLL
            for (std::size_t v = 0; v < V; ++v) sum[q][v] = R::fma(x, value[v], sum[q][v]);
        }
    }
    QDIAL_UNROLL
    for (std::size_t q = 0; q < Q; ++q)
        QDIAL_UNROLL
        for (std::size_t v = 0; v < V; ++v) R::store(out[q] + at + 16 * v, sum[q][v]);
}

/// Calls fn.template operator()<N>() for a run-time n in [1, query_tile].
template <std::size_t N = query_tile, class Fn>
QDIAL_INLINE void with_count(std::size_t n, Fn&& fn) {
    if constexpr (N > 1) {
        if (n != N) return with_count<N - 1>(n, fn);
    }
    fn.template operator()<N>();
}

/// Scores of n <= query_tile queries with `groups` groups of keys.
template <class Arch, class T>
void scores_of(const float* const* queries, std::size_t n, const T* keys, std::size_t length,
               std::size_t groups, float* out, std::size_t stride) {
    with_count(n, [&]<std::size_t Q>() {
        // As many chains as hide the latency and as registers hold.
        constexpr std::size_t chains = qdial::simd::ops<Arch>::groups == 4 ? 16 : 8;
        constexpr std::size_t B = Q == 1 ? 8 : Q == 2 ? chains / 2 : Q <= 4 ? chains / 4 : chains / 8;
        std::size_t g = 0;
        for (; g + B <= groups; g += B)
            score_tile<Arch, Q, B>(queries, keys + g * length * key_group, length,
                                   out + g * key_group, stride);
        for (; g < groups; ++g)
            score_tile<Arch, Q, 1>(queries, keys + g * length * key_group, length,
                                   out + g * key_group, stride);
    });
}

/// Adds the values of n positions, `row` elements apart, to Q outputs of `length`, a multiple of
/// 16; p[q][t] is the weight of position t.
template <class Arch, class T>
void values_of(const float* const* p, std::size_t queries, const T* values, std::size_t row,
               std::size_t length, std::size_t n, float* const* out) {
    with_count(queries, [&]<std::size_t Q>() {
        constexpr std::size_t V = Q <= 2 ? 8 : Q <= 4 ? 4 : 2;
        std::size_t at = 0;
        for (; at + 16 * V <= length; at += 16 * V)
            value_tile<Arch, Q, V>(p, values, row, n, out, at);
        for (; at < length; at += 16) value_tile<Arch, Q, 1>(p, values, row, n, out, at);
    });
}

/// One query of a tile: which positions it sees, [begin, end).
struct query {
    const float* x;  ///< `key_length` floats, scaled
    float* out;      ///< `value_length` floats, rounded up to 16
    std::size_t begin, end;
};

/// The cache of one head, from a position on that is a multiple of key_group.
template <class T>
struct cached_head {
    const T* keys;    ///< [position / 16][element][position % 16]
    const T* values;  ///< [position][element, rounded up to 16]
    std::size_t key_length, value_length;
    std::size_t origin;  ///< the position that both start at
};

/// The scores of one query, `row[0]` at the cache's origin, replaced by their exponentials, 0 up to
/// the ends of the registers; returns the sum.
template <class Arch>
float softmax_weights(float* row, std::size_t begin, std::size_t end, float soft_cap_of_scores) {
    constexpr float never = -std::numeric_limits<float>::infinity();
    const std::size_t from = begin / 16 * 16, to = (end + 15) / 16 * 16;
    if (soft_cap_of_scores != 0.0f)
        transform<Arch>(row + begin, end - begin, [=](auto s) QDIAL_INLINE_LAMBDA {
            return soft_cap<Arch>(s, soft_cap_of_scores);
        });
    std::fill(row + from, row + begin, never);
    std::fill(row + end, row + to, never);
    return exp_of_scores<Arch>(row + from, to - from, largest_of<Arch>(row + from, to - from));
}

/// Adds the weighted values of each query's positions to its output. What not all queries see goes
/// before and after what they share, so that each query's positions stay in their order.
template <class Arch, class T>
void add_values(const cached_head<T>& cache, const query* queries, std::size_t n,
                const float* weights, std::size_t stride) {
    const std::size_t width = (cache.value_length + 15) / 16 * 16;
    std::size_t begin = 0, end = std::numeric_limits<std::size_t>::max();  // of the shared ones
    float* out[query_tile] = {};
    for (std::size_t q = 0; q < n; ++q) {
        begin = std::max(begin, queries[q].begin);
        end = std::min(end, queries[q].end);
        out[q] = queries[q].out;
    }
    const auto add_some = [&](std::size_t first, std::size_t count, std::size_t from,
                              std::size_t to) {
        const float* p[query_tile] = {};
        for (std::size_t q = 0; q < count; ++q)
            p[q] = weights + (first + q) * stride + (from - cache.origin);
        values_of<Arch>(p, count, cache.values + (from - cache.origin) * width, width, width,
                        to - from, out + first);
    };
    for (std::size_t q = 0; q < n; ++q)
        add_some(q, 1, queries[q].begin, begin < end ? begin : queries[q].end);
    if (begin >= end) return;
    // Some positions at a time, so that their values stay in the L1 cache.
    constexpr std::size_t chunk = 64;
    for (std::size_t t = begin; t < end; t += chunk) add_some(0, n, t, std::min(t + chunk, end));
    for (std::size_t q = 0; q < n; ++q) add_some(q, 1, end, queries[q].end);
}

/// softmax(x K^T) V for n <= query_tile queries. `scores` holds as many rows of `stride` floats,
/// at least the positions from `cache.origin` to the last end, rounded up to 16.
template <class Arch = qdial::default_arch, class T>
void attend(const cached_head<T>& cache, const query* queries, std::size_t n,
            float soft_cap_of_scores, float* scores, std::size_t stride) {
    const std::size_t width = (cache.value_length + 15) / 16 * 16;
    const float* x[query_tile] = {};
    std::size_t last = 0;
    for (std::size_t q = 0; q < n; ++q) {
        x[q] = queries[q].x;
        last = std::max(last, queries[q].end);
        std::fill_n(queries[q].out, width, 0.0f);
    }
    scores_of<Arch>(x, n, cache.keys, cache.key_length,
                    (last - cache.origin + key_group - 1) / key_group, scores, stride);
    float total[query_tile] = {};
    for (std::size_t q = 0; q < n; ++q)
        total[q] = softmax_weights<Arch>(scores + q * stride, queries[q].begin - cache.origin,
                                         queries[q].end - cache.origin, soft_cap_of_scores);
    add_values<Arch>(cache, queries, n, scores, stride);
    for (std::size_t q = 0; q < n; ++q)
        transform<Arch>(queries[q].out, width, [&](auto a) QDIAL_INLINE_LAMBDA {
            return a / floats16<Arch>(total[q]);
        });
}

}  // namespace engine

#include "qdial/macros_end.hpp"
