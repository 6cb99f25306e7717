# SPDX-License-Identifier: Apache-2.0
"""Command scripts for the differential tests: each line is one command, sent to the target and to a plain
server of the same version; the replies must be the same bytes. A prefix loosens that for one line:

    ~sorted   the elements may come in any order        ~near   integers may differ by 1,000
    ~kind     only the kind of reply must be the same    ~sleep  not a command: wait so many ms

`{bin}` is a value with every byte from 0 to 255, `{big:N}` one of N bytes."""
import shlex

SCRIPTS = {
    "set_options": """
        SET a 1
        GET a
        SET a 2 NX
        GET a
        SET b 3 NX
        SET nope 1 XX
        GET nope
        SET a 4 XX
        GET a
        SET a 5 GET
        SET new 5 GET
        SET new 6 NX GET
        SET a 7 EX 100
        TTL a
        ~near PTTL a
        SET a 8 KEEPTTL
        TTL a
        SET a 9
        TTL a
        SET a 1 PX 100000
        TTL a
        SET a 1 EXAT 4102444800
        EXPIRETIME a
        SET a 1 PXAT 4102444800123
        PEXPIRETIME a
        SET a 1 EX 0
        SET a 1 EX -1
        SET a 1 EX abc
        SET a 1 EX 9223372036854775807
        SET a 1 NX XX
        SET a 1 EX 10 PX 10
        SET a 1 KEEPTTL EX 10
        SET a 1 BOGUS
        SET a 1 EX
        SET a
        SET
        GET a
        set a lower
        gEt a
        SETNX a 1
        SETNX c 1
        SETEX c 100 v
        TTL c
        SETEX c 0 v
        PSETEX c 100000 v
        PSETEX c -5 v
        GETSET c w
        GETDEL c
        GETDEL c
        GET c
        GETEX a EX 100
        TTL a
        GETEX a PERSIST
        TTL a
        GETEX a EXAT 4102444800
        GETEX a PXAT 4102444800000
        GETEX a
        GETEX a BOGUS
        SET a "" EX 1
        GET a
        STRLEN a""",
    "strings": """
        SET s {bin}
        GET s
        STRLEN s
        GETRANGE s 0 -1
        GETRANGE s 5 10
        GETRANGE s -3 -1
        GETRANGE s 10 5
        SUBSTR s 0 3
        SETRANGE s 250 abc
        GET s
        SETRANGE pad 5 x
        GET pad
        SETRANGE pad -1 x
        APPEND s tail
        GET s
        APPEND fresh head
        GET fresh
        MSET a 1 b 2 c 3
        MGET a b c nope a
        MSET a 1 b
        MSETNX a 1 z 1
        MSETNX y 1 z 1
        MGET y z
        GET ""
        SET "" empty
        GET ""
        DEL ""
        SETBIT bits 7 1
        GETBIT bits 7
        GETBIT bits 100
        BITCOUNT bits
        BITPOS bits 1
        SETBIT bits -1 1
        BITOP NOT other bits
        GET other
        BITFIELD bits SET u8 0 255 GET u4 0 INCRBY i5 100 1
        BITFIELD_RO bits GET u8 0
        GET bits
        SET l1 ohmytext
        SET l2 mynewtext
        LCS l1 l2
        LCS l1 l2 LEN
        MGET
        GET
        GET a b
        SET a "\\r\\n"
        GET a
        PFADD hll a b c d
        PFCOUNT hll
        PFADD hll a
        TYPE hll
        ECHO hello
        PING
        PING hello
        PING a b""",
    "numbers": """
        INCR n
        GET n
        INCRBY n 41
        GET n
        DECR n
        DECRBY n 10
        GET n
        INCRBYFLOAT n 0.5
        GET n
        INCR n
        SET n 9223372036854775807
        INCR n
        GET n
        SET n -9223372036854775808
        DECR n
        DECRBY n -9223372036854775808
        SET n abc
        INCR n
        INCRBYFLOAT n 1
        INCRBYFLOAT f 3.0e3
        INCRBYFLOAT f nan
        INCRBYFLOAT f inf
        GET f
        SET n " 1"
        INCR n
        SET n 01
        INCR n
        INCRBY n 1.5
        INCRBY n
        INCRBY fresh 5
        GET fresh
        DECRBY fresh 5
        GET fresh""",
    "keys": """
        MSET a 1 b 2 c 3
        EXISTS a b c nope a
        EXISTS
        DEL a nope
        GET a
        DEL a
        UNLINK b nope
        EXISTS b
        GET b
        TYPE c
        TYPE nope
        RENAME c d
        GET c
        GET d
        RENAME nope x
        SET e 5
        RENAMENX d e
        RENAMENX d f
        GET d
        GET f
        COPY f g
        GET g
        COPY f g
        COPY f g REPLACE
        TOUCH f g nope
        OBJECT ENCODING f
        OBJECT REFCOUNT nope
        OBJECT HELP x
        DBSIZE
        ~sorted KEYS *
        ~sorted KEYS [fg]
        RANDOMKEY x
        DUMP nope
        RESTORE r 0 bad
        DUMP f
        SORT nope
        RPUSH list 3 1 2
        SORT list
        SORT list DESC LIMIT 0 2
        SORT list STORE sorted
        LRANGE sorted 0 -1
        SORT_RO list ALPHA
        FLUSHDB
        GET f
        DBSIZE
        FLUSHALL BOGUS
        SET z 1
        FLUSHALL ASYNC
        GET z""",
    "ttl": """
        SET t v
        TTL t
        PTTL t
        TTL nope
        PTTL nope
        EXPIRE t 100
        TTL t
        EXPIRE t 200 NX
        EXPIRE t 50 GT
        EXPIRE t 300 GT
        EXPIRE t 200 LT
        EXPIRE t 200 XX
        EXPIRE t 200 BOGUS
        EXPIRE t 10 NX XX
        EXPIRE t abc
        EXPIRE nope 10
        PEXPIRE t 100000
        ~near PTTL t
        EXPIREAT t 4102444800
        EXPIRETIME t
        PEXPIREAT t 4102444800123
        PEXPIRETIME t
        PERSIST t
        PERSIST t
        TTL t
        EXPIRETIME t
        EXPIRETIME nope
        GET t
        EXPIRE t -1
        GET t
        SET t v
        PEXPIREAT t 1
        GET t
        SET t v PX 40
        GET t
        ~sleep 60
        GET t
        TTL t
        EXISTS t
        SET t v
        PEXPIRE t 40
        GET t
        ~sleep 60
        GET t
        SET t w NX
        GET t
        EXPIRE t 9223372036854775807""",
    "hashes": """
        HSET h a 1 b 2 c 3
        HGET h a
        HGET h nope
        HGET nope a
        HMGET h a nope c
        HGETALL h
        HGETALL nope
        HKEYS h
        HVALS h
        HLEN h
        HEXISTS h a
        HSTRLEN h a
        HSETNX h a 9
        HSETNX h d 4
        HINCRBY h a 5
        HINCRBYFLOAT h a 0.5
        HINCRBY h a x
        HGET h a
        HDEL h a b nope
        HGETALL h
        HMSET h x 1 y 2
        HRANDFIELD h 0
        HSCAN h 0
        HSET h a
        HSET h
        HGET h
        HDEL h c d x y
        EXISTS h
        GET h""",
    "lists": """
        RPUSH l a b c d e
        LPUSH l z
        LRANGE l 0 -1
        LLEN l
        LINDEX l 0
        LINDEX l -1
        LINDEX l 99
        LSET l 0 y
        LSET l 99 y
        LSET nope 0 y
        LINSERT l BEFORE c bb
        LINSERT l BOGUS c bb
        LPOS l c
        LPOS l c RANK -1
        LREM l 1 a
        LTRIM l 1 3
        LRANGE l 0 -1
        LPOP l
        RPOP l
        LPOP l 5
        LPOP l
        LPOP l 0
        RPUSH l 1 2 3
        RPOPLPUSH l m
        LMOVE l m LEFT RIGHT
        LRANGE m 0 -1
        LMPOP 2 nope l LEFT COUNT 2
        LPUSHX nope 1
        RPUSHX m 1
        GET m
        LLEN m x
        OBJECT ENCODING m""",
    "sets": """
        SADD s 1 2 3
        SADD t 3 4
        SCARD s
        SISMEMBER s 1
        SISMEMBER s 9
        SMISMEMBER s 1 9
        ~sorted SMEMBERS s
        ~sorted SUNION s t
        ~sorted SINTER s t
        ~sorted SDIFF s t
        SINTERCARD 2 s t
        SINTERSTORE u s t
        SUNIONSTORE u s t
        ~sorted SMEMBERS u
        SMOVE s t 1
        SREM s 1 2
        ~sorted SMEMBERS t
        SADD s word
        OBJECT ENCODING s
        ~kind SRANDMEMBER t
        ~kind SPOP t
        SCARD t
        SADD s
        GET s""",
    "sorted_sets": """
        ZADD z 1 a 2 b 3 c
        ZADD z NX 9 a
        ZADD z XX CH 9 a
        ZADD z GT 1 a
        ZADD z INCR 1 a
        ZADD z abc a
        ZADD z NX XX 1 a
        ZSCORE z a
        ZSCORE z nope
        ZMSCORE z a nope
        ZINCRBY z 1.5 b
        ZCARD z
        ZCOUNT z (1 +inf
        ZRANGE z 0 -1
        ZRANGE z 0 -1 WITHSCORES
        ZRANGE z (1 +inf BYSCORE LIMIT 0 1
        ZREVRANGE z 0 -1 WITHSCORES
        ZRANGEBYSCORE z -inf +inf WITHSCORES
        ZRANK z a
        ZREVRANK z a
        ZRANK z a WITHSCORE
        ZLEXCOUNT z - +
        ZADD y 1 a 1 q
        ZUNION 2 z y WITHSCORES
        ZINTER 2 z y
        ZDIFF 2 z y
        ZUNIONSTORE u 2 z y WEIGHTS 2 3 AGGREGATE MAX
        ZRANGE u 0 -1 WITHSCORES
        ZPOPMIN z
        ZPOPMAX z 2
        ZREM y q nope
        ZREMRANGEBYRANK y 0 -1
        EXISTS y
        ZADD z inf m
        ZSCORE z m
        ZADD z 3.14159265358979 pi
        ZSCORE z pi
        GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
        GEODIST geo Palermo Catania km
        GEOPOS geo Palermo nope
        GEOHASH geo Palermo
        GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC
        ZUNION 0 z
        GET z""",
    "streams": """
        XADD x 1-1 f v
        XADD x 1-2 f v g w
        XADD x 1-2 f v
        XADD x 0-0 f v
        XADD x NOMKSTREAM 5-0 f v
        XLEN x
        XRANGE x - +
        XRANGE x 1-2 5
        XREVRANGE x + - COUNT 1
        XREAD COUNT 2 STREAMS x 0
        XREAD STREAMS x $
        XREAD STREAMS x
        XGROUP CREATE x g 0
        XGROUP CREATE x g 0
        XREADGROUP GROUP g c COUNT 1 STREAMS x >
        XACK x g 1-1
        XPENDING x g
        XDEL x 1-1
        XTRIM x MAXLEN 1
        XINFO GROUPS nope
        XLEN x
        TYPE x
        GET x""",
    "scripting": """
        EVAL "return 1" 0
        EVAL "return {1,2,{3,'x'}}" 0
        EVAL "return redis.call('set',KEYS[1],ARGV[1])" 1 k v
        GET k
        EVAL "return redis.call('set','undeclared','1')" 0
        GET undeclared
        EVAL "redis.call('set','undeclared','2') return 1" 0
        GET undeclared
        EVAL "return redis.call('get',KEYS[1])" 1 k
        EVAL "return redis.error_reply('MY error')" 0
        EVAL "return redis.status_reply('FINE')" 0
        EVAL "return {err='bad'}" 0
        EVAL "return nil" 0
        EVAL "return false" 0
        EVAL "return true" 0
        EVAL "return 3.99" 0
        EVAL "syntax error(" 0
        EVAL "return redis.call('nope')" 0
        EVAL "return redis.call('incr',KEYS[1])" 1 k
        EVAL "return 1" -1
        EVAL "return 1" 2 a
        EVAL "return 1" abc
        EVAL "return 1"
        EVAL_RO "return redis.call('get',KEYS[1])" 1 k
        EVAL_RO "return redis.call('set',KEYS[1],1)" 1 k
        SCRIPT LOAD "return redis.call('incr','counter')"
        EVALSHA a1cd0c41fc29a0ec1f1e8c7bcf0e5b5ee8ee8b4a 0
        EVALSHA 51ad5aa98b65ac3bcd97e83ba6ae1d6f7c8e1a0d 0
        SCRIPT EXISTS ffffffffffffffffffffffffffffffffffffffff
        GET counter""",
    "errors": """
        RPUSH list a
        GET list
        INCR list
        HGET list f
        SADD list m
        ZADD list 1 m
        GETRANGE list 0 1
        MGET list nope
        SET list now-a-string
        LPUSH list a
        NOSUCHCOMMAND
        NOSUCHCOMMAND a b c
        nosuch {bin}
        "" a
        GET
        GET a b
        DEL
        SET a
        HSET h f
        EXPIRE a
        EXISTS
        MSET
        MSET a
        STRLEN
        INCR
        TTL a b
        CONFIG NOSUCH
        CLIENT NOSUCH
        OBJECT NOSUCH a
        XREAD
        EVAL
        ECHO
        SELECT abc
        SELECT 99999
        SELECT -1
        HELLO 9
        HELLO abc
        GET list""",
    "auth_errors": """
        AUTH nopassword
        AUTH user wrong
        AUTH
        AUTH a b c
        HELLO 2 AUTH user wrong
        HELLO 3 AUTH user
        ~kind ACL WHOAMI
        GET a""",
    "transactions": """
        MULTI
        SET a 1
        INCR a
        GET a
        EXEC
        GET a
        EXEC
        DISCARD
        MULTI
        MULTI
        SET a 5
        DISCARD
        GET a
        MULTI
        SET a
        SET b 1
        EXEC
        GET b
        MULTI
        NOSUCH x
        EXEC
        WATCH a
        SET a 7
        MULTI
        SET a 8
        EXEC
        GET a
        WATCH a
        UNWATCH
        MULTI
        INCR a
        LPUSH a x
        GET a
        EXEC
        GET a
        MULTI
        WATCH a
        EXEC
        MULTI
        EXEC
        WATCH
        SET a 9
        GET a""",
    "databases": """
        SET a zero
        SELECT 1
        GET a
        SET a one
        GET a
        SELECT 0
        GET a
        SET a null
        SELECT 1
        GET a
        MOVE a 0
        SELECT 0
        MOVE a 1
        GET a
        DEL a
        MOVE a 1
        SELECT 1
        DEL a
        SELECT 0
        SET s 1
        SWAPDB 0 1
        GET s
        SWAPDB 0 1
        GET s
        COPY s s2 DB 1
        SELECT 1
        GET s2
        FLUSHDB
        SELECT 0
        GET s""",
    "scan": """
        MSET k:1 a k:2 b other c
        ~kind SCAN 0
        ~sorted KEYS k:*
        SCAN 0 COUNT abc
        SCAN abc
        SCAN 0 BOGUS
        HSET h a 1 b 2
        HSCAN h 0 MATCH a*
        SADD i 1 2 3
        SSCAN i 0
        ZADD z 1 a
        ZSCAN z 0
        HSCAN nope 0""",
    "session": """
        PING
        ECHO x
        SELECT 0
        CLIENT SETNAME tester
        CLIENT GETNAME
        CLIENT SETNAME "with space"
        CLIENT SETINFO LIB-NAME test
        ~kind CLIENT ID
        ~kind TIME
        ~kind COMMAND COUNT
        ~kind INFO
        ~kind INFO server
        ~kind LASTSAVE
        COMMAND DOCS nosuchcommand
        COMMAND INFO nosuchcommand
        COMMAND GETKEYS MSET a 1 b 2
        COMMAND GETKEYS PING
        ~kind CONFIG GET maxmemory
        CONFIG GET nosuchparameter
        RESET
        PING
        GET a""",
    "large_values": """
        SET v {big:1}
        GET v
        SET v {big:1000}
        GET v
        SET v {big:1448}
        GET v
        SET v {big:16384}
        GET v
        SET v {big:65536}
        GET v
        SET v {big:300000}
        GET v
        GET v
        SET v {big:1048576}
        GET v
        SET v {big:1100000}
        GET v
        SET v {big:8388608}
        GET v
        GET v
        STRLEN v
        MGET v v
        SET v small
        GET v
        HSET h {big:70000} {big:200000}
        HGETALL h""",
}

# Scripts whose commands keep state in the connection or that wait: never split over two connections.
STATEFUL = {"transactions", "databases", "session", "scripting"}
WAITING = {"ttl"}
# Redis and Valkey drop the reply of a failed AUTH when earlier replies are still unsent (addAuthErrReply
# in acl.c): in a pipeline there is nothing to compare with.
NOT_PIPELINED = WAITING | {"auth_errors"}

_BIN = bytes(range(256))


def _expand(word):
    if word == "{bin}":
        return _BIN
    if word.startswith("{big:"):
        size = int(word[5:-1])
        return (b"0123456789abcdef" * (size // 16 + 1))[:size]
    return word.replace("\\r", "\r").replace("\\n", "\n").encode()


def commands(name):
    """[(comparator, [arguments as bytes])] of one script; ("sleep", ms) for a pause."""
    out = []
    for line in SCRIPTS[name].strip().splitlines():
        words = shlex.split(line)
        how = "exact"
        if words[0].startswith("~"):
            how = words.pop(0)[1:]
        out.append((how, int(words[0]) if how == "sleep" else [_expand(word) for word in words]))
    return out
