// SPDX-License-Identifier: Apache-2.0
//
// Functions of rows of floats, with the same bits on every backend: elementwise ones have a fixed
// sequence of operations, each rounded once; sums have a fixed order.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "qdial/formats/f32.hpp"
#include "qdial/kernels/dot.hpp"
#include "qdial/simd/exp.hpp"

#include "qdial/macros_begin.hpp"

namespace engine {

/// Sixteen floats on any backend.
template <class Arch>
using floats16 = qdial::simd::floats<Arch, 16 / qdial::simd::ops<Arch>::width>;

using qdial::simd::exp;

/// x / (1 + e^-x)
template <class Arch>
QDIAL_INLINE floats16<Arch> silu(floats16<Arch> x) noexcept {
    using F = floats16<Arch>;
    return x / (F(1.0f) + exp<Arch>(F(0.0f) - x));
}

/// GELU in its tanh form: x (1 + tanh u) / 2 = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3).
template <class Arch>
QDIAL_INLINE floats16<Arch> gelu(floats16<Arch> x) noexcept {
    using F = floats16<Arch>;
    const F u2 = (x * F(1.5957691216f)) * (F(1.0f) + F(0.044715f) * (x * x));
    return x / (F(1.0f) + exp<Arch>(F(0.0f) - u2));
}

/// cap tanh(x / cap)
template <class Arch>
QDIAL_INLINE floats16<Arch> soft_cap(floats16<Arch> x, float cap) noexcept {
    using F = floats16<Arch>;
    const F e = exp<Arch>((x * F(2.0f)) / F(cap));
    return F(cap) - F(2.0f * cap) / (e + F(1.0f));
}

/// Calls `fn(floats16) -> floats16` for all of `x`, in place.
template <class Arch, class Fn>
QDIAL_INLINE void transform(float* x, std::size_t n, Fn&& fn) {
    using F = floats16<Arch>;
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) fn(F::load(x + i)).store(x + i);
    if (i == n) return;
    float rest[16] = {};
    std::memcpy(rest, x + i, (n - i) * sizeof(float));
    fn(F::load(rest)).store(rest);
    std::memcpy(x + i, rest, (n - i) * sizeof(float));
}

/// x = fn(x, y) elementwise.
template <class Arch, class Fn>
QDIAL_INLINE void transform(float* x, const float* y, std::size_t n, Fn&& fn) {
    using F = floats16<Arch>;
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) fn(F::load(x + i), F::load(y + i)).store(x + i);
    if (i == n) return;
    float rest[16] = {}, other[16] = {};
    std::memcpy(rest, x + i, (n - i) * sizeof(float));
    std::memcpy(other, y + i, (n - i) * sizeof(float));
    fn(F::load(rest), F::load(other)).store(rest);
    std::memcpy(x + i, rest, (n - i) * sizeof(float));
}

template <class Arch = qdial::default_arch>
void add(float* x, const float* y, std::size_t n) {
    transform<Arch>(x, y, n, [](auto a, auto b) QDIAL_INLINE_LAMBDA { return a + b; });
}

/// gate = activation(gate) * up
template <class Arch = qdial::default_arch>
void gated(float* gate, const float* up, std::size_t n, bool use_gelu) {
    if (use_gelu)
        transform<Arch>(gate, up, n,
                        [](auto a, auto b) QDIAL_INLINE_LAMBDA { return gelu<Arch>(a) * b; });
    else
        transform<Arch>(gate, up, n,
                        [](auto a, auto b) QDIAL_INLINE_LAMBDA { return silu<Arch>(a) * b; });
}

/// out = x / sqrt(mean of x^2 + epsilon) * weight. `out` may be `x`.
template <class Arch = qdial::default_arch>
void rms_norm(const float* x, const float* weight, std::size_t n, float epsilon, float* out) {
    const std::span<const float> row(x, n);
    const float mean = qdial::dot<qdial::f32, Arch>(row, row) / static_cast<float>(n);
    const float scale = 1.0f / std::sqrt(mean + epsilon);
    if (out != x) std::memcpy(out, x, n * sizeof(float));
    transform<Arch>(out, weight, n, [=](auto a, auto w) QDIAL_INLINE_LAMBDA {
        return a * floats16<Arch>(scale) * w;
    });
}

/// Of n scores, a multiple of 16: replaced by e^(score - largest), where `largest` is theirs;
/// returns the sum, of which lane k mod 16 adds up in order, then lanes pairwise.
template <class Arch = qdial::default_arch>
float exp_of_scores(float* scores, std::size_t n, float largest) {
    using F = floats16<Arch>;
    F sum(0.0f);
    for (std::size_t i = 0; i < n; i += 16) {
        const F p = exp<Arch>(F::load(scores + i) - F(largest));
        p.store(scores + i);
        sum = sum + p;
    }
    float lane[16];
    sum.store(lane);
    for (std::size_t half = 8; half != 0; half /= 2)
        for (std::size_t k = 0; k < half; ++k) lane[k] = lane[k] + lane[k + half];
    return lane[0];
}

/// The largest of n floats, n a multiple of 16 and not 0. NaN is passed over.
template <class Arch = qdial::default_arch>
float largest_of(const float* x, std::size_t n) {
    using F = floats16<Arch>;
    F largest(-std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < n; i += 16) largest = max(F::load(x + i), largest);
    float lane[16];
    largest.store(lane);
    float result = lane[0];
    for (const float v : lane) result = v > result ? v : result;
    return result;
}

}  // namespace engine

#include "qdial/macros_end.hpp"
