-- Looks for the entry of an item by its number. What was given a number later, or moved, has it in
-- `numbers`. All others got ascending numbers as they were added, and are found by halving.

-- The bound of entries that are passed over in one look, and of looks: others wait meanwhile.
local passed_max, looks_max = 256, 200

local function text_of(number)
    return string.format('%.0f', number)
end

local function parts_of(id)
    local time, place = string.match(id, '^(%d+)-(%d+)$')
    return tonumber(time), tonumber(place)
end

-- The first entry from there on that has kept its place and its number: `n` says it, and it was not here
-- before. Nothing if there is none; false if too many others come first.
local function fresh_from(from)
    local passed, count = 0, 1
    while passed < passed_max do
        local rows = redis.call('XRANGE', stream, from, '+', 'COUNT', count)
        for _, row in ipairs(rows) do
            local number = tonumber(field_of(row[2], 'n'))
            if number and field_of(row[2], 'again') == '' then
                return { id = row[1], fields = row[2], number = number }
            end
            from = '(' .. row[1]
        end
        if #rows < count then
            return nil
        end
        passed, count = passed + #rows, 64
    end
    return false
end

-- The row of the entry, nothing if there is none, and false if it cannot be found in this way.
local function seek(wanted)
    local given = redis.call('HGETALL', numbers)
    for i = 1, #given, 2 do
        local row = given[i + 1] == text_of(wanted)
            and redis.call('XRANGE', stream, given[i], given[i])[1]
        if row then
            return row
        end
    end
    local low = fresh_from('-')
    if low == false then
        return false
    elseif not low or low.number > wanted then
        return nil
    end
    local last = field_of(redis.call('XINFO', 'STREAM', stream), 'last-generated-id')
    -- By time: the last one that is not too late is between `low` and the time `high`.
    local time, high, looks = parts_of(low.id), parts_of(last) + 1, 0
    while high - time > 1 do
        local middle = math.floor((time + high) / 2)
        local one = fresh_from(text_of(middle))
        looks = looks + 1
        if one == false or looks > looks_max then
            return false
        end
        if one and one.number <= wanted then
            low, time = one, parts_of(one.id)
        else
            high = middle
        end
    end
    -- By its place in that time.
    local _, place = parts_of(low.id)
    local step, is_growing = 1, true
    while low.number ~= wanted do
        local one = fresh_from(text_of(time) .. '-' .. text_of(place + step))
        looks = looks + 1
        if one == false or looks > 2 * looks_max then
            return false
        end
        local is_right = one and one.number <= wanted and parts_of(one.id) == time
        if is_right then
            low = one
            _, place = parts_of(one.id)
        end
        is_growing = is_growing and is_right
        if is_growing then
            step = step * 2
        elseif step > 1 then
            step = math.floor(step / 2)
        elseif not is_right then
            return nil
        end
    end
    -- Somebody else may have used this number.
    local other = redis.call('HGET', numbers, low.id)
    if other and other ~= text_of(wanted) then
        return nil
    end
    return { low.id, low.fields }
end

-- The row of the item with this number, or of this entry if the caller has found it.
local function seek_entry(number, entry)
    if entry == '' then
        return seek(number)
    end
    local row = redis.call('XRANGE', stream, entry, entry)[1]
    return row and number_of(entry, row[2]) == text_of(number) and row or nil
end

-- An entry with all that is known of it, who holds it, and for how long that one was not heard of.
local function entry_with_holder(row)
    local id = row[1]
    local held = redis.call('XPENDING', stream, group, id, id, 1)[1]
    local one = entry_with_past(id, row[2], held and held[4] or 0)
    local idle = 0
    if held then
        for _, member in ipairs(supervisors()) do
            idle = member.name == held[2] and member.idle or idle
        end
    end
    one[#one + 1], one[#one + 2] = held and held[2] or '', idle
    return one
end
