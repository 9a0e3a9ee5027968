// SPDX-License-Identifier: Apache-2.0
//
// Packed GEMV and GEMM of every format, as a model's layers use them: activations are quantized
// each time, weights come from memory.
#include "cases.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../paired.hpp"
#include "peer_process.hpp"
#include "problem.hpp"
#include "qdial/kernels/gemm.hpp"

namespace qdial::bench {

thread_team& team_of(std::size_t threads) {
    static std::map<std::size_t, thread_team> teams;
    return teams.try_emplace(threads, threads).first->second;
}

namespace {

/// Operations of a peak per second, the best of half a second; 0 without a loop for this machine.
template <class Peak>
double peak_per_second(thread_team& team, std::size_t threads) {
    double best = 0.0;
    if constexpr (measured_peak<Peak>)
        for (const double end = wall_seconds() + 0.5; wall_seconds() < end;) {
            const double start = wall_seconds();
            const double operations = run_peak_with<Peak>(team, threads);
            best = std::max(best, operations / (wall_seconds() - start));
        }
    return best;
}

machine_limits measure_limits(std::size_t threads) {
    thread_team& team = team_of(threads);
    const buffer<std::byte> memory(copies_beyond_caches(1), std::byte{1});
    const measured_reading read = fastest_reading(team, threads, memory);
    const machine_limits limits{read.way, static_cast<double>(memory.size()) / read.seconds,
                                peak_per_second<byte_peak>(team, threads),
                                peak_per_second<fma_peak>(team, threads)};
    team.rest();
    return limits;
}

/// Copies of a packed matrix, one behind the other.
template <measured_format F>
struct packed_copies {
    std::size_t rows, row_length, bytes, count;
    buffer<std::byte> memory;

    packed_copies(std::size_t r, std::size_t length)
        : rows(r), row_length(length), bytes(pack_size<F>(r, length)),
          count(copies_beyond_caches(bytes)), memory(count * bytes) {
        const auto blocks = sample_matrix<F>(rows, row_length);
        pack<F>(blocks, row_length, std::span(memory).first(bytes));
        for (std::size_t i = 1; i < count; ++i) std::memcpy(&memory[i * bytes], &memory[0], bytes);
    }
    std::span<const std::byte> operator[](std::size_t i) const {
        return std::span(memory).subspan(i * bytes, bytes);
    }
};

/// The copies of the last problem, and those of F16, the baseline of all others, are kept.
struct kept_copies {
    std::uint64_t format, rows, row_length;
    std::shared_ptr<const void> copies;
} kept[2];

template <measured_format F>
std::shared_ptr<const packed_copies<F>> copies_for(const problem& p) {
    auto& slot = kept[std::same_as<F, f16>];
    if (slot.copies == nullptr || slot.format != F::gguf_id || slot.rows != p.rows ||
        slot.row_length != p.row_length) {
        slot.copies.reset();
        slot = {F::gguf_id, p.rows, p.row_length,
                std::make_shared<const packed_copies<F>>(p.rows, p.row_length)};
    }
    return std::static_pointer_cast<const packed_copies<F>>(slot.copies);
}

/// Our multiplication, of the copies in turn.
template <measured_format F, class Arch>
class multiplication {
public:
    using A = packed_activation<F>;

    multiplication(const problem& p, std::size_t n, std::size_t threads)
        : copies_(copies_for<F>(p)), team_(team_of(threads)), n_(n),
          x_(sample_activations(n, p.row_length)),
          packed_x_(packed_activations_size<A>(n, p.row_length)), y_(n * p.rows) {}

    void operator()() {
        const auto& w = *copies_;
        pack_activations<A, Arch>(x_.data(), n_, w.row_length, w.row_length, std::span(packed_x_),
                                  team_);
        gemm<F, Arch>(packed_matrix<F>{copy().data(), w.rows, w.row_length},
                      packed_activations<A>{packed_x_.data(), n_, w.row_length}, y_.data(), w.rows,
                      output::overwrite, team_);
        next_ = (next_ + 1) % w.count;
    }
    /// The weights that the next call reads.
    [[nodiscard]] std::span<const std::byte> copy() const { return (*copies_)[next_]; }
    void skip() { next_ = (next_ + 1) % copies_->count; }
    [[nodiscard]] const buffer<float>& results() const { return y_; }

private:
    std::shared_ptr<const packed_copies<F>> copies_;
    thread_team& team_;
    std::size_t n_, next_ = 0;
    buffer<float> x_;
    buffer<std::byte> packed_x_;
    buffer<float> y_;
};

/// |a - b| / |b|.
double relative_error(std::span<const float> a, std::span<const float> b) {
    double difference = 0.0, size = 0.0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
        difference += d * d;
        size += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    return a.size() == b.size() && size != 0.0 ? std::sqrt(difference / size)
                                               : std::numeric_limits<double>::infinity();
}

/// Largest relative error between our results and the peer's that rounding explains: the peer
/// rounds activations to F16, BF16 or 8 bits, scales to F16, and sums in another order.
constexpr double error_limit = 0.01;

/// A contestant of several threads, which rest afterwards.
paired_run::timed_function on_team(thread_team& team, double (*clock)(),
                                   paired_run::function call) {
    return [&team, clock, call = std::move(call)](std::size_t calls) {
        const double start = clock();
        for (std::size_t i = 0; i < calls; ++i) {
            call();
            benchmark::ClobberMemory();
        }
        const double seconds = clock() - start;
        team.rest();
        return seconds;
    };
}

/// One multiplication against everything that it can be compared with.
template <measured_format F, class Arch>
class comparison {
public:
    comparison(paired_run& run, const problem& p)
        : run_(run), p_(p), team_(team_of(p.threads)),
          clock_(p.threads == 1 ? thread_seconds : wall_seconds), ours_(p, p.n, p.threads) {}

    void measure() {
        ours_();
        run_.ours_timed(on_team(team_, clock_, [this] { ours_(); }));
        add_ours();
        add_limits();
        add_peer();
        run_.run(p_.rows * p_.row_length * p_.n, ours_.copy().size());
        count();
    }

private:
    void against(const char* counter, paired_run::function call, double scale = 1.0) {
        run_.against_timed(counter, on_team(team_, clock_, std::move(call)), scale);
    }

    void add_ours() {
        if constexpr (!std::same_as<F, f16>)
            against("vs_f16", multiplication<f16, Arch>(p_, p_.n, p_.threads));
        // Speed per column.
        if (p_.n > 1 && p_.n <= 32)
            against("vs_gemv", multiplication<F, Arch>(p_, 1, p_.threads), static_cast<double>(p_.n));
        if (p_.threads > 1) against("vs_one_thread", multiplication<F, Arch>(p_, p_.n, 1));
    }

    void add_limits() {
        const reading& way = *limits_of(p_.threads).way_to_read;
        if (p_.n <= 32)
            against("read_fraction", [this, &way, read = ours_]() mutable {
                read_with(team_, p_.threads, way, read.copy());
                read.skip();
            });
        using peak = std::conditional_t<F::is_float, fma_peak, byte_peak>;
        if constexpr (measured_peak<peak>)
            if (p_.n >= 8)
                against("peak_fraction", [this] { run_peak_with<peak>(team_, p_.threads); },
                        p_.operations() / run_peak_with<peak>(team_, p_.threads));
    }

    void add_peer() {
        peer_process* peer = peer_process::get();
        if (peer == nullptr) {
            run_.note("no peer");
            return;
        }
        std::vector<std::size_t> usable;
        for (std::size_t type = 0; type < peer->buffer_types().size(); ++type)
            if (check_peer(*peer, type)) usable.push_back(type);
        for (const std::size_t type : usable) {
            // Again, because a crash with one type takes the others' weights with it.
            if (crashed_ && peer->prepare(type, p_) != peer_process::outcome::done) continue;
            const std::string& name = peer->buffer_types()[type];
            run_.against_timed("vs_peer/" + name, [=, this](std::size_t calls) {
                const double seconds = peer->multiply(type, calls);
                if (std::isnan(seconds) && !crashed_) note_crash(name);
                return seconds;
            });
            peer_types_.push_back(name);
        }
        crashed_ = false;
    }

    /// Whether the peer multiplies with this buffer type; compares the results.
    bool check_peer(peer_process& peer, std::size_t type) {
        const std::string& name = peer.buffer_types()[type];
        const auto result = peer.prepare(type, p_);
        if (result == peer_process::outcome::unsupported) return false;
        std::vector<float> theirs;
        if (result == peer_process::outcome::done) theirs = peer.results(type);
        if (theirs.empty()) {
            note_crash(name);
            return false;
        }
        const double error = relative_error(ours_.results(), theirs);
        run_.count("error/" + name, error);
        if (!(error <= error_limit)) run_.note(name + " gives other results");
        return true;
    }

    void note_crash(const std::string& buffer_type) {
        crashed_ = true;
        run_.note(buffer_type + " crashed (" + peer_process::get()->last_crash() + ")");
        run_.count("peer_crashed", 1);
    }

    void count() {
        const double bytes = static_cast<double>(ours_.copy().size());
        run_.count("GFLOPS", 1e-9 * p_.operations() / run_.seconds());
        run_.count("GB/s", 1e-9 * bytes / run_.seconds());
        run_.count("ideal_vs_f16",
                   static_cast<double>(pack_size<f16>(p_.rows, p_.row_length)) / bytes);
        // The peer's best is the one that we are the fewest times as fast as.
        double least = std::numeric_limits<double>::infinity();
        std::string best;
        for (const std::string& name : peer_types_)
            if (const double ratio = run_.ratio("vs_peer/" + name); ratio < least) {
                least = ratio;
                best = name;
            }
        if (best.empty()) return;
        run_.count("vs_peer", least);
        run_.note("peer's best: " + best);
    }

    paired_run& run_;
    problem p_;
    thread_team& team_;
    double (*clock_)();
    multiplication<F, Arch> ours_;
    std::vector<std::string> peer_types_;
    bool crashed_ = false;  ///< the peer
};

/// Packing, on one thread, beside a copy of as many bytes.
template <measured_format F>
void measure_pack(paired_run& run, std::size_t rows, std::size_t row_length) {
    using block = typename F::block;
    const auto blocks = sample_matrix<F>(rows, row_length);
    buffer<std::byte> packed(pack_size<F>(rows, row_length)), copy(blocks.size() * sizeof(block));
    run.ours([&] { pack<F>(blocks, row_length, std::span(packed)); });
    run.against("vs_copy", [&] { std::memcpy(copy.data(), blocks.data(), copy.size()); });
    run.run(rows * row_length, 2 * copy.size());
    run.count("GB/s", 1e-9 * static_cast<double>(copy.size()) / run.seconds());

    buffer<block> back(blocks.size());
    unpack<F>(std::span<const std::byte>(packed), row_length, std::span(back));
    if (std::memcmp(back.data(), blocks.data(), copy.size()) != 0)
        run.note("unpack does not give the blocks back");
}

struct shape {
    std::size_t rows, row_length;
    bool by_default;
};
// The matrices of Llama-3.1-8B, then those of Gemma 3 270M, without those of the same shape.
constexpr shape shapes[] = {
    {4096, 4096, true},    // query, output
    {14336, 4096, true},   // gate, up
    {4096, 14336, false},  // down
    {128256, 4096, false}, // head
    {1024, 640, false},    // query
    {256, 640, false},     // key, value
    {640, 1024, false},    // output
    {2048, 640, false},    // gate, up
    {640, 2048, false},    // down
    {262144, 640, false},  // head
};
constexpr std::size_t columns[] = {1, 2, 4, 8, 16, 32, 128, 512};

/// All numbers of columns for the first shape on one thread, decoding and prompt for the others.
bool by_default(const shape& s, std::size_t n, std::size_t threads) {
    const bool first = &s == &shapes[0];
    return s.by_default && (n == 1 || n == 512 || (threads == 1 && (first || n == 8))) &&
           (threads == 1 || first);
}

paired_settings settings_for(std::size_t threads) {
    return {.least_rounds = 5, .slice_seconds = 4e-3, .seconds = 1.0,
            .clock = threads == 1 ? thread_seconds : wall_seconds};
}

template <measured_format F, class Arch>
void register_format(bool all) {
    for (const shape& s : shapes) {
        if (s.row_length % F::block_length != 0) continue;
        const std::string name = std::string(F::name) + "/" + std::to_string(s.rows) + "x" +
                                 std::to_string(s.row_length);
        if (all || s.by_default)
            add_benchmark(
                "pack", name, [=](paired_run& run) { measure_pack<F>(run, s.rows, s.row_length); },
                settings_for(1));
        for (const std::size_t threads : {1, 2})
            for (const std::size_t n : columns) {
                if (!all && !by_default(s, n, threads)) continue;
                const problem p{F::gguf_id, static_cast<std::uint32_t>(threads), s.rows,
                                s.row_length, n};
                add_benchmark(
                    "gemm",
                    name + "/N" + std::to_string(n) + "/threads" + std::to_string(threads),
                    [=](paired_run& run) { comparison<F, Arch>(run, p).measure(); },
                    settings_for(threads));
            }
    }
}

template <class Arch>
std::string_view register_formats(bool all) {
    for_each_format(all_formats{}, [&](auto f) {
        using F = decltype(f);
        if constexpr (measured_format<F>) register_format<F, Arch>(all);
    });
    return Arch::name;
}

}  // namespace

const machine_limits& limits_of(std::size_t threads) {
    static std::map<std::size_t, machine_limits> limits;
    auto found = limits.find(threads);
    if (found == limits.end()) found = limits.emplace(threads, measure_limits(threads)).first;
    return found->second;
}

std::string_view register_cases(bool all) {
#if QDIAL_WITH_AMX
    if (request_amx()) return register_formats<arch::avx512_amx>(all);
#endif
    return register_formats<default_arch>(all);
}

}  // namespace qdial::bench
