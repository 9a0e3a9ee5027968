// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"
#include "qdial/kernels/decoder.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Q8_K: activations for the K-quants: 8-bit codes, binary32 scale per 256.
struct q8_k {
    static constexpr std::string_view name = "Q8_K";
    static constexpr std::uint32_t gguf_id = 15;
    static constexpr std::size_t block_length = 256;
    static constexpr bool encodable = false;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        float d;  ///< scale, binary32
        std::int8_t qs[256];
        std::int16_t bsums[16];  ///< sums of 16 codes each
    };
};
static_assert(sizeof(q8_k::block) == 292);

}  // namespace qdial

namespace qdial::kernels {

template <class Arch>
struct decoder<q8_k, Arch> {
    static constexpr bool signed_codes = true;
    static constexpr int offset = 0;
    static constexpr bool has_minimum = false;
    static constexpr std::size_t sub_block = 0;

    QDIAL_INLINE static float scale(const q8_k::block& b) noexcept { return little_endian(b.d); }
    template <class V, std::size_t First>
    QDIAL_INLINE static typename V::bytes codes(const q8_k::block& b) noexcept {
        return V::load(b.qs + First);
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
