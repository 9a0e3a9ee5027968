// SPDX-License-Identifier: Apache-2.0
//
// What every native backend takes from xsimd. Only operations whose meaning is the same in all
// xsimd releases since 8.1 are used; the argument order of xsimd's min and max, for one, is not,
// so the backends bring their own.
#pragma once

#include <xsimd/xsimd.hpp>

#include "qdial/simd/ops.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <class XsimdArch>
struct xsimd_ops {
    using f = xsimd::batch<float, XsimdArch>;
    using i = xsimd::batch<std::int32_t, XsimdArch>;
    using m = xsimd::batch_bool<float, XsimdArch>;
    static constexpr std::size_t width = f::size;

    QDIAL_INLINE static f load(const float* p) noexcept { return f::load_unaligned(p); }
    QDIAL_INLINE static void store(float* p, f a) noexcept { a.store_unaligned(p); }
    QDIAL_INLINE static i load(const std::int32_t* p) noexcept { return i::load_unaligned(p); }
    QDIAL_INLINE static void store(std::int32_t* p, i a) noexcept { a.store_unaligned(p); }
    QDIAL_INLINE static f splat(float x) noexcept { return f(x); }
    QDIAL_INLINE static i splat(std::int32_t x) noexcept { return i(x); }

    QDIAL_INLINE static f add(f a, f b) noexcept { return a + b; }
    QDIAL_INLINE static f sub(f a, f b) noexcept { return a - b; }
    QDIAL_INLINE static f mul(f a, f b) noexcept {
        f product = a * b;
#if defined(__x86_64__) || defined(__i386__)
#if defined(__AVX512F__)
        asm("" : "+v"(product.data));
#else
        asm("" : "+x"(product.data));
#endif
#elif defined(__aarch64__)
        asm("" : "+w"(product.data));
#endif
        return product;
    }
    QDIAL_INLINE static f div(f a, f b) noexcept { return a / b; }
    QDIAL_INLINE static f sqrt(f a) noexcept { return xsimd::sqrt(a); }
    QDIAL_INLINE static f abs(f a) noexcept { return xsimd::abs(a); }
    QDIAL_INLINE static m lt(f a, f b) noexcept { return a < b; }
    QDIAL_INLINE static m le(f a, f b) noexcept { return a <= b; }
    QDIAL_INLINE static m eq(f a, f b) noexcept { return a == b; }

    QDIAL_INLINE static i add(i a, i b) noexcept { return a + b; }
    QDIAL_INLINE static i sub(i a, i b) noexcept { return a - b; }
    QDIAL_INLINE static i bit_and(i a, i b) noexcept { return a & b; }
    QDIAL_INLINE static i bit_or(i a, i b) noexcept { return a | b; }

    QDIAL_INLINE static f select(m c, f a, f b) noexcept { return xsimd::select(c, a, b); }
    QDIAL_INLINE static m bit_and(m a, m b) noexcept { return a & b; }
    QDIAL_INLINE static m bit_or(m a, m b) noexcept { return a | b; }
    QDIAL_INLINE static m bit_not(m a) noexcept { return ~a; }

    QDIAL_INLINE static f to_float(i a) noexcept { return xsimd::to_float(a); }
};

/// Binary16 conversion from integer and float operations, for backends without an instruction.
/// The same steps as the scalar `to_float16` and `to_float`.
template <class Ops>
struct half_conversion {
    template <class F>
    QDIAL_INLINE static auto to_half(F a) noexcept {
        const auto bits = Ops::bits(a);
        const auto sign = Ops::bit_and(Ops::template sar<16>(bits), Ops::splat(0x8000));
        const auto magnitude = Ops::bit_and(bits, Ops::splat(0x7FFFFFFF));
        const auto odd = Ops::bit_and(Ops::template sar<13>(magnitude), Ops::splat(1));
        auto half = Ops::template sar<13>(
            Ops::add(Ops::sub(magnitude, Ops::splat(0x38000000 - 0xFFF)), odd));
        const auto subnormal =
            Ops::sub(Ops::bits(Ops::add(Ops::from_bits(magnitude), Ops::splat(0.5f))),
                     Ops::splat(0x3F000000));
        half = Ops::select(Ops::gt(Ops::splat(0x38800000), magnitude), subnormal, half);
        half = Ops::select(Ops::gt(magnitude, Ops::splat(0x477FFFFF)), Ops::splat(0x7C00), half);
        half = Ops::select(Ops::gt(magnitude, Ops::splat(0x7F800000)), Ops::splat(0x7E00), half);
        return Ops::bit_or(sign, half);
    }
    template <class I>
    QDIAL_INLINE static auto from_half(I h) noexcept {
        const auto sign = Ops::template shl<16>(Ops::bit_and(h, Ops::splat(0x8000)));
        const auto magnitude = Ops::template shl<13>(Ops::bit_and(h, Ops::splat(0x7FFF)));
        // Infinity and NaN get their exponent first: the multiplication keeps them, NaN quiet.
        const auto special = Ops::gt(magnitude, Ops::splat(0x0F7FFFFF));
        const auto widened =
            Ops::select(special, Ops::bit_or(magnitude, Ops::splat(0x7F800000)), magnitude);
        const auto rebased = Ops::mul(Ops::from_bits(widened), Ops::splat(0x1p112f));
        return Ops::from_bits(Ops::bit_or(sign, Ops::bits(rebased)));
    }
};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
