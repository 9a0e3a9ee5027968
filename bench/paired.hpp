// SPDX-License-Identifier: Apache-2.0
//
// Comparisons that hold on a noisy machine, and the data that they run on.
#pragma once

#include <benchmark/benchmark.h>

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qdial::bench {

/// CPU seconds of this thread: what other programs take from the CPU does not count.
inline double thread_seconds() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline double median(std::vector<double> values) {
    std::ranges::sort(values);
    const std::size_t n = values.size();
    return n == 0 ? 0.0 : 0.5 * (values[(n - 1) / 2] + values[n / 2]);
}

/// qdial's kernel against baselines in one benchmark. A round runs, for each baseline, a slice of
/// ours and a slice of the baseline next to each other (their order alternates), so that both meet
/// the same clock frequency and the same neighbours; a counter is the median, over all rounds, of
/// baseline time / our time: how many times as fast as the baseline we are.
class paired_run {
public:
    using function = std::function<void()>;

    /// `calls_per_slice` (0 at first) keeps our number of calls from one repetition of the
    /// benchmark to the next: Google Benchmark wants as many iterations in all of them.
    paired_run(benchmark::State& state, std::size_t& calls_per_slice)
        : state_(state), kept_calls_(calls_per_slice) {}

    void ours(function call) { ours_.call = std::move(call); }
    void against(const char* counter, function other) {
        baselines_.push_back({.counter = counter, .other = {.call = std::move(other)}});
    }

    /// What the reader of the result has to know, such as "no peer".
    void note(const std::string& text) { note_ += (note_.empty() ? "" : "; ") + text; }

    /// Measures; elements and bytes (read and written) are those of one call.
    void run(std::size_t elements, std::size_t bytes) {
        calibrate(ours_);
        if (kept_calls_ == 0) kept_calls_ = ours_.calls_per_slice;
        ours_.calls_per_slice = kept_calls_;
        for (baseline& b : baselines_) calibrate(b.other);
        // One batch is all rounds, and its iterations are our calls, so that the library's own
        // time column is the time of one call of ours.
        const std::size_t calls = rounds * baselines_.size() * ours_.calls_per_slice;
        while (state_.KeepRunningBatch(static_cast<benchmark::IterationCount>(calls))) {
            state_.PauseTiming();
            for (std::size_t round = 0; round < rounds; ++round)
                for (baseline& b : baselines_) measure_pair(b, round % 2 == 0);
            state_.ResumeTiming();
        }
        report(static_cast<double>(elements), static_cast<double>(bytes));
    }

private:
    static constexpr std::size_t rounds = 21;
    static constexpr double slice_seconds = 0.4e-3;

    struct contestant {
        function call;
        std::size_t calls_per_slice = 1;
    };
    struct baseline {
        const char* counter;
        contestant other;
        std::vector<double> ratios{};
    };

    /// Seconds of one call, averaged over a slice.
    static double slice(const contestant& c) {
        const double start = thread_seconds();
        for (std::size_t i = 0; i < c.calls_per_slice; ++i) {
            c.call();
            benchmark::ClobberMemory();
        }
        return (thread_seconds() - start) / static_cast<double>(c.calls_per_slice);
    }

    /// Warms up and finds how many calls fill a slice.
    static void calibrate(contestant& c) {
        slice(c);
        const double seconds = std::max(1e-9, std::min(slice(c), slice(c)));
        c.calls_per_slice = static_cast<std::size_t>(std::ceil(slice_seconds / seconds));
    }

    double our_slice() {
        state_.ResumeTiming();
        const double seconds = slice(ours_);
        state_.PauseTiming();
        our_seconds_.push_back(seconds);
        return seconds;
    }

    void measure_pair(baseline& b, bool ours_first) {
        double ours = 0.0;
        if (ours_first) ours = our_slice();
        const double other = slice(b.other);
        if (!ours_first) ours = our_slice();
        b.ratios.push_back(other / ours);
    }

    void report(double elements, double bytes) {
        const double seconds = median(our_seconds_);
        state_.counters["elements/s"] = elements / seconds;
        state_.counters["bytes/s"] =
            benchmark::Counter(bytes / seconds, benchmark::Counter::kDefaults,
                               benchmark::Counter::kIs1024);
        for (const baseline& b : baselines_) state_.counters[b.counter] = median(b.ratios);
        state_.SetLabel(note_);
    }

    benchmark::State& state_;
    std::size_t& kept_calls_;
    contestant ours_;
    std::vector<baseline> baselines_;
    std::vector<double> our_seconds_;
    std::string note_;
};

/// Registers OPERATION/FORMAT, which is `measure(paired_run&)`.
template <class Measure>
void add_benchmark(const std::string& operation, std::string_view format, Measure measure) {
    const auto calls_per_slice = std::make_shared<std::size_t>(0);
    benchmark::RegisterBenchmark((operation + "/" + std::string(format)).c_str(),
                                 [=](benchmark::State& state) {
                                     paired_run run(state, *calls_per_slice);
                                     measure(run);
                                 })
        ->Unit(benchmark::kMicrosecond);
}

/// Memory from a cache line's start, as model files and tensor libraries have it: stores that cross
/// lines would cost more than what is measured.
template <class T>
struct cache_line_allocator {
    using value_type = T;
    static constexpr std::align_val_t alignment{64};

    cache_line_allocator() = default;
    template <class U>
    cache_line_allocator(const cache_line_allocator<U>&) {}

    T* allocate(std::size_t count) {
        return static_cast<T*>(::operator new(count * sizeof(T), alignment));
    }
    void deallocate(T* p, std::size_t) { ::operator delete(p, alignment); }
    bool operator==(const cache_line_allocator&) const = default;
};

template <class T>
using buffer = std::vector<T, cache_line_allocator<T>>;

/// Normally distributed values, the same in every run; at most 2^18 of them.
inline std::span<const float> sample_weights(std::size_t count) {
    static const buffer<float> values = [] {
        std::mt19937 random(1);
        std::normal_distribution<float> normal(0.0f, 0.02f);
        buffer<float> v(std::size_t{1} << 18);
        for (float& x : v) x = normal(random);
        return v;
    }();
    return std::span(values).first(count);
}

}  // namespace qdial::bench
