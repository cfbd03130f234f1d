-- What all scripts begin with. KEYS are always the same, in the order of `keys.rs`; the first
-- argument is the mark that the stream was born with.
local stream, meta, past, dead, bell, numbers, results, memo, orders, marked, dropped =
    unpack(KEYS)
local group = 'dishrack'

if redis.call('HGET', meta, 'born') ~= ARGV[1] then
    return redis.error_reply('FORGOTTEN this is not the stream that it was')
end

-- How the stream stands. Entries are deleted when they end, so its length counts the unfinished.
local function standing()
    local length = redis.call('XLEN', stream)
    local pending = redis.call('XPENDING', stream, group)[1]
    local told = redis.call('HMGET', meta, 'done', 'dead', 'retries', 'refused', 'changes', 'ring',
        'gone')
    return { length, pending, tonumber(told[1] or 0), tonumber(told[2] or 0),
        tonumber(told[3] or 0), tonumber(told[4] or 0), tonumber(told[5] or 0), told[6] or '0-0',
        tonumber(told[7] or 0) }
end

-- Counts the entries that are gone without an end: somebody has trimmed the stream, or deleted some.
-- All that were ever added are here, or have ended, or were added again as others; `base` is what was
-- deleted before anybody counted.
local function count_gone()
    local length = redis.call('XLEN', stream)
    local told = redis.call('HMGET', meta, 'done', 'dead', 'moved', 'base', 'gone', 'counted')
    local now = tonumber(redis.call('TIME')[1])
    -- The answer has whole items in it, so it is not asked for all the time.
    if length > 0 and now < tonumber(told[6] or 0) + 10 then
        return
    end
    local added = entries_added(stream)
    if not added then
        return
    end
    local base = tonumber(told[4] or 0)
    local gone = added - length - tonumber(told[1] or 0) - tonumber(told[2] or 0)
        - tonumber(told[3] or 0) - base
    if not told[4] or gone < 0 then
        -- Nobody has counted yet; or Redis has begun to count anew, with data of an older version.
        base, gone = base + gone, 0
        redis.call('HSET', meta, 'base', base)
    end
    redis.call('HSET', meta, 'gone', gone, 'counted', now)
end

-- What XINFO says of consumers or groups, as tables.
local function infos(...)
    local all = redis.call('XINFO', ...)
    for place, row in ipairs(all) do
        local one = {}
        for i = 1, #row, 2 do
            one[row[i]] = row[i + 1]
        end
        all[place] = one
    end
    return all
end

local function supervisors()
    return infos('CONSUMERS', stream, group)
end

-- How many of these supervisors, but for this one, were heard of in so many milliseconds.
local function others_heard_of(all, consumer, time)
    local others = 0
    for _, one in ipairs(all) do
        if one.name ~= consumer and one.idle <= time then
            others = others + 1
        end
    end
    return others
end

-- An entry that was handed out so often, with all that is known of it.
local function entry_with_past(id, fields, deliveries)
    return { id, fields, deliveries, redis.call('HGET', numbers, id) or '',
        redis.call('HGET', past, id) or '' }
end

-- Wakes those who wait for room, or for the end.
local function ring()
    local id = redis.call('XADD', bell, 'MAXLEN', 1, '*', 'rung', '1')
    redis.call('HSET', meta, 'ring', id)
end

-- The values from the one at `start`, or the first one, in slices that fit on Lua's stack.
local function each_slice(values, act, start)
    for first = start or 1, #values, 1000 do
        act(unpack(values, first, math.min(first + 999, #values)))
    end
end

-- As many of these as fit on Lua's stack. No entry of ours has so many fields.
local values_max = 7000
local function most(values)
    return unpack(values, 1, math.min(#values, values_max))
end

-- Makes an entry a dead letter with these fields and its history, which is returned.
local function bury(id, fields, number, cause)
    local history = redis.call('HGET', past, id) or ''
    local _, attempts = string.gsub(history, '[^\n]+', '')
    redis.call('XADD', dead, '*', 'n', number, 'cause', cause, 'attempts', attempts,
        'history', history, 'entry', id, most(fields))
    return history
end

-- The value of a field among fields and values; '' if there is none.
local function field_of(fields, name)
    for i = 1, #fields, 2 do
        if fields[i] == name then
            return fields[i + 1]
        end
    end
    return ''
end

-- Tells what came of an entry to whoever waits for it. Who put it may have been anybody, and have named
-- any place.
local places = string.gsub(bell, 'bell$', 'replies:')
local function reply(number, place, index, ok, result)
    if string.sub(place, 1, #places) == places then
        redis.pcall('XADD', place, '*', 'n', number, 'index', index, 'ok', ok, 'result', result)
        redis.call('EXPIRE', place, 86400)
    end
end

-- Forgets that entries are marked, and wakes those who wait for the end of one.
local function unmark(...)
    if redis.call('HDEL', marked, ...) > 0 then
        ring()
    end
end

-- An entry is marked while somebody waits for its end; by '', or by why nobody is to work on it any
-- more: the cause for people, and the line of its history. Returns these two, if it is so.
local function condemned(id)
    local mark = redis.call('HGET', marked, id)
    if mark and mark ~= '' then
        return string.match(mark, '^([^\n]*)\n(.*)$')
    end
end

-- Ends an entry on which nobody is to work any more.
local function condemn(id, fields, number, cause, failure)
    local known = redis.call('HGET', past, id)
    redis.call('HSET', past, id, known and known .. '\n' .. failure or failure)
    local history = bury(id, fields, number, cause)
    reply(number, field_of(fields, 'reply'), field_of(fields, 'index'), '0', history)
    if redis.call('EXISTS', results) == 1 then
        redis.call('XADD', results, '*', 'n', number, 'entry', id, 'by', '', 'ok', '0', 'result',
            history)
    end
    redis.call('XACK', stream, group, id)
    redis.call('XDEL', stream, id)
    redis.call('HDEL', past, id)
    redis.call('HDEL', numbers, id)
    redis.call('HINCRBY', meta, 'dead', 1)
    redis.call('HINCRBY', meta, 'changes', 1)
    unmark(id)
    if redis.call('XLEN', stream) == 0 then
        ring()
    end
end

-- The number of an entry as it is known; '' if it has none yet.
local function number_of(id, fields)
    return redis.call('HGET', numbers, id) or field_of(fields, 'n')
end

-- Where the next argument is.
local at = 1
local function next_argument()
    at = at + 1
    return ARGV[at]
end

local function next_number()
    return tonumber(next_argument())
end
