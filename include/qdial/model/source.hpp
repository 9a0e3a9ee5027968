// SPDX-License-Identifier: Apache-2.0
//
// A model as one GGUF file or as the shards of a split one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qdial/error.hpp"
#include "qdial/gguf/reader.hpp"
#include "qdial/model/description.hpp"

namespace qdial::model {

/// A tensor and the open file that holds it.
struct source_tensor {
    const gguf::file* file;
    const gguf::tensor* tensor;
};

/// An open model. Shards, "NAME-00001-of-00003.gguf" and so on, are opened together; the metadata
/// is the first one's.
class model_source {
public:
    /// Throws `error` for files that are no GGUF and for shards that do not belong together.
    explicit model_source(const std::filesystem::path& path) {
        files_.emplace_back(path);
        const std::uint32_t shards =
            files_[0].metadata().find<std::uint32_t>(count_key).value_or(1);
        if (shards > 1) open_shards(path, shards);
        for (const gguf::file& file : files_)
            for (const gguf::tensor& tensor : file.tensors()) tensors_.push_back({&file, &tensor});
        if (shards > 1) check_shards();
        for (const source_tensor& entry : tensors_)
            shapes_.push_back({std::string(entry.tensor->name), entry.tensor->shape.extent,
                               entry.tensor->format.gguf_id});
    }
    // Tensors are named by address.
    model_source(const model_source&) = delete;
    model_source& operator=(const model_source&) = delete;

    [[nodiscard]] const std::string& name() const noexcept { return files_[0].name(); }
    [[nodiscard]] const std::vector<gguf::file>& files() const noexcept { return files_; }
    [[nodiscard]] const gguf::metadata& metadata() const noexcept { return files_[0].metadata(); }
    /// In the order of the files.
    [[nodiscard]] std::span<const source_tensor> tensors() const noexcept { return tensors_; }
    /// Names, shapes and formats of `tensors()`.
    [[nodiscard]] std::span<const tensor_shape> shapes() const noexcept { return shapes_; }

    /// Throws `error` if a file was written to since it was opened.
    void check_unchanged() const {
        for (const gguf::file& file : files_) file.check_unchanged();
    }

private:
    static constexpr std::string_view count_key = "split.count";
    static constexpr std::string_view index_key = "split.no";
    static constexpr std::string_view tensors_key = "split.tensors.count";

    void open_shards(const std::filesystem::path& first, std::uint32_t count) {
        const auto index = files_[0].metadata().get<std::uint32_t>(index_key);
        if (index != 0)
            throw error(name() + ": found shard " + std::to_string(index + 1) + " of " +
                        std::to_string(count) + " of a split model, expected the first");
        const std::string stem = first.string();
        const std::string suffix = shard_suffix(0, count);
        if (!stem.ends_with(suffix))
            throw error(name() + ": found the first of " + std::to_string(count) +
                        " shards, expected a name that ends in " + suffix);
        const std::string prefix = stem.substr(0, stem.size() - suffix.size());
        for (std::uint32_t i = 1; i < count; ++i)
            files_.emplace_back(prefix + shard_suffix(i, count));
    }

    [[nodiscard]] static std::string shard_suffix(std::uint32_t index, std::uint32_t count) {
        char text[48];
        std::snprintf(text, sizeof text, "-%05u-of-%05u.gguf", index + 1, count);
        return text;
    }

    void check_shards() const {
        const auto expect = [](const gguf::file& file, std::string_view key,
                               std::uint64_t expected) {
            const auto found = file.metadata().get<std::uint64_t>(key);
            if (found != expected)
                throw error(file.name() + ": " + std::string(key) + ": found " +
                            std::to_string(found) + ", expected " + std::to_string(expected));
        };
        std::vector<std::string_view> names;
        for (const source_tensor& entry : tensors_) names.push_back(entry.tensor->name);
        expect(files_[0], tensors_key, names.size());
        for (std::size_t i = 0; i < files_.size(); ++i) {
            expect(files_[i], index_key, i);
            expect(files_[i], count_key, files_.size());
        }
        std::ranges::sort(names);
        const auto repeated = std::ranges::adjacent_find(names);
        if (repeated != names.end())
            throw error(name() + ": tensor " + gguf::detail::quoted(*repeated) +
                        ": found in two shards, expected unique names");
    }

    std::vector<gguf::file> files_;
    std::vector<source_tensor> tensors_;
    std::vector<tensor_shape> shapes_;
};

}  // namespace qdial::model
