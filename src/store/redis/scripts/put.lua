-- Adds entries, as long as there is room, and gives them their numbers. A call that is repeated adds
-- nothing more. How many were added of those that need room, which are the first of them, and the
-- number of the first that was added; those that need none are added all.
--     ARGV: born, number of the call, bound or -1, how many entries, how many fields all of them have,
--           the names of these, 1 if all may go beyond the bound; of each: the values of these fields.
--           If they have not the same fields, 0 in place of that; of each: 1 if it may go beyond the
--           bound, how many fields and values, these
local call, bound, count, common = next_number(), next_number(), next_number(), next_number()

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
-- The number as text. To make one takes a while, and most share all digits but the last two with the
-- one before.
local ends, hundreds, beginning = {}, -1, nil
local function text_of(number)
    local rest = number % 100
    local whole = (number - rest) / 100
    if whole == 0 then
        return string.format('%d', number)
    end
    if whole ~= hundreds then
        hundreds, beginning = whole, string.format('%.0f', whole)
    end
    local ending = ends[rest] or string.format('%02d', rest)
    ends[rest] = ending
    return beginning .. ending
end
-- Adds an entry with these fields and values, and its number as the last one, if there is room or it
-- needs none.
local function add(may_exceed, values, size)
    has_room = has_room and (bound < 0 or untaken < bound)
    if not (has_room or may_exceed) then
        redis.call('HSET', meta, 'crowded', bound)
        return
    end
    last = last + 1
    values[size + 1], values[size + 2] = 'n', text_of(last)
    redis.call('XADD', stream, '*', unpack(values, 1, size + 2))
    untaken = untaken + 1
    if not may_exceed then
        admitted = admitted + 1
    end
end
local values = {}
if common > 0 then
    for field = 1, common do
        values[2 * field - 1] = next_argument()
    end
    local may_exceed = next_argument() == '1'
    for _ = 1, count do
        for field = 1, common do
            values[2 * field] = ARGV[at + field]
        end
        at = at + common
        add(may_exceed, values, 2 * common)
    end
else
    for _ = 1, count do
        local may_exceed, size = next_argument() == '1', next_number()
        for place = 1, size do
            values[place] = next_argument()
        end
        add(may_exceed, values, size)
    end
end
if last >= first then
    redis.call('HSET', meta, 'numbers', string.format('%.0f', last))
end
redis.call('HINCRBY', meta, 'changes', 1)
redis.call('HSET', memo, 'put', string.format('%.0f:%d:%.0f', call, admitted, first))
redis.call('EXPIRE', memo, 86400)
return { admitted, first, standing() }
