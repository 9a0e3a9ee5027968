// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include "qdial/simd/xsimd_ops.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <>
struct ops<arch::sse4> : xsimd_ops<xsimd::sse4_2> {
    using self = ops<arch::sse4>;
    using base = xsimd_ops<xsimd::sse4_2>;
    using base::bit_and, base::bit_or, base::select;
    static constexpr std::size_t groups = 2;

    QDIAL_INLINE static f max(f a, f b) noexcept { return _mm_max_ps(a, b); }
    QDIAL_INLINE static f min(f a, f b) noexcept { return _mm_min_ps(a, b); }
    QDIAL_INLINE static i max(i a, i b) noexcept { return _mm_max_epi32(a, b); }
    QDIAL_INLINE static i min(i a, i b) noexcept { return _mm_min_epi32(a, b); }
    QDIAL_INLINE static m gt(i a, i b) noexcept {
        return m(_mm_castsi128_ps(_mm_cmpgt_epi32(a, b)));
    }
    using base::eq;
    QDIAL_INLINE static m eq(i a, i b) noexcept {
        return m(_mm_castsi128_ps(_mm_cmpeq_epi32(a, b)));
    }
    template <int S>
    QDIAL_INLINE static i shl(i a) noexcept {
        return _mm_slli_epi32(a, S);
    }
    template <int S>
    QDIAL_INLINE static i sar(i a) noexcept {
        return _mm_srai_epi32(a, S);
    }
    QDIAL_INLINE static i select(m c, i a, i b) noexcept {
        return _mm_blendv_epi8(b, a, _mm_castps_si128(c));
    }
    QDIAL_INLINE static std::uint32_t bitmask(m a) noexcept {
        return static_cast<std::uint32_t>(_mm_movemask_ps(a));
    }
    QDIAL_INLINE static i bits(f a) noexcept { return _mm_castps_si128(a); }
    QDIAL_INLINE static f from_bits(i a) noexcept { return _mm_castsi128_ps(a); }
    QDIAL_INLINE static i truncate(f a) noexcept { return _mm_cvttps_epi32(a); }

    QDIAL_INLINE static i to_half(f a) noexcept { return half_conversion<self>::to_half(a); }
    QDIAL_INLINE static f from_half(i a) noexcept { return half_conversion<self>::from_half(a); }

    QDIAL_INLINE static f load_i8(const std::int8_t* p) noexcept {
        std::int32_t four;
        std::memcpy(&four, p, 4);
        return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four)));
    }
    QDIAL_INLINE static i load_u16(const std::uint16_t* p) noexcept {
        return _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    }
    QDIAL_INLINE static void store_u16(std::uint16_t* p, i a) noexcept {
        _mm_storel_epi64(
            reinterpret_cast<__m128i*>(p),
            _mm_packus_epi32(_mm_and_si128(a, _mm_set1_epi32(0xFFFF)), _mm_setzero_si128()));
    }
    template <std::size_t G>
    QDIAL_INLINE static void store_i8(std::int8_t* p, const i (&a)[G]) noexcept {
        static_assert(G % 4 == 0);
        for (std::size_t g = 0; g < G; g += 4) {
            const __m128i lo = _mm_packs_epi32(a[g], a[g + 1]);
            const __m128i hi = _mm_packs_epi32(a[g + 2], a[g + 3]);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 4 * g), _mm_packs_epi16(lo, hi));
        }
    }
    QDIAL_INLINE static std::int32_t reduce_max(i a) noexcept {
        __m128i r = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0x4E));
        r = _mm_max_epi32(r, _mm_shuffle_epi32(r, 0xB1));
        return _mm_cvtsi128_si32(r);
    }
    QDIAL_INLINE static float reduce_max(f a) noexcept {
        __m128 r = _mm_max_ps(a, _mm_movehl_ps(a, a));
        r = _mm_max_ss(r, _mm_shuffle_ps(r, r, 1));
        return _mm_cvtss_f32(r);
    }
    QDIAL_INLINE static float reduce_min(f a) noexcept {
        __m128 r = _mm_min_ps(a, _mm_movehl_ps(a, a));
        r = _mm_min_ss(r, _mm_shuffle_ps(r, r, 1));
        return _mm_cvtss_f32(r);
    }
    QDIAL_INLINE static void transpose(f (&r)[4]) noexcept {
        const __m128 a = _mm_unpacklo_ps(r[0], r[1]), b = _mm_unpackhi_ps(r[0], r[1]);
        const __m128 c = _mm_unpacklo_ps(r[2], r[3]), d = _mm_unpackhi_ps(r[2], r[3]);
        r[0] = f(_mm_movelh_ps(a, c));
        r[1] = f(_mm_movehl_ps(c, a));
        r[2] = f(_mm_movelh_ps(b, d));
        r[3] = f(_mm_movehl_ps(d, b));
    }
};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
