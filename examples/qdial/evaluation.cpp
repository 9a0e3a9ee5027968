// SPDX-License-Identifier: Apache-2.0
#include "evaluation.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "qdial/error.hpp"
#include "qdial/gguf/reader.hpp"
#include "qdial/gguf/text.hpp"
#include "qdial/model/estimate.hpp"
#include "tokenizer.hpp"

namespace tool {
namespace {

namespace model = qdial::model;

double now() {
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(time).count();
}

/// Rows of logits that are held at once: some tens of MiB of each model.
std::size_t rows_at_once(std::size_t vocabulary, std::size_t scored) {
    constexpr std::size_t bytes = std::size_t{64} << 20;
    const std::size_t rows = bytes / (std::max<std::size_t>(vocabulary, 1) * sizeof(float));
    return std::clamp<std::size_t>(rows, 1, std::max<std::size_t>(scored, 1));
}

}  // namespace

std::string read_whole(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (!in.is_open() || in.bad() || std::filesystem::is_directory(path))
        throw qdial::error(path.string() + ": cannot read");
    return text;
}

std::string fingerprint_of(std::string_view bytes) {
    std::uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
    for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    return fmt::format("{:016x}", hash);
}

std::string fingerprint(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    std::string start(std::size_t{1} << 20, '\0');
    in.read(start.data(), static_cast<std::streamsize>(start.size()));
    start.resize(static_cast<std::size_t>(in.gcount()));
    std::error_code code;
    start += fmt::format(" {} {}", std::filesystem::file_size(file, code),
                         std::filesystem::last_write_time(file, code).time_since_epoch().count());
    if (code) throw qdial::error(file.string() + ": cannot open: " + code.message());
    return fingerprint_of(start);
}

std::vector<engine::token> text_input::read(std::size_t window) const {
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(window * windows.context);
    std::vector<engine::token> out(begin, begin + static_cast<std::ptrdiff_t>(windows.context));
    if (bos) out[0] = *bos;
    return out;
}

text_input read_text(const std::filesystem::path& text, const std::filesystem::path& model,
                     std::size_t context, std::size_t chunks) {
    const std::string content = read_whole(text);
    if (content.find_first_not_of(" \t\r\n") == content.npos)
        throw qdial::error(text.string() + ": the text is empty");
    const engine::tokenizer tokenizer{qdial::gguf::file(model)};
    text_input input{text.string(), tokenizer.encode(content), {0, context}, 0, {}};
    input.windows.tokens = input.tokens.size();
    if (input.windows.count() == 0)
        throw qdial::error(
            fmt::format("{}: found {} tokens of text, expected at least a context of {} (--context "
                        "names a shorter one)",
                        text.string(), input.tokens.size(), context));
    input.used = chunks == 0 ? input.windows.count() : std::min(chunks, input.windows.count());
    if (tokenizer.adds_bos()) input.bos = tokenizer.bos();
    return input;
}

running_model::running_model(const std::filesystem::path& path, engine::thread_pool& threads,
                             std::size_t context)
    : weights_(std::make_unique<engine::model>(path, threads)),
      session_(*weights_, threads, {.context = context}) {}

void running_model::read(std::span<const engine::token> tokens, std::size_t first, std::size_t n) {
    std::vector<std::size_t> wanted(n);
    for (std::size_t i = 0; i < n; ++i) wanted[i] = first + i;
    const double begin = now();
    session_.clear();
    session_.run(tokens, wanted);
    seconds_ += now() - begin;
    tokens_ += tokens.size();
}

double running_model::prompt_speed() const noexcept {
    return seconds_ > 0 ? static_cast<double>(tokens_) / seconds_ : 0;
}

double running_model::generation_speed(std::span<const engine::token> prompt) {
    constexpr std::size_t most_before = 32, generated = 24;
    const std::size_t room = session_.context() - 1;
    const std::size_t before = std::min({most_before, prompt.size(), room});
    std::vector<float> logits(weights_->vocabulary());
    session_.clear();
    session_.run_last(prompt.first(before), logits);
    const std::size_t n = std::min(generated, session_.context() - before);
    const double begin = now();
    for (std::size_t i = 0; i < n; ++i) {
        const engine::token next = engine::most_likely(logits);
        session_.run_last(std::span(&next, 1), logits);
    }
    return static_cast<double>(n) / (now() - begin);
}

std::uint64_t running_memory(std::uint64_t file_bytes, const model::architecture& arch,
                             std::size_t context) {
    constexpr std::uint64_t program = std::uint64_t{64} << 20, rows_of_a_layer = 16;
    const std::uint64_t logits = sizeof(float) * std::uint64_t{arch.vocabulary_size} *
                                 rows_at_once(arch.vocabulary_size, context);
    return program + file_bytes + model::kv_cache_bytes(arch, context) + logits +
           sizeof(float) * std::uint64_t{arch.embedding_length} * context * rows_of_a_layer;
}

std::uint64_t available_memory() {
    std::ifstream info("/proc/meminfo");
    std::string word;
    while (info >> word) {
        std::uint64_t kibibytes = 0;
        if (word == "MemAvailable:" && info >> kibibytes) return kibibytes << 10;
    }
    return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
           static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void check_memory(std::span<const std::filesystem::path> models, std::size_t context,
                  std::uint64_t available) {
    std::uint64_t needed = 0;
    for (const std::filesystem::path& path : models)
        needed += running_memory(
            std::filesystem::file_size(path),
            model::architecture_from(qdial::gguf::file(path).metadata()), context);
    if (needed <= available) return;
    std::string names;
    for (const std::filesystem::path& path : models)
        names += (names.empty() ? "" : " and ") + path.string();
    throw qdial::error(fmt::format("not enough memory to run {}: they take about {}, {} is there",
                                   names, human_bytes(static_cast<double>(needed)),
                                   human_bytes(static_cast<double>(available))));
}

namespace {

constexpr std::size_t comparison_bytes = 3 * sizeof(double) + 1;

}  // namespace

comparison_file::comparison_file(const std::filesystem::path& folder, const std::string& key,
                                 std::size_t per_window)
    : per_window_(per_window) {
    if (folder.empty()) return;
    std::filesystem::create_directories(folder);
    path_ = (folder / ("text-" + fingerprint_of(key) + ".comparisons")).string();
    header_ = key + "\n";
    std::string there(header_.size(), '\0');
    std::ifstream in(path_, std::ios::binary);
    in.read(there.data(), static_cast<std::streamsize>(there.size()));
    const std::size_t record = per_window * comparison_bytes;
    if (in && there == header_) {
        found_ = (std::filesystem::file_size(path_) - header_.size()) / record;
        // What a killed process left of a window goes away.
        std::filesystem::resize_file(path_, header_.size() + found_ * record);
    } else {
        std::ofstream(path_, std::ios::binary | std::ios::trunc) << header_;
    }
    file_.open(path_, std::ios::binary | std::ios::in | std::ios::out);
    if (!file_) throw qdial::error(path_ + ": cannot write");
}

std::vector<model::token_comparison> comparison_file::read(std::size_t window) {
    std::string bytes(per_window_ * comparison_bytes, '\0');
    file_.seekg(static_cast<std::streamoff>(header_.size() + window * bytes.size()));
    file_.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file_) throw qdial::error(path_ + ": cannot read");
    std::vector<model::token_comparison> out(per_window_);
    const char* at = bytes.data();
    for (model::token_comparison& t : out) {
        for (double* value : {&t.kl, &t.nll_reference, &t.nll}) {
            std::memcpy(value, at, sizeof *value);
            at += sizeof *value;
        }
        t.same_top = *at++ != 0;
    }
    return out;
}

void comparison_file::append(std::span<const model::token_comparison> window) {
    if (path_.empty()) return;
    std::string bytes;
    for (const model::token_comparison& t : window) {
        for (const double value : {t.kl, t.nll_reference, t.nll})
            bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
        bytes += t.same_top ? '\1' : '\0';
    }
    file_.seekp(0, std::ios::end);
    file_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file_.flush();
    if (!file_) throw qdial::error(path_ + ": cannot write");
}

namespace {

/// Everything that decides a comparison.
std::string comparison_key(const text_input& text, const std::filesystem::path& reference,
                           const std::filesystem::path& candidate) {
    const std::string tokens = fingerprint_of(
        std::string_view(reinterpret_cast<const char*>(text.tokens.data()),
                         text.tokens.size() * sizeof(engine::token)));
    return fmt::format("qdial comparisons 1: reference {} candidate {} tokens {} context {} bos {}",
                       fingerprint(reference), fingerprint(candidate), tokens,
                       text.windows.context, text.bos.value_or(-1));
}

/// A run of `evaluate_text`.
class side_by_side {
public:
    side_by_side(const text_input& text, const std::filesystem::path& reference,
                 std::span<candidate> candidates, engine::thread_pool& threads,
                 const evaluation_options& options)
        : text_(text),
          reference_path_(reference),
          candidates_(candidates),
          threads_(threads),
          options_(options),
          running_(candidates.size()) {
        for (const candidate& c : candidates)
            files_.push_back(std::make_unique<comparison_file>(
                options.cache, comparison_key(text, reference, c.path), text.windows.scored()));
    }

    candidate run() {
        progress_display progress("tokens");
        const std::uint64_t total = std::uint64_t{text_.used} * text_.windows.context;
        for (std::size_t w = 0; w < text_.used; ++w) {
            if (!std::ranges::all_of(candidates_, &candidate::stopped)) read_window(w);
            progress.show((w + 1) * text_.windows.context, total);
        }
        candidate own;
        own.path = reference_path_;
        if (options_.measure_speed) {
            for (std::size_t i = 0; i < candidates_.size(); ++i)
                measure_speed(candidates_[i], running_[i]);
            measure_speed(own, reference_);
        }
        return own;
    }

private:
    void read_window(std::size_t window) {
        std::vector<std::size_t> fresh;
        for (std::size_t i = 0; i < candidates_.size(); ++i) {
            if (candidates_[i].stopped) continue;
            if (window < files_[i]->found())
                finish(i, files_[i]->read(window), window);
            else
                fresh.push_back(i);
        }
        if (fresh.empty()) return;
        const auto comparisons = compare(window, fresh);
        for (std::size_t k = 0; k < fresh.size(); ++k) {
            files_[fresh[k]]->append(comparisons[k]);
            finish(fresh[k], comparisons[k], window);
        }
    }

    void finish(std::size_t i, std::span<const model::token_comparison> window, std::size_t index) {
        candidate& c = candidates_[i];
        // A candidate above it may have ended it meanwhile.
        if (c.stopped) return;
        c.quality.add(window);
        if (index + 1 < text_.used && options_.stop && options_.stop(candidates_, i))
            c.stopped = true;
    }

    running_model& ready(std::unique_ptr<running_model>& slot, const std::filesystem::path& path) {
        if (!slot) {
            slot = std::make_unique<running_model>(path, threads_, text_.windows.context);
            const std::size_t vocabulary = slot->weights().vocabulary();
            if (reference_ && vocabulary != reference_->weights().vocabulary())
                throw qdial::error(fmt::format(
                    "{}: found a vocabulary of {} tokens, expected that of the reference, {}",
                    path.string(), vocabulary, reference_->weights().vocabulary()));
        }
        return *slot;
    }

    std::vector<std::vector<model::token_comparison>> compare(
        std::size_t window, const std::vector<std::size_t>& fresh) {
        const std::size_t first = text_.windows.first(), scored = text_.windows.scored();
        const std::vector<engine::token> tokens = text_.read(window);
        ready(reference_, reference_path_).read(tokens, first, scored);
        for (const std::size_t i : fresh)
            ready(running_[i], candidates_[i].path).read(tokens, first, scored);
        const std::size_t vocabulary = reference_->weights().vocabulary();
        const std::size_t rows = rows_at_once(vocabulary, scored);
        reference_logits_.resize(rows * vocabulary);
        logits_.resize(rows * vocabulary);
        std::vector<std::vector<model::token_comparison>> result(
            fresh.size(), std::vector<model::token_comparison>(scored));
        for (std::size_t at = 0; at < scored; at += rows) {
            const std::size_t n = std::min(rows, scored - at);
            reference_->session().logits(at, n, std::span(reference_logits_.data(), n * vocabulary));
            for (std::size_t k = 0; k < fresh.size(); ++k) {
                running_[fresh[k]]->session().logits(at, n,
                                                     std::span(logits_.data(), n * vocabulary));
                threads_(n, [&](std::size_t j) {
                    const auto row = [&](const std::vector<float>& from) {
                        return std::span(from.data() + j * vocabulary, vocabulary);
                    };
                    result[k][at + j] = model::compare_logits(
                        row(reference_logits_), row(logits_), text_.next(window, first + at + j));
                });
            }
        }
        check_finite(window, fresh, result);
        return result;
    }

    void check_finite(std::size_t window, const std::vector<std::size_t>& fresh,
                      const std::vector<std::vector<model::token_comparison>>& result) const {
        for (std::size_t k = 0; k < fresh.size(); ++k)
            for (const model::token_comparison& t : result[k])
                if (!std::isfinite(t.kl) || !std::isfinite(t.nll) ||
                    !std::isfinite(t.nll_reference))
                    throw qdial::error(fmt::format(
                        "{}: found logits that are not finite in window {} of {}, by it or by {}",
                        candidates_[fresh[k]].path.string(), window + 1, text_.name,
                        reference_path_.string()));
    }

    void measure_speed(candidate& of, std::unique_ptr<running_model>& slot) {
        const std::vector<engine::token> prompt = text_.read(0);
        running_model& m = ready(slot, of.path);
        if (m.prompt_speed() == 0) m.read(prompt, 0, 0);
        of.prompt_speed = m.prompt_speed();
        of.generation_speed = m.generation_speed(prompt);
    }

    const text_input& text_;
    const std::filesystem::path& reference_path_;
    std::span<candidate> candidates_;
    engine::thread_pool& threads_;
    const evaluation_options& options_;
    std::unique_ptr<running_model> reference_;
    std::vector<std::unique_ptr<running_model>> running_;
    std::vector<std::unique_ptr<comparison_file>> files_;
    std::vector<float> reference_logits_, logits_;
};

}  // namespace

candidate evaluate_text(const text_input& text, const std::filesystem::path& reference,
                        std::span<candidate> candidates, engine::thread_pool& threads,
                        const evaluation_options& options) {
    return side_by_side(text, reference, candidates, threads, options).run();
}

}  // namespace tool
