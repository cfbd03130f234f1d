-- Adds entries, as long as there is room. A call that is repeated adds nothing more.
--     ARGV: born, number of the call, bound or -1, how many entries;
--           of each: 1 if it may go beyond the bound, how many fields and values, these
local call, bound, count = next_number(), next_number(), next_number()

local before = redis.call('HGET', memo, 'put')
if before then
    local number, added = string.match(before, '^(%d+):(%d+)$')
    -- An older one went astray on its way, and nobody waits for it any more.
    if tonumber(number) >= call then
        -- A write, so that it can be waited until replicas have it.
        redis.call('EXPIRE', memo, 86400)
        return { tonumber(added), standing() }
    end
end

-- What was lost before is told by now, and those who begin anew begin with nothing lost.
if redis.call('XLEN', stream) == 0 then
    local gone = tonumber(redis.call('HGET', meta, 'gone') or 0)
    if gone > 0 then
        redis.call('HINCRBY', meta, 'base', gone)
        redis.call('HSET', meta, 'gone', 0)
    end
end

local untaken = 0
if bound >= 0 then
    untaken = redis.call('XLEN', stream) - redis.call('XPENDING', stream, group)[1]
end
local added = 0
for _ = 1, count do
    local may_exceed, fields = next_argument() == '1', next_number()
    if bound >= 0 and untaken >= bound and not may_exceed then
        redis.call('HSET', meta, 'crowded', bound)
        break
    end
    redis.call('XADD', stream, '*', unpack(ARGV, at + 1, at + fields))
    at = at + fields
    added = added + 1
    untaken = untaken + 1
end
redis.call('HINCRBY', meta, 'changes', 1)
redis.call('HSET', memo, 'put', call .. ':' .. added)
redis.call('EXPIRE', memo, 86400)
return { added, standing() }
