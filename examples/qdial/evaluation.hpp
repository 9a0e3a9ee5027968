// SPDX-License-Identifier: Apache-2.0
//
// Candidates beside their reference on a text: all of them read the same window at the same time,
// so that nothing but the comparisons is kept, whatever the length of the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model.hpp"
#include "qdial/model/architecture.hpp"
#include "qdial/model/text_quality.hpp"
#include "session.hpp"
#include "tool.hpp"

namespace tool {

/// A text in the tokens of a model.
struct text_input {
    std::string name;
    std::vector<engine::token> tokens;
    qdial::model::text_windows windows;
    std::size_t used;                  ///< windows to evaluate
    std::optional<engine::token> bos;  ///< takes the place of each window's first token

    /// The tokens of a window as a model reads them.
    [[nodiscard]] std::vector<engine::token> read(std::size_t window) const;
    /// The token that follows position `position` of a window.
    [[nodiscard]] std::size_t next(std::size_t window, std::size_t position) const {
        return static_cast<std::size_t>(tokens[window * windows.context + position + 1]);
    }
};

/// Reads and tokenizes a text. `chunks` is the most windows to use, 0 for all. Throws
/// `qdial::error` for a text that is empty or shorter than a window, and for models without
/// tokenizer.
[[nodiscard]] text_input read_text(const std::filesystem::path& text,
                                   const std::filesystem::path& model, std::size_t context,
                                   std::size_t chunks);

/// The whole of a file. Throws `qdial::error`.
[[nodiscard]] std::string read_whole(const std::filesystem::path& path);

/// Something that tells files apart: size, time of change and beginning. 16 digits.
[[nodiscard]] std::string fingerprint(const std::filesystem::path& file);
/// The same of bytes in memory.
[[nodiscard]] std::string fingerprint_of(std::string_view bytes);

/// A model that is ready to run.
class running_model {
public:
    running_model(const std::filesystem::path& path, engine::thread_pool& threads,
                  std::size_t context);
    [[nodiscard]] engine::session& session() noexcept { return session_; }
    [[nodiscard]] const engine::model& weights() const noexcept { return *weights_; }

    /// Reads `tokens` from the start of the context and keeps the logits of positions
    /// [first, first + n).
    void read(std::span<const engine::token> tokens, std::size_t first, std::size_t n);

    /// Tokens read in a second, so far; 0 if none were.
    [[nodiscard]] double prompt_speed() const noexcept;

    /// Measures generation, in tokens per second, after the first of `prompt`.
    [[nodiscard]] double generation_speed(std::span<const engine::token> prompt);

private:
    std::unique_ptr<engine::model> weights_;
    engine::session session_;
    double seconds_ = 0;
    std::size_t tokens_ = 0;
};

/// Bytes that running a model takes: packed weights, which are as large as the file's, cache,
/// logits, working memory.
[[nodiscard]] std::uint64_t running_memory(std::uint64_t file_bytes,
                                           const qdial::model::architecture& arch,
                                           std::size_t context);
/// Memory that this process may still take, in bytes.
[[nodiscard]] std::uint64_t available_memory();
/// Throws `qdial::error` if `models` cannot be evaluated together in `available` bytes.
void check_memory(std::span<const std::filesystem::path> models, std::size_t context,
                  std::uint64_t available);

/// The comparisons of windows in a file, so that an evaluation can go on where it ended.
class comparison_file {
public:
    /// Nothing is kept without a folder. What a file of another `key` holds is dropped.
    comparison_file(const std::filesystem::path& folder, const std::string& key,
                    std::size_t per_window);

    /// Windows that were there at the start.
    [[nodiscard]] std::size_t found() const noexcept { return found_; }
    [[nodiscard]] std::vector<qdial::model::token_comparison> read(std::size_t window);
    void append(std::span<const qdial::model::token_comparison> window);

private:
    std::string path_, header_;
    std::size_t per_window_, found_ = 0;
    std::fstream file_;
};

/// A candidate under evaluation.
struct candidate {
    std::string name;
    std::filesystem::path path;
    qdial::model::text_quality quality;
    double prompt_speed = 0, generation_speed = 0;  ///< tokens per second; 0 if not measured
    bool stopped = false;  ///< before the last window
};

struct evaluation_options {
    std::filesystem::path cache;  ///< folder for comparisons, empty for none
    bool measure_speed = false;
    /// Called after every window that a candidate has read; true ends it.
    std::function<bool(std::span<candidate> all, std::size_t index)> stop;
};

/// Evaluates candidates side by side with the model in `reference`. Returns the reference's own
/// speeds as a candidate without quality. `quality` of candidates starts empty.
candidate evaluate_text(const text_input& text, const std::filesystem::path& reference,
                        std::span<candidate> candidates, engine::thread_pool& threads,
                        const evaluation_options& options);

}  // namespace tool
