// SPDX-License-Identifier: Apache-2.0
// Commands that cachee answers itself: what they say is in local_commands.h and
// resp/command_reply.h; here the session's facts go in and the effects on it come out. Data plane,
// the worker's own thread.
#include "base/clock.h"
#include "dataplane/local_commands.h"
#include "dataplane/worker.h"
#include "resp/command_reply.h"

namespace cachee::dataplane {

using stats::Counter;

// CLIENT LIST: the sessions of this worker.
class WorkerClients final : public ClientDirectory {
  public:
    explicit WorkerClients(const Worker& worker) : worker_(worker) {}

    void list(std::vector<ClientInfo>& out) const override {
        addresses_.clear();
        addresses_.reserve(worker_.sessions_.size());  // the views stay good
        for (io::SessionIndex index = 0; index < worker_.sessions_.size(); ++index) {
            const Session& session = worker_.sessions_[index];
            if (session.open) out.push_back(describe(index, session));
        }
    }

    ClientInfo describe(io::SessionIndex index, const Session& session) const {
        addresses_.push_back(worker_.transport_.peer_cold(index));
        ClientInfo info;
        info.id = session.client_id;
        info.address = addresses_.back();
        info.local_address = worker_.listen_;
        info.name = session.name;
        info.lib_name = session.library_name;
        info.lib_version = session.library_version;
        info.age_s = (worker_.now_ns_ - session.opened_ns) / base::kNsPerS;
        info.idle_s = (worker_.now_ns_ - session.last_command_ns) / base::kNsPerS;
        info.protocol = session.protocol;
        return info;
    }

  private:
    const Worker& worker_;
    mutable std::vector<std::string> addresses_;
};

bool Worker::start_local(io::SessionIndex index, Session& session,
                         const resp::CommandInfo& command) noexcept {
    const std::span<const std::string_view> arguments{arguments_.begin(), arguments_.size()};
    local_reply_.clear();
    if (command.name == "command" || command.name.starts_with("command|")) {
        local_reply_ = resp::command_reply(arguments, session.protocol);
        counters_.add(Counter::requests_local);
        reply(index, session, local_reply_);
        return true;
    }
    // HELLO and RESET change how what is in flight would be encoded: let it come first.
    if (session.in_flight != 0 && (command.name == "hello" || command.name == "reset"))
        return false;

    const WorkerClients clients(*this);
    InfoSource info;
    info.header = segment_.header();
    info.workers = segment_.worker(0);
    info.config = options_.config;
    info.now_ns = now_ns_;
    info.wall_ms = base::wall_ms();
    LocalContext context;
    context.client = clients.describe(index, session);
    context.authenticated = session.authenticated;
    context.standalone = options_.standalone;
    context.config = options_.config;
    context.info = &info;
    context.clients = &clients;
    LocalEffects effects;
    if (!answer_local(arguments, context, local_reply_, effects)) {
        if (options_.standalone) return start_standalone(index, session);
        return forward(index, session, &command, shm::Lane::kPass);
    }
    counters_.add(Counter::requests_local);
    apply_effects(session, effects);
    reply(index, session, local_reply_);
    if (effects.close) {
        session.closing = true;
        session.update_plain();
        close_when_done(index, session);
    }
    return true;
}

void Worker::apply_effects(Session& session, const LocalEffects& effects) noexcept {
    if (effects.reset) {
        session.name.clear();
        session.protocol = resp::Protocol::kResp2;
        session.authenticated = options_.config->listen.password.empty();
    }
    if (effects.authenticated) session.authenticated = *effects.authenticated;
    if (effects.protocol) session.protocol = *effects.protocol;
    if (effects.client_name) session.name = *effects.client_name;
    if (effects.lib_name) session.library_name = *effects.lib_name;
    if (effects.lib_version) session.library_version = *effects.lib_version;
    session.update_plain();
}

}  // namespace cachee::dataplane
