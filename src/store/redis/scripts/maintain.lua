-- Renews the lease on all that a supervisor holds, takes over what others left behind, and forgets
-- supervisors that are gone. Says also on what of that nobody is to work any more, and whether there is a
-- pause. What is left behind and nobody is to work on has its end.
--     ARGV: born, consumer, lease in milliseconds, how many it may take over
local consumer, lease, wanted = next_argument(), next_number(), next_number()

-- So that it is heard of also where there is nothing for it: Redis 7.0 counts a supervisor as idle
-- until it gets something. It holds nothing that is younger than this.
local youngest = '18446744073709551615-18446744073709551614'
redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, youngest)

-- Somebody has deleted this entry: nothing is kept of it.
local function forget(id)
    redis.call('HDEL', past, id)
    redis.call('HDEL', numbers, id)
    unmark(id)
end

local are_marked = redis.call('EXISTS', marked) == 1
local mine, unwanted = {}, {}
local from = '-'
repeat
    local rows = redis.call('XPENDING', stream, group, from, '+', 1000, consumer)
    local page = {}
    for _, row in ipairs(rows) do
        page[#page + 1] = row[1]
    end
    if #page > 0 then
        from = '(' .. page[#page]
        page[#page + 1] = 'JUSTID'
        local claimed = {}
        for _, id in ipairs(redis.call('XCLAIM', stream, group, consumer, 0, unpack(page))) do
            claimed[id] = true
        end
        for i = 1, #page - 1 do
            if claimed[page[i]] then
                mine[#mine + 1] = page[i]
                if are_marked and condemned(page[i]) then
                    unwanted[#unwanted + 1] = page[i]
                end
            else
                forget(page[i])
            end
        end
    end
until #rows < 1000

local taken, cursor = {}, '0-0'
while #taken < wanted do
    local found = redis.call('XAUTOCLAIM', stream, group, consumer, lease, cursor, 'COUNT',
        math.min(wanted - #taken, 100))
    for _, row in ipairs(found[2]) do
        if row and row[2] then
            local id = row[1]
            local cause, failure = condemned(id)
            if cause then
                condemn(id, row[2], number_of(id, row[2]), cause, failure)
            else
                local known = redis.call('XPENDING', stream, group, id, id, 1)[1]
                taken[#taken + 1] = entry_with_past(id, row[2], known and known[4] or 1)
            end
        end
    end
    for _, id in ipairs(found[3] or {}) do
        forget(id)
    end
    cursor = found[1]
    if cursor == '0-0' then
        break
    end
end

-- What nobody holds and what is not handed out any more would wait for ever: somebody has acknowledged
-- it, or deleted its holder, or has made the group when it was there already. If there is some, all
-- that is to be handed out was; it is looked for among the oldest.
local function is_stranded(id)
    return #redis.call('XPENDING', stream, group, id, id, 1) == 0
end

local function last_delivered()
    for _, one in ipairs(infos('GROUPS', stream)) do
        if one.name == group then
            return one['last-delivered-id']
        end
    end
end

local untaken = redis.call('XLEN', stream) - redis.call('XPENDING', stream, group)[1]
if untaken > 0 and #taken < wanted
    and #redis.call('XRANGE', stream, '(' .. last_delivered(), '+', 'COUNT', 1) == 0 then
    for _, row in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', 1000)) do
        local id = row[1]
        if #taken < wanted and is_stranded(id) then
            redis.call('XCLAIM', stream, group, consumer, 0, id, 'FORCE', 'JUSTID')
            taken[#taken + 1] = entry_with_past(id, row[2], 1)
        end
    end
end

local all = supervisors()
for _, one in ipairs(all) do
    if one.name ~= consumer and one.pending == 0 and one.idle > 3 * lease then
        redis.call('XGROUP', 'DELCONSUMER', stream, group, one.name)
    end
end
count_gone()
return { mine, taken, standing(), others_heard_of(all, consumer, lease), unwanted,
    redis.call('HGET', meta, 'paused') or '' }
