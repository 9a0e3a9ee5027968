// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "qdial/error.hpp"

namespace engine {

kv_format cache_format(const std::string& name) {
    return name == "f32" ? kv_format::f32 : name == "q8_0" ? kv_format::q8_0 : kv_format::f16;
}

double now() {
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(time).count();
}

model load_model(const std::string& path, thread_pool& threads) {
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    const double start = now();
    double shown = start;
    model loaded(path, threads, [&](std::uint64_t done, std::uint64_t total) {
        if (!terminal || (now() - shown < 0.1 && done != total)) return;
        shown = now();
        fmt::print(stderr, "\rpacking {:3.0f}%  {:.1f} GB/s\033[K",
                   100.0 * static_cast<double>(done) / static_cast<double>(total),
                   static_cast<double>(done) * 1e-9 / (shown - start));
    });
    if (terminal) fmt::print(stderr, "\r\033[K");
    return loaded;
}

namespace {

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    if (!in) throw qdial::error(path + ": cannot be read");
    return bytes;
}

void print_timings(const timings& t, std::size_t tokens, std::size_t threads) {
    fmt::print(stderr,
               "{} tokens on {} threads in {:.3f} s ({:.1f} tokens/s): packed kernels {:.1f}%, "
               "attention {:.1f}%\n",
               tokens, threads, t.total, static_cast<double>(tokens) / t.total,
               100 * t.packed / t.total, 100 * t.attention / t.total);
}

}  // namespace

std::vector<token> input_tokens(const run_options& o, const qdial::gguf::file& file) {
    std::vector<token> tokens;
    if (o.token_file.empty()) {
        tokens = tokenizer(file).encode(o.text_file.empty() ? o.text : read_file(o.text_file),
                                        true, o.special);
    } else {
        std::istringstream in(read_file(o.token_file));
        for (token id = 0; in >> id;) tokens.push_back(id);
        if (!in.eof()) throw qdial::error(o.token_file + ": found something else than token ids");
    }
    if (tokens.empty()) throw qdial::error("found no tokens, expected at least one");
    return tokens;
}

void tokenize(const run_options& o) {
    const qdial::gguf::file file{std::filesystem::path(o.model)};
    for (const token id : input_tokens(o, file)) fmt::print("{}\n", id);
}

void generate(const run_options& o) {
    thread_pool threads(o.threads);
    const model m = load_model(o.model, threads);
    const std::vector<token> prompt = input_tokens(o, m.file());
    const bool has_tokenizer = m.file().metadata().contains("tokenizer.ggml.tokens");
    std::optional<tokenizer> words;
    if (has_tokenizer) words.emplace(m.file());
    session s(m, threads, {o.context, cache_format(o.cache), o.batch});
    const auto ends = [&](token id) { return !o.ignore_end && words && words->is_end(id); };
    const std::vector<token> out = s.generate(prompt, o.count, ends);
    const std::string text = words ? words->decode(out) : "";
    if (o.as_json) {
        const nlohmann::json result{{"prompt", prompt}, {"tokens", out}, {"text", text}};
        fmt::print("{}\n", result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    } else if (words) {
        fmt::print("{}\n", text);
    } else {
        fmt::print("{}\n", fmt::join(out, " "));
    }
    if (o.timings) print_timings(s.spent(), prompt.size() + out.size() - 1, o.threads);
}

void write_logits(const run_options& o, const std::string& path) {
    thread_pool threads(o.threads);
    const model m = load_model(o.model, threads);
    const std::vector<token> tokens = input_tokens(o, m.file());
    session s(m, threads, {std::max(o.context, tokens.size()), cache_format(o.cache), o.batch});
    std::vector<std::size_t> all(tokens.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    s.run(tokens, all);
    std::ofstream out(path, std::ios::binary);
    std::vector<float> row(m.vocabulary());
    for (std::size_t i = 0; i < all.size(); ++i) {
        s.logits(i, 1, row);
        out.write(reinterpret_cast<const char*>(row.data()),
                  static_cast<std::streamsize>(row.size() * sizeof(float)));
    }
    out.close();
    if (!out) throw qdial::error(path + ": cannot be written");
}

}  // namespace engine
