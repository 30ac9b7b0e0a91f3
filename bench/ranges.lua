-- Ranges of a fixed length that begin anywhere in a blob: wrk -s ranges.lua URL -- SIZE LENGTH
local last, length

function init(arguments)
  local size = tonumber(arguments[1])
  length = tonumber(arguments[2])
  last = size - length
  math.randomseed(1)
end

function request()
  local first = math.random(0, last)
  wrk.headers["Range"] = string.format("bytes=%d-%d", first, first + length - 1)
  return wrk.format("GET")
end
