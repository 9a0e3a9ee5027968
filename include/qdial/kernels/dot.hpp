// SPDX-License-Identifier: Apache-2.0
//
// Dot products of a row of weights and a row of activations, both in blocks.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>

#include "qdial/formats/format.hpp"
#include "qdial/kernels/decoder.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// A format of weights: it names the format of the activations that it is multiplied with.
template <class F>
concept weight_format = decodable_format<F> && requires { typename F::activation; };

/// The dot product of two rows of as many blocks. The result has the same bits on every backend,
/// because its arithmetic is fixed; each operation on floats is rounded once.
///
/// Block formats: the sums over a block's codes are exact integers. With the scales and minima of
/// weight w and activation a, block k has the value
///
///     Q4_0, Q5_0, Q8_0      (d_w d_a) S              S = sum of q_w q_a
///     Q4_1, Q5_1            (d_w d_a) S + m_w s_a
///     Q3_K, Q6_K            (d_w d_a) S              S = sum of scale q_w q_a
///     Q2_K, Q4_K, Q5_K      (d_w d_a) S - (dmin_w d_a) M      M = sum of minimum bsum_a
///
/// and is added to partial sum k mod 8, in the order of the blocks; the eight partial sums p add
/// up as ((p0 + p4) + (p2 + p6)) + ((p1 + p5) + (p3 + p7)).
///
/// F32, F16, BF16: the product of elements k is added to partial sum k mod 32, in order; partial
/// sums j, j + 8, j + 16, j + 24 become p_j = (s_j + s_(j+8)) + (s_(j+16) + s_(j+24)), and the
/// eight p add up as above.
///
/// Activation codes are at least -127, as `quantize_activations` makes them, and Q8_K's bsums
/// agree with its codes.
template <weight_format F, class Arch = default_arch>
[[nodiscard]] float dot(std::span<const typename F::block> weights,
                        std::span<const typename F::activation::block> activations);

// ---- implementation

namespace kernels {

/// The fixed tree over eight partial sums.
template <class Arch>
QDIAL_INLINE float add_up(simd::floats8<Arch> partial) noexcept {
    float p[8];
    partial.store(p);
    return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]));
}

/// Exact integer sums of a block with one scale.
template <class F, class Arch>
QDIAL_INLINE auto simple_block_sums(const typename F::block& w,
                                    const typename F::activation::block& a) noexcept {
    using B = simd::byte_ops<Arch>;
    using D = decoder<F, Arch>;
    const auto codes = D::template codes<B, 0>(w);
    if constexpr (D::signed_codes)
        return B::dot_signed(codes, a.qs);
    else if constexpr (D::offset == 0)
        return B::dot(codes, a.qs);
    else
        return B::template dot_minus<D::offset>(codes, a.qs);
}

/// Exact integer sums of a super-block, the codes' offset included.
template <class F, class Arch>
QDIAL_INLINE auto super_block_sums(const typename F::block& w,
                                   const typename F::activation::block& a) noexcept {
    using B = simd::byte_ops<Arch>;
    using D = decoder<F, Arch>;
    typename B::scales scales;
    if constexpr (D::sub_block == 16)
        scales = B::scales_of_16(D::sub_scales(w));
    else
        scales = B::scales_of_32(D::sub_scales(w));
    auto sums = B::zero();
    unrolled<8>([&](auto group) QDIAL_INLINE_LAMBDA {
        sums = B::template add_scaled_dot<group>(sums, D::template codes<B, 32 * group>(w),
                                                 a.qs + 32 * group, scales);
    });
    if constexpr (D::offset != 0) {
        constexpr int log2 = std::countr_zero(static_cast<unsigned>(D::offset));
        static_assert(D::offset == 1 << log2);
        sums = B::sub(sums, B::template shl<log2>(B::scaled_sum(a.bsums, scales)));
    }
    return sums;
}

/// Exact sum of minimum times bsum.
template <class F, class Arch>
QDIAL_INLINE auto minimum_sums(const typename F::block& w,
                               const typename F::activation::block& a) noexcept {
    using B = simd::byte_ops<Arch>;
    using D = decoder<F, Arch>;
    if constexpr (D::sub_block == 16)
        return B::scaled_sum(a.bsums, B::scales_of_16(D::sub_minima(w)));
    else
        return B::scaled_sum(a.bsums, B::scales_of_32(D::sub_minima(w)));
}

/// Lane k is the binary16 field of block k, 0 from block n on; `first` is block 0's field.
template <class Block, class Arch>
QDIAL_INLINE simd::floats8<Arch> gather_halves(const std::uint16_t* first, std::size_t n) noexcept {
    using B = simd::byte_ops<Arch>;
    if (n == 8) return B::template gather_halves<sizeof(Block)>(first);
    std::uint16_t halves[8] = {};
    for (std::size_t k = 0; k < 8; ++k) {
        const char* field = reinterpret_cast<const char*>(first) + k * sizeof(Block);
        if (k < n) std::memcpy(halves + k, field, sizeof halves[k]);
    }
    return B::template gather_halves<2>(halves);
}

/// Values of n <= 8 consecutive blocks with one scale each, +0 from block n on.
template <class F, class Arch>
QDIAL_INLINE simd::floats8<Arch> simple_block_values(const typename F::block* w,
                                                     const typename F::activation::block* a,
                                                     std::size_t n) noexcept {
    using B = simd::byte_ops<Arch>;
    using W = typename F::block;
    using A = typename F::activation::block;
    typename B::sums sums[8];
    unrolled<8>([&](auto k) QDIAL_INLINE_LAMBDA {
        sums[k] = k < n ? simple_block_sums<F, Arch>(w[k], a[k]) : B::zero();
    });
    const auto d = gather_halves<W, Arch>(&w->d, n) * gather_halves<A, Arch>(&a->d, n);
    auto value = d * to_float(B::totals(sums));
    if constexpr (decoder<F, Arch>::has_minimum)
        value = value + gather_halves<W, Arch>(&w->m, n) * gather_halves<A, Arch>(&a->s, n);
    return value;
}

/// The same of super-blocks.
template <class F, class Arch>
QDIAL_INLINE simd::floats8<Arch> super_block_values(const typename F::block* w,
                                                    const typename F::activation::block* a,
                                                    std::size_t n) noexcept {
    using B = simd::byte_ops<Arch>;
    using W = typename F::block;
    typename B::sums sums[8], minima[8];
    float scales[8];
    for (std::size_t k = 0; k < 8; ++k) {
        sums[k] = minima[k] = B::zero();
        scales[k] = 0.0f;
        if (k >= n) continue;
        sums[k] = super_block_sums<F, Arch>(w[k], a[k]);
        scales[k] = decoder<typename F::activation, Arch>::scale(a[k]);
        if constexpr (decoder<F, Arch>::has_minimum) minima[k] = minimum_sums<F, Arch>(w[k], a[k]);
    }
    const auto d_a = simd::floats8<Arch>::load(scales);
    auto value = gather_halves<W, Arch>(&w->d, n) * d_a * to_float(B::totals(sums));
    if constexpr (decoder<F, Arch>::has_minimum)
        value = value - gather_halves<W, Arch>(&w->dmin, n) * d_a * to_float(B::totals(minima));
    return value;
}

template <class F, class Arch>
float dot_blocks(const typename F::block* w, const typename F::activation::block* a,
                 std::size_t n) noexcept {
    const auto values = [](auto* w8, auto* a8, std::size_t count) QDIAL_INLINE_LAMBDA {
        if constexpr (decoder<F, Arch>::sub_block == 0)
            return simple_block_values<F, Arch>(w8, a8, count);
        else
            return super_block_values<F, Arch>(w8, a8, count);
    };
    simd::floats8<Arch> partial(0.0f);
    std::size_t k = 0;
    for (; k + 8 <= n; k += 8) partial = partial + values(w + k, a + k, 8);
    // A missing block's value, +0, changes no partial sum: none is ever -0.
    if (k < n) partial = partial + values(w + k, a + k, n - k);
    return add_up<Arch>(partial);
}

/// 32 partial sums over elements.
template <class F, class Arch>
float dot_floats(const typename F::block* w, const typename F::activation::block* a,
                 std::size_t n) noexcept {
    using E = simd::eight_lane_arch<Arch>;
    using D = decoder<F, E>;
    using O = simd::ops<E>;
    constexpr std::size_t G = 32 / O::width;
    using F32 = simd::floats<E, G>;
    const auto load = [](const auto* p) QDIAL_INLINE_LAMBDA {
        return F32::map([&](std::size_t g) { return D::load(p + g * O::width); });
    };
    F32 partial(0.0f);
    std::size_t k = 0;
    for (; k + 32 <= n; k += 32) partial = partial + load(w + k) * load(a + k);
    if (k < n) {
        // Zeros have the product +0, which changes no partial sum.
        typename F::block last_w[32] = {}, last_a[32] = {};
        std::memcpy(static_cast<void*>(last_w), w + k, (n - k) * sizeof *w);
        std::memcpy(static_cast<void*>(last_a), a + k, (n - k) * sizeof *a);
        partial = partial + load(last_w) * load(last_a);
    }
    float s[32];
    partial.store(s);
    const auto part = [&](std::size_t j) { return simd::floats8<Arch>::load(s + 8 * j); };
    return add_up<Arch>((part(0) + part(1)) + (part(2) + part(3)));
}

}  // namespace kernels

template <weight_format F, class Arch>
float dot(std::span<const typename F::block> weights,
          std::span<const typename F::activation::block> activations) {
    QDIAL_ASSERT(weights.size() == activations.size(),
                 "dot: weights and activations differ in their number of blocks");
    if constexpr (F::is_float) {
        return kernels::dot_floats<F, Arch>(weights.data(), activations.data(), weights.size());
    } else {
        static_assert(F::block_length == F::activation::block_length);
        return kernels::dot_blocks<F, Arch>(weights.data(), activations.data(), weights.size());
    }
}

}  // namespace qdial

#include "qdial/macros_end.hpp"
