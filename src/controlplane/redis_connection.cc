// SPDX-License-Identifier: Apache-2.0
#include "controlplane/redis_connection.h"

#include <utility>

#include "base/assert.h"
#include "base/clock.h"
#include "controlplane/reply_encoder.h"

namespace cachee::controlplane {

void RedisConnection::connect(const std::string& address, uint16_t port,
                              std::vector<std::string> handshake) {
    CACHEE_ASSERT(idle());
    state_ = State::kConnecting;
    was_ready_ = false;
    dirty_ = flushing_ = false;
    reason_.clear();
    handshake_ = std::move(handshake);
    handshake_answered_ = 0;
    step_.connection = this;
    redisOptions options{};
    REDIS_OPTIONS_SET_TCP(&options, address.c_str(), port);
    context_ = redisAsyncConnectWithOptions(&options);
    if (context_ == nullptr || context_->err != 0) {
        const std::string reason = context_ != nullptr ? context_->errstr : "out of memory";
        if (context_ != nullptr) redisAsyncFree(context_);
        down(reason);
        return;
    }
    context_->data = this;
    tell_nulls_apart(*context_->c.reader);
    if (!attach_hooks()) {
        redisAsyncFree(context_);
        down("the event loop refused the socket");
        return;
    }
    redisAsyncSetPushCallback(context_, on_hiredis_push);
    redisAsyncSetDisconnectCallback(context_, on_hiredis_disconnect);
    redisAsyncSetConnectCallbackNC(context_, on_hiredis_connect);  // starts polling for writability
}

bool RedisConnection::attach_hooks() {
    auto* poller = new Poller;
    if (uv_poll_init_socket(loop_, &poller->handle, context_->c.fd) != 0) {
        delete poller;
        return false;
    }
    poller->handle.data = poller;
    poller->context = context_;
    poller_ = poller;
    context_->ev.data = this;
    context_->ev.addRead = [](void* data) { want(data, UV_READABLE, true); };
    context_->ev.delRead = [](void* data) { want(data, UV_READABLE, false); };
    context_->ev.addWrite = [](void* data) { want(data, UV_WRITABLE, true); };
    context_->ev.delWrite = [](void* data) { want(data, UV_WRITABLE, false); };
    context_->ev.cleanup = on_hiredis_cleanup;
    return true;
}

void RedisConnection::want(void* data, int events, bool add) {
    auto* connection = static_cast<RedisConnection*>(data);
    Poller* poller = connection->poller_;
    if (poller == nullptr) return;
    // A command was appended to the output buffer: flush() writes it. Asked for by flush() itself:
    // the kernel did not take all of it.
    if (add && events == UV_WRITABLE && connection->state_ != State::kConnecting &&
        !connection->flushing_) {
        connection->dirty_ = true;
        return;
    }
    const int wanted = add ? poller->events | events : poller->events & ~events;
    if (wanted == poller->events) return;
    poller->events = wanted;
    if (wanted != 0) {
        uv_poll_start(&poller->handle, wanted, on_uv);
    } else {
        uv_poll_stop(&poller->handle);
    }
}

void RedisConnection::on_uv(uv_poll_t* handle, int status, int events) {
    auto* poller = static_cast<Poller*>(handle->data);
    const int happened = status != 0 ? poller->events : events;
    if (poller->context != nullptr && (happened & UV_READABLE) != 0) {
        self(poller->context)->last_read_ns_ = base::monotonic_ns();
        redisAsyncHandleRead(poller->context);
    }
    if (poller->context != nullptr && (happened & UV_WRITABLE) != 0) {
        redisAsyncHandleWrite(poller->context);
    }
}

void RedisConnection::on_hiredis_cleanup(void* data) {
    auto* connection = static_cast<RedisConnection*>(data);
    Poller* poller = std::exchange(connection->poller_, nullptr);
    if (poller == nullptr) return;
    poller->context = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&poller->handle),
             [](uv_handle_t* handle) { delete static_cast<Poller*>(handle->data); });
}

void RedisConnection::on_hiredis_connect(redisAsyncContext* context, int status) {
    RedisConnection* connection = self(context);
    if (connection->context_ != context) return;
    if (status != REDIS_OK) {
        // hiredis frees the context after this; its cleanup hook lets go of the poll handle.
        connection->context_ = nullptr;
        connection->down(context->errstr);
        return;
    }
    connection->start_handshake();
}

void RedisConnection::on_hiredis_disconnect(const redisAsyncContext* context, int /*status*/) {
    RedisConnection* connection = self(context);
    if (connection->context_ != context) return;
    connection->context_ = nullptr;
    if (connection->reason_.empty()) {
        connection->reason_ = context->err != 0 ? context->errstr : "closed";
    }
    connection->down(connection->reason_);
}

void RedisConnection::on_hiredis_push(redisAsyncContext* context, void* reply) {
    if (reply != nullptr) self(context)->owner_.on_push(*static_cast<redisReply*>(reply));
}

void RedisConnection::on_hiredis_reply(redisAsyncContext* context, void* reply, void* call) {
    RedisConnection* connection = self(context);
    const auto* tree = static_cast<const redisReply*>(reply);
    if (tree != nullptr && tree->type == REDIS_REPLY_ATTR) {
        // hiredis takes an attribute for the reply it only announces: every later reply would go to
        // the wrong caller. Nothing cachee sends asks for attributes.
        connection->reason_ = "it sent a RESP3 attribute";
        connection->state_ = State::kLosing;
        tree = nullptr;
        redisAsyncFree(context);
    } else if (tree == nullptr || connection->state_ == State::kLosing) {
        connection->state_ =
            State::kLosing;  // a caller that sends anew in on_reply finds it not ready
        tree = nullptr;
    }
    static_cast<L2Call*>(call)->on_reply(tree);
}

void RedisConnection::start_handshake() {
    state_ = State::kHandshake;
    for (const std::string& command : handshake_) {
        if (!submit(command[0] == '?' ? std::string_view(command).substr(1) : command, step_))
            return;
    }
    flush();
}

void RedisConnection::handshake_reply(const redisReply* reply) {
    if (reply == nullptr || state_ != State::kHandshake) return;
    const size_t answered = handshake_answered_++;
    const bool may_fail = answered < handshake_.size() && handshake_[answered][0] == '?';
    if (reply->type == REDIS_REPLY_ERROR && !may_fail) {
        close(std::string("it refused the handshake: ") + reply->str);
        return;
    }
    if (handshake_answered_ < handshake_.size()) return;
    state_ = State::kReady;
    was_ready_ = true;
    handshake_.clear();
    handshake_.shrink_to_fit();
    owner_.on_connection_ready(lane_);
}

bool RedisConnection::submit(std::string_view command, L2Call& call) {
    return redisAsyncFormattedCommand(context_, on_hiredis_reply, &call, command.data(),
                                      command.size()) == REDIS_OK;
}

bool RedisConnection::send(std::string_view command, L2Call& call) {
    return ready() && submit(command, call);
}

void RedisConnection::flush() {
    if (!dirty_ || context_ == nullptr || state_ == State::kLosing) return;
    // While the socket is polled for writing, the poll callback does it.
    if (poller_ != nullptr && (poller_->events & UV_WRITABLE) != 0) return;
    dirty_ = false;
    flushing_ = true;
    redisAsyncHandleWrite(context_);
    flushing_ = false;
}

void RedisConnection::close(const std::string& reason) {
    if (state_ == State::kIdle || context_ == nullptr) return;
    if (reason_.empty()) reason_ = reason;
    const bool connecting = state_ == State::kConnecting;
    state_ = State::kLosing;
    redisAsyncContext* context = context_;
    // hiredis tells of a disconnect only when it was connected.
    if (connecting) context_ = nullptr;
    redisAsyncFree(context);
    if (connecting) down(reason_);
}

void RedisConnection::down(const std::string& reason) {
    const std::string why = reason;
    context_ = nullptr;
    state_ = State::kIdle;
    const bool was_ready = std::exchange(was_ready_, false);
    owner_.on_connection_down(lane_, why, was_ready);
}

}  // namespace cachee::controlplane
