// SPDX-License-Identifier: Apache-2.0
//
// Reads tests/golden/recipes: the type that llama-quantize gives every tensor, for each recipe.
#pragma once

#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "qdial/formats/list.hpp"
#include "qdial/model/description.hpp"

namespace golden {

struct recipe_table {
    qdial::model::architecture arch;
    std::vector<qdial::model::tensor_shape> tensors;
    std::vector<std::string> recipes;                                ///< the columns
    std::vector<std::vector<std::string>> formats;                   ///< [tensor][column]
    std::vector<std::string> mebibytes, bits_per_weight, fallbacks;  ///< [column]
};

/// The tables also have recipes whose formats have no encoder in qdial.
inline bool needs_missing_formats(std::string_view recipe) {
    return recipe.starts_with("IQ") || recipe.starts_with("TQ") || recipe == "MXFP4_MOE" ||
           recipe == "Q2_0" || recipe == "Q1_0";
}

inline std::string two_decimals(double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.2f", value);
    return text;
}

inline std::vector<std::string> fields_of(const std::string& line) {
    std::vector<std::string> fields;
    std::istringstream stream(line);
    for (std::string field; std::getline(stream, field, '\t');) fields.push_back(field);
    return fields;
}

/// What of the four models' metadata decides types; the tables hold only tensors.
inline qdial::model::architecture architecture_of(const std::string& name) {
    qdial::model::architecture arch;
    const auto set = [&arch](const char* arch_name, std::uint32_t blocks, std::uint32_t heads,
                             std::uint32_t kv_heads, std::uint32_t experts) {
        arch.name = arch_name;
        arch.block_count = blocks;
        arch.head_count = heads;
        arch.head_count_kv = kv_heads;
        arch.expert_count = experts;
    };
    if (name == "llama-3.1-8b") set("llama", 32, 32, 8, 0);
    if (name == "mixtral-8x7b") set("llama", 32, 32, 8, 8);
    if (name == "qwen2.5-0.5b") set("qwen2", 24, 14, 2, 0);
    if (name == "qwen3-0.6b") set("qwen3", 28, 16, 8, 0);
    return arch;
}

/// Throws std::runtime_error if the table is missing or not as expected.
inline recipe_table read_recipe_table(const std::string& name) {
    const std::string path = QDIAL_TEST_DATA_DIR "/recipes/" + name + ".tsv";
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot read " + path);
    recipe_table table;
    table.arch = architecture_of(name);
    for (std::string line; std::getline(file, line);) {
        std::vector<std::string> fields = fields_of(line);
        if (fields.size() < 4) throw std::runtime_error(path + ": too few fields: " + line);
        const std::string first = fields[0];
        const std::string shape = fields[1];
        const std::string source = fields[2];
        fields.erase(fields.begin(), fields.begin() + 3);
        if (first == "tensor") {
            table.recipes = fields;
        } else if (first == "#size_MiB") {
            table.mebibytes = fields;
        } else if (first == "#bits_per_weight") {
            table.bits_per_weight = fields;
        } else if (first == "#fallback_tensors") {
            table.fallbacks = fields;
        } else {
            qdial::model::tensor_shape tensor{
                first, {}, qdial::find_format(source).value().gguf_id};
            char x = 0;
            std::istringstream(shape) >> tensor.dims[0] >> x >> tensor.dims[1] >> x >>
                tensor.dims[2] >> x >> tensor.dims[3];
            table.tensors.push_back(tensor);
            table.formats.push_back(fields);
        }
        if (fields.size() != table.recipes.size())
            throw std::runtime_error(path + ": wrong number of columns: " + line);
    }
    return table;
}

}  // namespace golden
