-- Adds entries, as long as there is room, and gives them their numbers. A call that is repeated adds
-- nothing more. How many were added of those that need room, which are the first of them, and the
-- number of the first that was added; those that need none are added all.
--     ARGV: born, number of the call, bound or -1, how many entries;
--           of each: 1 if it may go beyond the bound, how many fields and values, these; the last value
--           is the place of its number
local call, bound, count = next_number(), next_number(), next_number()

local before = redis.call('HGET', memo, 'put')
if before then
    local number, admitted, first = string.match(before, '^(%d+):(%d+):(%d+)$')
    -- An older one went astray on its way, and nobody waits for it any more.
    if tonumber(number) >= call then
        -- A write, so that it can be waited until replicas have it.
        redis.call('EXPIRE', memo, 86400)
        return { tonumber(admitted), tonumber(first), standing() }
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
local last = tonumber(redis.call('HGET', meta, 'numbers') or 0)
local first, admitted, has_room = last + 1, 0, true
for _ = 1, count do
    local may_exceed, fields = next_argument() == '1', next_number()
    has_room = has_room and (bound < 0 or untaken < bound)
    if has_room or may_exceed then
        last = last + 1
        ARGV[at + fields] = string.format('%.0f', last)
        redis.call('XADD', stream, '*', unpack(ARGV, at + 1, at + fields))
        untaken = untaken + 1
        if not may_exceed then
            admitted = admitted + 1
        end
    else
        redis.call('HSET', meta, 'crowded', bound)
    end
    at = at + fields
end
if last >= first then
    redis.call('HSET', meta, 'numbers', string.format('%.0f', last))
end
redis.call('HINCRBY', meta, 'changes', 1)
redis.call('HSET', memo, 'put', string.format('%.0f:%d:%.0f', call, admitted, first))
redis.call('EXPIRE', memo, 86400)
return { admitted, first, standing() }
