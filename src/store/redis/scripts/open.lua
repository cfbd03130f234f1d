-- Makes a stream and its group where there are none, and says what is known of them. Not begun with
-- the prelude: the mark that it asks for may be made here.
--     ARGV: a new mark, the items' type, the lease in milliseconds or 0
local stream, meta = KEYS[1], KEYS[2]

local made = redis.pcall('XGROUP', 'CREATE', stream, 'dishrack', '0', 'MKSTREAM')
if made.err and not string.find(tostring(made.err), 'BUSYGROUP', 1, true) then
    return made
end
if not made.err and redis.call('EXISTS', meta) == 1 then
    -- Somebody has deleted the stream, or the group. Whoever knows the old one is to be told.
    redis.call('HSET', meta, 'born', ARGV[1])
    redis.call('HDEL', meta, 'base', 'gone', 'counted')
end
redis.call('HSETNX', meta, 'born', ARGV[1])
redis.call('HSETNX', meta, 'type', ARGV[2])
if tonumber(ARGV[3]) > 0 then
    redis.call('HSETNX', meta, 'lease', ARGV[3])
end
if not redis.call('HGET', meta, 'base') then
    -- What is gone by now is nobody's: see `count_gone` in the prelude.
    local added = entries_added(stream)
    if added then
        local told = redis.call('HMGET', meta, 'done', 'dead', 'moved')
        redis.call('HSET', meta, 'base', added - redis.call('XLEN', stream)
            - tonumber(told[1] or 0) - tonumber(told[2] or 0) - tonumber(told[3] or 0))
    end
end
return redis.call('HMGET', meta, 'born', 'type', 'lease', 'changes')
