// SPDX-License-Identifier: Apache-2.0
#include "task_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>

#include "evaluation.hpp"
#include "json.hpp"
#include "qdial/error.hpp"
#include "tokenizer.hpp"

namespace tool {
namespace {

namespace model = qdial::model;

/// A sequence of tokens and where its continuation begins.
struct continued {
    std::vector<engine::token> tokens;
    std::size_t begin;
};

/// Prompt and choice are cut into tokens together, as the text would be.
continued continue_with(const engine::tokenizer& tokenizer,
                        const std::vector<engine::token>& prompt, const task& t,
                        const std::string& choice) {
    continued whole{tokenizer.encode(t.prompt + choice, true, true), 0};
    const auto [at, unused] = std::ranges::mismatch(prompt, whole.tokens);
    whole.begin = static_cast<std::size_t>(at - prompt.begin());
    whole.begin = std::min(std::max<std::size_t>(whole.begin, 1), whole.tokens.size() - 1);
    return whole;
}

std::size_t context_for(const engine::tokenizer& tokenizer, const task& t) {
    const std::vector<engine::token> prompt = tokenizer.encode(t.prompt, true, true);
    if (prompt.empty()) throw qdial::error(fmt::format("line {}: the prompt has no tokens", t.line));
    std::size_t most = prompt.size() + (t.choices.empty() ? t.max_tokens : 0);
    for (const std::string& choice : t.choices)
        most = std::max(most, tokenizer.encode(t.prompt + choice, true, true).size());
    return most;
}

/// A model at work on cases.
class worker {
public:
    worker(const std::filesystem::path& path, engine::thread_pool& threads, std::size_t context)
        : model_(path, threads, context), tokenizer_(model_.weights().file()) {}

    task_outcome run(const task& t) {
        return t.choices.empty() ? generate(t) : choose(t);
    }

    running_model& model() noexcept { return model_; }
    [[nodiscard]] std::vector<engine::token> prompt_of(const task& t) const {
        return tokenizer_.encode(t.prompt, true, true);
    }

private:
    task_outcome generate(const task& t) {
        const std::vector<engine::token> prompt = prompt_of(t);
        std::string text;
        const auto ends = [&](engine::token next) {
            if (tokenizer_.is_end(next)) return true;
            text += tokenizer_.piece(next);
            return std::ranges::any_of(
                t.stop, [&](const std::string& stop) { return text.find(stop) != text.npos; });
        };
        model_.session().clear();
        std::vector<engine::token> out = model_.session().generate(prompt, t.max_tokens, ends);
        if (!out.empty() && tokenizer_.is_end(out.back())) out.pop_back();
        const std::string answer(trimmed_answer(tokenizer_.decode(out), t.stop));
        return {t.check->passes(answer), answer};
    }

    task_outcome choose(const task& t) {
        const std::vector<engine::token> prompt = prompt_of(t);
        double best = 0;
        std::size_t chosen = t.choices.size();
        for (std::size_t i = 0; i < t.choices.size(); ++i) {
            const double likelihood =
                log_likelihood(continue_with(tokenizer_, prompt, t, t.choices[i]));
            if (chosen == t.choices.size() || likelihood > best) {
                best = likelihood;
                chosen = i;
            }
        }
        return {chosen == t.correct, t.choices[chosen]};
    }

    /// ln of the probability of the continuation.
    double log_likelihood(const continued& text) {
        const std::size_t n = text.tokens.size() - text.begin;
        const std::size_t vocabulary = model_.weights().vocabulary();
        model_.read(std::span(text.tokens).first(text.tokens.size() - 1), text.begin - 1, n);
        std::vector<float> row(vocabulary);
        double sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
            model_.session().logits(i, 1, row);
            const auto next = static_cast<std::size_t>(text.tokens[text.begin + i]);
            sum -= model::compare_logits(row, row, next).nll;
        }
        return sum;
    }

    running_model model_;
    engine::tokenizer tokenizer_;
};

/// Outcomes in a file: the key, then a line of JSON for each case.
class outcome_file {
public:
    outcome_file(const std::filesystem::path& folder, const std::string& key) {
        if (folder.empty()) return;
        std::filesystem::create_directories(folder);
        path_ = folder / ("tasks-" + fingerprint_of(key) + ".jsonl");
        std::ifstream in(path_);
        std::string line;
        if (std::getline(in, line) && line == key)
            while (std::getline(in, line) && take(line)) {
            }
        // Written anew, so that what a killed process left of a line goes away.
        out_.open(path_, std::ios::trunc);
        out_ << key << '\n';
        for (const task_outcome& outcome : found_) put(outcome);
    }

    [[nodiscard]] const std::vector<task_outcome>& found() const noexcept { return found_; }

    void put(const task_outcome& outcome) {
        if (path_.empty()) return;
        out_ << json{{"passed", outcome.passed}, {"answer", outcome.answer}}.dump(
                    -1, ' ', false, json::error_handler_t::replace)
             << '\n'
             << std::flush;
        if (!out_) throw qdial::error(path_.string() + ": cannot write");
    }

private:
    bool take(const std::string& line) {
        const json object = json::parse(line, nullptr, false);
        if (!object.is_object() || !object.contains("passed") || !object.contains("answer"))
            return false;
        found_.push_back({object["passed"].get<bool>(), object["answer"].get<std::string>()});
        return true;
    }

    std::filesystem::path path_;
    std::vector<task_outcome> found_;
    std::ofstream out_;
};

}  // namespace

std::size_t task_run::passed() const {
    return static_cast<std::size_t>(std::ranges::count(outcomes, true, &task_outcome::passed));
}

std::size_t context_of(std::span<const task> tasks, const std::filesystem::path& path) {
    const qdial::gguf::file file(path);
    const engine::tokenizer tokenizer(file);
    const std::size_t trained = engine::read_hyper_parameters(file).trained_context;
    std::size_t most = 0;
    for (const task& t : tasks) {
        const std::size_t needed = context_for(tokenizer, t);
        if (trained != 0 && needed > trained)
            throw qdial::error(
                fmt::format("{}: the case of line {} takes {} tokens, the model was trained for {}",
                            path.string(), t.line, needed, trained));
        most = std::max(most, needed);
    }
    return most;
}

task_run run_tasks(std::span<const task> tasks, const std::string& key,
                   const std::filesystem::path& path, engine::thread_pool& threads,
                   const std::filesystem::path& cache) {
    outcome_file kept(cache, fmt::format("qdial outcomes 1: cases {} model {}", key,
                                         fingerprint(path)));
    task_run result;
    result.outcomes = kept.found();
    if (result.outcomes.size() > tasks.size()) result.outcomes.resize(tasks.size());
    worker w(path, threads, std::max<std::size_t>(context_of(tasks, path), 64));
    progress_display progress("cases");
    for (std::size_t i = result.outcomes.size(); i < tasks.size(); ++i) {
        result.outcomes.push_back(w.run(tasks[i]));
        kept.put(result.outcomes.back());
        progress.show(i + 1, tasks.size());
    }
    const std::vector<engine::token> prompt = w.prompt_of(tasks[0]);
    if (w.model().prompt_speed() == 0)
        w.model().read(prompt, 0, 0);
    result.prompt_speed = w.model().prompt_speed();
    result.generation_speed = w.model().generation_speed(prompt);
    return result;
}

model::paired_counts pair_up(const task_run& reference, const task_run& candidate) {
    model::paired_counts counts;
    for (std::size_t i = 0; i < reference.outcomes.size(); ++i) {
        const bool a = reference.outcomes[i].passed, b = candidate.outcomes[i].passed;
        (a ? (b ? counts.both : counts.only_reference)
           : (b ? counts.only_candidate : counts.neither)) += 1;
    }
    return counts;
}

}  // namespace tool
