// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arm_neon.h>

#include "qdial/simd/xsimd_ops.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::simd {

template <>
struct ops<arch::neon> : xsimd_ops<xsimd::neon64> {
    using self = ops<arch::neon>;
    using base = xsimd_ops<xsimd::neon64>;
    using base::bit_and, base::bit_or, base::select, base::eq;
    static constexpr std::size_t groups = 4;

    // xsimd 8.1 approximates these two.
    QDIAL_INLINE static f div(f a, f b) noexcept { return vdivq_f32(a, b); }
    QDIAL_INLINE static f sqrt(f a) noexcept { return vsqrtq_f32(a); }

    // vmaxq and vminq return NaN where either side is NaN; select by the comparison instead.
    QDIAL_INLINE static f max(f a, f b) noexcept { return vbslq_f32(vcgtq_f32(a, b), a, b); }
    QDIAL_INLINE static f min(f a, f b) noexcept { return vbslq_f32(vcltq_f32(a, b), a, b); }
    QDIAL_INLINE static i max(i a, i b) noexcept { return vmaxq_s32(a, b); }
    QDIAL_INLINE static i min(i a, i b) noexcept { return vminq_s32(a, b); }
    QDIAL_INLINE static m gt(i a, i b) noexcept { return m(vcgtq_s32(a, b)); }
    QDIAL_INLINE static m eq(i a, i b) noexcept { return m(vceqq_s32(a, b)); }
    template <int S>
    QDIAL_INLINE static i shl(i a) noexcept {
        return vshlq_n_s32(a, S);
    }
    template <int S>
    QDIAL_INLINE static i sar(i a) noexcept {
        return vshrq_n_s32(a, S);
    }
    QDIAL_INLINE static i select(m c, i a, i b) noexcept { return vbslq_s32(c.data, a, b); }
    QDIAL_INLINE static std::uint32_t bitmask(m a) noexcept {
        const uint32x4_t place = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(a.data, place));
    }
    QDIAL_INLINE static i bits(f a) noexcept { return vreinterpretq_s32_f32(a); }
    QDIAL_INLINE static f from_bits(i a) noexcept { return vreinterpretq_f32_s32(a); }
    QDIAL_INLINE static i truncate(f a) noexcept { return vcvtq_s32_f32(a); }

    QDIAL_INLINE static i to_half(f a) noexcept { return half_conversion<self>::to_half(a); }
    QDIAL_INLINE static f from_half(i a) noexcept { return half_conversion<self>::from_half(a); }

    QDIAL_INLINE static f load_i8(const std::int8_t* p) noexcept {
        std::int32_t four;
        std::memcpy(&four, p, 4);
        const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four));
        return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
    }
    QDIAL_INLINE static i load_u16(const std::uint16_t* p) noexcept {
        return vreinterpretq_s32_u32(vmovl_u16(vld1_u16(p)));
    }
    QDIAL_INLINE static void store_u16(std::uint16_t* p, i a) noexcept {
        vst1_u16(p, vmovn_u32(vreinterpretq_u32_s32(a)));
    }
    template <std::size_t G>
    QDIAL_INLINE static void store_i8(std::int8_t* p, const i (&a)[G]) noexcept {
        static_assert(G % 4 == 0);
        for (std::size_t g = 0; g < G; g += 4) {
            const int16x8_t lo = vcombine_s16(vmovn_s32(a[g]), vmovn_s32(a[g + 1]));
            const int16x8_t hi = vcombine_s16(vmovn_s32(a[g + 2]), vmovn_s32(a[g + 3]));
            vst1q_s8(p + 4 * g, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
        }
    }
    QDIAL_INLINE static std::int32_t reduce_max(i a) noexcept { return vmaxvq_s32(a); }
    QDIAL_INLINE static float reduce_max(f a) noexcept { return vmaxvq_f32(a); }
    QDIAL_INLINE static float reduce_min(f a) noexcept { return vminvq_f32(a); }
    QDIAL_INLINE static void transpose(f (&r)[4]) noexcept {
        const float32x4x2_t lo = vtrnq_f32(r[0], r[1]), hi = vtrnq_f32(r[2], r[3]);
        r[0] = f(vcombine_f32(vget_low_f32(lo.val[0]), vget_low_f32(hi.val[0])));
        r[1] = f(vcombine_f32(vget_low_f32(lo.val[1]), vget_low_f32(hi.val[1])));
        r[2] = f(vcombine_f32(vget_high_f32(lo.val[0]), vget_high_f32(hi.val[0])));
        r[3] = f(vcombine_f32(vget_high_f32(lo.val[1]), vget_high_f32(hi.val[1])));
    }
};

template <>
struct ops<arch::neon_dotprod> : ops<arch::neon> {};
template <>
struct ops<arch::neon_i8mm> : ops<arch::neon> {};

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
