// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/endian.hpp"
#include "qdial/float16.hpp"
#include "qdial/formats/format.hpp"
#include "qdial/kernels/decoder.hpp"
#include "qdial/kernels/encode_q8.hpp"
#include "qdial/kernels/encoder.hpp"
#include "qdial/kernels/interleaved.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q8_0: 8-bit codes, one scale per 32; y = q d.
struct q8_0 {
    static constexpr std::string_view name = "Q8_0";
    static constexpr std::uint32_t gguf_id = 8;
    static constexpr std::size_t block_length = 32;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;
    using activation = q8_0;

    struct block {
        std::uint16_t d;  ///< scale, binary16
        std::int8_t qs[32];
    };
};
static_assert(sizeof(q8_0::block) == 34);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q8_0, Arch> {
    static constexpr bool signed_codes = true;
    static constexpr int offset = 0;
    static constexpr bool has_minimum = false;
    static constexpr std::size_t sub_block = 0;

    QDIAL_INLINE static std::uint16_t scale(const q8_0::block& b) noexcept {
        return little_endian(b.d);
    }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q8_0::block& b) noexcept {
        return V::load(b.qs + First);
    }
};

template <>
struct interleaved<q8_0> {
    static constexpr std::size_t halves_at = 0, halves = 1;
    static constexpr int code_bits = 8;
    static constexpr std::array<bit_field, 1> fields(std::size_t e) noexcept {
        return {{{2 + e, 0, 8, 0}}};
    }
};

template <class Arch>
struct encoder<q8_0, Arch> {
    /// Importance is ignored, as in the reference.
    static void rows(const float* x, std::size_t rows, std::size_t row_length, const float*,
                     q8_0::block* out) noexcept {
        for (std::size_t b = 0; b < rows * row_length / 32; ++b)
            out[b].d = little_endian(to_float16(encode_q8<Arch>(x + 32 * b, out[b].qs)).bits);
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
