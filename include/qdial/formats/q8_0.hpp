// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// Q8_0: 8-bit codes, one scale per 32; y = q d.
struct q8_0 {
    static constexpr std::string_view name = "Q8_0";
    static constexpr std::uint32_t gguf_id = 8;
    static constexpr std::size_t block_length = 32;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = false;

    struct block {
        std::uint16_t d;       ///< scale, binary16
        std::int8_t qs[32];
    };
};
static_assert(sizeof(q8_0::block) == 34);

}  // namespace qdial
