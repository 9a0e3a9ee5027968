// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/bytes.hpp"
#include "qdial/simd/avx2.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <>
struct byte_ops<arch::avx2> {
    using f = ops<arch::avx2>::f;
    using bytes = __m256i;
    using sums = __m256i;
    struct scales {
        __m256i in_order;  ///< sixteen 16-bit scales
        __m256i split;     ///< those of even index in the low half, of odd index in the high half
    };

    static constexpr std::size_t length = 32;
    static constexpr float signed_unit = 1.0f;

    QDIAL_INLINE static bytes load(const void* p) noexcept {
        return _mm256_loadu_si256(static_cast<const __m256i*>(p));
    }
    template <std::size_t First>
    QDIAL_INLINE static bytes load_nibbles(const std::uint8_t* p) noexcept {
        const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        return _mm256_and_si256(
            _mm256_inserti128_si256(_mm256_castsi128_si256(pairs), _mm_srli_epi16(pairs, 4), 1),
            _mm256_set1_epi8(15));
    }
    QDIAL_INLINE static bytes load_bit_mask(const std::uint8_t* p) noexcept {
        std::int32_t field;
        std::memcpy(&field, p, 4);
        const __m256i spread = _mm256_shuffle_epi8(
            _mm256_set1_epi32(field),
            _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
        const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u));
        return _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    }
    QDIAL_INLINE static bytes splat(std::uint8_t x) noexcept {
        return _mm256_set1_epi8(static_cast<char>(x));
    }
    QDIAL_INLINE static bytes bit_and(bytes a, bytes b) noexcept { return _mm256_and_si256(a, b); }
    QDIAL_INLINE static bytes bit_or(bytes a, bytes b) noexcept { return _mm256_or_si256(a, b); }
    QDIAL_INLINE static bytes sub_bytes(bytes a, bytes b) noexcept { return _mm256_sub_epi8(a, b); }
    template <int From, int To, int Count>
    QDIAL_INLINE static bytes move_bits(bytes a) noexcept {
        if constexpr (From > To) a = _mm256_srli_epi16(a, From - To);
        if constexpr (From < To) a = _mm256_slli_epi16(a, To - From);
        return _mm256_and_si256(a, _mm256_set1_epi8(static_cast<char>(((1 << Count) - 1) << To)));
    }

    QDIAL_INLINE static void unsigned_to_floats(bytes a, f (&out)[4]) noexcept {
        const __m128i lo = _mm256_castsi256_si128(a), hi = _mm256_extracti128_si256(a, 1);
        out[0] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(lo));
        out[1] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(lo, lo)));
        out[2] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(hi));
        out[3] = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(hi, hi)));
    }
    QDIAL_INLINE static void signed_to_floats(bytes a, f (&out)[4]) noexcept {
        const __m128i lo = _mm256_castsi256_si128(a), hi = _mm256_extracti128_si256(a, 1);
        out[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(lo));
        out[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(lo, lo)));
        out[2] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(hi));
        out[3] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(hi, hi)));
    }
    QDIAL_INLINE static __m128i to_register(sixteen_bytes a) noexcept {
        return _mm_set_epi64x(static_cast<long long>(a.high), static_cast<long long>(a.low));
    }
    QDIAL_INLINE static void scales_to_floats(sixteen_bytes a, f (&out)[2]) noexcept {
        const __m128i v = to_register(a);
        out[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
        out[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(v, v)));
    }

    QDIAL_INLINE static f exact_mul_add(f a, f b, f c) noexcept { return _mm256_fmadd_ps(a, b, c); }
    QDIAL_INLINE static f exact_mul_sub(f a, f b, f c) noexcept { return _mm256_fmsub_ps(a, b, c); }

    QDIAL_INLINE static f splat_half(std::uint16_t bits) noexcept {
        return _mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(bits)));
    }
    QDIAL_INLINE static f load(const float16* p) noexcept {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    QDIAL_INLINE static f load(const bfloat16* p) noexcept {
        return _mm256_castsi256_ps(_mm256_slli_epi32(
            _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
    }
    QDIAL_INLINE static void store(float16* p, f a) noexcept {
        const __m128i half = _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT);
        // A NaN arrives quiet with its payload. Unsigned, the only magnitudes above 0x7E00 are
        // NaNs: clear the payload bits that the smaller of both does not have.
        const __m128i sign = _mm_set1_epi16(static_cast<short>(0x8000));
        const __m128i limit = _mm_set1_epi16(static_cast<short>(0xFE00));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                         _mm_and_si128(half, _mm_min_epu16(_mm_or_si128(half, sign), limit)));
    }
    QDIAL_INLINE static void store(bfloat16* p, f a) noexcept {
        const __m256i words = bfloat16_bits(a);
        _mm_storeu_si128(
            reinterpret_cast<__m128i*>(p),
            _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    }
    QDIAL_INLINE static __m256i bfloat16_bits(f a) noexcept {
        const __m256i bits = _mm256_castps_si256(a);
        const __m256i upper = _mm256_srli_epi32(bits, 16);
        const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
        const __m256i rounded = _mm256_srli_epi32(
            _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
        const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
        const __m256 is_nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
        return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan));
    }

    QDIAL_INLINE static sums zero() noexcept { return _mm256_setzero_si256(); }
    QDIAL_INLINE static sums add(sums a, sums b) noexcept { return _mm256_add_epi32(a, b); }
    QDIAL_INLINE static sums sub(sums a, sums b) noexcept { return _mm256_sub_epi32(a, b); }
    template <int S>
    QDIAL_INLINE static sums shl(sums a) noexcept {
        return _mm256_slli_epi32(a, S);
    }
    // Pairs of products are added in 16 bits with saturation, which no input reaches: codes of at
    // most 127 (or |code| <= 128 times at least -127) give at most 2 x 127 x 128 = 32512.
    QDIAL_INLINE static sums dot(bytes u, const std::int8_t* a) noexcept {
        return _mm256_madd_epi16(_mm256_maddubs_epi16(u, load(a)), _mm256_set1_epi16(1));
    }
    template <int Offset>
    QDIAL_INLINE static sums dot_minus(bytes u, const std::int8_t* a) noexcept {
        const __m256i v = load(a);
        const __m256i pairs = _mm256_sub_epi16(_mm256_maddubs_epi16(u, v),
                                               _mm256_maddubs_epi16(_mm256_set1_epi8(Offset), v));
        return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
    QDIAL_INLINE static sums dot_signed(bytes s, const std::int8_t* a) noexcept {
        const __m256i pairs =
            _mm256_maddubs_epi16(_mm256_abs_epi8(s), _mm256_sign_epi8(load(a), s));
        return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
    QDIAL_INLINE static void sums_of_16(const std::int8_t* p, std::int16_t (&out)[2]) noexcept {
        // Sums of eight unsigned bytes: each code raised by 128.
        const __m256i eights = _mm256_sad_epu8(_mm256_xor_si256(load(p), splat(128)), zero());
        const __m256i sums = _mm256_add_epi32(eights, _mm256_shuffle_epi32(eights, 0x4E));
        out[0] = static_cast<std::int16_t>(_mm256_cvtsi256_si32(sums) - 2048);
        out[1] = static_cast<std::int16_t>(_mm256_extract_epi32(sums, 4) - 2048);
    }

    QDIAL_INLINE static scales scales_of_16(sixteen_bytes s) noexcept {
        const __m128i v = to_register(s);
        const __m128i by_parity = _mm_shuffle_epi8(
            v, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
        return {_mm256_cvtepi8_epi16(v), _mm256_cvtepi8_epi16(by_parity)};
    }
    QDIAL_INLINE static scales scales_of_32(sixteen_bytes s) noexcept {
        const __m128i v = _mm_cvtsi64_si128(static_cast<long long>(s.low));
        return {_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(v, v)),
                _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(v, v))};
    }
    /// Each product pair's scale in 16 bits.
    template <std::size_t Group>
    QDIAL_INLINE static __m256i scales_of_group(scales s) noexcept {
        return _mm256_shuffle_epi8(s.split, _mm256_set1_epi16(0x0100 + Group * 0x0202));
    }
    template <std::size_t Group>
    QDIAL_INLINE static sums add_scaled_dot(sums r, bytes u, const std::int8_t* a,
                                            scales s) noexcept {
        const __m256i pairs = _mm256_maddubs_epi16(u, load(a));
        return add(r, _mm256_madd_epi16(pairs, scales_of_group<Group>(s)));
    }
    QDIAL_INLINE static sums scaled_sum(const std::int16_t* sums_of_16, scales s) noexcept {
        return _mm256_madd_epi16(load(sums_of_16), s.in_order);
    }
    QDIAL_INLINE static ints<arch::avx2> totals(const sums (&s)[8]) noexcept {
        const __m256i a =
            _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
        const __m256i b =
            _mm256_hadd_epi32(_mm256_hadd_epi32(s[4], s[5]), _mm256_hadd_epi32(s[6], s[7]));
        ints<arch::avx2> r;
        r.r[0] = _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                                  _mm256_permute2x128_si256(a, b, 0x31));
        return r;
    }
    template <std::size_t Stride>
    QDIAL_INLINE static floats<arch::avx2> gather_halves(const void* p) noexcept {
        const auto at = [p](std::size_t k) {
            std::int16_t bits;
            std::memcpy(&bits, static_cast<const std::uint8_t*>(p) + k * Stride, 2);
            return bits;
        };
        floats<arch::avx2> r;
        r.r[0] =
            _mm256_cvtph_ps(_mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)));
        return r;
    }
};

/// Sixteen codes, in both halves of a register: bytes then widen by shuffles inside the halves,
/// while shuffles across them (and widening instructions, which cross too) cost twice as much.
template <>
struct widening_bytes<arch::avx2> : byte_ops<arch::avx2> {
    static constexpr std::size_t length = 16;
    static constexpr float signed_unit = 0x1p-24f;

    QDIAL_INLINE static bytes load(const void* p) noexcept {
        return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    }
    template <std::size_t First>
    QDIAL_INLINE static bytes load_nibbles(const std::uint8_t* p) noexcept {
        return move_bits < First == 0 ? 0 : 4, 0, 4 > (load(p));
    }
    QDIAL_INLINE static bytes load_bit_mask(const std::uint8_t* p) noexcept {
        std::int16_t field;
        std::memcpy(&field, p, 2);
        const __m256i spread =
            _mm256_shuffle_epi8(_mm256_set1_epi16(field),
                                _mm256_setr_epi64x(0, 0x0101010101010101, 0, 0x0101010101010101));
        const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u));
        return _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    }
    QDIAL_INLINE static void unsigned_to_floats(bytes a, f (&out)[2]) noexcept {
        out[0] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(a, spread<0>(0, 0xFFFFFF00)));
        out[1] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(a, spread<8>(0, 0xFFFFFF00)));
    }
    /// Each code goes to the top byte of its integer, which keeps its sign and multiplies by 2^24.
    QDIAL_INLINE static void signed_to_floats(bytes a, f (&out)[2]) noexcept {
        out[0] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(a, spread<0>(24, 0x00FFFFFF)));
        out[1] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(a, spread<8>(24, 0x00FFFFFF)));
    }

private:
    /// Shuffle control: integer k takes byte `First` + k to bit `to`, and zeros elsewhere.
    template <int First>
    QDIAL_INLINE static __m256i spread(int to, std::uint32_t zeros) noexcept {
        const auto at = [=](int k) {
            return static_cast<int>(static_cast<std::uint32_t>(First + k) << to | zeros);
        };
        return _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
    }
};

#if QDIAL_WITH_AVX2_VNNI
template <>
struct widening_bytes<arch::avx2_vnni> : widening_bytes<arch::avx2> {};
template <>
struct byte_ops<arch::avx2_vnni> : byte_ops<arch::avx2> {
    QDIAL_INLINE static sums dot(bytes u, const std::int8_t* a) noexcept {
        return _mm256_dpbusd_avx_epi32(zero(), u, load(a));
    }
    template <int Offset>
    QDIAL_INLINE static sums dot_minus(bytes u, const std::int8_t* a) noexcept {
        const __m256i v = load(a);
        return sub(_mm256_dpbusd_avx_epi32(zero(), u, v),
                   _mm256_dpbusd_avx_epi32(zero(), _mm256_set1_epi8(Offset), v));
    }
    QDIAL_INLINE static sums dot_signed(bytes s, const std::int8_t* a) noexcept {
        return _mm256_dpbusd_avx_epi32(zero(), _mm256_abs_epi8(s), _mm256_sign_epi8(load(a), s));
    }
    template <std::size_t Group>
    QDIAL_INLINE static sums add_scaled_dot(sums r, bytes u, const std::int8_t* a,
                                            scales s) noexcept {
        return _mm256_dpwssd_avx_epi32(r, _mm256_maddubs_epi16(u, load(a)),
                                       scales_of_group<Group>(s));
    }
};
#endif

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
