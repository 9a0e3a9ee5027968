// SPDX-License-Identifier: Apache-2.0
//
// `ops<Arch>`: the primitives of a backend on its native registers, as static functions.
//
//     f, i, m             a register of floats, of 32-bit integers, and a mask over its lanes
//     width               lanes in a register
//     groups              registers that search kernels keep in flight to hide latency
//
// Rules that make the bits the same everywhere: each operation rounds once, `mul` returns a
// product that the compiler cannot fuse with a later addition, and `max(a, b)` is a > b ? a : b
// (so is `min` with <), which fixes what NaN and signed zeros give.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "qdial/float16.hpp"
#include "qdial/simd/arch.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// Keeps the compiler from contracting a product and a following addition into one FMA: gcc does
/// that to intrinsics and operators alike by default, clang to operators. An empty asm that
/// claims to change the value costs no instruction and holds under every flag.
QDIAL_INLINE float unfused(float product) noexcept {
#if defined(_MSC_VER) && !defined(__clang__)
    // cl.exe contracts only under /fp:fast, which config.hpp's check cannot see; /fp:precise is
    // its default.
#elif defined(__x86_64__) || defined(__i386__)
    asm("" : "+x"(product));
#elif defined(__aarch64__)
    asm("" : "+w"(product));
#elif defined(__riscv) || defined(__s390x__) || defined(__powerpc__)
    asm("" : "+f"(product));
#elif defined(__wasm__)
    // WebAssembly has no fused multiply-add outside relaxed SIMD.
#else
    asm("" : "+m"(product));
#endif
    return product;
}

/// `N` lanes as arrays: the scalar definition (N = 1) and the emulated widths.
template <std::size_t N>
struct array_ops {
    static constexpr std::size_t width = N;
    static constexpr std::size_t groups = 1;

    struct f {
        float v[N];
    };
    struct i {
        std::int32_t v[N];
    };
    struct m {
        bool v[N];
    };

    template <class R, class Fn>
    QDIAL_INLINE static R each(Fn fn) noexcept {
        R r;
        for (std::size_t k = 0; k < N; ++k) r.v[k] = fn(k);
        return r;
    }

    QDIAL_INLINE static f load(const float* p) noexcept {
        f r;
        std::memcpy(r.v, p, sizeof r.v);
        return r;
    }
    QDIAL_INLINE static void store(float* p, f a) noexcept { std::memcpy(p, a.v, sizeof a.v); }
    QDIAL_INLINE static i load(const std::int32_t* p) noexcept {
        i r;
        std::memcpy(r.v, p, sizeof r.v);
        return r;
    }
    QDIAL_INLINE static void store(std::int32_t* p, i a) noexcept {
        std::memcpy(p, a.v, sizeof a.v);
    }
    QDIAL_INLINE static f splat(float x) noexcept {
        return each<f>([=](std::size_t) { return x; });
    }
    QDIAL_INLINE static i splat(std::int32_t x) noexcept {
        return each<i>([=](std::size_t) { return x; });
    }

    QDIAL_INLINE static f add(f a, f b) noexcept {
        return each<f>([&](std::size_t k) { return a.v[k] + b.v[k]; });
    }
    QDIAL_INLINE static f sub(f a, f b) noexcept {
        return each<f>([&](std::size_t k) { return a.v[k] - b.v[k]; });
    }
    QDIAL_INLINE static f mul(f a, f b) noexcept {
        return each<f>([&](std::size_t k) { return unfused(a.v[k] * b.v[k]); });
    }
    QDIAL_INLINE static f div(f a, f b) noexcept {
        return each<f>([&](std::size_t k) { return a.v[k] / b.v[k]; });
    }
    QDIAL_INLINE static f sqrt(f a) noexcept {
        return each<f>([&](std::size_t k) { return std::sqrt(a.v[k]); });
    }
    QDIAL_INLINE static f abs(f a) noexcept {
        return each<f>([&](std::size_t k) {
            return std::bit_cast<float>(std::bit_cast<std::uint32_t>(a.v[k]) & 0x7FFFFFFFu);
        });
    }
    QDIAL_INLINE static f max(f a, f b) noexcept {
        return each<f>([&](std::size_t k) { return a.v[k] > b.v[k] ? a.v[k] : b.v[k]; });
    }
    QDIAL_INLINE static f min(f a, f b) noexcept {
        return each<f>([&](std::size_t k) { return a.v[k] < b.v[k] ? a.v[k] : b.v[k]; });
    }
    QDIAL_INLINE static m lt(f a, f b) noexcept {
        return each<m>([&](std::size_t k) { return a.v[k] < b.v[k]; });
    }
    QDIAL_INLINE static m le(f a, f b) noexcept {
        return each<m>([&](std::size_t k) { return a.v[k] <= b.v[k]; });
    }
    QDIAL_INLINE static m eq(f a, f b) noexcept {
        return each<m>([&](std::size_t k) { return a.v[k] == b.v[k]; });
    }

    // Two's complement, wrapping.
    QDIAL_INLINE static std::int32_t wrap(std::uint32_t x) noexcept {
        return std::bit_cast<std::int32_t>(x);
    }
    QDIAL_INLINE static std::uint32_t u(std::int32_t x) noexcept {
        return std::bit_cast<std::uint32_t>(x);
    }
    QDIAL_INLINE static i add(i a, i b) noexcept {
        return each<i>([&](std::size_t k) { return wrap(u(a.v[k]) + u(b.v[k])); });
    }
    QDIAL_INLINE static i sub(i a, i b) noexcept {
        return each<i>([&](std::size_t k) { return wrap(u(a.v[k]) - u(b.v[k])); });
    }
    QDIAL_INLINE static i bit_and(i a, i b) noexcept {
        return each<i>([&](std::size_t k) { return a.v[k] & b.v[k]; });
    }
    QDIAL_INLINE static i bit_or(i a, i b) noexcept {
        return each<i>([&](std::size_t k) { return a.v[k] | b.v[k]; });
    }
    template <int S>
    QDIAL_INLINE static i shl(i a) noexcept {
        return each<i>([&](std::size_t k) { return wrap(u(a.v[k]) << S); });
    }
    template <int S>
    QDIAL_INLINE static i sar(i a) noexcept {
        return each<i>([&](std::size_t k) { return a.v[k] >> S; });
    }
    QDIAL_INLINE static i max(i a, i b) noexcept {
        return each<i>([&](std::size_t k) { return a.v[k] > b.v[k] ? a.v[k] : b.v[k]; });
    }
    QDIAL_INLINE static i min(i a, i b) noexcept {
        return each<i>([&](std::size_t k) { return a.v[k] < b.v[k] ? a.v[k] : b.v[k]; });
    }
    QDIAL_INLINE static m gt(i a, i b) noexcept {
        return each<m>([&](std::size_t k) { return a.v[k] > b.v[k]; });
    }
    QDIAL_INLINE static m eq(i a, i b) noexcept {
        return each<m>([&](std::size_t k) { return a.v[k] == b.v[k]; });
    }

    QDIAL_INLINE static f select(m c, f a, f b) noexcept {
        return each<f>([&](std::size_t k) { return c.v[k] ? a.v[k] : b.v[k]; });
    }
    QDIAL_INLINE static i select(m c, i a, i b) noexcept {
        return each<i>([&](std::size_t k) { return c.v[k] ? a.v[k] : b.v[k]; });
    }
    QDIAL_INLINE static m bit_and(m a, m b) noexcept {
        return each<m>([&](std::size_t k) { return a.v[k] && b.v[k]; });
    }
    QDIAL_INLINE static m bit_or(m a, m b) noexcept {
        return each<m>([&](std::size_t k) { return a.v[k] || b.v[k]; });
    }
    QDIAL_INLINE static m bit_not(m a) noexcept {
        return each<m>([&](std::size_t k) { return !a.v[k]; });
    }
    /// Lane k at bit k.
    QDIAL_INLINE static std::uint32_t bitmask(m a) noexcept {
        std::uint32_t r = 0;
        for (std::size_t k = 0; k < N; ++k) r |= static_cast<std::uint32_t>(a.v[k]) << k;
        return r;
    }

    QDIAL_INLINE static i bits(f a) noexcept {
        return each<i>([&](std::size_t k) { return std::bit_cast<std::int32_t>(a.v[k]); });
    }
    QDIAL_INLINE static f from_bits(i a) noexcept {
        return each<f>([&](std::size_t k) { return std::bit_cast<float>(a.v[k]); });
    }
    QDIAL_INLINE static f to_float(i a) noexcept {
        return each<f>([&](std::size_t k) { return static_cast<float>(a.v[k]); });
    }
    /// Toward zero. Callers keep |a| below 2^31 or use the low four bits only of a NaN's result,
    /// which are 0 on every backend.
    QDIAL_INLINE static i truncate(f a) noexcept {
        return each<i>([&](std::size_t k) {
            return a.v[k] == a.v[k] ? static_cast<std::int32_t>(a.v[k]) : 0;
        });
    }

    QDIAL_INLINE static i to_half(f a) noexcept {
        return each<i>(
            [&](std::size_t k) { return static_cast<std::int32_t>(to_float16(a.v[k]).bits); });
    }
    QDIAL_INLINE static f from_half(i a) noexcept {
        return each<f>([&](std::size_t k) {
            return qdial::to_float(float16{static_cast<std::uint16_t>(a.v[k])});
        });
    }

    QDIAL_INLINE static f load_i8(const std::int8_t* p) noexcept {
        return each<f>([=](std::size_t k) { return static_cast<float>(p[k]); });
    }
    QDIAL_INLINE static i load_u16(const std::uint16_t* p) noexcept {
        return each<i>([=](std::size_t k) { return static_cast<std::int32_t>(p[k]); });
    }
    QDIAL_INLINE static void store_u16(std::uint16_t* p, i a) noexcept {
        for (std::size_t k = 0; k < N; ++k) p[k] = static_cast<std::uint16_t>(a.v[k]);
    }
    /// Stores lanes as bytes; callers keep them in [-128, 127].
    template <std::size_t G>
    QDIAL_INLINE static void store_i8(std::int8_t* p, const i (&a)[G]) noexcept {
        for (std::size_t g = 0; g < G; ++g)
            for (std::size_t k = 0; k < N; ++k) p[g * N + k] = static_cast<std::int8_t>(a[g].v[k]);
    }
    QDIAL_INLINE static std::int32_t reduce_max(i a) noexcept {
        std::int32_t r = a.v[0];
        for (std::size_t k = 1; k < N; ++k) r = a.v[k] > r ? a.v[k] : r;
        return r;
    }
    QDIAL_INLINE static float reduce_max(f a) noexcept {
        float r = a.v[0];
        for (std::size_t k = 1; k < N; ++k) r = a.v[k] > r ? a.v[k] : r;
        return r;
    }
    QDIAL_INLINE static float reduce_min(f a) noexcept {
        float r = a.v[0];
        for (std::size_t k = 1; k < N; ++k) r = a.v[k] < r ? a.v[k] : r;
        return r;
    }

    /// Transposes a width x width tile of 32-bit elements.
    QDIAL_INLINE static void transpose(f (&r)[N]) noexcept {
        for (std::size_t a = 0; a < N; ++a)
            for (std::size_t b = a + 1; b < N; ++b) {
                const float t = r[a].v[b];
                r[a].v[b] = r[b].v[a];
                r[b].v[a] = t;
            }
    }
};

template <class Arch>
struct ops;

template <>
struct ops<arch::generic> : array_ops<1> {};
template <>
struct ops<arch::emulated_amx> : array_ops<1> {};

template <std::size_t Bits>
struct ops<arch::emulated<Bits>> : array_ops<Bits / 32> {};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
