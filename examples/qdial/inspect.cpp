// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <concepts>
#include <string>

#include "commands.hpp"
#include "json.hpp"
#include "qdial/gguf/reader.hpp"

namespace tool {
namespace {

namespace gguf = qdial::gguf;

json array_json(const gguf::array_view& array) {
    json out = json::array();
    for (const std::string_view text : array.strings()) out.push_back(std::string(text));
    if (array.element_type() == gguf::value_type::string) return out;
    for (std::size_t i = 0; i < array.size(); ++i) {
        if (const auto number = array.at<std::int64_t>(i))
            out.push_back(*number);
        else if (const auto large = array.at<std::uint64_t>(i))
            out.push_back(*large);
        else if (const auto truth = array.at<bool>(i))
            out.push_back(*truth);
        else if (const auto real = array.at<double>(i))
            out.push_back(*real);
    }
    return out;
}

json value_json(const gguf::value_view& value) {
    return value.visit([](auto stored) -> json {
        if constexpr (std::same_as<decltype(stored), gguf::array_view>)
            return array_json(stored);
        else if constexpr (std::same_as<decltype(stored), std::string_view>)
            return std::string(stored);
        else
            return stored;
    });
}

/// `text` in one line of bounded length.
std::string short_text(std::string_view text) {
    constexpr std::size_t longest = 70;
    std::string out = printable(text.substr(0, longest));
    return text.size() > longest ? out + "..." : out;
}

std::string array_text(const gguf::array_view& array) {
    constexpr std::size_t shown = 6;
    std::string out = fmt::format("{} x {}: ", array.size(), gguf::to_string(array.element_type()));
    std::size_t i = 0;
    for (const std::string_view text : array.strings()) {
        if (i == shown) break;
        out += (i++ == 0 ? "" : ", ") + short_text(text);
    }
    for (; i < array.size() && i < shown; ++i) {
        if (i != 0) out += ", ";
        if (const auto truth = array.at<bool>(i))
            out += fmt::format("{}", *truth);
        else if (const auto number = array.at<std::int64_t>(i))
            out += fmt::format("{}", *number);
        else if (const auto large = array.at<std::uint64_t>(i))
            out += fmt::format("{}", *large);
        else if (const auto real = array.at<float>(i))
            out += fmt::format("{}", *real);
    }
    return array.size() > shown ? out + ", ..." : out;
}

std::string value_text(const gguf::value_view& value) {
    return value.visit([](auto stored) -> std::string {
        if constexpr (std::same_as<decltype(stored), gguf::array_view>)
            return array_text(stored);
        else if constexpr (std::same_as<decltype(stored), std::string_view>)
            return short_text(stored);
        else
            return fmt::format("{}", stored);
    });
}

struct totals {
    std::uint64_t elements = 0;
    std::uint64_t bytes = 0;

    [[nodiscard]] double bits_per_weight() const {
        return elements == 0 ? 0.0
                             : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
    }
};

totals totals_of(const gguf::file& file) {
    totals sum;
    for (const gguf::tensor& tensor : file.tensors()) {
        sum.elements += tensor.shape.element_count();
        sum.bytes += tensor.data.size();
    }
    return sum;
}

void print_json(const gguf::file& file) {
    const totals sum = totals_of(file);
    json out{{"file", file.name()},
             {"version", file.version()},
             {"alignment", file.alignment()},
             {"file_bytes", file.size()},
             {"elements", sum.elements},
             {"tensor_bytes", sum.bytes},
             {"bits_per_weight", sum.bits_per_weight()},
             {"metadata", json::array()},
             {"tensors", json::array()}};
    for (const gguf::entry& entry : file.metadata()) {
        json item{{"key", std::string(entry.key())},
                  {"type", gguf::to_string(entry.value().type())}};
        if (const auto array = entry.value().as<gguf::array_view>())
            item["element_type"] = gguf::to_string(array->element_type());
        item["value"] = value_json(entry.value());
        out["metadata"].push_back(std::move(item));
    }
    for (const gguf::tensor& tensor : file.tensors())
        out["tensors"].push_back({{"name", std::string(tensor.name)},
                                  {"shape", shape_json(tensor.shape)},
                                  {"type", tensor.format.name},
                                  {"bytes", tensor.data.size()},
                                  {"bits_per_weight", tensor.format.bits_per_weight()},
                                  {"offset", tensor.offset}});
    print(out);
}

void print_text(const gguf::file& file) {
    const totals sum = totals_of(file);
    fmt::print("{}: GGUF version {}, {}, tensors aligned to {} bytes\n\n", printable(file.name()),
               file.version(), human_bytes(static_cast<double>(file.size())), file.alignment());
    table metadata({{"key", false}, {"type", false}, {"value", false}});
    for (const gguf::entry& entry : file.metadata())
        metadata.add({printable(entry.key()), std::string(gguf::to_string(entry.value().type())),
                      value_text(entry.value())});
    metadata.print();
    fmt::print("\n");
    table tensors(
        {{"tensor", false}, {"shape", false}, {"type", false}, {"bytes"}, {"bits/weight"}});
    for (const gguf::tensor& tensor : file.tensors())
        tensors.add({printable(tensor.name), gguf::to_string(tensor.shape),
                     std::string(tensor.format.name), fmt::format("{}", tensor.data.size()),
                     fmt::format("{:.4g}", tensor.format.bits_per_weight())});
    tensors.print();
    fmt::print("\n{} tensors, {} weights, {}, {:.2f} bits per weight\n", file.tensors().size(),
               sum.elements, human_bytes(static_cast<double>(sum.bytes)), sum.bits_per_weight());
}

}  // namespace

void inspect(const inspect_options& options) {
    const gguf::file file(options.file);
    options.as_json ? print_json(file) : print_text(file);
}

}  // namespace tool
