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

/// F16: IEEE binary16.
struct f16 {
    static constexpr std::string_view name = "F16";
    static constexpr std::uint32_t gguf_id = 1;
    static constexpr std::size_t block_length = 1;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = true;
    using activation = f16;

    using block = float16;
};
static_assert(sizeof(f16::block) == 2);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<f16, Arch> {
    using O = simd::ops<Arch>;

    QDIAL_INLINE static typename O::f load(const float16* p) noexcept {
        return simd::byte_ops<Arch>::load(p);
    }
};

template <class Arch>
struct encoder<f16, Arch> {
    static void rows(const float* x, std::size_t rows, std::size_t row_length, const float*,
                     f16::block* out) noexcept {
        using O = simd::ops<Arch>;
        const std::size_t count = rows * row_length;
        std::size_t e = 0;
        alignas(64) std::uint16_t halves[O::width];
        for (; count - e >= O::width; e += O::width) {
            O::store_u16(halves, O::to_half(O::load(x + e)));
            for (std::size_t k = 0; std::endian::native == std::endian::big && k < O::width; ++k)
                halves[k] = little_endian(halves[k]);
            std::memcpy(out + e, halves, sizeof halves);
        }
        if constexpr (O::width > 1)
            for (; e < count; ++e) out[e] = {little_endian(to_float16(x[e]).bits)};
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
