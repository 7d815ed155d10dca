/** Takes what functions in rooms say that they have done, as datagrams, and appends it to a file: `collector.ts HOST PORT FILE`. */
import { openSync, writeSync } from "node:fs";

const [hostname, port, path] = process.argv.slice(2) as [string, string, string];
const file = openSync(path, "a");
await Bun.udpSocket({
  hostname,
  port: Number(port),
  socket: { data: (_, bytes) => void writeSync(file, bytes) },
});
console.log("collecting");
