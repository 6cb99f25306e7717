// SPDX-License-Identifier: Apache-2.0
#include "controlplane/reply_encoder.h"

namespace cachee::controlplane {

namespace {

std::string_view text_of(const redisReply& reply) { return {reply.str, reply.len}; }

bool encode_children(const redisReply& reply, resp::Writer& writer, int depth);

bool encode(const redisReply& reply, resp::Writer& writer, int depth) {
    switch (reply.type) {
        case REDIS_REPLY_STRING:
            writer.bulk(text_of(reply));
            return true;
        case REDIS_REPLY_STATUS:
            writer.simple(text_of(reply));
            return true;
        case REDIS_REPLY_ERROR:
            writer.error(text_of(reply));
            return true;
        case REDIS_REPLY_INTEGER:
            writer.integer(reply.integer);
            return true;
        case REDIS_REPLY_NIL:
            writer.null();
            return true;
        case REDIS_REPLY_DOUBLE:
            writer.real(reply.dval);
            return true;
        case REDIS_REPLY_BOOL:
            writer.boolean(reply.integer != 0);
            return true;
        case REDIS_REPLY_BIGNUM:
            writer.big_number(text_of(reply));
            return true;
        case REDIS_REPLY_VERB:
            writer.verbatim({reply.vtype, 3}, text_of(reply));
            return true;
        case REDIS_REPLY_ARRAY:
            writer.array(reply.elements);
            return encode_children(reply, writer, depth);
        case REDIS_REPLY_SET:
            writer.set(reply.elements);
            return encode_children(reply, writer, depth);
        case REDIS_REPLY_PUSH:
            writer.push(reply.elements);
            return encode_children(reply, writer, depth);
        case REDIS_REPLY_MAP:
            if (reply.elements % 2 != 0) return false;
            writer.map(reply.elements / 2);
            return encode_children(reply, writer, depth);
        default:
            return false;
    }
}

bool encode_children(const redisReply& reply, resp::Writer& writer, int depth) {
    if (depth >= kReplyDepthMax) return false;
    for (size_t i = 0; i < reply.elements; ++i) {
        if (reply.element[i] == nullptr || !encode(*reply.element[i], writer, depth + 1)) {
            return false;
        }
    }
    return true;
}

}  // namespace

bool encode_reply(const redisReply& reply, resp::Protocol protocol, std::string& out) {
    const size_t before = out.size();
    resp::Writer writer(out, protocol);
    if (encode(reply, writer, 0)) return true;
    out.resize(before);
    return false;
}

std::string error_reply(std::string_view text) {
    std::string out;
    resp::Writer(out).error(text);
    return out;
}

}  // namespace cachee::controlplane
