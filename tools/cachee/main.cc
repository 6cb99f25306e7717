// SPDX-License-Identifier: Apache-2.0
// The CLI `cachee`: reads the command line and hands over to a subcommand. Runs beside the two
// planes and never in them; reads shared memory only.
#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

#include "tools/cachee/commands.h"
#include "tools/cachee/replay.h"
#include "tools/simulate/simulate.h"

namespace {

void add_replay_options(CLI::App& app, cachee::cli::ReplayOptions& options) {
    app.add_option("FILE", options.file, "trace: CSV or oracleGeneral, plain or zstd")->required();
    app.add_option("--target", options.target, "HOST:PORT that answers, as a rule cachee")
        ->required();
    app.add_option("--through-l2", options.through_l2,
                   "HOST:PORT of L2: populated first, and read directly for comparison");
    app.add_option("--format", options.format, "of FILE; auto: by its name")
        ->check(CLI::IsMember({"auto", "csv", "oracle"}))
        ->capture_default_str();
    app.add_option("--instance", options.instance,
                   "take L1's hit ratio from this instance's counters");
    app.add_option("--key-prefix", options.key_prefix, "put before every key")
        ->check(CLI::Validator(
            [](const std::string& text) { return text.size() <= 256 ? "" : "at most 256 bytes"; },
            ""));
    app.add_option("--limit", options.limit, "requests; 0: the whole trace")->capture_default_str();
    app.add_option("--clients", options.clients, "threads with a connection each")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    app.add_option("--pipeline", options.pipeline, "commands in flight per connection")
        ->check(CLI::Range(1, 512))
        ->capture_default_str();
    app.add_option("--value-bytes-max", options.value_bytes_max, "cut larger values to this")
        ->check(CLI::Range(1, 64 << 20))
        ->capture_default_str();
    app.add_option("--value-bytes-unknown", options.value_bytes_unknown,
                   "where the trace has no size")
        ->check(CLI::Range(1, 64 << 20))
        ->capture_default_str();
    app.add_option("--ttl-scale", options.ttl_scale, "multiplies the TTLs of the trace")
        ->check(CLI::Range(1e-6, 1e3))
        ->capture_default_str();
    app.add_option("--seconds", options.seconds, "end the replay after this")
        ->check(CLI::Range(0.1, 86400.0))
        ->capture_default_str();
    app.add_option("--seed", options.seed, "of the values")->capture_default_str();
    app.add_flag("--verify", options.verify, "compare every value read; exit 1 when one is wrong");
    app.add_flag(
        "--cache-aside", options.cache_aside,
        "do not populate L2: set through the target what a read does not find (the way without "
        "--through-l2)");
    app.add_flag("--json", options.json, "one JSON object instead of the table");
}

void add_simulate_options(CLI::App& app, cachee::simulate::SimulateOptions& options) {
    app.add_option("TRACE", options.traces, "traces: CSV or oracleGeneral, plain or zstd")
        ->required();
    app.add_option("--policy", options.policies,
                   "policies of l1.eviction, and textbook ones: ref-lru, ref-fifo, ref-sieve, "
                   "ref-s3fifo, ref-belady")
        ->delimiter(',')
        ->required();
    app.add_option("--size", options.sizes,
                   "of L1 (64MiB), of the trace's footprint (1%), or in objects (5000objects)")
        ->delimiter(',')
        ->required();
    app.add_option("--format", options.format, "of the traces; auto: by their names")
        ->check(CLI::IsMember({"auto", "csv", "oracle"}))
        ->capture_default_str();
    app.add_option("--limit", options.limit, "first requests of a trace; 0: all")
        ->capture_default_str();
    app.add_option("--memory-max", options.memory_bytes_max, "bytes that a trace may take")
        ->transform(CLI::AsSizeValue(false))
        ->capture_default_str();
    app.add_option("--partitions", options.partitions, "of L1: one for each worker")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    app.add_option("--item-bytes", options.unit_item_bytes,
                   "an item of L1 where the trace has no sizes, its header included")
        ->check(CLI::Range(64, 1 << 20))
        ->capture_default_str();
    app.add_option("--segments", options.segments,
                   "of a partition, about; sizes in bytes of L1 "
                   "have what the appliance gives them")
        ->check(CLI::Range(4, 1 << 16))
        ->capture_default_str();
    app.add_option("--threads", options.threads, "caches simulated at a time; 0: one per core")
        ->check(CLI::Range(0, 256))
        ->capture_default_str();
    app.add_flag("--ttl", options.use_ttl, "values expire as the trace says");
    app.add_flag("--operations", options.operations,
                 "sets and deletes are what they are; else every request is a look-up");
    app.add_flag("--matrix", options.matrix, "a line for each size, a column for each policy");
    app.add_flag("--json", options.json, "one JSON object a trace instead of the table");
}

}  // namespace

int main(int argc, char** argv) {
    using namespace cachee::cli;
    // Its options are another program's.
    if (argc > 1 && std::string_view(argv[1]) == "bench") return run_bench(argc, argv);
    CLI::App app{"cachee: watch and check a cachee appliance on this host"};
    app.set_version_flag("--version", std::string("cachee ") + CACHEE_VERSION);
    app.require_subcommand(1);
    int code = 0;

    StatOptions stat;
    CLI::App* stat_app =
        app.add_subcommand("stat", "a line per second: rates, hit ratio, load, latency");
    stat_app->add_option("--instance", stat.instance,
                         "name of the instance; by default the only one here, or main");
    stat_app->add_option("--interval", stat.interval_s, "seconds between lines")
        ->check(CLI::Range(0.01, 3600.0))
        ->capture_default_str();
    stat_app->add_option("--count", stat.count, "lines to print; 0: until interrupted");
    stat_app->add_flag("--json", stat.json, "one JSON object per line");
    stat_app->callback([&] {
        if (stat.instance.empty()) stat.instance = default_instance();
        code = run_stat(stat);
    });

    InfoOptions info;
    CLI::App* info_app = app.add_subcommand("info", "everything the planes publish, once");
    info_app->add_option("--instance", info.instance,
                         "name of the instance; by default the only one here, or main");
    info_app->add_flag("--json", info.json, "one JSON object");
    info_app->callback([&] {
        if (info.instance.empty()) info.instance = default_instance();
        code = run_info(info);
    });

    std::string config_path;
    CLI::App* check_app = app.add_subcommand("check-config", "is this configuration file right?");
    check_app->add_option("FILE", config_path, "cachee.yaml")->required();
    check_app->callback([&] { code = run_check_config(config_path); });

    ReplayOptions replay;
    CLI::App* replay_app =
        app.add_subcommand("replay", "send the requests of an access trace and measure");
    add_replay_options(*replay_app, replay);
    replay_app->callback([&] { code = run_replay(replay); });

    cachee::simulate::SimulateOptions simulate;
    CLI::App* simulate_app =
        app.add_subcommand("simulate", "miss ratios of eviction policies over access traces");
    add_simulate_options(*simulate_app, simulate);
    simulate_app->callback([&] { code = cachee::simulate::run_simulate(simulate); });

    app.add_subcommand("bench", "load a Redis-compatible server and measure");

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        // 0 for --help and --version, which CLI11 reports as exceptions too.
        return app.exit(error) == 0 ? 0 : 2;
    }
    return code;
}
