// SPDX-License-Identifier: Apache-2.0
//
// Importance matrices: for every column of a weight matrix, the mean of the squared activations
// that met it on sample text. Reads what llama-imatrix writes, GGUF and the older .dat; collects
// and writes the GGUF form.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qdial/error.hpp"
#include "qdial/gguf/cursor.hpp"
#include "qdial/gguf/mapped_file.hpp"
#include "qdial/gguf/reader.hpp"
#include "qdial/gguf/writer.hpp"
#include "qdial/model/description.hpp"

namespace qdial::model {

/// The importance of columns, by tensor.
class importance_matrix {
public:
    /// Reads a file of either form. Throws `error`: file, tensor, found, expected.
    explicit importance_matrix(const std::filesystem::path& path) {
        const gguf::mapped_file map(path);
        file_ = map.name();
        parse(map.bytes());
    }

    /// Reads a file in memory; `name` stands for it in messages. Nothing of `bytes` is kept.
    importance_matrix(std::span<const std::byte> bytes, std::string name) : file_(std::move(name)) {
        parse(bytes);
    }

    [[nodiscard]] const std::string& file() const noexcept { return file_; }
    /// Names of the texts that the activations came from.
    [[nodiscard]] const std::vector<std::string>& datasets() const noexcept { return datasets_; }
    /// Pieces of text that were evaluated; 0 if unknown.
    [[nodiscard]] std::uint32_t chunk_count() const noexcept { return chunk_count_; }
    /// Tensors that have importance.
    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

    /// The importance of the columns of `tensor`: dims[0] numbers for each of its dims[2]
    /// matrices (experts), one matrix after the other. Empty if the file has none for it.
    /// Throws `error` if it has another number of them; for embeddings, of which llama.cpp's
    /// files hold a wrong kind, that counts as having none.
    [[nodiscard]] std::span<const float> find(const tensor_shape& tensor) const {
        const auto found = entries_.find(tensor.name);
        if (found == entries_.end()) return {};
        const std::vector<float>& values = found->second;
        if (values.size() == tensor.dims[0] * tensor.dims[2]) return values;
        if (role_of(tensor.name) == tensor_role::embedding) return {};
        fail(tensor.name, "found " + std::to_string(values.size()) + " values, expected " +
                              std::to_string(tensor.dims[0] * tensor.dims[2]) + " (rows of " +
                              std::to_string(tensor.dims[0]) + ", " +
                              std::to_string(tensor.dims[2]) + " matrices)");
    }

    /// The part of `find(tensor)` that is for rows of matrix `index` (the expert, below dims[2]).
    [[nodiscard]] std::span<const float> find(const tensor_shape& tensor, std::size_t index) const {
        const std::span<const float> all = find(tensor);
        const auto row_length = static_cast<std::size_t>(tensor.dims[0]);
        return all.empty() ? all : all.subspan(index * row_length, row_length);
    }

    /// Notes in a model's metadata what it was quantized with, in llama-quantize's keys.
    void describe_in(gguf::metadata& metadata) const {
        constexpr std::size_t longest = 127;  // bytes; llama-quantize cuts there
        const auto cut = [](std::string_view text) { return text.substr(0, longest); };
        metadata.set("quantize.imatrix.file", cut(file_));
        if (!datasets_.empty()) metadata.set("quantize.imatrix.dataset", cut(datasets_.front()));
        metadata.set("quantize.imatrix.entries_count", static_cast<std::uint32_t>(size()));
        if (chunk_count_ > 0) metadata.set("quantize.imatrix.chunks_count", chunk_count_);
    }

private:
    [[noreturn]] void fail(std::string_view tensor, const std::string& what) const {
        throw error(file_ + ": importance of tensor " + gguf::detail::quoted(tensor) + ": " + what);
    }

    void parse(std::span<const std::byte> bytes) {
        constexpr std::string_view magic = "GGUF";
        if (bytes.size() >= magic.size() &&
            std::memcmp(bytes.data(), magic.data(), magic.size()) == 0) {
            parse_gguf(gguf::file(bytes, file_));
        } else {
            parse_legacy(bytes);
        }
        if (entries_.empty()) throw error(file_ + ": found no importance values, expected some");
    }

    void parse_gguf(const gguf::file& source) {
        const gguf::metadata& metadata = source.metadata();
        datasets_ = metadata.get<std::vector<std::string>>("imatrix.datasets");
        chunk_count_ = metadata.get<std::uint32_t>("imatrix.chunk_count");
        (void)metadata.get<std::uint32_t>("imatrix.chunk_size");  // must be there, is not needed

        constexpr std::string_view sums_suffix = ".in_sum2";
        constexpr std::string_view counts_suffix = ".counts";
        for (const gguf::tensor& tensor : source.tensors()) {
            const std::string_view name = tensor.name;
            const bool has_sums = name.ends_with(sums_suffix);
            if (!has_sums && !name.ends_with(counts_suffix)) continue;
            const std::string_view suffix = has_sums ? sums_suffix : counts_suffix;
            const std::string weight(name.substr(0, name.size() - suffix.size()));
            const std::string_view other_suffix = has_sums ? counts_suffix : sums_suffix;
            const gguf::tensor* other = source.find_tensor(weight + std::string(other_suffix));
            if (other == nullptr) {
                fail(weight, "found " + std::string(suffix) + " only, expected " +
                                 std::string(other_suffix) + " too");
            }
            if (has_sums) entries_[weight] = mean_squares(weight, tensor, *other);
        }
    }

    [[nodiscard]] std::vector<float> floats_of(std::string_view weight,
                                               const gguf::tensor& tensor) const {
        if (tensor.format.gguf_id != f32::gguf_id)
            fail(weight, "found values in " + std::string(tensor.format.name) + ", expected F32");
        std::vector<float> values(tensor.data.size() / sizeof(float));
        if (!values.empty()) std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
        return values;
    }

    /// Sums of squares divided by the number of activations behind them, which is given for all
    /// matrices or for each. Matrices that met none weigh every column alike.
    [[nodiscard]] std::vector<float> mean_squares(std::string_view weight, const gguf::tensor& sums,
                                                  const gguf::tensor& counts) const {
        std::vector<float> values = floats_of(weight, sums);
        const std::vector<float> count_of = floats_of(weight, counts);
        if (values.empty() || count_of.empty() || values.size() % count_of.size() != 0) {
            fail(weight, "found " + std::to_string(values.size()) + " sums and " +
                             std::to_string(count_of.size()) +
                             " counts, expected the same number of sums for every count");
        }
        const std::size_t row_length = values.size() / count_of.size();
        for (std::size_t matrix = 0; matrix < count_of.size(); ++matrix) {
            check_finite(weight, count_of[matrix], "count", matrix);
            const float count = std::round(count_of[matrix]);
            for (std::size_t i = matrix * row_length; i < (matrix + 1) * row_length; ++i) {
                check_finite(weight, values[i], "sum", i);
                values[i] = count > 0 ? values[i] / count : 1.0F;
            }
        }
        return values;
    }

    void check_finite(std::string_view weight, float value, std::string_view kind,
                      std::size_t index) const {
        if (std::isfinite(value)) return;
        fail(weight, std::string(kind) + " " + std::to_string(index) + ": found " +
                         std::to_string(value) + ", expected a finite number");
    }

    /// The number of entries; for each: name, number of calls, number of values, values; then, in
    /// newer files, the last chunk and the dataset. Numbers have four bytes.
    void parse_legacy(std::span<const std::byte> bytes) {
        gguf::detail::cursor in(bytes, file_);
        const auto entry_count = in.read<std::int32_t>({}, "number of entries");
        if (entry_count < 1) {
            in.fail(0, {},
                    "found neither GGUF nor a number of entries above 0 (" +
                        std::to_string(entry_count) + "), expected an importance matrix");
        }
        for (std::int32_t index = 0; index < entry_count; ++index)
            read_legacy_entry(in, static_cast<std::uint64_t>(index));
        if (in.left() == 0) return;
        const auto last_chunk = in.read<std::int32_t>({}, "last chunk");
        chunk_count_ = last_chunk > 0 ? static_cast<std::uint32_t>(last_chunk) : 0;
        datasets_.push_back(read_text(in, {}, "dataset"));
        if (in.left() != 0) {
            in.fail(
                in.position(), {},
                "found " + std::to_string(in.left()) + " more bytes, expected the end of the file");
        }
    }

    void read_legacy_entry(gguf::detail::cursor& in, std::uint64_t index) {
        const gguf::detail::place entry{"entry", index, {}};
        const std::size_t begin = in.position();
        const std::string name = read_text(in, entry, "name");
        const gguf::detail::place tensor{"importance of tensor", index, name};
        const auto calls = in.read<std::int32_t>(tensor, "number of calls");
        const std::size_t size_at = in.position();
        const auto size = in.read<std::int32_t>(tensor, "number of values");
        if (size < 1) {
            in.fail(size_at, tensor,
                    "number of values: found " + std::to_string(size) + ", expected 1 or more");
        }
        const std::size_t values_at = in.position();
        in.skip_array(size_at, static_cast<std::uint64_t>(size), sizeof(float), tensor);
        const std::span<const std::byte> stored = in.since(values_at);
        std::vector<float> values(static_cast<std::size_t>(size));
        std::memcpy(values.data(), stored.data(), stored.size());
        for (std::size_t i = 0; i < values.size(); ++i) {
            check_finite(name, values[i], "value", i);
            if (calls > 0) values[i] /= static_cast<float>(calls);
        }
        if (!entries_.emplace(name, std::move(values)).second)
            in.fail(begin, tensor, "found a second entry, expected one");
    }

    /// A four-byte length and that many bytes.
    static std::string read_text(gguf::detail::cursor& in, const gguf::detail::place& where,
                                 std::string_view what) {
        const std::size_t at = in.position();
        const auto length = in.read<std::int32_t>(where, what);
        if (length < 0 || static_cast<std::size_t>(length) > in.left()) {
            in.fail(at, where,
                    std::string(what) + ": found a length of " + std::to_string(length) +
                        ", expected 0 to " + std::to_string(in.left()) +
                        " (bytes left in the file)");
        }
        const std::size_t begin = in.position();
        in.skip_value(static_cast<std::size_t>(length), where);
        const std::span<const std::byte> text = in.since(begin);
        return {reinterpret_cast<const char*>(text.data()), text.size()};
    }

    std::string file_;
    std::vector<std::string> datasets_;
    std::uint32_t chunk_count_ = 0;
    std::map<std::string, std::vector<float>, std::less<>> entries_;
};

/// Collects an importance matrix while a model reads text, and writes it in llama-imatrix's form.
class importance_collector {
public:
    /// Adds what one weight matrix met: `n` rows of `row_length` activations. Throws `error` if the
    /// same matrix met rows of another length, and for activations that are not finite.
    void add(std::string_view weight, std::span<const float> rows, std::size_t n,
             std::size_t row_length) {
        auto found = entries_.find(weight);
        if (found == entries_.end())
            found = entries_.emplace(std::string(weight), entry{}).first;
        entry& into = found->second;
        if (into.sums.empty()) into.sums.resize(row_length);
        if (into.sums.size() != row_length || rows.size() != n * row_length)
            throw error("importance of tensor " + gguf::detail::quoted(weight) + ": found rows of " +
                        std::to_string(row_length) + " activations, expected " +
                        std::to_string(into.sums.size()));
        for (std::size_t j = 0; j < n; ++j) {
            const float* row = rows.data() + j * row_length;
            for (std::size_t i = 0; i < row_length; ++i)
                into.sums[i] += double{row[i]} * double{row[i]};
        }
        for (const double sum : into.sums)
            if (!std::isfinite(sum))
                throw error("importance of tensor " + gguf::detail::quoted(weight) +
                            ": found activations that are not finite");
        into.rows += static_cast<double>(n);
    }

    /// Matrices that met something.
    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

    /// The file: sums of squares and numbers of rows of every matrix, by name. `chunk_size` is in
    /// tokens. Throws `error` if nothing was collected, and what `gguf::file_plan` throws.
    [[nodiscard]] std::vector<std::byte> to_gguf(const std::string& name,
                                                 const std::vector<std::string>& datasets,
                                                 std::uint32_t chunk_count,
                                                 std::uint32_t chunk_size) const {
        if (entries_.empty()) throw error(name + ": no matrix met any activations");
        gguf::metadata metadata;
        metadata.set("general.type", std::string_view("imatrix"));
        metadata.set("imatrix.datasets", datasets);
        metadata.set("imatrix.chunk_count", chunk_count);
        metadata.set("imatrix.chunk_size", chunk_size);
        std::vector<gguf::tensor_spec> specs;
        std::vector<float> values;
        for (const auto& [weight, collected] : entries_) {
            specs.push_back(spec(weight + ".in_sum2", collected.sums.size()));
            specs.push_back(spec(weight + ".counts", 1));
        }
        const gguf::file_plan plan(name, metadata, std::move(specs));
        std::vector<std::byte> bytes;
        bytes.reserve(static_cast<std::size_t>(plan.file_bytes()));
        gguf::writer out(plan, [&](std::span<const std::byte> piece) {
            bytes.insert(bytes.end(), piece.begin(), piece.end());
        });
        for (const auto& [weight, collected] : entries_) {
            values.assign(collected.sums.begin(), collected.sums.end());
            out.append(std::as_bytes(std::span(values)));
            values.assign(1, static_cast<float>(collected.rows));
            out.append(std::as_bytes(std::span(values)));
        }
        out.finish();
        return bytes;
    }

private:
    struct entry {
        std::vector<double> sums;  // of squares, by column
        double rows = 0;
    };

    [[nodiscard]] static gguf::tensor_spec spec(std::string name, std::size_t values) {
        gguf::tensor_shape shape;
        shape.n_dims = 1;
        shape.extent[0] = values;
        return {std::move(name), shape, info_of<f32>};
    }

    std::map<std::string, entry, std::less<>> entries_;
};

}  // namespace qdial::model
