// SPDX-License-Identifier: Apache-2.0
#include "controlplane/reply_encoder.h"

namespace cachee::controlplane {

namespace {

// Of hiredis: what ours are made of. Set before the first reply is read and never changed.
redisReplyObjectFunctions default_functions;

// hiredis makes the same nil of "$-1", "*-1" and "_": `integer`, which a nil does not use, tells
// which.
void* create_nil(const redisReadTask* task) {
    auto* reply = static_cast<redisReply*>(default_functions.createNil(task));
    if (reply != nullptr) reply->integer = task->type;
    return reply;
}

redisReplyObjectFunctions with_own_nil(const redisReplyObjectFunctions& defaults) {
    default_functions = defaults;
    redisReplyObjectFunctions own = defaults;
    own.createNil = create_nil;
    return own;
}

std::string_view text_of(const redisReply& reply) { return {reply.str, reply.len}; }

class Encoder {
  public:
    Encoder(std::string& out, resp::Protocol protocol)
        : out_(out), writer_(out, protocol), resp3_(protocol == resp::Protocol::kResp3) {}

    bool encode(const redisReply& reply, int depth) {
        switch (reply.type) {
            case REDIS_REPLY_STRING:
                writer_.bulk(text_of(reply));
                return true;
            case REDIS_REPLY_STATUS:
                writer_.simple(text_of(reply));
                return true;
            case REDIS_REPLY_ERROR:
                writer_.error(text_of(reply));
                return true;
            case REDIS_REPLY_INTEGER:
                writer_.integer(reply.integer);
                return true;
            case REDIS_REPLY_NIL:
                null(reply);
                return true;
            case REDIS_REPLY_DOUBLE:
                real(text_of(reply));
                return true;
            case REDIS_REPLY_BOOL:
                writer_.boolean(reply.integer != 0);
                return true;
            case REDIS_REPLY_BIGNUM:
                writer_.big_number(text_of(reply));
                return true;
            case REDIS_REPLY_VERB:
                writer_.verbatim({reply.vtype, 3}, text_of(reply));
                return true;
            default:
                return aggregate(reply, depth);
        }
    }

  private:
    bool aggregate(const redisReply& reply, int depth) {
        switch (reply.type) {
            case REDIS_REPLY_ARRAY:
                writer_.array(reply.elements);
                break;
            case REDIS_REPLY_SET:
                writer_.set(reply.elements);
                break;
            case REDIS_REPLY_PUSH:
                writer_.push(reply.elements);
                break;
            case REDIS_REPLY_MAP:
                if (reply.elements % 2 != 0) return false;
                writer_.map(reply.elements / 2);
                break;
            default:
                return false;
        }
        if (depth >= kReplyDepthMax) return false;
        for (size_t i = 0; i < reply.elements; ++i) {
            if (reply.element[i] == nullptr || !encode(*reply.element[i], depth + 1)) return false;
        }
        return true;
    }

    void null(const redisReply& reply) {
        if (reply.integer == REDIS_REPLY_ARRAY) {
            out_.append("*-1\r\n");
        } else if (reply.integer == REDIS_REPLY_STRING) {
            out_.append("$-1\r\n");
        } else {
            writer_.null();
        }
    }

    // In L2's own digits: every release prints doubles its own way.
    void real(std::string_view digits) {
        if (resp3_) {
            out_.append(1, ',').append(digits).append("\r\n");
        } else {
            writer_.bulk(digits);
        }
    }

    std::string& out_;
    resp::Writer writer_;
    bool resp3_;
};

}  // namespace

void tell_nulls_apart(redisReader& reader) {
    static redisReplyObjectFunctions functions = with_own_nil(*reader.fn);
    reader.fn = &functions;
}

bool encode_reply(const redisReply& reply, resp::Protocol protocol, std::string& out) {
    const size_t before = out.size();
    if (Encoder(out, protocol).encode(reply, 0)) return true;
    out.resize(before);
    return false;
}

std::string error_reply(std::string_view text) {
    std::string out;
    resp::Writer(out).error(text);
    return out;
}

}  // namespace cachee::controlplane
