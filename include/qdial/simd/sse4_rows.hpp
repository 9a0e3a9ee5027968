// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/rows.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// Four registers hold the sixteen rows. No FMA: it is made of doubles, see `fused_multiply_add`.
template <>
struct row_ops<arch::sse4> {
    static constexpr std::size_t rows = interleaved_rows;
    static constexpr bool is_array = false;
    static constexpr code_kind kind = code_kind::unsigned_in_16;
    static constexpr std::size_t gemm_tiles = 1, gemm_columns = 2;
    static constexpr std::size_t float_gemm_tiles = 1, float_gemm_columns = 2;
    static constexpr std::size_t gemv_tiles = 1, simple_gemv_tiles = 1, float_gemv_tiles = 1;

    struct word {
        __m128i v[4];
    };
    struct reals {
        __m128 v[4];
    };
    using part = word;

    template <class R, class Fn>
    QDIAL_INLINE static R each(Fn fn) noexcept {
        return R{{fn(0), fn(1), fn(2), fn(3)}};
    }
    QDIAL_INLINE static __m128i load16(const void* p) noexcept {
        return _mm_loadu_si128(static_cast<const __m128i*>(p));
    }
    QDIAL_INLINE static __m128i load8(const void* p) noexcept {
        return _mm_loadl_epi64(static_cast<const __m128i*>(p));
    }
    QDIAL_INLINE static word load(const void* p) noexcept {
        const char* bytes = static_cast<const char*>(p);
        return each<word>([=](int k) { return load16(bytes + 16 * k); });
    }
    QDIAL_INLINE static void store(void* p, word a) noexcept {
        for (int k = 0; k < 4; ++k) _mm_storeu_si128(static_cast<__m128i*>(p) + k, a.v[k]);
    }
    QDIAL_INLINE static word all(__m128i a) noexcept {
        return each<word>([=](int) { return a; });
    }
    QDIAL_INLINE static std::int32_t load_i32(const void* p) noexcept {
        std::int32_t x;
        std::memcpy(&x, p, sizeof x);
        return x;
    }
    QDIAL_INLINE static word broadcast_bytes(const void* p) noexcept {
        return all(_mm_set1_epi32(load_i32(p)));
    }
    QDIAL_INLINE static word broadcast_pair(const void* p) noexcept {
        return all(_mm_set1_epi32(load_i32(p)));
    }
    QDIAL_INLINE static word broadcast_word(const void* p) noexcept {
        return all(_mm_set1_epi32(load_i32(p)));
    }
    QDIAL_INLINE static word splat(std::uint32_t x) noexcept {
        return all(_mm_set1_epi32(static_cast<int>(x)));
    }
    QDIAL_INLINE static word zero() noexcept { return all(_mm_setzero_si128()); }
    QDIAL_INLINE static word bit_and(word a, word b) noexcept {
        return each<word>([&](int k) { return _mm_and_si128(a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static word bit_or(word a, word b) noexcept {
        return each<word>([&](int k) { return _mm_or_si128(a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static word bit_xor(word a, word b) noexcept {
        return each<word>([&](int k) { return _mm_xor_si128(a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static word add(word a, word b) noexcept {
        return each<word>([&](int k) { return _mm_add_epi32(a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static word sub_bytes(word a, word b) noexcept {
        return each<word>([&](int k) { return _mm_sub_epi8(a.v[k], b.v[k]); });
    }
    template <int S>
    QDIAL_INLINE static word shl(word a) noexcept {
        return each<word>([&](int k) { return _mm_slli_epi32(a.v[k], S); });
    }
    template <int S>
    QDIAL_INLINE static word shr(word a) noexcept {
        return each<word>([&](int k) { return _mm_srli_epi32(a.v[k], S); });
    }
    template <int S>
    QDIAL_INLINE static word sar(word a) noexcept {
        return each<word>([&](int k) { return _mm_srai_epi32(a.v[k], S); });
    }

    QDIAL_INLINE static part zero_part() noexcept { return zero(); }
    QDIAL_INLINE static part part_from(word pairs) noexcept { return pairs; }
    QDIAL_INLINE static part multiply_add(part p, word codes, word activations) noexcept {
        return each<part>([&](int k) {
            return _mm_add_epi16(p.v[k], _mm_maddubs_epi16(codes.v[k], activations.v[k]));
        });
    }
    /// sums + the four products of each lane, codes signed.
    QDIAL_INLINE static word add_signed(word sums, word codes, word activations) noexcept {
        return each<word>([&](int k) {
            const __m128i pairs = _mm_maddubs_epi16(_mm_abs_epi8(codes.v[k]),
                                                    _mm_sign_epi8(activations.v[k], codes.v[k]));
            return _mm_add_epi32(sums.v[k], _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
        });
    }
    QDIAL_INLINE static word sums_of(part p) noexcept {
        return each<word>([&](int k) { return _mm_madd_epi16(p.v[k], _mm_set1_epi16(1)); });
    }
    QDIAL_INLINE static word to_scale(word s) noexcept {
        return each<word>(
            [&](int k) { return _mm_blend_epi16(_mm_slli_epi32(s.v[k], 16), s.v[k], 0x55); });
    }
    QDIAL_INLINE static word add_scaled(word sums, part p, word scale) noexcept {
        return add_pairs(sums, p, scale);
    }
    QDIAL_INLINE static word add_pairs(word sums, word a, word b) noexcept {
        return each<word>(
            [&](int k) { return _mm_add_epi32(sums.v[k], _mm_madd_epi16(a.v[k], b.v[k])); });
    }

    QDIAL_INLINE static reals load(const float* p) noexcept {
        return each<reals>([=](int k) { return _mm_loadu_ps(p + 4 * k); });
    }
    QDIAL_INLINE static void store(float* p, reals a) noexcept {
        for (int k = 0; k < 4; ++k) _mm_storeu_ps(p + 4 * k, a.v[k]);
    }
    QDIAL_INLINE static reals broadcast_float(const void* p) noexcept {
        const __m128 x = _mm_castsi128_ps(_mm_set1_epi32(load_i32(p)));
        return each<reals>([=](int) { return x; });
    }
    QDIAL_INLINE static reals zero_reals() noexcept {
        return each<reals>([](int) { return _mm_setzero_ps(); });
    }
    QDIAL_INLINE static reals load_halves(const void* p) noexcept {
        const char* bytes = static_cast<const char*>(p);
        return each<reals>([=](int k) -> __m128 {
            return ops<arch::sse4>::from_half(_mm_cvtepu16_epi32(load8(bytes + 8 * k)));
        });
    }
    QDIAL_INLINE static reals load_bfloats(const void* p) noexcept {
        const char* bytes = static_cast<const char*>(p);
        return each<reals>([=](int k) {
            return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), load8(bytes + 8 * k)));
        });
    }
    QDIAL_INLINE static reals load_floats(const void* p) noexcept {
        return load(static_cast<const float*>(p));
    }
    QDIAL_INLINE static reals to_reals(word a) noexcept {
        return each<reals>([&](int k) { return _mm_cvtepi32_ps(a.v[k]); });
    }
    QDIAL_INLINE static reals mul(reals a, reals b) noexcept {
        return each<reals>([&](int k) {
            __m128 product = _mm_mul_ps(a.v[k], b.v[k]);
            asm("" : "+x"(product));
            return product;
        });
    }
    QDIAL_INLINE static reals fma(reals a, reals b, reals c) noexcept {
        return each<reals>([&](int k) { return fma4(a.v[k], b.v[k], c.v[k]); });
    }
    QDIAL_INLINE static reals fnma(reals a, reals b, reals c) noexcept {
        return each<reals>(
            [&](int k) { return fma4(_mm_xor_ps(a.v[k], _mm_set1_ps(-0.0f)), b.v[k], c.v[k]); });
    }
    template <class R>
    QDIAL_INLINE static void prefetch(const void* p, R& a) noexcept {
        asm("prefetcht0 %1" : "+x"(a.v[0]) : "m"(*static_cast<const char*>(p)));
    }

private:
    /// `fused_multiply_add` of two lanes, not yet rounded to float.
    QDIAL_INLINE static __m128d rounded_to_odd(__m128d a, __m128d b, __m128d addend) noexcept {
        const __m128d product = _mm_mul_pd(a, b), sum = _mm_add_pd(product, addend);
        const __m128d back = _mm_sub_pd(sum, product);
        const __m128d error =
            _mm_add_pd(_mm_sub_pd(product, _mm_sub_pd(sum, back)), _mm_sub_pd(addend, back));
        const __m128d nothing = _mm_setzero_pd();
        const __m128d above = _mm_cmpgt_pd(error, nothing);
        const __m128d inexact = _mm_or_pd(above, _mm_cmplt_pd(error, nothing));
        const __m128i bits = _mm_castpd_si128(sum), one = _mm_set1_epi64x(1);
        const __m128i even = _mm_cmpeq_epi64(_mm_and_si128(bits, one), _mm_setzero_si128());
        const __m128i inward =
            _mm_castpd_si128(_mm_xor_pd(above, _mm_cmpgt_pd(sum, nothing)));  // 0 or -1
        const __m128i step = _mm_and_si128(_mm_or_si128(inward, one),
                                           _mm_and_si128(even, _mm_castpd_si128(inexact)));
        return _mm_castsi128_pd(_mm_add_epi64(bits, step));
    }
    QDIAL_INLINE static __m128 fma4(__m128 a, __m128 b, __m128 c) noexcept {
        const auto upper = [](__m128 x) { return _mm_cvtps_pd(_mm_movehl_ps(x, x)); };
        const __m128d low = rounded_to_odd(_mm_cvtps_pd(a), _mm_cvtps_pd(b), _mm_cvtps_pd(c));
        const __m128d high = rounded_to_odd(upper(a), upper(b), upper(c));
        return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
    }
};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
