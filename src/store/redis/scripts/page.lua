-- Unfinished items in the order of the stream, each with all that is known of it, its holder, and for how
-- long that one was not heard of. Long values are cut.
--     ARGV: born, where to begin, how many, how many bytes of a value
local from, count, bytes_max = next_argument(), next_number(), next_number()
local rows = redis.call('XRANGE', stream, from, '+', 'COUNT', count)
if #rows == 0 then
    return {}
end
local idle = {}
for _, one in ipairs(supervisors()) do
    idle[one.name] = one.idle
end
local held = {}
-- Some that are held may have been deleted.
for _, row in ipairs(redis.call('XPENDING', stream, group, rows[1][1], rows[#rows][1], 2 ^ 31)) do
    held[row[1]] = row
end
local page = {}
for place, row in ipairs(rows) do
    local id, fields, mine = row[1], row[2], held[row[1]]
    for i = 2, #fields, 2 do
        fields[i] = string.sub(fields[i], 1, bytes_max)
    end
    local one = entry_with_past(id, fields, mine and mine[4] or 0)
    one[6], one[7] = mine and mine[2] or '', mine and idle[mine[2]] or 0
    page[place] = one
end
return page
