// SPDX-License-Identifier: Apache-2.0
// The CLI `cachee`: reads the command line and hands over to a subcommand. Runs beside the two
// planes and never in them; reads shared memory only.
#include <CLI/CLI.hpp>
#include <string>

#include "tools/cachee/commands.h"

int main(int argc, char** argv) {
    using namespace cachee::cli;
    CLI::App app{"cachee: watch and check a cachee appliance on this host"};
    app.set_version_flag("--version", std::string("cachee ") + CACHEE_VERSION);
    app.require_subcommand(1);
    int code = 0;

    StatOptions stat;
    CLI::App* stat_app =
        app.add_subcommand("stat", "a line per second: rates, hit ratio, load, latency");
    stat_app->add_option("--instance", stat.instance, "name of the instance")
        ->capture_default_str();
    stat_app->add_option("--interval", stat.interval_s, "seconds between lines")
        ->check(CLI::Range(0.01, 3600.0))
        ->capture_default_str();
    stat_app->add_option("--count", stat.count, "lines to print; 0: until interrupted");
    stat_app->add_flag("--json", stat.json, "one JSON object per line");
    stat_app->callback([&] { code = run_stat(stat); });

    InfoOptions info;
    CLI::App* info_app = app.add_subcommand("info", "everything the planes publish, once");
    info_app->add_option("--instance", info.instance, "name of the instance")
        ->capture_default_str();
    info_app->add_flag("--json", info.json, "one JSON object");
    info_app->callback([&] { code = run_info(info); });

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        // 0 for --help and --version, which CLI11 reports as exceptions too.
        return app.exit(error) == 0 ? 0 : 2;
    }
    return code;
}
