-- Ends entries, and notes failed attempts. Only what its supervisor still holds is changed; the
-- rest is given back as lost. A call that is repeated changes nothing more.
--     ARGV: born, number of the call, consumer, first and last entry, retries,
--           1 if nothing is told but that some are done, in long runs,
--           how many runs are done, of each: time, first and last place in that time, all
--           places between which are done too;
--           how many have failed, of each: entry and failure;
--           how many are dead, of each: entry, number, cause;
--           how many results, of each: entry, number, stream to send it to or '', place in there,
--           result; how many results are kept, or -1
local call, consumer = next_number(), next_argument()

local before = redis.call('HGET', memo, 'settle')
if before then
    local number, lost = string.match(before, '^(%d+):(.*)$')
    -- An older one went astray on its way, and nobody waits for it any more.
    if tonumber(number) >= call then
        -- A write, so that it can be waited until replicas have it.
        redis.call('EXPIRE', memo, 86400)
        return { cjson.decode(lost), standing() }
    end
end

local first, last, retries = next_argument(), next_argument(), next_number()
-- Long runs are looked up one by one: what is held whole needs no look at each of its entries.
local is_by_run, runs = next_argument() == '1', next_number()
local held = {}
-- It may hold some between these that it does not know of. The range is what bounds this.
local function look_up(from, to)
    local rows = redis.call('XPENDING', stream, group, from, to, 2 ^ 31, consumer)
    for place, row in ipairs(rows) do
        rows[place] = row[1]
    end
    return rows
end
local function hold(entries)
    for _, entry in ipairs(entries) do
        held[entry] = true
    end
end
if not is_by_run then
    hold(look_up(first, last))
end
local lost, ended, done = {}, {}, 0
-- An entry of which more than one thing is said is lost once.
local function lose(entry)
    if held[entry] == nil then
        held[entry] = false
        lost[#lost + 1] = entry
    end
end
-- Another supervisor may have held the entry in between, and failed at the same attempt: then this one
-- was not the holder's any more, although it is the holder again. What condemns an item is no attempt:
-- it has the number 0, or that of the last one.
local function is_told(known, failure)
    local attempt = tonumber(string.match(failure, '^{"attempt":(%d+)'))
    local _, attempts = string.gsub(known or '', '[^\n]+', '')
    return attempt and attempt > 0 and attempt <= attempts
        and not string.find(failure, '"LostTooOften"', 1, true)
end
local has_past = redis.call('EXISTS', past) == 1
local has_numbers = redis.call('EXISTS', numbers) == 1

local function finish(entry)
    if held[entry] then
        ended[#ended + 1] = entry
        done = done + 1
    else
        lose(entry)
    end
end
-- The runs that have ended whole, as they are told: in the order of the stream.
local whole = {}
for _ = 1, runs do
    local time, from, to = next_argument(), next_argument(), next_argument()
    local head = time .. '-'
    local size = from == to and 1 or to - from + 1
    local mine = is_by_run and look_up(head .. from, head .. to)
    if mine and #mine == size then
        -- There are no more names between these, so each of them is held.
        for _, entry in ipairs(mine) do
            ended[#ended + 1] = entry
        end
        done = done + size
        whole[#whole + 1] = { first = head .. from, last = head .. to, count = #ended }
    else
        if mine then
            hold(mine)
        end
        if size == 1 then
            finish(head .. from)
        else
            for place = tonumber(from), tonumber(to) do
                finish(head .. string.format('%.0f', place))
            end
        end
    end
end
for _ = 1, next_number() do
    local entry, failure = next_argument(), next_argument()
    if held[entry] then
        local known = redis.call('HGET', past, entry)
        if not is_told(known, failure) then
            redis.call('HSET', past, entry, known and known .. '\n' .. failure or failure)
            has_past = true
        end
    else
        lose(entry)
    end
end
-- Tells what came of an entry to whoever waits for it, and to those who read all results.
local outcomes = {}
local function tell(entry, number, place, index, ok, result)
    reply(number, place, index, ok, result)
    outcomes[#outcomes + 1] = { entry, number, ok, result }
end

local died = 0
for _ = 1, next_number() do
    local entry, number, cause = next_argument(), next_argument(), next_argument()
    local row = held[entry] and redis.call('XRANGE', stream, entry, entry)[1]
    if row then
        local history = bury(entry, row[2], number, cause)
        ended[#ended + 1] = entry
        died = died + 1
        local place, index = field_of(row[2], 'reply'), field_of(row[2], 'index')
        tell(entry, number, place, index, '0', history)
    else
        if held[entry] then
            -- Somebody has deleted it, so there is no letter. Nothing is kept of it.
            ended[#ended + 1] = entry
            held[entry] = nil
        end
        lose(entry)
    end
end
for _ = 1, next_number() do
    local entry, number, place, index, result = next_argument(), next_argument(), next_argument(),
        next_argument(), next_argument()
    if held[entry] then
        tell(entry, number, place, index, '1', result)
    end
end
local kept = next_number()
if kept >= 0 then
    for _, outcome in ipairs(outcomes) do
        local entry, number, ok, result = unpack(outcome)
        redis.call('XADD', results, 'MAXLEN', '~', kept, '*', 'n', number, 'entry', entry,
            'by', consumer, 'ok', ok, 'result', result)
    end
end

each_slice(ended, function(...) redis.call('XACK', stream, group, ...) end)

-- What has ended at the head of the stream is cut off, which costs next to nothing; all other entries
-- are looked for one by one. Nothing else may be cut off with it, so nothing may be in the stream before
-- these runs and between them. It is asked first if somebody holds an entry there, because that answer
-- has no item in it.
local function is_void(from, to)
    return #redis.call('XPENDING', stream, group, from, to, 1) == 0
        and #redis.call('XRANGE', stream, from, to, 'COUNT', 1) == 0
end
local cut, before = nil, '-'
for _, run in ipairs(whole) do
    if not is_void(before, '(' .. run.first) then
        break
    end
    cut, before = run, '(' .. run.last
end
if cut then
    -- All but the last of them.
    redis.call('XTRIM', stream, 'MINID', '=', cut.last)
end
each_slice(ended, function(...) redis.call('XDEL', stream, ...) end, cut and cut.count)
if has_past then
    each_slice(ended, function(...) redis.call('HDEL', past, ...) end)
end
if has_numbers then
    each_slice(ended, function(...) redis.call('HDEL', numbers, ...) end)
end
if redis.call('EXISTS', marked) == 1 then
    each_slice(ended, unmark)
end
if done > 0 then
    redis.call('HINCRBY', meta, 'done', done)
end
if died > 0 then
    redis.call('HINCRBY', meta, 'dead', died)
end
if retries > 0 then
    redis.call('HINCRBY', meta, 'retries', retries)
end
if #lost > 0 then
    redis.call('HINCRBY', meta, 'refused', #lost)
end
redis.call('HINCRBY', meta, 'changes', 1)
redis.call('HSET', memo, 'settle', call .. ':' .. (#lost > 0 and cjson.encode(lost) or '[]'))
redis.call('EXPIRE', memo, 86400)
if #ended > 0 and redis.call('XLEN', stream) == 0 then
    ring()
end
return { lost, standing() }
