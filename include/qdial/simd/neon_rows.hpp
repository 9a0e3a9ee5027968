// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/neon.hpp"
#include "qdial/simd/rows.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

/// Four registers hold the sixteen rows. Codes and activations are both signed.
template <>
struct row_ops<arch::neon> {
    static constexpr std::size_t rows = interleaved_rows;
    static constexpr bool is_array = false;
    static constexpr code_kind kind = code_kind::signed_in_32;
    // Thirty-two registers: eight registers of parts a column (sums of two products each), four of
    // sums, four of codes.
    static constexpr std::size_t gemm_tiles = 1, gemm_columns = 2;
    static constexpr std::size_t float_gemm_tiles = 1, float_gemm_columns = 6;
    static constexpr std::size_t gemv_tiles = 1, simple_gemv_tiles = 1, float_gemv_tiles = 2;

    struct word {
        uint32x4_t v[4];
    };
    struct reals {
        float32x4_t v[4];
    };
    /// Sums of the products of bytes 0 and 1, and of 2 and 3, of each lane.
    struct part {
        int32x4_t v[8];
    };

    template <class R, class Fn>
    QDIAL_INLINE static R each(Fn fn) noexcept {
        return R{{fn(0), fn(1), fn(2), fn(3)}};
    }
    QDIAL_INLINE static int8x16_t as_bytes(uint32x4_t a) noexcept {
        return vreinterpretq_s8_u32(a);
    }
    QDIAL_INLINE static int32x4_t as_ints(uint32x4_t a) noexcept {
        return vreinterpretq_s32_u32(a);
    }
    QDIAL_INLINE static uint32x4_t as_word(int32x4_t a) noexcept {
        return vreinterpretq_u32_s32(a);
    }
    QDIAL_INLINE static word load(const void* p) noexcept {
        const auto* bytes = static_cast<const std::uint8_t*>(p);
        return each<word>([=](int k) { return vreinterpretq_u32_u8(vld1q_u8(bytes + 16 * k)); });
    }
    QDIAL_INLINE static void store(void* p, word a) noexcept {
        auto* bytes = static_cast<std::uint8_t*>(p);
        for (int k = 0; k < 4; ++k) vst1q_u8(bytes + 16 * k, vreinterpretq_u8_u32(a.v[k]));
    }
    QDIAL_INLINE static std::uint32_t load_u32(const void* p) noexcept {
        std::uint32_t x;
        std::memcpy(&x, p, sizeof x);
        return x;
    }
    QDIAL_INLINE static word broadcast_bytes(const void* p) noexcept { return splat(load_u32(p)); }
    QDIAL_INLINE static word broadcast_pair(const void* p) noexcept { return splat(load_u32(p)); }
    QDIAL_INLINE static word broadcast_word(const void* p) noexcept { return splat(load_u32(p)); }
    QDIAL_INLINE static word splat(std::uint32_t x) noexcept {
        return each<word>([v = vdupq_n_u32(x)](int) { return v; });
    }
    QDIAL_INLINE static word zero() noexcept { return splat(0); }
    QDIAL_INLINE static word bit_and(word a, word b) noexcept {
        return each<word>([&](int k) { return vandq_u32(a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static word bit_or(word a, word b) noexcept {
        return each<word>([&](int k) { return vorrq_u32(a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static word bit_xor(word a, word b) noexcept {
        return each<word>([&](int k) { return veorq_u32(a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static word add(word a, word b) noexcept {
        return each<word>([&](int k) { return vaddq_u32(a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static word sub_bytes(word a, word b) noexcept {
        return each<word>([&](int k) {
            return vreinterpretq_u32_s8(vsubq_s8(as_bytes(a.v[k]), as_bytes(b.v[k])));
        });
    }
    template <int S>
    QDIAL_INLINE static word shl(word a) noexcept {
        return each<word>([&](int k) { return vshlq_n_u32(a.v[k], S); });
    }
    template <int S>
    QDIAL_INLINE static word shr(word a) noexcept {
        if constexpr (S == 0)
            return a;
        else
            return each<word>([&](int k) { return vshrq_n_u32(a.v[k], S); });
    }
    template <int S>
    QDIAL_INLINE static word sar(word a) noexcept {
        if constexpr (S == 0)
            return a;
        else
            return each<word>([&](int k) { return as_word(vshrq_n_s32(as_ints(a.v[k]), S)); });
    }

    QDIAL_INLINE static part zero_part() noexcept { return part_from(zero()); }
    QDIAL_INLINE static part part_from(word sums) noexcept {
        part p;
        for (int k = 0; k < 4; ++k) {
            // Each sum in one of the two lanes that are added up later.
            p.v[2 * k] = vreinterpretq_s32_u64(vmovl_u32(vget_low_u32(sums.v[k])));
            p.v[2 * k + 1] = vreinterpretq_s32_u64(vmovl_u32(vget_high_u32(sums.v[k])));
        }
        return p;
    }
    QDIAL_INLINE static part multiply_add(part p, word codes, word activations) noexcept {
        const int8x8_t a = vget_low_s8(as_bytes(activations.v[0]));
        for (int k = 0; k < 4; ++k) {
            const int8x16_t c = as_bytes(codes.v[k]);
            p.v[2 * k] = vpadalq_s16(p.v[2 * k], vmull_s8(vget_low_s8(c), a));
            p.v[2 * k + 1] = vpadalq_s16(p.v[2 * k + 1], vmull_s8(vget_high_s8(c), a));
        }
        return p;
    }
    QDIAL_INLINE static word sums_of(part p) noexcept {
        return each<word>([&](int k) { return as_word(vpaddq_s32(p.v[2 * k], p.v[2 * k + 1])); });
    }
    QDIAL_INLINE static word to_scale(word scale) noexcept { return scale; }
    QDIAL_INLINE static word add_scaled(word sums, part p, word scale) noexcept {
        const word total = sums_of(p);
        return each<word>([&](int k) { return vmlaq_u32(sums.v[k], total.v[k], scale.v[k]); });
    }
    QDIAL_INLINE static word add_pairs(word sums, word a, word b) noexcept {
        return each<word>([&](int k) {
            const int16x8_t x = vreinterpretq_s16_u32(a.v[k]), y = vreinterpretq_s16_u32(b.v[k]);
            const int32x4_t products =
                vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
            return vaddq_u32(sums.v[k], as_word(products));
        });
    }

    QDIAL_INLINE static reals load(const float* p) noexcept {
        return each<reals>([=](int k) { return vld1q_f32(p + 4 * k); });
    }
    QDIAL_INLINE static void store(float* p, reals a) noexcept {
        for (int k = 0; k < 4; ++k) vst1q_f32(p + 4 * k, a.v[k]);
    }
    QDIAL_INLINE static reals broadcast_float(const void* p) noexcept {
        return each<reals>(
            [v = vreinterpretq_f32_u32(vdupq_n_u32(load_u32(p)))](int) { return v; });
    }
    QDIAL_INLINE static reals zero_reals() noexcept {
        return each<reals>([](int) { return vdupq_n_f32(0.0f); });
    }
    QDIAL_INLINE static uint16x4_t load_four(const void* p, int k) noexcept {
        return vreinterpret_u16_u8(vld1_u8(static_cast<const std::uint8_t*>(p) + 8 * k));
    }
    QDIAL_INLINE static reals load_halves(const void* p) noexcept {
        return each<reals>(
            [=](int k) { return vcvt_f32_f16(vreinterpret_f16_u16(load_four(p, k))); });
    }
    QDIAL_INLINE static reals load_bfloats(const void* p) noexcept {
        return each<reals>(
            [=](int k) { return vreinterpretq_f32_u32(vshll_n_u16(load_four(p, k), 16)); });
    }
    QDIAL_INLINE static reals load_floats(const void* p) noexcept {
        return each<reals>([w = load(p)](int k) { return vreinterpretq_f32_u32(w.v[k]); });
    }
    QDIAL_INLINE static reals to_reals(word a) noexcept {
        return each<reals>([&](int k) { return vcvtq_f32_s32(as_ints(a.v[k])); });
    }
    QDIAL_INLINE static reals mul(reals a, reals b) noexcept {
        return each<reals>([&](int k) {
            float32x4_t product = vmulq_f32(a.v[k], b.v[k]);
            asm("" : "+w"(product));
            return product;
        });
    }
    QDIAL_INLINE static reals fma(reals a, reals b, reals c) noexcept {
        return each<reals>([&](int k) { return vfmaq_f32(c.v[k], a.v[k], b.v[k]); });
    }
    QDIAL_INLINE static reals fnma(reals a, reals b, reals c) noexcept {
        return each<reals>([&](int k) { return vfmsq_f32(c.v[k], a.v[k], b.v[k]); });
    }
    template <class R>
    QDIAL_INLINE static void prefetch(const void* p, R& a) noexcept {
        asm("prfm pldl1keep, %1" : "+w"(a.v[0]) : "Q"(*static_cast<const char*>(p)));
    }
};

#if QDIAL_WITH_NEON_DOTPROD
/// With the instruction for four products of bytes.
template <>
struct row_ops<arch::neon_dotprod> : row_ops<arch::neon> {
    // Four registers of parts and four of sums a column, four of codes.
    static constexpr std::size_t gemm_columns = 3;
    using part = word;

    QDIAL_INLINE static part zero_part() noexcept { return zero(); }
    QDIAL_INLINE static part part_from(word sums) noexcept { return sums; }
    QDIAL_INLINE static part multiply_add(part p, word codes, word activations) noexcept {
        return each<part>([&](int k) {
            return as_word(
                vdotq_s32(as_ints(p.v[k]), as_bytes(codes.v[k]), as_bytes(activations.v[k])));
        });
    }
    QDIAL_INLINE static word sums_of(part p) noexcept { return p; }
    QDIAL_INLINE static word add_scaled(word sums, part p, word scale) noexcept {
        return each<word>([&](int k) { return vmlaq_u32(sums.v[k], p.v[k], scale.v[k]); });
    }
};
#endif

#if QDIAL_WITH_NEON_I8MM
/// With the instruction for the products of two rows with two columns: see kernels/gemm_pairs.hpp.
template <>
struct row_ops<arch::neon_i8mm> : row_ops<arch::neon_dotprod> {
    // Sixteen registers of sums, eight of parts, four of columns' activations at most, one of rows.
    static constexpr std::size_t gemm_columns = 4;
    /// Sums of two rows with two columns, or eight bytes of two rows or columns.
    using pair_word = int32x4_t;

    QDIAL_INLINE static pair_word zero_pair() noexcept { return vdupq_n_s32(0); }
    QDIAL_INLINE static pair_word load_pair(const void* p) noexcept {
        return vreinterpretq_s32_s8(vld1q_s8(static_cast<const std::int8_t*>(p)));
    }
    QDIAL_INLINE static pair_word load_columns(const void* first, const void* second) noexcept {
        return vreinterpretq_s32_s8(vcombine_s8(vld1_s8(static_cast<const std::int8_t*>(first)),
                                                vld1_s8(static_cast<const std::int8_t*>(second))));
    }
    QDIAL_INLINE static pair_word multiply_add_pairs(pair_word sums, pair_word rows,
                                                     pair_word columns) noexcept {
        return vmmlaq_s32(sums, vreinterpretq_s8_s32(rows), vreinterpretq_s8_s32(columns));
    }
    /// The scales of rows 2 i and 2 i + 1 beside their sums.
    QDIAL_INLINE static pair_word pair_scale(const word& scale, std::size_t i) noexcept {
        const uint32x4_t s = scale.v[i / 2];
        return as_ints(i % 2 == 0 ? vzip1q_u32(s, s) : vzip2q_u32(s, s));
    }
    QDIAL_INLINE static pair_word add_scaled_pair(pair_word sums, pair_word part,
                                                  pair_word scale) noexcept {
        return vmlaq_s32(sums, part, scale);
    }
    /// Sixteen rows' sums with one of the two columns.
    QDIAL_INLINE static word column(const pair_word (&sums)[8], std::size_t second) noexcept {
        return each<word>([&](int k) {
            const int32x4_t a = sums[2 * k], b = sums[2 * k + 1];
            return as_word(second != 0 ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b));
        });
    }
    /// Two words, of elements 0 to 3 and 4 to 7, become eight pairs of rows.
    QDIAL_INLINE static void zip_rows(std::byte* p) noexcept {
        const word a = load(p), b = load(p + 64);
        for (int k = 0; k < 4; ++k) {
            const auto put = [=](int at, uint32x4_t rows) {
                vst1q_u8(reinterpret_cast<std::uint8_t*>(p) + 16 * at, vreinterpretq_u8_u32(rows));
            };
            put(2 * k, vzip1q_u32(a.v[k], b.v[k]));
            put(2 * k + 1, vzip2q_u32(a.v[k], b.v[k]));
        }
    }
};
#endif

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
