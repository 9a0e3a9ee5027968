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
#include <limits>
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

/// Seconds that pass, for work on several threads.
inline double wall_seconds() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline double median(std::vector<double> values) {
    std::ranges::sort(values);
    const std::size_t n = values.size();
    return n == 0 ? 0.0 : 0.5 * (values[(n - 1) / 2] + values[n / 2]);
}

/// How long a comparison goes on and what it counts as time.
struct paired_settings {
    std::size_t rounds = 21;        ///< the most
    std::size_t least_rounds = 21;  ///< these are run, however long they take
    double slice_seconds = 0.4e-3;  ///< the least length of a slice
    double seconds = 1e9;           ///< no further rounds after about so long
    double (*clock)() = thread_seconds;
};

/// Calls in a slice and rounds, 0 at first: kept from one repetition of a benchmark to the next,
/// because Google Benchmark wants as many iterations in all of them.
struct paired_plan {
    std::size_t calls_per_slice = 0, rounds = 0;
};

/// qdial's kernel against baselines in one benchmark. A round runs, for each baseline, a slice of
/// ours and a slice of the baseline next to each other (their order alternates), so that both meet
/// the same clock frequency and the same neighbours; a counter is the median, over all rounds, of
/// baseline time / our time: how many times as fast as the baseline we are.
class paired_run {
public:
    using function = std::function<void()>;
    /// Makes so many calls and tells the seconds that they took; NaN if it could not.
    using timed_function = std::function<double(std::size_t calls)>;

    paired_run(benchmark::State& state, paired_plan& plan, paired_settings settings = {})
        : state_(state), plan_(plan), settings_(settings) {}

    void ours(function call) { ours_.calls = timed(std::move(call)); }
    void ours_timed(timed_function calls) { ours_.calls = std::move(calls); }
    void against(const std::string& counter, function other) {
        against_timed(counter, timed(std::move(other)));
    }
    /// The counter is the ratio of the times multiplied by `scale`.
    void against_timed(const std::string& counter, timed_function other, double scale = 1.0) {
        baselines_.push_back(
            {.counter = counter, .other = {.calls = std::move(other)}, .scale = scale});
    }

    /// What the reader of the result has to know, such as "no peer".
    void note(const std::string& text) {
        note_ += (note_.empty() ? "" : "; ") + text;
        state_.SetLabel(note_);
    }
    /// A counter of the caller's.
    void count(const std::string& counter, double value) { state_.counters[counter] = value; }

    /// Measures; elements and bytes (read and written) are those of one call.
    void run(std::size_t elements, std::size_t bytes) {
        plan();
        // One batch is all rounds, and its iterations are our calls, so that the library's own
        // time column is the time of one call of ours.
        const std::size_t calls = plan_.rounds * baselines_.size() * ours_.calls_per_slice;
        while (state_.KeepRunningBatch(static_cast<benchmark::IterationCount>(calls))) {
            state_.PauseTiming();
            for (std::size_t round = 0; round < plan_.rounds; ++round)
                for (baseline& b : baselines_) measure_pair(b, round % 2 == 0);
            state_.ResumeTiming();
        }
        report(static_cast<double>(elements), static_cast<double>(bytes));
    }

    /// After run: the seconds of one call of ours.
    [[nodiscard]] double seconds() const { return median(our_seconds_); }
    /// After run: a counter's value; NaN if it was not measured.
    [[nodiscard]] double ratio(std::string_view counter) const {
        for (const baseline& b : baselines_)
            if (b.counter == counter && !b.ratios.empty()) return b.scale * median(b.ratios);
        return std::numeric_limits<double>::quiet_NaN();
    }

private:
    struct contestant {
        timed_function calls;
        std::size_t calls_per_slice = 1;
    };
    struct baseline {
        std::string counter;
        contestant other;
        double scale = 1.0;
        std::vector<double> ratios{};
    };

    timed_function timed(function call) const {
        return [call = std::move(call), clock = settings_.clock](std::size_t calls) {
            const double start = clock();
            for (std::size_t i = 0; i < calls; ++i) {
                call();
                benchmark::ClobberMemory();
            }
            return clock() - start;
        };
    }

    /// Seconds of one call, averaged over a slice.
    static double slice(const contestant& c) {
        return c.calls(c.calls_per_slice) / static_cast<double>(c.calls_per_slice);
    }

    /// Warms up and finds how many calls fill a slice; returns a slice's seconds.
    double calibrate(contestant& c) const {
        double seconds = slice(c);
        if (seconds < 10 * settings_.slice_seconds) seconds = std::min(slice(c), slice(c));
        seconds = std::max(1e-9, seconds);
        c.calls_per_slice = static_cast<std::size_t>(std::ceil(settings_.slice_seconds / seconds));
        return seconds * static_cast<double>(c.calls_per_slice);
    }

    void plan() {
        const double ours = calibrate(ours_);
        double round = 0.0;
        for (baseline& b : baselines_) round += ours + calibrate(b.other);
        if (plan_.calls_per_slice == 0) {
            const double fitting = std::min(settings_.seconds / round, 1e6);
            plan_ = {ours_.calls_per_slice, std::clamp(static_cast<std::size_t>(fitting),
                                                       settings_.least_rounds, settings_.rounds)};
        }
        ours_.calls_per_slice = plan_.calls_per_slice;
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
        if (!std::isnan(other)) b.ratios.push_back(other / ours);
    }

    void report(double elements, double bytes) {
        state_.counters["elements/s"] = elements / seconds();
        state_.counters["bytes/s"] =
            benchmark::Counter(bytes / seconds(), benchmark::Counter::kDefaults,
                               benchmark::Counter::kIs1024);
        for (const baseline& b : baselines_)
            if (!b.ratios.empty()) state_.counters[b.counter] = ratio(b.counter);
    }

    benchmark::State& state_;
    paired_plan& plan_;
    paired_settings settings_;
    contestant ours_;
    std::vector<baseline> baselines_;
    std::vector<double> our_seconds_;
    std::string note_;
};

/// Registers OPERATION/FORMAT, which is `measure(paired_run&)`.
template <class Measure>
void add_benchmark(const std::string& operation, std::string_view format, Measure measure,
                   paired_settings settings = {}) {
    const auto plan = std::make_shared<paired_plan>();
    benchmark::RegisterBenchmark((operation + "/" + std::string(format)).c_str(),
                                 [=](benchmark::State& state) {
                                     paired_run run(state, *plan, settings);
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
