// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/endian.hpp"
#include "qdial/float16.hpp"
#include "qdial/formats/format.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/encoder.hpp"
#include "qdial/simd/lanes.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// BF16: bfloat16, the upper half of a binary32.
struct bf16 {
    static constexpr std::string_view name = "BF16";
    static constexpr std::uint32_t gguf_id = 30;
    static constexpr std::size_t block_length = 1;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = true;
    using activation = bf16;

    using block = bfloat16;
};
static_assert(sizeof(bf16::block) == 2);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<bf16, Arch> {
    using O = simd::ops<Arch>;

    QDIAL_INLINE static typename O::f load(const bfloat16* p) noexcept {
        return simd::byte_ops<Arch>::load(p);
    }
};

template <class Arch>
struct encoder<bf16, Arch> {
    static void rows(const float* x, std::size_t rows, std::size_t row_length, const float*,
                     bf16::block* out) noexcept {
        using O = simd::ops<Arch>;
        const std::size_t count = rows * row_length;
        std::size_t e = 0;
        alignas(64) std::uint16_t halves[O::width];
        for (; count - e >= O::width; e += O::width) {
            O::store_u16(halves, rounded(O::bits(O::load(x + e))));
            for (std::size_t k = 0; std::endian::native == std::endian::big && k < O::width; ++k)
                halves[k] = little_endian(halves[k]);
            std::memcpy(out + e, halves, sizeof halves);
        }
        if constexpr (O::width > 1)
            for (; e < count; ++e) out[e] = {little_endian(to_bfloat16(x[e]).bits)};
    }

private:
    /// Round to nearest even by carrying into the upper half; NaN is made quiet instead.
    template <class I>
    QDIAL_INLINE static I rounded(I bits) noexcept {
        using O = simd::ops<Arch>;
        const I upper = O::template sar<16>(bits);
        const I odd = O::bit_and(upper, O::splat(1));
        const I sum = O::add(O::add(bits, O::splat(0x7FFF)), odd);
        const I nan = O::bit_or(upper, O::splat(0x40));
        const I magnitude = O::bit_and(bits, O::splat(0x7FFFFFFF));
        return O::select(O::gt(magnitude, O::splat(0x7F800000)), nan, O::template sar<16>(sum));
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
