// SPDX-License-Identifier: Apache-2.0
//
// Metadata values of GGUF files, read in place: a value is a type and the bytes it is stored in.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "qdial/config.hpp"

namespace qdial::gguf {

static_assert(std::endian::native == std::endian::little,
              "GGUF files and their tensors are read in place, which needs a little-endian host");

/// The type numbers of metadata values in GGUF files.
enum class value_type : std::uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};
inline constexpr std::uint32_t value_type_count = 13;

/// Bytes of one value of this type; 0 for strings and arrays, whose size is stored with them.
[[nodiscard]] constexpr std::size_t fixed_bytes(value_type type) noexcept {
    constexpr std::size_t bytes[value_type_count] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[static_cast<std::uint32_t>(type)];
}

[[nodiscard]] constexpr std::string_view to_string(value_type type) noexcept {
    constexpr std::string_view names[value_type_count] = {
        "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64",
        "f64"};
    return names[static_cast<std::uint32_t>(type)];
}

namespace detail {

template <class T>
[[nodiscard]] T load(const std::byte* from) noexcept {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class T>
void store(std::vector<std::byte>& out, T value) {
    const auto bytes = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
    out.insert(out.end(), bytes.begin(), bytes.end());
}

inline void store_string(std::vector<std::byte>& out, std::string_view text) {
    store(out, static_cast<std::uint64_t>(text.size()));
    const auto bytes = std::as_bytes(std::span(text));
    out.insert(out.end(), bytes.begin(), bytes.end());
}

[[nodiscard]] inline std::string_view load_string(const std::byte* from) noexcept {
    return {reinterpret_cast<const char*>(from + 8),
            static_cast<std::size_t>(load<std::uint64_t>(from))};
}

template <class T>
concept integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char>;

template <class T>
concept text = std::convertible_to<T, std::string_view>;

/// Calls `fn` with the number stored at `from`; `type` is neither string nor array.
template <class Fn>
decltype(auto) visit_number(value_type type, const std::byte* from, Fn&& fn) {
    switch (type) {
        case value_type::u8: return fn(load<std::uint8_t>(from));
        case value_type::i8: return fn(load<std::int8_t>(from));
        case value_type::u16: return fn(load<std::uint16_t>(from));
        case value_type::i16: return fn(load<std::int16_t>(from));
        case value_type::u32: return fn(load<std::uint32_t>(from));
        case value_type::i32: return fn(load<std::int32_t>(from));
        case value_type::f32: return fn(load<float>(from));
        case value_type::u64: return fn(load<std::uint64_t>(from));
        case value_type::i64: return fn(load<std::int64_t>(from));
        case value_type::f64: return fn(load<double>(from));
        default: return fn(load<std::uint8_t>(from) != 0);
    }
}

/// The number stored at `from` as a T, if its type suits T and its value fits.
template <class T>
[[nodiscard]] std::optional<T> number_as(value_type type, const std::byte* from) {
    return visit_number(type, from, [](auto stored) -> std::optional<T> {
        using S = decltype(stored);
        if constexpr (std::same_as<T, bool> || std::same_as<S, bool>) {
            if constexpr (std::same_as<T, S>) return stored;
        } else if constexpr (integer<T> && integer<S>) {
            if (std::in_range<T>(stored)) return static_cast<T>(stored);
        } else if constexpr (std::floating_point<T> && std::floating_point<S>) {
            return static_cast<T>(stored);
        }
        return std::nullopt;
    });
}

}  // namespace detail

/// The strings of an array, decoded one by one while iterating (they have no index in the file).
class string_range {
public:
    class iterator {
    public:
        using value_type = std::string_view;
        using difference_type = std::ptrdiff_t;

        iterator() = default;
        explicit iterator(const std::byte* at) noexcept : at_(at) {}
        std::string_view operator*() const noexcept { return detail::load_string(at_); }
        iterator& operator++() noexcept {
            at_ += 8 + detail::load_string(at_).size();
            return *this;
        }
        iterator operator++(int) noexcept {
            iterator before = *this;
            ++*this;
            return before;
        }
        friend bool operator==(iterator, iterator) = default;

    private:
        const std::byte* at_ = nullptr;
    };

    explicit string_range(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
    [[nodiscard]] iterator begin() const noexcept { return iterator(bytes_.data()); }
    [[nodiscard]] iterator end() const noexcept {
        return iterator(bytes_.data() + bytes_.size());
    }

private:
    std::span<const std::byte> bytes_;
};

/// An array value: `size()` elements of one type, in place.
class array_view {
public:
    array_view(value_type element_type, std::size_t size, std::span<const std::byte> bytes) noexcept
        : element_type_(element_type), size_(size), bytes_(bytes) {}

    [[nodiscard]] value_type element_type() const noexcept { return element_type_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Element `index` (below `size()`) as a T: any integer type that holds the stored integer,
    /// float or double for stored floats, bool for bool; nothing if the type does not suit.
    template <class T>
    [[nodiscard]] std::optional<T> at(std::size_t index) const {
        QDIAL_ASSERT(index < size_, "index of a GGUF array element out of range");
        if (element_type_ == value_type::string) return std::nullopt;
        return detail::number_as<T>(element_type_,
                                    bytes_.data() + index * fixed_bytes(element_type_));
    }

    /// The strings; an empty range if the elements are not strings.
    [[nodiscard]] string_range strings() const noexcept {
        return string_range(element_type_ == value_type::string ? bytes_ : bytes_.first(0));
    }

private:
    value_type element_type_;
    std::size_t size_;
    std::span<const std::byte> bytes_;
};

/// A value in place. The bytes were checked when the value was read or made.
class value_view {
public:
    value_view(value_type type, std::span<const std::byte> bytes) noexcept
        : type_(type), bytes_(bytes) {}

    [[nodiscard]] value_type type() const noexcept { return type_; }

    /// Type and value as they are stored, without the type number of the value itself.
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

    /// The value as a T, nothing if its type does not suit or the number does not fit:
    ///
    ///     any integer type         from a stored integer of any type
    ///     float, double            from f32 and f64
    ///     bool, string_view, array_view
    ///     std::vector<U>           every element of an array as a U (a copy)
    template <class T>
    [[nodiscard]] std::optional<T> as() const;

    /// Calls `fn` with the value: a number of the stored type, bool, string_view or array_view.
    template <class Fn>
    decltype(auto) visit(Fn&& fn) const {
        if (type_ == value_type::string) return fn(detail::load_string(bytes_.data()));
        if (type_ == value_type::array) return fn(array());
        return detail::visit_number(type_, bytes_.data(), fn);
    }

private:
    [[nodiscard]] array_view array() const noexcept {
        const std::byte* from = bytes_.data();
        return {static_cast<value_type>(detail::load<std::uint32_t>(from)),
                static_cast<std::size_t>(detail::load<std::uint64_t>(from + 4)),
                bytes_.subspan(12)};
    }

    value_type type_;
    std::span<const std::byte> bytes_;
};

namespace detail {

template <class T>
struct is_vector : std::false_type {};
template <class U>
struct is_vector<std::vector<U>> : std::true_type {};

template <class U>
[[nodiscard]] std::optional<std::vector<U>> vector_of(const array_view& array) {
    std::vector<U> out;
    out.reserve(array.size());
    if constexpr (text<U>) {
        if (array.element_type() != value_type::string) return std::nullopt;
        for (const std::string_view element : array.strings()) out.emplace_back(element);
    } else {
        for (std::size_t i = 0; i < array.size(); ++i) {
            const std::optional<U> element = array.at<U>(i);
            if (!element) return std::nullopt;
            out.push_back(*element);
        }
    }
    return out;
}

/// The type number that a C++ type is stored as.
template <class T>
[[nodiscard]] constexpr value_type stored_type() noexcept {
    if constexpr (std::same_as<T, bool>) {
        return value_type::boolean;
    } else if constexpr (text<T>) {
        return value_type::string;
    } else if constexpr (std::same_as<T, float>) {
        return value_type::f32;
    } else if constexpr (std::same_as<T, double>) {
        return value_type::f64;
    } else {
        static_assert(integer<T>, "GGUF has no value type for this C++ type");
        constexpr bool is_signed = std::is_signed_v<T>;
        switch (sizeof(T)) {
            case 1: return is_signed ? value_type::i8 : value_type::u8;
            case 2: return is_signed ? value_type::i16 : value_type::u16;
            case 4: return is_signed ? value_type::i32 : value_type::u32;
            default: return is_signed ? value_type::i64 : value_type::u64;
        }
    }
}

template <class T>
void store_value(std::vector<std::byte>& out, const T& value) {
    if constexpr (text<T>) {
        store_string(out, value);
    } else {
        store(out, value);
    }
}

}  // namespace detail

template <class T>
std::optional<T> value_view::as() const {
    if constexpr (std::same_as<T, std::string_view>) {
        if (type_ == value_type::string) return detail::load_string(bytes_.data());
    } else if constexpr (std::same_as<T, array_view>) {
        if (type_ == value_type::array) return array();
    } else if constexpr (detail::is_vector<T>::value) {
        if (type_ == value_type::array)
            return detail::vector_of<typename T::value_type>(array());
    } else if (type_ != value_type::string && type_ != value_type::array) {
        return detail::number_as<T>(type_, bytes_.data());
    }
    return std::nullopt;
}

}  // namespace qdial::gguf
