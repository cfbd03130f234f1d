-- How the stream stands, and how many other supervisors there are.
--     ARGV: born, consumer, lease in milliseconds
local consumer, lease = next_argument(), next_number()
local others = 0
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local one = {}
    for i = 1, #row, 2 do
        one[row[i]] = row[i + 1]
    end
    if one.name ~= consumer and one.idle <= lease then
        others = others + 1
    end
end
return { standing(), others }
