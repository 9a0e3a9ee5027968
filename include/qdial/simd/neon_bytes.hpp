// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/simd/bytes.hpp"
#include "qdial/simd/neon.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <>
struct byte_ops<arch::neon> {
    using O = ops<arch::neon>;
    using f = O::f;
    struct bytes {
        uint8x16_t lo, hi;
    };
    using sums = int32x4_t;
    struct scales {
        int16x8_t lo, hi;  ///< sixteen 16-bit scales in order
    };

    static constexpr std::size_t length = 32;
    static constexpr float signed_unit = 1.0f;

    QDIAL_INLINE static bytes load(const void* p) noexcept {
        const auto* bytes = static_cast<const std::uint8_t*>(p);
        return {vld1q_u8(bytes), vld1q_u8(bytes + 16)};
    }
    template <std::size_t First>
    QDIAL_INLINE static bytes load_nibbles(const std::uint8_t* p) noexcept {
        const uint8x16_t pairs = vld1q_u8(p);
        return {vandq_u8(pairs, vdupq_n_u8(15)), vshrq_n_u8(pairs, 4)};
    }
    QDIAL_INLINE static bytes load_bit_mask(const std::uint8_t* p) noexcept {
        const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
        const auto spread = [p](int k) {
            return vcombine_u8(vdup_n_u8(p[k]), vdup_n_u8(p[k + 1]));
        };
        return {vtstq_u8(spread(0), bit), vtstq_u8(spread(2), bit)};
    }
    QDIAL_INLINE static bytes splat(std::uint8_t x) noexcept {
        return {vdupq_n_u8(x), vdupq_n_u8(x)};
    }
    QDIAL_INLINE static bytes bit_and(bytes a, bytes b) noexcept {
        return {vandq_u8(a.lo, b.lo), vandq_u8(a.hi, b.hi)};
    }
    QDIAL_INLINE static bytes bit_or(bytes a, bytes b) noexcept {
        return {vorrq_u8(a.lo, b.lo), vorrq_u8(a.hi, b.hi)};
    }
    QDIAL_INLINE static bytes sub_bytes(bytes a, bytes b) noexcept {
        return {vsubq_u8(a.lo, b.lo), vsubq_u8(a.hi, b.hi)};
    }
    template <int From, int To, int Count>
    QDIAL_INLINE static bytes move_bits(bytes a) noexcept {
        if constexpr (From > To) a = {vshrq_n_u8(a.lo, From - To), vshrq_n_u8(a.hi, From - To)};
        if constexpr (From < To) a = {vshlq_n_u8(a.lo, To - From), vshlq_n_u8(a.hi, To - From)};
        return bit_and(a, splat(static_cast<std::uint8_t>(((1 << Count) - 1) << To)));
    }

    QDIAL_INLINE static void unsigned_to_floats(bytes a, f (&out)[8]) noexcept {
        const auto widen = [](uint16x8_t v, f* two) {
            two[0] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(v)));
            two[1] = vcvtq_f32_u32(vmovl_high_u16(v));
        };
        widen(vmovl_u8(vget_low_u8(a.lo)), out);
        widen(vmovl_high_u8(a.lo), out + 2);
        widen(vmovl_u8(vget_low_u8(a.hi)), out + 4);
        widen(vmovl_high_u8(a.hi), out + 6);
    }
    QDIAL_INLINE static void signed_to_floats(int8x16_t v, f* four) noexcept {
        const int16x8_t lo = vmovl_s8(vget_low_s8(v)), hi = vmovl_high_s8(v);
        four[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo)));
        four[1] = vcvtq_f32_s32(vmovl_high_s16(lo));
        four[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi)));
        four[3] = vcvtq_f32_s32(vmovl_high_s16(hi));
    }
    QDIAL_INLINE static void signed_to_floats(bytes a, f (&out)[8]) noexcept {
        signed_to_floats(vreinterpretq_s8_u8(a.lo), out);
        signed_to_floats(vreinterpretq_s8_u8(a.hi), out + 4);
    }
    QDIAL_INLINE static int8x16_t to_register(sixteen_bytes a) noexcept {
        return vreinterpretq_s8_u64(vcombine_u64(vcreate_u64(a.low), vcreate_u64(a.high)));
    }
    QDIAL_INLINE static void scales_to_floats(sixteen_bytes a, f (&out)[4]) noexcept {
        signed_to_floats(to_register(a), &out[0]);
    }

    QDIAL_INLINE static f exact_mul_add(f a, f b, f c) noexcept { return vfmaq_f32(c, a, b); }
    QDIAL_INLINE static f exact_mul_sub(f a, f b, f c) noexcept {
        return vfmaq_f32(vnegq_f32(c), a, b);
    }

    QDIAL_INLINE static f splat_half(std::uint16_t bits) noexcept {
        return widen_halves(vdup_n_u16(bits));
    }
    QDIAL_INLINE static float32x4_t widen_halves(uint16x4_t h) noexcept {
        return vcvt_f32_f16(vreinterpret_f16_u16(h));
    }
    QDIAL_INLINE static f load(const float16* p) noexcept {
        return widen_halves(vld1_u16(reinterpret_cast<const std::uint16_t*>(p)));
    }
    QDIAL_INLINE static f load(const bfloat16* p) noexcept {
        const uint16x4_t words = vld1_u16(reinterpret_cast<const std::uint16_t*>(p));
        return vreinterpretq_f32_u32(vshll_n_u16(words, 16));
    }
    QDIAL_INLINE static void store(float16* p, f a) noexcept {
        const uint16x4_t half = vreinterpret_u16_f16(vcvt_f16_f32(a));
        // A NaN arrives quiet with its payload. Unsigned, the only magnitudes above 0x7E00 are
        // NaNs: clear the payload bits that the smaller of both does not have.
        const uint16x4_t limit = vmin_u16(vorr_u16(half, vdup_n_u16(0x8000)), vdup_n_u16(0xFE00));
        vst1_u16(reinterpret_cast<std::uint16_t*>(p), vand_u16(half, limit));
    }
    QDIAL_INLINE static void store(bfloat16* p, f a) noexcept {
        const uint32x4_t bits = vreinterpretq_u32_f32(a);
        const uint32x4_t upper = vshrq_n_u32(bits, 16);
        const uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
        const uint32x4_t rounded =
            vshrq_n_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF))), 16);
        const uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));
        vst1_u16(reinterpret_cast<std::uint16_t*>(p),
                 vmovn_u32(vbslq_u32(vceqq_f32(a, a), rounded, quiet)));
    }

    QDIAL_INLINE static sums zero() noexcept { return vdupq_n_s32(0); }
    QDIAL_INLINE static sums add(sums a, sums b) noexcept { return vaddq_s32(a, b); }
    QDIAL_INLINE static sums sub(sums a, sums b) noexcept { return vsubq_s32(a, b); }
    template <int S>
    QDIAL_INLINE static sums shl(sums a) noexcept {
        return vshlq_n_s32(a, S);
    }
    // Sums of two products fit 16 bits: codes of at most 127 (or |code| <= 128 times at least
    // -127) give at most 2 x 127 x 128 = 32512.
    QDIAL_INLINE static int16x8_t pairs(int8x16_t w, int8x16_t a) noexcept {
        return vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(a)), w, a);
    }
    QDIAL_INLINE static sums dot_signed(bytes s, const std::int8_t* a) noexcept {
        const int16x8_t lo = pairs(vreinterpretq_s8_u8(s.lo), vld1q_s8(a));
        const int16x8_t hi = pairs(vreinterpretq_s8_u8(s.hi), vld1q_s8(a + 16));
        return vpadalq_s16(vpaddlq_s16(lo), hi);
    }
    QDIAL_INLINE static sums dot(bytes u, const std::int8_t* a) noexcept {
        return dot_signed(u, a);
    }
    template <int Offset>
    QDIAL_INLINE static sums dot_minus(bytes u, const std::int8_t* a) noexcept {
        return dot_signed(sub_bytes(u, splat(Offset)), a);
    }
    QDIAL_INLINE static void sums_of_16(const std::int8_t* p, std::int16_t (&out)[2]) noexcept {
        out[0] = vaddlvq_s8(vld1q_s8(p));
        out[1] = vaddlvq_s8(vld1q_s8(p + 16));
    }

    QDIAL_INLINE static scales widen(int8x16_t v) noexcept {
        return {vmovl_s8(vget_low_s8(v)), vmovl_high_s8(v)};
    }
    QDIAL_INLINE static scales scales_of_16(sixteen_bytes s) noexcept {
        return widen(to_register(s));
    }
    QDIAL_INLINE static scales scales_of_32(sixteen_bytes s) noexcept {
        const int8x16_t v = to_register(s);
        return widen(vzip1q_s8(v, v));
    }
    template <std::size_t Group>
    QDIAL_INLINE static sums add_scaled_dot(sums r, bytes u, const std::int8_t* a,
                                            scales s) noexcept {
        const int16x8_t four_groups = Group < 4 ? s.lo : s.hi;
        constexpr int first = 2 * (Group % 4);
        const int32x4_t lo = vpaddlq_s16(pairs(vreinterpretq_s8_u8(u.lo), vld1q_s8(a)));
        const int32x4_t hi = vpaddlq_s16(pairs(vreinterpretq_s8_u8(u.hi), vld1q_s8(a + 16)));
        r = vmlaq_n_s32(r, lo, vgetq_lane_s16(four_groups, first));
        return vmlaq_n_s32(r, hi, vgetq_lane_s16(four_groups, first + 1));
    }
    QDIAL_INLINE static sums scaled_sum(const std::int16_t* sums_of_16, scales s) noexcept {
        const int16x8_t lo = vld1q_s16(sums_of_16), hi = vld1q_s16(sums_of_16 + 8);
        sums r = vmull_s16(vget_low_s16(lo), vget_low_s16(s.lo));
        r = vmlal_high_s16(r, lo, s.lo);
        r = vmlal_s16(r, vget_low_s16(hi), vget_low_s16(s.hi));
        return vmlal_high_s16(r, hi, s.hi);
    }
    QDIAL_INLINE static ints<arch::neon, 2> totals(const sums (&s)[8]) noexcept {
        ints<arch::neon, 2> r;
        for (int k = 0; k < 2; ++k)
            r.r[k] = vpaddq_s32(vpaddq_s32(s[4 * k], s[4 * k + 1]),
                                vpaddq_s32(s[4 * k + 2], s[4 * k + 3]));
        return r;
    }
    template <std::size_t Stride>
    QDIAL_INLINE static floats<arch::neon, 2> gather_halves(const void* p) noexcept {
        std::uint16_t bits[8];
        for (std::size_t k = 0; k < 8; ++k)
            std::memcpy(bits + k, static_cast<const std::uint8_t*>(p) + k * Stride, 2);
        floats<arch::neon, 2> r;
        r.r[0] = widen_halves(vld1_u16(bits));
        r.r[1] = widen_halves(vld1_u16(bits + 4));
        return r;
    }
};

template <>
struct byte_ops<arch::neon_dotprod> : byte_ops<arch::neon> {};
template <>
struct byte_ops<arch::neon_i8mm> : byte_ops<arch::neon> {};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
