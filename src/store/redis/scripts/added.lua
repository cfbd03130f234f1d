-- How many entries were ever added to a stream; nothing before Redis 7.0, which does not say it.
local function entries_added(stream)
    local info, added = redis.pcall('XINFO', 'STREAM', stream), nil
    for i = 1, #info, 2 do
        added = info[i] == 'entries-added' and info[i + 1] or added
    end
    return added
end

