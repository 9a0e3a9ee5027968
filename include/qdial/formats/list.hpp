// SPDX-License-Identifier: Apache-2.0
//
// The one list of formats, and the run-time choice by GGUF id or name that follows from it.
// To add a format: write its file and add it here.
#pragma once

#include <optional>
#include <utility>

#include "qdial/formats/bf16.hpp"
#include "qdial/formats/f16.hpp"
#include "qdial/formats/f32.hpp"
#include "qdial/formats/q2_k.hpp"
#include "qdial/formats/q3_k.hpp"
#include "qdial/formats/q4_0.hpp"
#include "qdial/formats/q4_1.hpp"
#include "qdial/formats/q4_k.hpp"
#include "qdial/formats/q5_0.hpp"
#include "qdial/formats/q5_1.hpp"
#include "qdial/formats/q5_k.hpp"
#include "qdial/formats/q6_k.hpp"
#include "qdial/formats/q8_0.hpp"
#include "qdial/formats/q8_1.hpp"
#include "qdial/formats/q8_k.hpp"
#include "qdial/formats/storage_only.hpp"

namespace qdial {

/// A compile-time list of formats.
template <format... Fs>
struct format_list {
    static constexpr std::size_t size = sizeof...(Fs);
};

/// Every format that qdial knows, in the order of their GGUF ids.
using all_formats =
    format_list<f32, f16, q4_0, q4_1, q5_0, q5_1, q8_0, q8_1, q2_k, q3_k, q4_k, q5_k, q6_k, q8_k,
                iq2_xxs, iq2_xs, iq3_xxs, iq1_s, iq4_nl, iq3_s, iq2_s, iq4_xs, i8, i16, i32, i64,
                f64, iq1_m, bf16, tq1_0, tq2_0, mxfp4, nvfp4, q1_0, q2_0>;

/// Calls `fn(F{})` for every format of the list, in order.
template <format... Fs, class Fn>
constexpr void for_each_format(format_list<Fs...>, Fn&& fn) {
    (fn(Fs{}), ...);
}

/// Calls `fn(F{})` for the format with this GGUF id. Returns false, without a call, for an
/// unknown or removed id.
template <class Fn>
constexpr bool visit(std::uint32_t gguf_id, Fn&& fn) {
    bool found = false;
    for_each_format(all_formats{}, [&](auto f) {
        if (decltype(f)::gguf_id == gguf_id) {
            fn(f);
            found = true;
        }
    });
    return found;
}

/// The description of the format with this GGUF id; nothing for unknown and removed ids.
[[nodiscard]] constexpr std::optional<format_info> find_format(std::uint32_t gguf_id) {
    std::optional<format_info> info;
    visit(gguf_id, [&](auto f) { info = info_of<decltype(f)>; });
    return info;
}

namespace detail {
constexpr char to_lower(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
constexpr bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (to_lower(a[i]) != to_lower(b[i])) return false;
    return true;
}
}  // namespace detail

/// The description of the format with this name, in any letter case; nothing if unknown.
[[nodiscard]] constexpr std::optional<format_info> find_format(std::string_view name) {
    std::optional<format_info> info;
    for_each_format(all_formats{}, [&](auto f) {
        if (detail::equal_ignoring_case(decltype(f)::name, name)) info = info_of<decltype(f)>;
    });
    return info;
}

}  // namespace qdial
