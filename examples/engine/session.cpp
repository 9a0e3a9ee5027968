// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "attention.hpp"
#include "kv_cache.hpp"
#include "qdial/error.hpp"
#include "qdial/model/codec.hpp"
#include "rope.hpp"
#include "vector_math.hpp"
#include "weights.hpp"

#include "qdial/macros_begin.hpp"

namespace engine {

namespace {

/// Adds the time of a scope to a sum.
class stopwatch {
public:
    explicit stopwatch(double& sum) : sum_(sum), start_(now()) {}
    ~stopwatch() { sum_ += now() - start_; }
    stopwatch(const stopwatch&) = delete;
    stopwatch& operator=(const stopwatch&) = delete;

private:
    static double now() {
        const auto time = std::chrono::steady_clock::now().time_since_epoch();
        return std::chrono::duration<double>(time).count();
    }
    double& sum_;
    double start_;
};

/// Memory of this thread for one task: at least n floats, of any value.
float* scratch(std::size_t n) {
    thread_local std::vector<float> memory;
    if (memory.size() < n) memory.resize(n);
    return memory.data();
}

}  // namespace

struct session::impl {
    impl(const model& m, thread_pool& t, const session_options& o)
        : source(m),
          p(m.parameters()),
          w(m.weights()),
          threads(t),
          options(o),
          cache(p, o.context, o.cache) {}

    const model& source;
    const hyper_parameters& p;
    const weights& w;
    thread_pool& threads;
    session_options options;
    kv_cache cache;
    std::size_t position = 0;
    input_hook hook;
    timings spent;

    // Rows of the tokens that go through the layers together.
    std::vector<float> hidden, normed, queries, keys, values, attended, gate, up, projected;
    std::vector<rope_row> ropes, local_ropes;
    std::vector<float> kept;  // hidden rows of the wanted positions, normed
    std::size_t kept_rows = 0;
    linear_input input;

    void reserve(std::size_t n);
    void embed(std::span<const token> tokens);
    void set_ropes(std::size_t n);
    void norm_rows(std::size_t n, const std::vector<float>& weight);
    void multiply(const linear& layer, std::vector<float>& out);
    void observe(std::initializer_list<const linear*> layers) const;
    void prepare_heads(std::size_t layer, std::size_t token_index);
    void attention(std::size_t layer, std::size_t n);
    template <class T>
    void attend_tile(const cached_head<T>& head, std::size_t layer, std::size_t kv_head,
                     std::size_t first, std::size_t count, std::size_t begin, std::size_t end);
    void feed_forward(const layer_weights& layer, std::size_t n);
    void add_rows(std::size_t n, const std::vector<float>& post_norm);
    void run_batch(std::span<const token> tokens);
    void keep(std::span<const std::size_t> wanted, std::size_t first);

    [[nodiscard]] std::size_t window_begin(std::size_t layer, std::size_t at) const {
        return p.local[layer] && at + 1 > p.window ? at + 1 - p.window : 0;
    }
};

void session::impl::reserve(std::size_t n) {
    const auto hold = [n](std::vector<float>& v, std::size_t width) {
        if (v.size() < n * width) v.resize(n * width);
    };
    hold(hidden, p.embedding);
    hold(normed, p.embedding);
    hold(projected, p.embedding);
    hold(queries, p.heads * p.key_length);
    hold(keys, p.kv_heads * p.key_length);
    hold(values, p.kv_heads * p.value_length);
    hold(attended, p.heads * p.value_length);
    hold(gate, p.feed_forward);
    hold(up, p.feed_forward);
    if (ropes.size() < n) ropes.resize(n);
    if (local_ropes.size() < n) local_ropes.resize(n);
}

void session::impl::embed(std::span<const token> tokens) {
    const std::uint64_t row_bytes = w.embeddings->row_bytes();
    threads(tokens.size(), [&](std::size_t j) {
        float* row = hidden.data() + j * p.embedding;
        qdial::model::decode(
            w.embeddings->format.gguf_id,
            w.embeddings->data.subspan(static_cast<std::size_t>(tokens[j]) * row_bytes, row_bytes),
            std::span(row, p.embedding));
        if (p.embedding_scale != 1.0f)
            transform<qdial::default_arch>(row, p.embedding, [&](auto x) QDIAL_INLINE_LAMBDA {
                return x * floats16<qdial::default_arch>(p.embedding_scale);
            });
    });
}

void session::impl::set_ropes(std::size_t n) {
    const bool any_local = std::ranges::find(p.local, true) != p.local.end();
    threads(n, [&](std::size_t j) {
        ropes[j].set(position + j, p.rope_length, p.rope, w.rope_factors);
        if (any_local)
            local_ropes[j].set(position + j, p.rope_length, p.local_rope, w.rope_factors);
    });
}

/// normed = norm of hidden, and the next linear layers' input.
void session::impl::norm_rows(std::size_t n, const std::vector<float>& weight) {
    threads(n, [&](std::size_t j) {
        rms_norm(hidden.data() + j * p.embedding, weight.data(), p.embedding, p.norm_epsilon,
                 normed.data() + j * p.embedding);
    });
    input.set(normed.data(), n, p.embedding);
}

void session::impl::multiply(const linear& layer, std::vector<float>& out) {
    const stopwatch watch(spent.packed);
    layer.multiply(input, out.data(), threads);
}

void session::impl::observe(std::initializer_list<const linear*> layers) const {
    if (!hook) return;
    const std::span<const float> rows(input.rows(), input.count() * input.row_length());
    for (const linear* layer : layers)
        hook(layer->name(), rows, input.count(), input.row_length());
}

/// Norms, rotation and scale of a token's heads; keys and values go into the cache.
void session::impl::prepare_heads(std::size_t layer, std::size_t j) {
    const layer_weights& lw = w.layers[layer];
    const rope_row& rope = p.local[layer] ? local_ropes[j] : ropes[j];
    float* room = scratch(p.rope_length);
    const auto prepare = [&](float* head, const std::vector<float>& norm) {
        if (!norm.empty()) rms_norm(head, norm.data(), p.key_length, p.norm_epsilon, head);
        rope.rotate(head, p.pairs, room);
    };
    float* q = queries.data() + j * p.heads * p.key_length;
    for (std::size_t h = 0; h < p.heads; ++h) prepare(q + h * p.key_length, lw.query_norm);
    transform<qdial::default_arch>(q, p.heads * p.key_length, [&](auto x) QDIAL_INLINE_LAMBDA {
        return x * floats16<qdial::default_arch>(p.attention_scale);
    });
    float* k = keys.data() + j * p.kv_heads * p.key_length;
    for (std::size_t h = 0; h < p.kv_heads; ++h) prepare(k + h * p.key_length, lw.key_norm);
    cache.store(layer, position + j, k, values.data() + j * p.kv_heads * p.value_length);
}

template <class T>
void session::impl::attend_tile(const cached_head<T>& head, std::size_t layer,
                                std::size_t kv_head, std::size_t first, std::size_t count,
                                std::size_t begin, std::size_t end) {
    const std::size_t shared = p.heads / p.kv_heads;
    const std::size_t width = (p.value_length + 15) / 16 * 16;
    const std::size_t stride = (end - head.origin + key_group - 1) / key_group * key_group;
    float* scores = scratch(query_tile * (stride + width));
    float* out = scores + query_tile * stride;
    query tile[query_tile] = {};
    const auto head_index = [&](std::size_t k) {  // of the k-th query: its token and its head
        const std::size_t at = first + k;
        return (at / shared) * p.heads + kv_head * shared + at % shared;
    };
    for (std::size_t k = 0; k < count; ++k) {
        const std::size_t at = position + (first + k) / shared;
        tile[k] = {queries.data() + head_index(k) * p.key_length, out + k * width,
                   std::max(begin, window_begin(layer, at)), at + 1};
    }
    attend<>(head, tile, count, p.attention_soft_cap, scores, stride);
    for (std::size_t k = 0; k < count; ++k)
        std::copy_n(out + k * width, p.value_length,
                    attended.data() + head_index(k) * p.value_length);
}

void session::impl::attention(std::size_t layer, std::size_t n) {
    const stopwatch watch(spent.attention);
    const std::size_t begin = window_begin(layer, position);
    cache.open(layer, begin, position + n, threads);
    const std::size_t rows = n * (p.heads / p.kv_heads);  // queries of a head of the cache
    const std::size_t tiles = (rows + query_tile - 1) / query_tile;
    threads(p.kv_heads * tiles, [&](std::size_t i) {
        // The last tiles see the most: first, so that no thread waits for them in the end.
        const std::size_t kv_head = i % p.kv_heads, tile = tiles - 1 - i / p.kv_heads;
        const std::size_t first = tile * query_tile;
        const std::size_t count = std::min(query_tile, rows - first);
        cache.visit(kv_head, [&](const auto& head) {
            const std::size_t last = position + (first + count - 1) / (p.heads / p.kv_heads);
            attend_tile(head, layer, kv_head, first, count, begin, last + 1);
        });
    });
}

/// hidden += projected, normed first if the model has that norm.
void session::impl::add_rows(std::size_t n, const std::vector<float>& post_norm) {
    threads(n, [&](std::size_t j) {
        float* row = projected.data() + j * p.embedding;
        if (!post_norm.empty())
            rms_norm(row, post_norm.data(), p.embedding, p.norm_epsilon, row);
        add(hidden.data() + j * p.embedding, row, p.embedding);
    });
}

void session::impl::feed_forward(const layer_weights& layer, std::size_t n) {
    norm_rows(n, layer.feed_forward_norm);
    observe({&layer.gate, &layer.up});
    multiply(layer.gate, gate);
    multiply(layer.up, up);
    threads(n, [&](std::size_t j) {
        gated(gate.data() + j * p.feed_forward, up.data() + j * p.feed_forward, p.feed_forward,
              p.gelu);
    });
    input.set(gate.data(), n, p.feed_forward);
    observe({&layer.down});
    multiply(layer.down, projected);
    add_rows(n, layer.post_feed_forward_norm);
}

void session::impl::run_batch(std::span<const token> tokens) {
    const std::size_t n = tokens.size();
    reserve(n);
    embed(tokens);
    set_ropes(n);
    for (std::size_t i = 0; i < p.layers; ++i) {
        const layer_weights& layer = w.layers[i];
        norm_rows(n, layer.attention_norm);
        observe({&layer.query, &layer.key, &layer.value});
        multiply(layer.query, queries);
        multiply(layer.key, keys);
        multiply(layer.value, values);
        threads(n, [&](std::size_t j) { prepare_heads(i, j); });
        attention(i, n);
        input.set(attended.data(), n, p.heads * p.value_length);
        observe({&layer.output});
        multiply(layer.output, projected);
        add_rows(n, layer.post_attention_norm);
        feed_forward(layer, n);
    }
}

/// Keeps the wanted rows of the batch that starts with token `first`.
void session::impl::keep(std::span<const std::size_t> wanted, std::size_t first) {
    for (const std::size_t index : wanted) {
        kept.resize((kept_rows + 1) * p.embedding);
        rms_norm(hidden.data() + (index - first) * p.embedding, w.output_norm.data(), p.embedding,
                 p.norm_epsilon, kept.data() + kept_rows * p.embedding);
        ++kept_rows;
    }
}

session::session(const model& model, thread_pool& threads, const session_options& options) {
    if (options.context == 0 || options.batch == 0)
        throw qdial::error("found a context or batch of 0 tokens, expected at least 1");
    impl_ = std::make_unique<impl>(model, threads, options);
}

session::~session() = default;
session::session(session&&) noexcept = default;
session& session::operator=(session&&) noexcept = default;

void session::run(std::span<const token> tokens, std::span<const std::size_t> wanted) {
    impl& s = *impl_;
    const stopwatch watch(s.spent.total);
    if (tokens.size() > s.options.context - s.position)
        throw qdial::error("found " + std::to_string(tokens.size()) + " tokens at position " +
                           std::to_string(s.position) + ", the context holds " +
                           std::to_string(s.options.context));
    for (const token t : tokens)
        if (t < 0 || static_cast<std::size_t>(t) >= s.p.vocabulary)
            throw qdial::error("found token " + std::to_string(t) + ", expected one below " +
                               std::to_string(s.p.vocabulary));
    if (!std::ranges::is_sorted(wanted, std::less_equal{}) ||
        (!wanted.empty() && wanted.back() >= tokens.size()))
        throw qdial::error("wanted positions: expected ascending ones below " +
                           std::to_string(tokens.size()));
    s.kept_rows = 0;
    for (std::size_t first = 0; first < tokens.size();) {
        const std::size_t n = std::min(s.options.batch, tokens.size() - first);
        s.run_batch(tokens.subspan(first, n));
        const auto end = std::ranges::lower_bound(wanted, first + n);
        const auto count = static_cast<std::size_t>(end - wanted.begin());
        s.keep(wanted.first(count), first);
        wanted = wanted.subspan(count);
        first += n;
        s.position += n;
    }
}

void session::logits(std::size_t first, std::size_t n, std::span<float> out) {
    impl& s = *impl_;
    const stopwatch watch(s.spent.total);
    if (first > s.kept_rows || n > s.kept_rows - first || out.size() != n * s.p.vocabulary)
        throw qdial::error("logits: found positions " + std::to_string(first) + " to " +
                           std::to_string(first + n) + " and room for " +
                           std::to_string(out.size()) + " floats, the last run kept " +
                           std::to_string(s.kept_rows));
    if (n == 0) return;
    s.input.set(s.kept.data() + first * s.p.embedding, n, s.p.embedding);
    s.observe({&s.w.output});
    {
        const stopwatch packed(s.spent.packed);
        s.w.output.multiply(s.input, out.data(), s.threads);
    }
    if (s.p.logit_soft_cap != 0.0f)
        s.threads(n, [&](std::size_t j) {
            transform<qdial::default_arch>(
                out.data() + j * s.p.vocabulary, s.p.vocabulary,
                [&](auto x) QDIAL_INLINE_LAMBDA {
                    return soft_cap<qdial::default_arch>(x, s.p.logit_soft_cap);
                });
        });
}

void session::run_last(std::span<const token> tokens, std::span<float> logits) {
    if (tokens.empty()) throw qdial::error("found no tokens, expected at least one");
    const std::size_t last = tokens.size() - 1;
    run(tokens, std::span(&last, 1));
    this->logits(0, 1, logits);
}

std::vector<token> session::generate(std::span<const token> tokens, std::size_t count,
                                     const std::function<bool(token)>& stop) {
    std::vector<token> generated;
    std::vector<float> logits(impl_->p.vocabulary);
    if (count != 0) run_last(tokens, logits);
    while (generated.size() < count) {
        generated.push_back(most_likely(logits));
        if (stop && stop(generated.back())) break;
        if (generated.size() == count || impl_->position == impl_->options.context) break;
        run_last(std::span(&generated.back(), 1), logits);
    }
    return generated;
}

void session::clear() noexcept {
    impl_->position = 0;
    impl_->kept_rows = 0;
}

void session::rewind(std::size_t position) {
    if (position > impl_->position)
        throw qdial::error("rewind: found position " + std::to_string(position) +
                           ", expected at most " + std::to_string(impl_->position));
    impl_->position = position;
}

std::size_t session::position() const noexcept { return impl_->position; }
std::size_t session::context() const noexcept { return impl_->options.context; }
void session::observe(input_hook hook) { impl_->hook = std::move(hook); }
const timings& session::spent() const noexcept { return impl_->spent; }
void session::reset_timings() noexcept { impl_->spent = {}; }
std::uint64_t session::cache_bytes() const noexcept { return impl_->cache.bytes(); }

token most_likely(std::span<const float> logits) noexcept {
    std::size_t best = 0;
    for (std::size_t i = 1; i < logits.size(); ++i)
        if (logits[i] > logits[best]) best = i;
    return static_cast<token>(best);
}

}  // namespace engine
