-- All that people want to know of a stream at one moment: the time, its length, what is pending, the
-- supervisors, how many dead letters there are, and what is kept in fields that are asked for.
--     ARGV: born, fields
count_gone()
return {
    redis.call('TIME'),
    redis.call('XLEN', stream),
    redis.call('XPENDING', stream, group),
    redis.call('XINFO', 'CONSUMERS', stream, group),
    redis.call('XLEN', dead),
    redis.call('HMGET', meta, unpack(ARGV, 2)),
}
