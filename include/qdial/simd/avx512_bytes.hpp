// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/bytes.hpp"
#include "qdial/simd/avx2_bytes.hpp"
#include "qdial/simd/avx512.hpp"

namespace qdial::simd {

/// Codes stay in 256 bits, which is what a block of 32 fills; they widen to 512 bits as floats.
template <>
struct byte_ops<arch::avx512> : byte_ops<arch::avx2> {
    using f = ops<arch::avx512>::f;
    using byte_ops<arch::avx2>::load;

    QDIAL_INLINE static bytes load_bit_mask(const std::uint8_t* p) noexcept {
        std::uint32_t field;
        std::memcpy(&field, p, 4);
        return _mm256_movm_epi8(field);
    }
    QDIAL_INLINE static void unsigned_to_floats(bytes a, f (&out)[2]) noexcept {
        out[0] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(a)));
        out[1] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256(a, 1)));
    }
    QDIAL_INLINE static void signed_to_floats(bytes a, f (&out)[2]) noexcept {
        out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(a)));
        out[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(a, 1)));
    }
    QDIAL_INLINE static void scales_to_floats(sixteen_bytes a, f (&out)[1]) noexcept {
        out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(to_register(a)));
    }

    QDIAL_INLINE static f exact_mul_add(f a, f b, f c) noexcept { return _mm512_fmadd_ps(a, b, c); }
    QDIAL_INLINE static f exact_mul_sub(f a, f b, f c) noexcept { return _mm512_fmsub_ps(a, b, c); }

    QDIAL_INLINE static f splat_half(std::uint16_t bits) noexcept {
        return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(bits)));
    }
    QDIAL_INLINE static f load(const float16* p) noexcept {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    QDIAL_INLINE static f load(const bfloat16* p) noexcept {
        return _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
    }
    QDIAL_INLINE static void store(float16* p, f a) noexcept {
        // Clears the payload of NaN as on AVX2.
        const __m256i half = _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT);
        const __m256i sign = _mm256_set1_epi16(static_cast<short>(0x8000));
        const __m256i limit = _mm256_set1_epi16(static_cast<short>(0xFE00));
        _mm256_storeu_si256(
            reinterpret_cast<__m256i*>(p),
            _mm256_and_si256(half, _mm256_min_epu16(_mm256_or_si256(half, sign), limit)));
    }
    QDIAL_INLINE static void store(bfloat16* p, f a) noexcept {
        const __m512i bits = _mm512_castps_si512(a);
        const __m512i upper = _mm512_srli_epi32(bits, 16);
        const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
        const __m512i rounded = _mm512_srli_epi32(
            _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
        const __m512i words = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q),
                                                   upper, _mm512_set1_epi32(0x40));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(words));
    }
};

#if QDIAL_WITH_AVX512_VNNI
template <>
struct byte_ops<arch::avx512_vnni> : byte_ops<arch::avx512> {
    QDIAL_INLINE static sums dot(bytes u, const std::int8_t* a) noexcept {
        return _mm256_dpbusd_epi32(zero(), u, load(a));
    }
    template <int Offset>
    QDIAL_INLINE static sums dot_minus(bytes u, const std::int8_t* a) noexcept {
        const __m256i v = load(a);
        return sub(_mm256_dpbusd_epi32(zero(), u, v),
                   _mm256_dpbusd_epi32(zero(), _mm256_set1_epi8(Offset), v));
    }
    QDIAL_INLINE static sums dot_signed(bytes s, const std::int8_t* a) noexcept {
        return _mm256_dpbusd_epi32(zero(), _mm256_abs_epi8(s), _mm256_sign_epi8(load(a), s));
    }
    template <std::size_t Group>
    QDIAL_INLINE static sums add_scaled_dot(sums r, bytes u, const std::int8_t* a,
                                            scales s) noexcept {
        return _mm256_dpwssd_epi32(r, _mm256_maddubs_epi16(u, load(a)), scales_of_group<Group>(s));
    }
};
template <>
struct byte_ops<arch::avx512_amx> : byte_ops<arch::avx512_vnni> {};
#endif

}  // namespace qdial::simd
