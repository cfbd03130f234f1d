-- How the stream stands, and how many other supervisors there are.
--     ARGV: born, consumer, lease in milliseconds
local consumer, lease = next_argument(), next_number()
count_gone()
return { standing(), others_heard_of(supervisors(), consumer, lease) }
