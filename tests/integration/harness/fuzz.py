# SPDX-License-Identifier: Apache-2.0
"""Seeded random command streams over a handful of keys, whose replies do not depend on hash seeds or the
time of day: what two servers of one version answer must be the same bytes."""
import random

_KEYS = ["k%d" % i for i in range(8)]
_FIELDS = ["f%d" % i for i in range(4)]


class Stream:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def key(self):
        return self.random.choice(_KEYS)

    def field(self):
        return self.random.choice(_FIELDS)

    def number(self):
        return self.random.choice(["0", "1", "-1", "5", "100", "-7", "abc", "", "9223372036854775807", "1.5"])

    def index(self):
        return str(self.random.choice([0, 1, 2, -1, -2, 5, -100, 100]))

    def value(self):
        pick = self.random.random()
        if pick < 0.4:
            return str(self.random.randrange(-100, 1000))
        if pick < 0.8:
            return "v%d" % self.random.randrange(1000)
        if pick < 0.97:
            return bytes(self.random.randrange(256) for _ in range(self.random.randrange(60)))
        return self.random.randbytes(self.random.choice([1000, 5000, 40000]))

    def command(self):
        """One command as a list of str or bytes."""
        pick = self.random.random()
        if pick < 0.35:
            return self.random.choice([["GET", self.key()], ["MGET", self.key(), self.key(), self.key()]])
        if pick < 0.97:
            return self.random.choice(_MAKERS)(self)
        return self.broken()

    def broken(self):
        return self.random.choice([["GET"], ["SET", self.key()], ["NOSUCH", self.key()],
                                   ["GET", self.key(), "extra"], ["INCRBY", self.key(), "x"],
                                   ["EXPIRE", self.key()], ["HSET", self.key(), "f"], ["DEL"]])

    def set_options(self):
        options = []
        for chance, words in ((0.2, ["NX"]), (0.2, ["XX"]), (0.2, ["GET"]), (0.2, ["EX", "1000"]),
                              (0.1, ["KEEPTTL"]), (0.05, ["PX", "abc"]), (0.05, ["EX", "-1"])):
            if self.random.random() < chance:
                options += words
        return ["SET", self.key(), self.value()] + options


_MAKERS = [
    Stream.set_options, Stream.set_options, Stream.set_options,
    lambda s: ["SET", s.key(), s.value()], lambda s: ["DEL", s.key()], lambda s: ["DEL", s.key(), s.key()],
    lambda s: ["UNLINK", s.key()], lambda s: ["EXISTS", s.key(), s.key()], lambda s: ["TYPE", s.key()],
    lambda s: ["SETNX", s.key(), s.value()], lambda s: ["GETSET", s.key(), s.value()],
    lambda s: ["GETDEL", s.key()], lambda s: ["GETEX", s.key(), "PERSIST"], lambda s: ["APPEND", s.key(), "xy"],
    lambda s: ["STRLEN", s.key()], lambda s: ["GETRANGE", s.key(), s.index(), s.index()],
    lambda s: ["SETRANGE", s.key(), "3", s.value()], lambda s: ["INCR", s.key()], lambda s: ["DECR", s.key()],
    lambda s: ["INCRBY", s.key(), s.number()], lambda s: ["INCRBYFLOAT", s.key(), s.number()],
    lambda s: ["MSET", s.key(), s.value(), s.key(), s.value()],
    lambda s: ["MSETNX", s.key(), s.value(), s.key(), s.value()],
    lambda s: ["EXPIRE", s.key(), "1000"], lambda s: ["EXPIRE", s.key(), "-1"],
    lambda s: ["PERSIST", s.key()], lambda s: ["PEXPIREAT", s.key(), "2524608000123"],
    lambda s: ["PEXPIRETIME", s.key()], lambda s: ["EXPIREAT", s.key(), "1"],
    lambda s: ["RENAME", s.key(), s.key()], lambda s: ["RENAMENX", s.key(), s.key()],
    lambda s: ["COPY", s.key(), s.key()], lambda s: ["COPY", s.key(), s.key(), "REPLACE"],
    lambda s: ["SETBIT", s.key(), "5", "1"], lambda s: ["GETBIT", s.key(), "5"],
    lambda s: ["BITCOUNT", s.key()], lambda s: ["LPUSH", s.key(), s.value()],
    lambda s: ["RPUSH", s.key(), s.value(), s.value()], lambda s: ["LPOP", s.key()],
    lambda s: ["RPOP", s.key()], lambda s: ["LRANGE", s.key(), s.index(), s.index()],
    lambda s: ["LLEN", s.key()], lambda s: ["LINDEX", s.key(), s.index()],
    lambda s: ["RPOPLPUSH", s.key(), s.key()], lambda s: ["LSET", s.key(), s.index(), s.value()],
    lambda s: ["HSET", s.key(), s.field(), s.value()], lambda s: ["HGET", s.key(), s.field()],
    lambda s: ["HDEL", s.key(), s.field()], lambda s: ["HINCRBY", s.key(), s.field(), s.number()],
    lambda s: ["HMGET", s.key(), s.field(), s.field()], lambda s: ["HLEN", s.key()],
    lambda s: ["HEXISTS", s.key(), s.field()], lambda s: ["SADD", s.key(), s.field()],
    lambda s: ["SREM", s.key(), s.field()], lambda s: ["SISMEMBER", s.key(), s.field()],
    lambda s: ["SCARD", s.key()], lambda s: ["SINTERCARD", "2", s.key(), s.key()],
    lambda s: ["ZADD", s.key(), s.number(), s.field()], lambda s: ["ZSCORE", s.key(), s.field()],
    lambda s: ["ZRANGE", s.key(), s.index(), s.index(), "WITHSCORES"], lambda s: ["ZRANK", s.key(), s.field()],
    lambda s: ["ZINCRBY", s.key(), s.number(), s.field()], lambda s: ["ZPOPMIN", s.key()],
    lambda s: ["EVAL", "return redis.call('set',ARGV[1],ARGV[2])", "0", s.key(), s.value()],
    lambda s: ["EVAL", "return redis.call('append',KEYS[1],'z')", "1", s.key()],
    lambda s: ["EVAL", "return redis.call('get',KEYS[1])", "1", s.key()],
    lambda s: ["SORT", s.key(), "ALPHA"], lambda s: ["SORT", s.key(), "ALPHA", "STORE", s.key()],
    lambda s: ["DBSIZE"], lambda s: ["PING"], lambda s: ["OBJECT", "ENCODING", s.key()],
    lambda s: ["LMOVE", s.key(), s.key(), "LEFT", "RIGHT"], lambda s: ["BITOP", "NOT", s.key(), s.key()],
    lambda s: ["FLUSHALL"] if s.random.random() < 0.05 else ["TOUCH", s.key()],
]


def contents(wire):
    """The whole data set in a form that does not depend on hash order."""
    out = {}
    for key in wire.call("KEYS", "*"):
        kind = wire.call("TYPE", key)
        reader = {b"string": ["GET", key], b"list": ["LRANGE", key, "0", "-1"], b"hash": ["HGETALL", key],
                  b"set": ["SMEMBERS", key], b"zset": ["ZRANGE", key, "0", "-1", "WITHSCORES"]}[kind]
        value = wire.call(*reader)
        if kind == b"set":
            value = sorted(value)
        if kind == b"hash":
            value = sorted(zip(value[::2], value[1::2]))
        out[key] = (kind, value, wire.call("PEXPIRETIME", key) // 10000)
    return out
