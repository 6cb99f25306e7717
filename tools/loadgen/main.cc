// SPDX-License-Identifier: Apache-2.0
// cachee-loadgen: composition root of the load generator. `cachee bench` is this program: the CLI
// executes it, so that it never links a network driver itself. Runs beside the planes or on another
// host; shares nothing with them but the network.
#include <fmt/format.h>

#include "tools/loadgen/links.h"
#include "tools/loadgen/options.h"
#include "tools/loadgen/report.h"
#include "tools/loadgen/runner.h"

int main(int argc, char** argv) {
    using namespace cachee::loadgen;
    CLI::App app{
        "Load a Redis-compatible server (or memcached), judge its replies and measure how long "
        "they take.",
        "cachee bench"};
    Options options;
    add_options(app, options);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        // 0 for --help and --version, which CLI11 reports as exceptions too.
        return app.exit(error) == 0 ? 0 : 2;
    }
    const auto fail = [](int code, const std::string& why) {
        fmt::print(stderr, "error: {}\n", why);
        return code;
    };
    if (auto status = complete(options); !status) return fail(2, status.error().message);
    auto workload = Workload::make(options.workload);
    if (!workload) return fail(2, workload.error().message);
    // The parsed forms say what was meant: "zipf" is "zipf:0.99".
    options.workload.distribution = workload->keys().text();

    if (auto status = set_priority(options); !status) return fail(1, status.error().message);
    auto links = make_links(options.network);
    if (!links) return fail(1, links.error().message);
    for (const std::string& note : (*links)->notes()) fmt::print(stderr, "note: {}\n", note);
    Report report = run_load(options, *workload, **links);
    report.network = (*links)->text();
    report.poll_mode = (*links)->poll_mode();
    const bool nothing = report.read_ns.count() + report.write_ns.count() == 0;
    if (nothing && !options.json && !report.failure.empty()) return fail(1, report.failure);
    fmt::print("{}",
               options.json ? report_json(report, options) + "\n" : report_text(report, options));
    if (!report.failure.empty()) return fail(1, report.failure);
    if (!report.first_error.empty()) {
        return fail(1, "the first error reply: " + report.first_error);
    }
    if (!report.first_wrong.empty()) return fail(1, "the first wrong reply: " + report.first_wrong);
    return report.good() ? 0 : 1;
}
