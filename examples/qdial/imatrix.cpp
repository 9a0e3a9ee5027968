// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "commands.hpp"
#include "evaluation.hpp"
#include "json.hpp"
#include "qdial/gguf/atomic_file.hpp"
#include "qdial/model/imatrix.hpp"

namespace tool {

namespace model = qdial::model;

void imatrix(const imatrix_options& options) {
    const std::array<std::filesystem::path, 2> inputs{options.model, options.text};
    refuse_same_file(options.out, inputs);
    const text_input text = read_text(options.text, options.model, options.context, options.chunks);
    check_memory(std::span(inputs).first(1), options.context,
                 options.memory.empty() ? available_memory() : parse_size(options.memory));
    clean_up_on_signals();
    qdial::gguf::atomic_file out(options.out, {.overwrite = options.force, .expected_bytes = 0});
    engine::thread_pool threads(static_cast<std::size_t>(options.threads));
    running_model m(options.model, threads, options.context);
    model::importance_collector collector;
    m.session().observe([&](std::string_view weight, std::span<const float> rows, std::size_t n,
                            std::size_t row_length) {
        // llama-imatrix leaves the output head out too: it hardly gains from one.
        if (weight.starts_with("blk.")) collector.add(weight, rows, n, row_length);
    });
    progress_display progress("tokens");
    for (std::size_t window = 0; window < text.used; ++window) {
        m.read(text.read(window), 0, 0);
        progress.show((window + 1) * options.context, text.used * options.context);
    }
    const std::vector<std::byte> bytes = collector.to_gguf(
        options.out, {std::filesystem::path(options.text).filename().string()},
        static_cast<std::uint32_t>(text.used), static_cast<std::uint32_t>(options.context));
    out.write(bytes);
    out.commit();
    if (options.as_json)
        return print({{"file", options.out},
                      {"entries", collector.size()},
                      {"chunks", text.used},
                      {"chunk_size", options.context}});
    fmt::print("{}: importance for {} matrices from {} windows of {} tokens, in {:.1f} s\n",
               printable(options.out), collector.size(), text.used, options.context,
               progress.seconds());
}

}  // namespace tool
