// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "commands.hpp"
#include "peer_layers.hpp"
#include "qdial/error.hpp"
#include "weights.hpp"

namespace engine {

namespace {

/// Linear layers that share an input.
struct same_input {
    std::vector<const linear*> layers;
};

std::vector<same_input> linear_layers(const weights& w) {
    std::vector<same_input> out;
    for (const layer_weights& layer : w.layers) {
        out.push_back({{&layer.query, &layer.key, &layer.value}});
        out.push_back({{&layer.output}});
        out.push_back({{&layer.gate, &layer.up}});
        out.push_back({{&layer.down}});
    }
    return out;
}

/// Activations that any machine makes alike, between -1 and 1.
std::vector<float> activations(std::size_t count) {
    std::vector<float> out(count);
    std::uint32_t state = 1;
    for (float& x : out) {
        state = state * 1664525u + 1013904223u;
        x = static_cast<float>(static_cast<std::int32_t>(state >> 8) - (1 << 23)) / (1 << 23);
    }
    return out;
}

/// All layers once with `n` rows each; the quantization of activations included.
class multiplication {
public:
    multiplication(const weights& w, bool with_output, std::size_t n, thread_pool& threads)
        : groups_(linear_layers(w)), n_(n), threads_(threads) {
        if (with_output) groups_.push_back({{&w.output}});
        std::size_t widest = 0, longest = 0;
        for (const same_input& group : groups_)
            for (const linear* layer : group.layers) {
                widest = std::max(widest, layer->row_length());
                longest = std::max(longest, layer->rows());
            }
        x_ = activations(n * widest);
        y_.resize(n * longest);
    }

    void operator()() {
        for (const same_input& group : groups_) {
            input_.set(x_.data(), n_, group.layers[0]->row_length());
            for (const linear* layer : group.layers) layer->multiply(input_, y_.data(), threads_);
        }
    }

private:
    std::vector<same_input> groups_;
    std::size_t n_;
    thread_pool& threads_;
    linear_input input_;
    std::vector<float> x_, y_;
};

/// Seconds of the fastest of some calls.
template <class Multiply>
double fastest(std::size_t rounds, Multiply&& multiply) {
    multiply();
    double best = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < rounds; ++i) {
        const double start = now();
        multiply();
        best = std::min(best, now() - start);
    }
    return best;
}

/// Tokens per second.
struct rates {
    double generation, prompt;
};

rates rates_of(const model& m, const run_options& o, thread_pool& threads) {
    multiplication one(m.weights(), true, 1, threads);
    multiplication many(m.weights(), false, o.batch, threads);
    return {1.0 / fastest(8 * o.repeat, one),
            static_cast<double>(o.batch) / fastest(o.repeat, many)};
}

rates rates_of_peer(const model& m, const run_options& o) {
    std::vector<peer_matrix> matrices;
    const auto add = [&](const linear& layer) {
        const qdial::gguf::tensor* t = m.file().find_tensor(layer.name());
        if (t == nullptr) throw qdial::error("no tensor " + layer.name());
        matrices.push_back({layer.format(), layer.rows(), layer.row_length(), t->data});
    };
    for (const same_input& group : linear_layers(m.weights()))
        for (const linear* layer : group.layers) add(*layer);
    const std::size_t in_layers = matrices.size();
    add(m.weights().output);
    peer_layers peer(o.peer, matrices, o.threads);
    peer.prepare(matrices.size(), 1);
    const double one = fastest(8 * o.repeat, [&] { peer.multiply(); });
    peer.prepare(in_layers, o.batch);
    const double many = fastest(o.repeat, [&] { peer.multiply(); });
    return {1.0 / one, static_cast<double>(o.batch) / many};
}

}  // namespace

void measure_layers(const run_options& o, const std::vector<std::string>& models) {
    thread_pool threads(o.threads);
    fmt::print(
        "tokens/s that the linear layers alone allow, {} threads: generation with the output "
        "head, prompts of {} tokens without\n",
        o.threads, o.batch);
    for (const std::string& path : models) {
        const model m = load_model(path, threads);
        const rates ours = rates_of(m, o, threads);
        fmt::print("{:>8.1f} MiB  generation {:8.1f}  ({:5.1f} GB/s)  prompt {:9.1f}  {} ({})\n",
                   static_cast<double>(m.packed_bytes()) / (1 << 20), ours.generation,
                   ours.generation * static_cast<double>(m.packed_bytes()) * 1e-9, ours.prompt,
                   path, fmt::join(m.weight_types(), ", "));
        if (o.peer.empty()) continue;
        const rates peers = rates_of_peer(m, o);
        fmt::print("{:>12}  generation {:8.1f}  {:5.2f} times    prompt {:9.1f}  {:.2f} times\n",
                   "ggml", peers.generation, ours.generation / peers.generation, peers.prompt,
                   ours.prompt / peers.prompt);
    }
}

}  // namespace engine
