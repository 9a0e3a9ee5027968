// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/sse4.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <>
struct ops<arch::avx2> : xsimd_ops<xsimd::fma3<xsimd::avx2>> {
    using base = xsimd_ops<xsimd::fma3<xsimd::avx2>>;
    using base::bit_and, base::bit_or, base::select, base::eq;
    // Sixteen registers: two groups hide an addition's latency, more would spill.
    static constexpr std::size_t groups = 2;

    QDIAL_INLINE static f max(f a, f b) noexcept { return _mm256_max_ps(a, b); }
    QDIAL_INLINE static f min(f a, f b) noexcept { return _mm256_min_ps(a, b); }
    QDIAL_INLINE static i max(i a, i b) noexcept { return _mm256_max_epi32(a, b); }
    QDIAL_INLINE static i min(i a, i b) noexcept { return _mm256_min_epi32(a, b); }
    QDIAL_INLINE static m gt(i a, i b) noexcept {
        return m(_mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b)));
    }
    QDIAL_INLINE static m eq(i a, i b) noexcept {
        return m(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)));
    }
    template <int S>
    QDIAL_INLINE static i shl(i a) noexcept {
        return _mm256_slli_epi32(a, S);
    }
    template <int S>
    QDIAL_INLINE static i sar(i a) noexcept {
        return _mm256_srai_epi32(a, S);
    }
    QDIAL_INLINE static i select(m c, i a, i b) noexcept {
        return _mm256_blendv_epi8(b, a, _mm256_castps_si256(c));
    }
    QDIAL_INLINE static std::uint32_t bitmask(m a) noexcept {
        return static_cast<std::uint32_t>(_mm256_movemask_ps(a));
    }
    QDIAL_INLINE static i bits(f a) noexcept { return _mm256_castps_si256(a); }
    QDIAL_INLINE static f from_bits(i a) noexcept { return _mm256_castsi256_ps(a); }
    QDIAL_INLINE static i truncate(f a) noexcept { return _mm256_cvttps_epi32(a); }

    /// The instruction keeps a NaN's payload; the reference stores one quiet NaN per sign.
    QDIAL_INLINE static i to_half(f a) noexcept {
        const __m256i half = _mm256_cvtepu16_epi32(_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
        const __m256i nan = _mm256_or_si256(_mm256_and_si256(half, _mm256_set1_epi32(0x8000)),
                                            _mm256_set1_epi32(0x7E00));
        return _mm256_blendv_epi8(nan, half, _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_EQ_OQ)));
    }
    QDIAL_INLINE static f from_half(i a) noexcept {
        const __m256i bytes = _mm256_shuffle_epi8(
            a, _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 4,
                                5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1));
        return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(bytes, 0b1000)));
    }

    QDIAL_INLINE static f load_i8(const std::int8_t* p) noexcept {
        return _mm256_cvtepi32_ps(
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
    }
    QDIAL_INLINE static i load_u16(const std::uint16_t* p) noexcept {
        return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    QDIAL_INLINE static void store_u16(std::uint16_t* p, i a) noexcept {
        const __m256i words = _mm256_packus_epi32(_mm256_and_si256(a, _mm256_set1_epi32(0xFFFF)),
                                                  _mm256_setzero_si256());
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                         _mm256_castsi256_si128(_mm256_permute4x64_epi64(words, 0b1000)));
    }
    template <std::size_t G>
    QDIAL_INLINE static void store_i8(std::int8_t* p, const i (&a)[G]) noexcept {
        static_assert(G % 4 == 0);
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for (std::size_t g = 0; g < G; g += 4) {
            const __m256i lo = _mm256_packs_epi32(a[g], a[g + 1]);
            const __m256i hi = _mm256_packs_epi32(a[g + 2], a[g + 3]);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8 * g),
                                _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi), order));
        }
    }
    QDIAL_INLINE static std::int32_t reduce_max(i a) noexcept {
        return ops<arch::sse4>::reduce_max(ops<arch::sse4>::i(
            _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1))));
    }
    QDIAL_INLINE static float reduce_max(f a) noexcept {
        return ops<arch::sse4>::reduce_max(
            ops<arch::sse4>::f(_mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1))));
    }
    QDIAL_INLINE static float reduce_min(f a) noexcept {
        return ops<arch::sse4>::reduce_min(
            ops<arch::sse4>::f(_mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1))));
    }
    QDIAL_INLINE static void transpose(f (&r)[8]) noexcept {
        __m256 p[8], q[8];
        for (int k = 0; k < 8; k += 2) {
            p[k] = _mm256_unpacklo_ps(r[k], r[k + 1]);
            p[k + 1] = _mm256_unpackhi_ps(r[k], r[k + 1]);
        }
        for (int k = 0; k < 8; k += 4) {
            q[k] = _mm256_shuffle_ps(p[k], p[k + 2], 0x44);
            q[k + 1] = _mm256_shuffle_ps(p[k], p[k + 2], 0xEE);
            q[k + 2] = _mm256_shuffle_ps(p[k + 1], p[k + 3], 0x44);
            q[k + 3] = _mm256_shuffle_ps(p[k + 1], p[k + 3], 0xEE);
        }
        for (int k = 0; k < 4; ++k) {
            r[k] = f(_mm256_permute2f128_ps(q[k], q[k + 4], 0x20));
            r[k + 4] = f(_mm256_permute2f128_ps(q[k], q[k + 4], 0x31));
        }
    }
};

template <>
struct ops<arch::avx2_vnni> : ops<arch::avx2> {};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
