// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "commands.hpp"
#include "peer.hpp"

namespace engine {

namespace {

double median(std::vector<double> values) {
    std::ranges::sort(values);
    const std::size_t n = values.size();
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// Tokens per second in each round.
struct rates {
    std::vector<double> prompt, generation;
};

/// `run(tokens)` returns the logits of the last token. The generated tokens are given, so that
/// all contenders do the same.
template <class Run>
void measure_round(rates& out, std::span<const token> prompt, std::span<const token> generated,
                   Run&& run) {
    const double start = now();
    run(prompt);
    const double middle = now();
    for (const token& id : generated) run(std::span(&id, 1));
    const double end = now();
    out.prompt.push_back(static_cast<double>(prompt.size()) / (middle - start));
    out.generation.push_back(static_cast<double>(generated.size()) / (end - middle));
}

/// Where the engine's time went.
struct shares {
    timings prompt, generation;

    void add(const timings& t, bool is_prompt) {
        timings& sum = is_prompt ? prompt : generation;
        sum.total += t.total;
        sum.packed += t.packed;
        sum.attention += t.attention;
    }
    static std::string text(const timings& t) {
        return fmt::format("{:.1f}% packed kernels, {:.1f}% attention", 100 * t.packed / t.total,
                           100 * t.attention / t.total);
    }
};

/// The median over the rounds of ours to theirs.
double ratio(const std::vector<double>& ours, const std::vector<double>& theirs) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < ours.size(); ++i) ratios.push_back(ours[i] / theirs[i]);
    return median(ratios);
}

}  // namespace

void measure_speed(const run_options& o) {
    thread_pool threads(o.threads);
    const model m = load_model(o.model, threads);
    const std::vector<token> prompt = input_tokens(o, m.file());
    const std::size_t context = prompt.size() + o.count;
    session s(m, threads, {context, cache_format(o.cache), o.batch});
    const std::vector<token> generated = s.generate(prompt, o.count);
    std::vector<float> logits(m.vocabulary());
    shares where;
    const auto run_ours = [&](std::span<const token> tokens) {
        s.reset_timings();
        s.run_last(tokens, logits);
        where.add(s.spent(), tokens.size() > 1);
    };

    std::vector<std::unique_ptr<peer_session>> peers;
    if (!o.peer.empty())
        for (const bool repack : {true, false})
            peers.push_back(std::make_unique<peer_session>(
                o.peer, o.model,
                peer_options{context, static_cast<int>(o.threads), repack, cache_format(o.cache)}));
    rates ours;
    std::vector<rates> theirs(peers.size());
    for (std::size_t round = 0; round <= o.repeat; ++round) {
        if (round == 1) {  // the first one warmed up
            where = {};
            ours = {};
            for (rates& r : theirs) r = {};
        }
        s.clear();
        measure_round(ours, prompt, generated, run_ours);
        for (std::size_t i = 0; i < peers.size(); ++i) {
            peers[i]->clear();
            measure_round(theirs[i], prompt, generated,
                          [&](std::span<const token> tokens) { peers[i]->run(tokens); });
        }
    }
    fmt::print("{}: {} tokens of prompt, {} generated, {} threads, tokens/s (medians of {})\n",
               o.model, prompt.size(), generated.size(), o.threads, o.repeat);
    fmt::print("engine            prompt {:8.1f} ({})\n", median(ours.prompt),
               shares::text(where.prompt));
    fmt::print("              generation {:8.1f} ({})\n", median(ours.generation),
               shares::text(where.generation));
    constexpr const char* names[] = {"llama.cpp repacked", "llama.cpp as it is"};
    for (std::size_t i = 0; i < peers.size(); ++i)
        fmt::print("{} prompt {:6.1f}, engine {:.2f}x; generation {:6.1f}, engine {:.2f}x\n",
                   names[i], median(theirs[i].prompt), ratio(ours.prompt, theirs[i].prompt),
                   median(theirs[i].generation), ratio(ours.generation, theirs[i].generation));
}

}  // namespace engine
