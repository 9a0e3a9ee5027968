// SPDX-License-Identifier: Apache-2.0
//
// Types that GGUF files may hold and that qdial can measure and copy, but neither encode nor
// decode: integers, binary64 and the formats whose kernels do not exist here.
#pragma once

#include "qdial/formats/format.hpp"

namespace qdial {

/// A GGUF type of which only the size is known here.
template <std::uint32_t Id, std::size_t Length, std::size_t Bytes, char... Name>
struct storage_only {
    static constexpr char text[] = {Name..., '\0'};
    static constexpr std::string_view name{text, sizeof...(Name)};
    static constexpr std::uint32_t gguf_id = Id;
    static constexpr std::size_t block_length = Length;
    static constexpr bool encodable = false;
    static constexpr bool decodable = false;
    static constexpr bool is_float = Id == 28;  // F64

    struct block {
        std::uint8_t bytes[Bytes];
    };
};

using i8 = storage_only<24, 1, 1, 'I', '8'>;
using i16 = storage_only<25, 1, 2, 'I', '1', '6'>;
using i32 = storage_only<26, 1, 4, 'I', '3', '2'>;
using i64 = storage_only<27, 1, 8, 'I', '6', '4'>;
using f64 = storage_only<28, 1, 8, 'F', '6', '4'>;
using iq2_xxs = storage_only<16, 256, 66, 'I', 'Q', '2', '_', 'X', 'X', 'S'>;
using iq2_xs = storage_only<17, 256, 74, 'I', 'Q', '2', '_', 'X', 'S'>;
using iq3_xxs = storage_only<18, 256, 98, 'I', 'Q', '3', '_', 'X', 'X', 'S'>;
using iq1_s = storage_only<19, 256, 50, 'I', 'Q', '1', '_', 'S'>;
using iq4_nl = storage_only<20, 32, 18, 'I', 'Q', '4', '_', 'N', 'L'>;
using iq3_s = storage_only<21, 256, 110, 'I', 'Q', '3', '_', 'S'>;
using iq2_s = storage_only<22, 256, 82, 'I', 'Q', '2', '_', 'S'>;
using iq4_xs = storage_only<23, 256, 136, 'I', 'Q', '4', '_', 'X', 'S'>;
using iq1_m = storage_only<29, 256, 56, 'I', 'Q', '1', '_', 'M'>;
using tq1_0 = storage_only<34, 256, 54, 'T', 'Q', '1', '_', '0'>;
using tq2_0 = storage_only<35, 256, 66, 'T', 'Q', '2', '_', '0'>;
using mxfp4 = storage_only<39, 32, 17, 'M', 'X', 'F', 'P', '4'>;
using nvfp4 = storage_only<40, 64, 36, 'N', 'V', 'F', 'P', '4'>;
using q1_0 = storage_only<41, 128, 18, 'Q', '1', '_', '0'>;
using q2_0 = storage_only<42, 64, 18, 'Q', '2', '_', '0'>;

}  // namespace qdial
