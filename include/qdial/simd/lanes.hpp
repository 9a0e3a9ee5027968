// SPDX-License-Identifier: Apache-2.0
//
// `floats<Arch, G>`, `ints<Arch, G>`, `mask<Arch, G>`: G registers worked on as one, with
// operators. G > 1 gives the processor independent chains to overlap.
#pragma once

#include "qdial/simd/simd.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <class Arch, std::size_t G = 1>
struct mask {
    using o = ops<Arch>;
    typename o::m r[G];

    QDIAL_INLINE friend mask operator&(mask a, mask b) noexcept {
        mask c;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) c.r[g] = o::bit_and(a.r[g], b.r[g]);
        return c;
    }
    QDIAL_INLINE friend mask operator|(mask a, mask b) noexcept {
        mask c;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) c.r[g] = o::bit_or(a.r[g], b.r[g]);
        return c;
    }
    QDIAL_INLINE friend mask operator!(mask a) noexcept {
        mask c;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) c.r[g] = o::bit_not(a.r[g]);
        return c;
    }
    QDIAL_INLINE friend bool any(mask a) noexcept {
        auto c = a.r[0];
        QDIAL_UNROLL
        for (std::size_t g = 1; g < G; ++g) c = o::bit_or(c, a.r[g]);
        return o::bitmask(c) != 0;
    }
    QDIAL_INLINE friend bool all(mask a) noexcept {
        auto c = a.r[0];
        QDIAL_UNROLL
        for (std::size_t g = 1; g < G; ++g) c = o::bit_and(c, a.r[g]);
        return o::bitmask(c) == (o::width == 32 ? ~0u : (1u << (o::width % 32)) - 1u);
    }
};

template <class Arch, std::size_t G = 1>
struct ints {
    using o = ops<Arch>;
    static constexpr std::size_t width = o::width;
    typename o::i r[G];

    ints() = default;
    QDIAL_INLINE ints(std::int32_t x) noexcept {
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) r[g] = o::splat(x);
    }
    /// Register g from p + g * stride.
    QDIAL_INLINE static ints load(const std::int32_t* p, std::size_t stride = width) noexcept {
        ints a;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) a.r[g] = o::load(p + g * stride);
        return a;
    }
    QDIAL_INLINE void store(std::int32_t* p, std::size_t stride = width) const noexcept {
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) o::store(p + g * stride, r[g]);
    }
    template <class Fn>
    QDIAL_INLINE static ints map(Fn fn) noexcept {
        ints a;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) a.r[g] = fn(g);
        return a;
    }
    QDIAL_INLINE friend ints operator+(ints a, ints b) noexcept {
        return map([&](std::size_t g) { return o::add(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend ints operator-(ints a, ints b) noexcept {
        return map([&](std::size_t g) { return o::sub(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend ints operator&(ints a, ints b) noexcept {
        return map([&](std::size_t g) { return o::bit_and(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend ints operator|(ints a, ints b) noexcept {
        return map([&](std::size_t g) { return o::bit_or(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend ints max(ints a, ints b) noexcept {
        return map([&](std::size_t g) { return o::max(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend ints min(ints a, ints b) noexcept {
        return map([&](std::size_t g) { return o::min(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend mask<Arch, G> operator>(ints a, ints b) noexcept {
        mask<Arch, G> c;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) c.r[g] = o::gt(a.r[g], b.r[g]);
        return c;
    }
    QDIAL_INLINE friend mask<Arch, G> operator==(ints a, ints b) noexcept {
        mask<Arch, G> c;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) c.r[g] = o::eq(a.r[g], b.r[g]);
        return c;
    }
};

/// Shifts left, dropping high bits.
template <int S, class Arch, std::size_t G>
QDIAL_INLINE ints<Arch, G> shl(ints<Arch, G> a) noexcept {
    return ints<Arch, G>::map([&](std::size_t g) { return ops<Arch>::template shl<S>(a.r[g]); });
}
/// Shifts right, copying the sign.
template <int S, class Arch, std::size_t G>
QDIAL_INLINE ints<Arch, G> sar(ints<Arch, G> a) noexcept {
    return ints<Arch, G>::map([&](std::size_t g) { return ops<Arch>::template sar<S>(a.r[g]); });
}

template <class Arch, std::size_t G = 1>
struct floats {
    using o = ops<Arch>;
    static constexpr std::size_t width = o::width;
    typename o::f r[G];

    floats() = default;
    QDIAL_INLINE floats(float x) noexcept {
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) r[g] = o::splat(x);
    }
    /// Register g from p + g * stride.
    QDIAL_INLINE static floats load(const float* p, std::size_t stride = width) noexcept {
        floats a;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) a.r[g] = o::load(p + g * stride);
        return a;
    }
    QDIAL_INLINE void store(float* p, std::size_t stride = width) const noexcept {
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) o::store(p + g * stride, r[g]);
    }
    template <class Fn>
    QDIAL_INLINE static floats map(Fn fn) noexcept {
        floats a;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) a.r[g] = fn(g);
        return a;
    }
    QDIAL_INLINE friend floats operator+(floats a, floats b) noexcept {
        return map([&](std::size_t g) { return o::add(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend floats operator-(floats a, floats b) noexcept {
        return map([&](std::size_t g) { return o::sub(a.r[g], b.r[g]); });
    }
    /// Never fused with a following addition.
    QDIAL_INLINE friend floats operator*(floats a, floats b) noexcept {
        return map([&](std::size_t g) { return o::mul(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend floats operator/(floats a, floats b) noexcept {
        return map([&](std::size_t g) { return o::div(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend floats sqrt(floats a) noexcept {
        return map([&](std::size_t g) { return o::sqrt(a.r[g]); });
    }
    QDIAL_INLINE friend floats abs(floats a) noexcept {
        return map([&](std::size_t g) { return o::abs(a.r[g]); });
    }
    /// a > b ? a : b
    QDIAL_INLINE friend floats max(floats a, floats b) noexcept {
        return map([&](std::size_t g) { return o::max(a.r[g], b.r[g]); });
    }
    /// a < b ? a : b
    QDIAL_INLINE friend floats min(floats a, floats b) noexcept {
        return map([&](std::size_t g) { return o::min(a.r[g], b.r[g]); });
    }
    QDIAL_INLINE friend mask<Arch, G> operator<(floats a, floats b) noexcept {
        mask<Arch, G> c;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) c.r[g] = o::lt(a.r[g], b.r[g]);
        return c;
    }
    QDIAL_INLINE friend mask<Arch, G> operator<=(floats a, floats b) noexcept {
        mask<Arch, G> c;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) c.r[g] = o::le(a.r[g], b.r[g]);
        return c;
    }
    QDIAL_INLINE friend mask<Arch, G> operator==(floats a, floats b) noexcept {
        mask<Arch, G> c;
        QDIAL_UNROLL
        for (std::size_t g = 0; g < G; ++g) c.r[g] = o::eq(a.r[g], b.r[g]);
        return c;
    }
    QDIAL_INLINE friend mask<Arch, G> operator>(floats a, floats b) noexcept { return b < a; }
    QDIAL_INLINE friend mask<Arch, G> operator>=(floats a, floats b) noexcept { return b <= a; }
};

template <class Arch, std::size_t G>
QDIAL_INLINE floats<Arch, G> select(mask<Arch, G> c, floats<Arch, G> a,
                                    floats<Arch, G> b) noexcept {
    return floats<Arch, G>::map(
        [&](std::size_t g) { return ops<Arch>::select(c.r[g], a.r[g], b.r[g]); });
}
template <class Arch, std::size_t G>
QDIAL_INLINE ints<Arch, G> select(mask<Arch, G> c, ints<Arch, G> a, ints<Arch, G> b) noexcept {
    return ints<Arch, G>::map(
        [&](std::size_t g) { return ops<Arch>::select(c.r[g], a.r[g], b.r[g]); });
}
template <class Arch, std::size_t G>
QDIAL_INLINE ints<Arch, G> bits(floats<Arch, G> a) noexcept {
    return ints<Arch, G>::map([&](std::size_t g) { return ops<Arch>::bits(a.r[g]); });
}
template <class Arch, std::size_t G>
QDIAL_INLINE floats<Arch, G> to_float(ints<Arch, G> a) noexcept {
    return floats<Arch, G>::map([&](std::size_t g) { return ops<Arch>::to_float(a.r[g]); });
}
/// Toward zero; |a| below 2^31.
template <class Arch, std::size_t G>
QDIAL_INLINE ints<Arch, G> truncate(floats<Arch, G> a) noexcept {
    return ints<Arch, G>::map([&](std::size_t g) { return ops<Arch>::truncate(a.r[g]); });
}
/// Binary16 bits in the low half of each lane; round to nearest even, quiet NaN.
template <class Arch, std::size_t G>
QDIAL_INLINE ints<Arch, G> to_half(floats<Arch, G> a) noexcept {
    return ints<Arch, G>::map([&](std::size_t g) { return ops<Arch>::to_half(a.r[g]); });
}
/// Reads the low half of each lane; the high half must be zero.
template <class Arch, std::size_t G>
QDIAL_INLINE floats<Arch, G> from_half(ints<Arch, G> a) noexcept {
    return floats<Arch, G>::map([&](std::size_t g) { return ops<Arch>::from_half(a.r[g]); });
}

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
