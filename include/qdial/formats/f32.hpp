// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// F32: IEEE binary32.
struct f32 {
    static constexpr std::string_view name = "F32";
    static constexpr std::uint32_t gguf_id = 0;
    static constexpr std::size_t block_length = 1;
    static constexpr bool encodable = true;
    static constexpr bool decodable = true;
    static constexpr bool is_float = true;

    using block = float;
};
static_assert(sizeof(f32::block) == 4);

}  // namespace qdial
