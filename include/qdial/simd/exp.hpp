// SPDX-License-Identifier: Apache-2.0
//
// The exponential function, with the same bits on every backend: a fixed sequence of operations,
// each rounded once.
#pragma once

#include "qdial/simd/lanes.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// e^x within 2 units in the last place; 0 below -87, e^88 above 88, NaN stays NaN.
template <class Arch, std::size_t G>
QDIAL_INLINE floats<Arch, G> exp(floats<Arch, G> x) noexcept {
    using F = floats<Arch, G>;
    // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to an integer.
    const F clamped = max(F(-88.0f), min(F(88.0f), x));
    const F magic(12582912.0f);
    const F n = (clamped * F(1.44269504f) + magic) - magic;
    // ln 2 in two parts, of which the first times n is exact.
    const F r = (clamped - n * F(0.693359375f)) - n * F(-2.12194440e-4f);
    F p(1.0f / 5040);
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        p = p * r + F(c);
    const auto exponent = shl<23>(truncate(n) + ints<Arch, G>(127));
    const F power = F::map([&](std::size_t g) { return F::o::from_bits(exponent.r[g]); });
    const F result = select(x < F(-87.0f), F(0.0f), p * power);
    return select(x == x, result, x);
}

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
