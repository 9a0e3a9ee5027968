// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/encoder.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// F32: IEEE binary32.
struct f32 {
    static constexpr std::string_view name = "F32";
    static constexpr std::uint32_t gguf_id = 0;
    static constexpr std::size_t block_length = 1;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = true;
    using activation = f32;

    using block = float;
};
static_assert(sizeof(f32::block) == 4);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<f32, Arch> {
    using O = simd::ops<Arch>;

    QDIAL_INLINE static typename O::f load(const float* p) noexcept {
        if constexpr (std::endian::native == std::endian::big) {
            float swapped[O::width];
            for (std::size_t k = 0; k < O::width; ++k) swapped[k] = little_endian(p[k]);
            return O::load(swapped);
        } else {
            return O::load(p);
        }
    }
};

template <class Arch>
struct encoder<f32, Arch> {
    static void rows(const float* x, std::size_t rows, std::size_t row_length, const float*,
                     f32::block* out) noexcept {
        std::memcpy(out, x, rows * row_length * sizeof(float));
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
