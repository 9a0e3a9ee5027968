// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "evaluation.hpp"
#include "json.hpp"
#include "qdial/model/dial.hpp"
#include "quality_report.hpp"
#include "task_run.hpp"

namespace tool {
namespace {

namespace model = qdial::model;

void print_quality(const text_input& text, const model::text_quality& q) {
    fmt::print("{} of {} windows of {} tokens, {} predictions of each scored\n\n", q.windows(),
               text.windows.count(), text.windows.context, text.windows.scored());
    table lines({{"", false}, {"value (95% interval)", false}});
    const model::measurement kl = q.mean_kl(), ratio = q.perplexity_ratio();
    lines.add({"mean KL divergence", with_interval(kl) + " nats per token"});
    lines.add({"  90% of tokens below", with_interval(q.kl_percentile(0.90))});
    lines.add({"  99%", with_interval(q.kl_percentile(0.99))});
    lines.add({"  99.9%", with_interval(q.kl_percentile(0.999))});
    lines.add({"  largest", short_number(q.max_kl())});
    lines.add({"same most likely token", with_interval(q.same_top(), 100) + " %"});
    lines.add({"perplexity", with_interval(q.perplexity())});
    lines.add({"  of the reference", with_interval(q.reference_perplexity())});
    lines.add({"  ratio", with_interval(ratio)});
    lines.print();
    fmt::print("\nIn words: {}.\n", model::words_for_kl(kl.value));
    if (q.blocks() > 1)
        fmt::print("Intervals come from {} blocks of {} tokens, the same for both models.\n",
                   q.blocks(), q.windows_per_block() * text.windows.context);
    else
        fmt::print("One window says nothing about how far to trust it: evaluate more text.\n");
}

void eval_text(const eval_options& options) {
    const text_input text =
        read_text(options.text, options.reference, options.context, options.chunks);
    const text_input other =
        read_text(options.text, options.model, options.context, options.chunks);
    if (text.tokens != other.tokens || text.bos != other.bos)
        throw qdial::error(options.model + ": cuts the text into other tokens than " +
                           options.reference + ", expected the same tokenizer");
    const std::array<std::filesystem::path, 2> models{options.reference, options.model};
    check_memory(models, options.context,
                 options.memory.empty() ? available_memory() : parse_size(options.memory));
    engine::thread_pool threads(static_cast<std::size_t>(options.threads));
    std::vector<candidate> all(1);
    all[0].path = options.model;
    evaluation_options how;
    how.cache = options.cache;
    evaluate_text(text, options.reference, all, threads, how);
    if (options.as_json) {
        json out{{"model", options.model},
                 {"reference", options.reference},
                 {"text", options.text},
                 {"context", options.context}};
        put_quality(out, all[0].quality);
        return print(out);
    }
    fmt::print("{} against {} on {}\n", printable(options.model), printable(options.reference),
               printable(options.text));
    print_quality(text, all[0].quality);
}

json cases_json(const std::vector<task>& tasks, const task_run& reference,
                const task_run& candidate) {
    json cases = json::array();
    for (std::size_t i = 0; i < tasks.size(); ++i)
        cases.push_back({{"name", tasks[i].name},
                         {"line", tasks[i].line},
                         {"passed", candidate.outcomes[i].passed},
                         {"passed_reference", reference.outcomes[i].passed},
                         {"answer", candidate.outcomes[i].answer},
                         {"answer_reference", reference.outcomes[i].answer}});
    return cases;
}

void print_outcomes(const std::vector<task>& tasks, const task_run& reference,
                    const task_run& candidate) {
    const auto n = static_cast<double>(tasks.size());
    const model::paired_counts counts = pair_up(reference, candidate);
    fmt::print("\n{} cases: {} passed, the reference {}\n", tasks.size(), candidate.passed(),
               reference.passed());
    fmt::print("pass rate {} %, of the reference {} %\n",
               with_interval(model::wilson(static_cast<double>(candidate.passed()), n), 100),
               with_interval(model::wilson(static_cast<double>(reference.passed()), n), 100));
    fmt::print("lost {} and won {}: {} % of the cases lost\n", counts.only_reference,
               counts.only_candidate, with_interval(model::paired_loss(counts), 100));
    fmt::print("an uneven split like this by chance: p = {:.3g} (McNemar's exact test)\n",
               model::mcnemar_exact(static_cast<std::uint64_t>(counts.only_reference),
                                    static_cast<std::uint64_t>(counts.only_candidate)));
    for (std::size_t i = 0; i < tasks.size(); ++i) {
        const task_outcome &a = reference.outcomes[i], &b = candidate.outcomes[i];
        if (a.passed == b.passed) continue;
        fmt::print("  {} {}: \"{}\" became \"{}\"\n", b.passed ? "won " : "lost",
                   printable(tasks[i].name), printable(a.answer), printable(b.answer));
    }
}

void eval_tasks(const eval_options& options) {
    const std::vector<task> tasks = read_tasks(options.tasks);
    const std::array<std::filesystem::path, 2> models{options.reference, options.model};
    for (const auto& path : models) {
        const std::array<std::filesystem::path, 1> alone{path};
        check_memory(alone, context_of(tasks, path),
                     options.memory.empty() ? available_memory() : parse_size(options.memory));
    }
    engine::thread_pool threads(static_cast<std::size_t>(options.threads));
    const std::string key = fingerprint_of(read_whole(options.tasks));
    const task_run reference = run_tasks(tasks, key, options.reference, threads, options.cache);
    const task_run candidate = run_tasks(tasks, key, options.model, threads, options.cache);
    if (options.as_json) {
        json out{{"model", options.model},
                 {"reference", options.reference},
                 {"tasks", options.tasks}};
        put_outcomes(out, reference, candidate);
        out["outcomes"] = cases_json(tasks, reference, candidate);
        return print(out);
    }
    fmt::print("{} against {} at {}\n", printable(options.model), printable(options.reference),
               printable(options.tasks));
    print_outcomes(tasks, reference, candidate);
}

}  // namespace

void eval(const eval_options& options) {
    if (options.text.empty() == options.tasks.empty())
        throw usage_error("eval: expected either --text or --tasks");
    if (!options.memory.empty()) (void)parse_size(options.memory);
    options.text.empty() ? eval_tasks(options) : eval_text(options);
}

}  // namespace tool
